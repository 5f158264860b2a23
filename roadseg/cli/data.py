"""Say which road images are found; download, verify or render some.

examples:
  python -m roadseg data --render data/more_scenes --seed 1
  python -m roadseg data --drive drive.mp4
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from roadseg.errors import DataError, OptionError
from roadseg.storage import project_root

DRIVE_SECONDS = 10


def add_options(parser: ArgumentParser) -> None:
    """Add one action or none, and the seed of rendered scenes."""
    action = parser.add_mutually_exclusive_group()
    text = "download KITTI road (495 MB) into the data folder, unpack and verify it"
    action.add_argument("--download", choices=["kitti"], help=text)
    text = "compare each file of KITTI road with its published digest (without DIR: of the KITTI road that is found)"
    action.add_argument("--verify", nargs="?", const="", metavar="DIR", help=text)
    action.add_argument("--render", metavar="DIR", help="render 289 scenes in KITTI's layout into a new folder")
    text = f"render a drive of {DRIVE_SECONDS} seconds, as .mp4 (needs imageio-ffmpeg) or as .gif of at most 1 MB"
    action.add_argument("--drive", type=Path, metavar="FILE", help=text)
    text = "with --render: streets, light and cameras that differ more than KITTI's, to learn from"
    parser.add_argument("--variety", action="store_true", help=text)
    parser.add_argument("--seed", type=int, metavar="N", help="of the scenes: another seed, other streets (default 0)")


def run(options: Namespace) -> int:
    """Download, verify or render images; without an option, show which are found. 1 where files are damaged."""
    from roadseg import download

    if options.seed is not None and options.render is None and options.drive is None:
        raise OptionError("--seed belongs to --render and --drive: add one of them, or leave --seed out.")
    if options.variety and options.render is None:
        raise OptionError("--variety belongs to --render: add it, or leave --variety out.")
    if options.download:
        folder = download.download(project_root() / "data")
        print(f"{folder} holds KITTI road, and each file is as published.")
    elif options.verify is not None:
        return _verify(options.verify)
    elif options.render is not None:
        _render(options.render, options.seed or 0, variety=options.variety)
    elif options.drive is not None:
        _drive(options.drive, options.seed or 0)
    else:
        location = download.locate()
        print(f"{location.reason}\nUsed: {location.path}")
        if location.to_render:
            print("The scenes are rendered when they are first needed, in about a minute.")
        print("\n".join(["Looked, in this order, at:", *(f"  {place}" for place in location.searched)]))
    return 0


def _verify(folder: str) -> int:
    """Print what differs from the published files; return 1 where files are missing or damaged."""
    from roadseg import download

    if not folder:
        location = download.locate()
        if location.kind != "kitti":
            searched = ", ".join(location.searched[:3])
            remedy = "unset ROADSEG_DATA" if location.chosen else "download it"
            raise DataError(f"no KITTI road to verify in {searched}: {remedy}, or name its folder after --verify.")
        folder = location.path
    found = download.verify(Path(folder))
    for group in ("missing", "damaged", "unknown"):
        for name in getattr(found, group):
            print(f"{group:8} {name}")
    print(f"{folder}: {found}.")
    return 0 if found.ok else 1


def _render(root: str, seed: int, *, variety: bool) -> None:
    """Render a folder of scenes."""
    from tqdm import tqdm

    from roadseg import scenes

    with tqdm(total=sum(scenes.COUNTS.values()), unit=" scenes", disable=None) as bar:
        folder = scenes.write(root, seed=seed, variety=variety, progress=lambda *_: bar.update())
    print(f"{folder} holds the scenes of seed {seed}. To work with them, set ROADSEG_DATA to this folder.")


def _drive(path: Path, seed: int) -> None:
    """Render a drive into an MP4 or GIF file."""
    from tqdm import tqdm

    from roadseg import scenes
    from roadseg.street import film

    drive = scenes.drive(seed=seed, seconds=DRIVE_SECONDS)
    frames = tqdm(drive, total=DRIVE_SECONDS * scenes.RATE, unit=" scenes", disable=None)
    film.write_film(path, frames, rate=scenes.RATE, draw=lambda scene: scene.image)
    print(f"{path}: {path.stat().st_size:,} bytes.")
