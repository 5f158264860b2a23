"""Find the road on your own photos and videos.

The road is tinted and outlined. Photos may have any size (PNG, JPEG, WebP); videos need imageio-ffmpeg.

examples:
  python -m roadseg predict scenes photo.jpg       (a U-Net that ships: nothing to train)
  python -m roadseg predict runs/unet-fast-seed0-1a2b3c4d street.jpg another.png --probability
  python -m roadseg predict runs/unet-fast-seed0-1a2b3c4d holidays/ drive.mp4 --out roads
"""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from roadseg.errors import DataError, RoadsegError, explained

JPEG_QUALITY = 92


def add_options(parser: ArgumentParser) -> None:
    """Add the network, what it looks at, and where the results go."""
    text = "folder of a run, its name in the runs folder, a file of weights, or `scenes`: the weights that ship"
    parser.add_argument("run", metavar="RUN", help=text)
    text = "a photo, a video, or a folder of them"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=text)
    text = "folder of the results (default: predictions)"
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help=text)
    text = "write the probabilities of photos as well, as gray images: white is road"
    parser.add_argument("--probability", action="store_true", help=text)
    text = "write the first ten seconds of a video as animated GIF of at most 1 MB, instead of an MP4"
    parser.add_argument("--gif", action="store_true", help=text)
    text = "average over each image and its mirror image, at three sizes: better, at several times the time"
    parser.add_argument("--tta", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Write a result for each file. Where one cannot be read or written a line says why, the others go on; return 1."""
    from tqdm import tqdm

    from roadseg import models
    from roadseg.street import film, photos

    model, failed, taken = photos.open_network(options.run), 0, set()
    if options.tta:
        model = models.with_test_time_augmentation(model)
    with explained(DataError, options.out, "choose another folder with --out"):
        options.out.mkdir(parents=True, exist_ok=True)
    paths = list(list_inputs(options.files, (*photos.SUFFIXES, *film.SUFFIXES)))
    inputs = {path.parent / path.stem for path in map(Path.resolve, paths)}
    videos = [path for path in paths if path.suffix.lower() in film.SUFFIXES]
    with tqdm(total=None if videos else len(paths), unit=" images", disable=None) as bar:
        started, count = time.perf_counter(), 0
        for path in paths:
            name = path.stem
            while name.lower() in taken:  # photos of two folders may have one name
                name += "_2"
            taken.add(name.lower())
            predict = predict_video if path in videos else predict_photo
            try:
                if any((options.out / f"{name}_{kind}").resolve() in inputs for kind in ("road", "probability")):
                    raise DataError(f"{path}: its result would replace another input; choose another folder with --out")
                count += predict(model, path, options.out / name, options, bar)
            except RoadsegError as error:
                failed += 1
                bar.update()
                tqdm.write(f"roadseg: error: {error}", file=sys.stderr)
        rate = count / (time.perf_counter() - started)
    if count:
        print(f"{count} image{'s' * (count > 1)}, {rate:.1f} a second; the results are in {options.out}.")
    return int(failed > 0)


def list_inputs(paths: list[Path], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Each file; of each folder the files that end so, sorted by name, or the folder itself where there is none.

    A line names what else a folder with some holds.
    """
    from roadseg.kitti import a_few

    for path in paths:
        with explained(DataError, path, "make the folder readable"):
            inside = sorted(path.iterdir()) if path.is_dir() else []
        inside = [file for file in inside if not file.name.startswith(".")]
        shown = [file for file in inside if file.suffix.lower() in suffixes]
        others = [file.name for file in inside if file not in shown]
        if shown and others:
            print(f"{path}: not read, as none ends in {', '.join(suffixes)}: {a_few(others)}.", file=sys.stderr)
        yield from shown or [path]


def predict_photo(model, path: Path, target: Path, options: Namespace, bar) -> int:
    """Write the photo with its road, and its probabilities if wanted; return 1, the number of images."""
    from PIL import Image

    from roadseg.storage import atomic_write
    from roadseg.street import film, photos

    if path.is_dir():
        endings = ", ".join((*photos.SUFFIXES, *film.SUFFIXES))
        raise DataError(f"{path}: expected a photo or video in this folder ({endings}), found none; name another")
    photo = photos.open_photo(path)
    probability = photos.find_road(model, photo)
    results = {"road.jpg": photos.draw_road(photo, probability)}
    if options.probability:
        results["probability.png"] = photos.eight_bits(probability)
    for ending, image in results.items():
        file = target.with_name(f"{target.name}_{ending}")
        with explained(DataError, file, "choose another folder with --out, or free space"), atomic_write(file) as out:
            Image.fromarray(image).save(out, "PNG" if file.suffix == ".png" else "JPEG", quality=JPEG_QUALITY)
    bar.update()
    return 1


def predict_video(model, path: Path, target: Path, options: Namespace, bar) -> int:
    """Write the video with its road; return the number of frames."""
    from roadseg.street import film, photos

    rate, frames = film.read_video(path)
    done = 0

    def draw(frame):
        nonlocal done
        done += 1
        bar.update()
        return photos.draw_road(frame, photos.find_road(model, frame))

    ending = ".gif" if options.gif else ".mp4"
    film.write_film(target.with_name(f"{target.name}_road{ending}"), frames, rate=rate, draw=draw)
    return done
