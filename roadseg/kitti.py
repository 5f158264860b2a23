"""KITTI road on disk: find it, download it, verify it, pair images with labels, decode labels.

The layout below a data set's root, as published in ``data_road.zip``; folder names may be spelled in any case::

    training/image_2/um_000000.png           uint8 (H, W, 3), RGB
    training/gt_image_2/um_road_000000.png   uint8 (H, W, 3): red > 0 is evaluated, blue > 0 is road

Images of any size are read, as long as each label has the size of its image. The benchmark's are 1242 x 375,
1241 x 376, 1238 x 374 or 1226 x 370 pixels. Labels of the single lane (``um_lane_*``) are left out.

Source: Fritsch, Kuehnl, Geiger, "A New Performance Measure and Evaluation Benchmark for Road Detection Algorithms",
ITSC 2013. Licence of the images: CC BY-NC-SA 3.0.
"""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

import numpy as np
from PIL import Image

from roadseg.errors import DataError, printable

URL = "https://s3.eu-central-1.amazonaws.com/avg-kitti/data_road.zip"
CATEGORIES = ("um", "umm", "uu")  # urban marked, urban multiple marked lanes, urban unmarked

ROOT, ARCHIVE = "data_road", "data_road.zip"
SCENES_RECORD = "scenes.json"  # lies where scenes were rendered
SCENES_VERSION = 2  # of the renderer: the same seed gives the same pixels only within one version
TEMPORARY = ".data_road-"  # how folders begin that nobody needs after a download or unpacking
IMAGES, LABELS = ("training", "image_2"), ("training", "gt_image_2")
IMAGE_NAME = re.compile(rf"({'|'.join(CATEGORIES)})_([0-9]{{6}})\.png")
LABEL_NAME = re.compile(rf"({'|'.join(CATEGORIES)})_road_([0-9]{{6}})\.png")

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # width and height follow, as two big-endian integers
LARGEST_IMAGE = 16_000_000  # pixels; KITTI's have half a million, a decompression bomb has billions
LARGEST_FILE = 64 * 2**20  # bytes; the largest PNG file of the archive has about one million
LARGEST_ARCHIVE = 2 * 2**30  # bytes unpacked; the published archive has about half of a billion
MOST_MEMBERS = 5_000  # the published archive has about 1,600
LARGEST_RATIO = 100  # of unpacked to packed bytes; PNG files hardly shrink, calibration files to a third
MEMBER_NAME = re.compile(r"data_road(/\w[\w.-]*)*/?", re.ASCII | re.IGNORECASE)  # no "..", drive, backslash, blank

RETRIES = 2  # after a broken connection
PATIENCE = 3600  # seconds to wait for another process that fills the same folder
REPLACE = "replace it by an intact copy"
BY_HAND = f"download {URL} by hand and put {ARCHIVE} into"


@dataclass(frozen=True)
class Frame:
    """One labelled picture: `name` is "um_000000", `category` one of `CATEGORIES`."""

    name: str
    category: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Location:
    """Where the road data is: `why` is a sentence for people, `looked` lists the places in the order tried, below the
    project's folder."""

    path: Path
    kind: Literal["kitti", "scenes"]
    why: str
    looked: tuple[str, ...]

    @property
    def to_render(self) -> bool:
        """True if these are the usual scenes, and nobody has rendered them yet, or another version of the renderer."""
        if self.kind != "scenes" or self.chosen:
            return False
        record = scenes_record(self.path)
        outdated = record is not None and record.get("version", SCENES_VERSION) != SCENES_VERSION
        return outdated or not (self.path / "training").is_dir()

    @property
    def chosen(self) -> bool:
        """True if ROADSEG_DATA names the folder, so that no other place was looked at."""
        return len(self.looked) == 1


@dataclass(frozen=True)
class Verification:
    """What comparing a folder with the published digests has shown: paths below the root, and a count."""

    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    unknown: tuple[str, ...]
    good: int

    @property
    def ok(self) -> bool:
        """True if all files are there and intact; unknown files do no harm."""
        return not self.missing and not self.damaged

    def __str__(self) -> str:
        groups = {"missing": self.missing, "damaged": self.damaged, "unknown": self.unknown}
        found = [f"{len(names)} {group} ({_few(names)})" for group, names in groups.items() if names]
        total = self.good + len(self.missing) + len(self.damaged)
        return ", ".join([f"{self.good} of {total} files are intact", *found])


# --- frames: pairs of image and label --------------------------------------------------------------------------------


def frames(root: Path) -> list[Frame]:
    """Pair the images below `root` with their road labels, sorted by name.

    Raises DataError where `root` is no data set, cannot be read, or an image or a label lacks its partner.
    """
    base = _base(root)
    images = _named_files(_find(base, *IMAGES), IMAGE_NAME)
    labels = _named_files(_find(base, *LABELS), LABEL_NAME)
    _check_partners(root, images, labels)
    return [Frame(name, name.split("_")[0], images[name], labels[name]) for name in sorted(images)]


def read_frame(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Read image and label of one frame, each uint8 (H, W, 3).

    Raises DataError for a file that is not a whole PNG image, for two sizes, and for a label that evaluates no pixel.
    """
    image, label = _read_png(frame.image), _read_png(frame.label, grey=False)
    if image.shape != label.shape:
        (height, width), (label_height, label_width) = image.shape[:2], label.shape[:2]
        raise DataError(
            f"{frame.label}: expected the size of its image {frame.image.name}, {width} x {height} pixels, "
            f"found {label_width} x {label_height}; replace both files by the published ones"
        )
    if not decode_label(label)[1].any():
        raise DataError(f"{frame.label}: no pixel is evaluated (red > 0 nowhere); replace the label or remove its pair")
    return image, label


def decode_label(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two boolean arrays (H, W), road and evaluated, of a label uint8 (H, W, 3).

    Red (255, 0, 0) is not road, magenta (255, 0, 255) is road, black is excluded from evaluation, and so is the road
    that a few labels mark in blue (0, 0, 255).
    """
    return label[..., 2] > 0, label[..., 0] > 0


def _named_files(folder: Path, pattern: re.Pattern) -> dict[str, Path]:
    """Return the files of `folder` that match, keyed by frame name such as "um_000000"."""
    with _explained(folder, "make the folder readable"):
        matches = {path: pattern.fullmatch(path.name.lower()) for path in folder.iterdir()}
        named = sorted(("_".join(match.groups()), path) for path, match in matches.items() if match)
        strange = [path.name for _, path in named if not path.is_file()]
    if strange:
        raise DataError(f"{folder}: expected files, found a folder or a broken link: {_few(strange)}; {REPLACE}")
    files = dict(named)
    if twice := [path.name for name, path in named if files[name] != path]:
        raise DataError(f"{folder}: there twice, in other spelling: {_few(twice)}; remove one of each")
    return files


def _check_partners(root: Path, images: dict[str, Path], labels: dict[str, Path]) -> None:
    """Raise DataError unless there are images, and as many labels of the same names."""
    if not images and not labels:
        raise DataError(f"{root}: no image like {'/'.join(IMAGES)}/um_000000.png; copy the published files there")
    for found, lacking, partner in ((images, labels, "label"), (labels, images, "image")):
        alone = sorted(found[name].name for name in found.keys() - lacking.keys())
        if alone:
            raise DataError(
                f"{root}: {len(alone)} without {partner} ({_few(alone)}); restore each {partner} or remove these files"
            )


def _read_png(path: Path, *, grey: bool = True) -> np.ndarray:
    """Read a PNG file of 8 bits a channel as uint8 (H, W, 3); unless `grey`, it must have colours."""
    content = _png_content(path)
    try:
        Image.open(io.BytesIO(content), formats=["PNG"]).verify()  # checksums, which decoding leaves out
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()
        mode = image.mode
        if mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # the one way on which Pillow does not warn
        pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged PNG file ({_line(error)}); {REPLACE}") from error
    modes = ("RGB", "RGBA", "P") + grey * ("1", "L", "LA")
    if mode not in modes:
        raise DataError(f"{path}: expected one of the modes {', '.join(modes)}, found {mode}; convert it to RGB")
    return pixels


def _png_content(path: Path) -> bytes:
    """Return the bytes of a file that begins as a still PNG picture of bearable size."""
    with _explained(path, "make it a readable file"), path.open("rb") as file:
        content = file.read(LARGEST_FILE)
    if not content:
        raise DataError(f"{path}: the file is empty; {REPLACE}")
    kinds = _chunk_kinds(content)
    if not content.startswith(PNG_START) or kinds.count(b"IHDR") > 1 or b"acTL" in kinds:  # which begins an animation
        raise DataError(f"{path}: expected a still PNG picture, found something else; {REPLACE}")
    width, height = struct.unpack(">II", content[len(PNG_START) :].ljust(8, b"\0")[:8])
    if width * height > LARGEST_IMAGE:
        raise DataError(f"{path}: expected at most {LARGEST_IMAGE:,} pixels, found {width} x {height}; {REPLACE}")
    return content


def _chunk_kinds(content: bytes) -> list[bytes]:
    """The kinds of a PNG file's chunks, such as IHDR, in order, as far as they can be told."""
    kinds, start = [], 8
    while start + 8 <= len(content):
        kinds.append(content[start + 4 : start + 8])
        start += 12 + int.from_bytes(content[start : start + 4], "big")
    return kinds


# --- location: where the data is -------------------------------------------------------------------------------------


def project_root() -> Path:
    """Return ROADSEG_HOME, else the nearest folder upwards that looks like a project, else the package's checkout."""
    if home := os.environ.get("ROADSEG_HOME"):
        if not os.path.isdir(os.path.expanduser(home)):
            raise DataError(f"ROADSEG_HOME is {home}: expected an existing folder; correct or unset ROADSEG_HOME")
        return Path(os.path.realpath(os.path.expanduser(home)))
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "pyproject.toml").is_file() or (folder / "notebooks").is_dir():
            return folder
    return here


def locate(project: Path | None = None) -> Location:
    """Find the road data: ROADSEG_DATA, else KITTI in the project's data folder, else the rendered scenes.

    An archive that was put into the data folder by hand is unpacked there once. Raises DataError where KITTI is meant
    to be (ROADSEG_DATA is set, a folder is called data_road) but is not.
    """
    data = (project or project_root()) / "data"
    looked = ("ROADSEG_DATA", f"data/{ROOT}", f"data/{ARCHIVE}", "data/scenes")
    if chosen := os.environ.get("ROADSEG_DATA"):
        root = _chosen(chosen)
        kind = "scenes" if (root / SCENES_RECORD).is_file() else "kitti"
        return Location(root, kind, f"ROADSEG_DATA points to {printable(chosen)}.", looked[:1])
    if folder := _find(data, ROOT):
        return Location(_base(folder), "kitti", f"data/{folder.name} holds KITTI road.", looked[:2])
    if archive := _find(data, ARCHIVE):
        found = f"data/{archive.name} was put there and is unpacked."
        return Location(_base(unpack(archive, data)), "kitti", found, looked[:3])
    why = "There is no KITTI road in the folder data: scenes take its place."
    return Location(data / "scenes", "scenes", why, looked)


def scenes_record(root: Path) -> dict | None:
    """What is written beside rendered scenes: version of the renderer, seed, counts, digest; None where nothing is."""
    try:
        record = json.loads((root / SCENES_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _chosen(folder: str) -> Path:
    """Return the data set that ROADSEG_DATA names."""
    try:
        return _base(Path(os.path.realpath(os.path.expanduser(folder))))  # which take links in a circle, too
    except DataError as error:
        raise DataError(f"ROADSEG_DATA is wrong: {error}, or correct or unset ROADSEG_DATA") from error


def _base(root: Path) -> Path:
    """Return `root`, or its folder data_road as some unpackers nest it, whichever holds images and labels."""
    for base in (root, _find(root, ROOT)):
        if base and _find(base, *IMAGES) and _find(base, *LABELS):
            return base
    found = (_few(sorted(path.name for path in root.iterdir())) or "nothing") if root.is_dir() else "no such folder"
    expected = f"{'/'.join(IMAGES)} and {'/'.join(LABELS)}"
    raise DataError(f"{root}: expected {expected} in it, found {found}; unpack {ARCHIVE} there")


def _find(folder: Path, *names: str) -> Path | None:
    """Return folder/name/name/..., each name in any case but rather as written, or None where there is none."""
    with _explained(folder, "make the folder readable"):
        for name in names:
            entries = folder.iterdir() if folder.is_dir() else ()
            spellings = {path.name: path for path in sorted(entries) if path.name.lower() == name}
            if not spellings:
                return None
            folder = spellings.get(name) or next(iter(spellings.values()))
    return folder


# --- download, unpack, verify ----------------------------------------------------------------------------------------


def download(target: Path, *, url: str = URL, digest: str | None = None, progress: bool = True) -> Path:
    """Download KITTI road (495 MB), unpack and verify it; return the folder target/data_road.

    A folder that is there already and intact is left as it is, an archive that is there already is used. Folder and
    archive appear only once all files are verified, so that nothing half done is ever found there.

    Parameters
    ----------
    target
        Folder that takes data_road and data_road.zip, usually the project's data folder.
    digest
        SHA-256 of the archive where it is known; the files in it are verified in any case.
    progress
        Whether to show a progress bar.

    Raises DataError for errors of network, disk and archive; each says how to go on.
    """
    _check_url(url)
    with _filling(target):
        if folder := _find(target, ROOT):
            if not (found := verify(folder)).ok:
                raise DataError(f"{folder}: {found}; move this folder away and download again")
            return folder
        if archive := _find(target, ARCHIVE):
            return _install(archive, target, verified=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target) as temporary:
            archive = _fetch(Path(temporary), target, url=url, digest=digest, progress=progress)
            try:
                folder = _install(archive, target, verified=True)
            except DataError as error:
                problem = str(error).removeprefix(f"{archive}: ").partition("; ")[0]
                raise DataError(
                    f"{url} delivered something else: {problem}; try again, or {BY_HAND} {target}"
                ) from error
            archive.replace(target / ARCHIVE)
            return folder


def unpack(archive: Path, target: Path) -> Path:
    """Unpack data_road.zip safely; return target/data_road, which is left as it is where it exists already.

    Raises DataError, and leaves `target` as it was, for an archive that is damaged, encrypted or larger than the
    bounds above, or that holds links or paths outside of data_road.
    """
    with _filling(target):
        return _find(target, ROOT) or _install(archive, target, verified=False)


def verify(root: Path) -> Verification:
    """Compare the files below `root`, a folder data_road, with the published digests.

    Calibration files and hidden files count neither as good nor as unknown.
    """
    base, published = _base(root), digests()
    with _explained(base, "make all of it readable"), ThreadPoolExecutor() as pool:
        paths = {path.relative_to(base).as_posix().lower(): path for path in base.rglob("*") if path.is_file()}
        known = sorted(paths.keys() & published.keys())
        actual = dict(zip(known, pool.map(_sha256, (paths[name] for name in known)), strict=True))
    damaged = tuple(name for name in known if actual[name] != published[name])
    unknown = sorted(name for name in paths.keys() - published.keys() if not re.search(r"(^|/)(calib/|\.)", name))
    missing = sorted(published.keys() - paths.keys())
    return Verification(tuple(missing), damaged, tuple(unknown), len(known) - len(damaged))


def digests() -> dict[str, str]:
    """Return the published SHA-256 of each of the 963 PNG files, keyed by its path below data_road."""
    lines = resources.files("roadseg").joinpath("kitti_road.sha256").read_text(encoding="ascii").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(folder: Path, target: Path, *, url: str, digest: str | None, progress: bool) -> Path:
    """Download the archive into a temporary folder of `target`, whose disk has to hold it."""
    import pooch
    import requests

    downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=2**18, hooks={"response": _check_redirect})
    source = pooch.create(folder, "", registry={ARCHIVE: digest}, urls={ARCHIVE: url}, retry_if_failed=RETRIES)
    try:
        return Path(source.fetch(ARCHIVE, downloader=downloader))
    except DataError:
        raise
    except (requests.RequestException, ValueError) as error:
        raise DataError(f"{url} was not downloaded ({_line(error)}); try again, or {BY_HAND} {target}") from error


def _check_url(url: str) -> None:
    """Raise DataError unless nobody on the way can change what `url` delivers."""
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (("http", "localhost"), ("http", "127.0.0.1")):
        raise DataError(f"{url}: expected an address that begins with https://; {BY_HAND} the data folder")


def _check_redirect(response, **_) -> None:
    """Raise DataError before `response`, of requests, leads to an address of another kind."""
    if response.is_redirect:
        there = urljoin(response.url, response.headers["location"])
        try:
            _check_url(there if urlsplit(there).scheme == urlsplit(response.url).scheme else f"redirected to {there}")
        except DataError:
            response.close()  # which requests leaves to the garbage collector
            raise


def _install(archive: Path, target: Path, *, verified: bool) -> Path:
    """Unpack to a temporary sibling, check what came out, and move it in place."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target) as temporary:
        _extract(archive, Path(temporary))
        folder = _find(Path(temporary), ROOT)
        if not folder or not _find(folder, *IMAGES) or not _find(folder, *LABELS):
            raise DataError(f"{archive}: expected {ROOT}/training in it; {_again(archive)}")
        if verified and not (found := verify(folder)).ok:
            raise DataError(f"{archive}: {found}; {_again(archive)}")
        return folder.replace(target / ROOT)


def _extract(archive: Path, folder: Path) -> None:
    """Unpack all members of a zip archive into `folder`, once each of them is found harmless."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            problem = _problem(zipped.infolist())
            if not problem:
                zipped.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a damaged offset, otherwise the disk
            raise
        raise DataError(f"{archive}: truncated or damaged ({_line(error)}); {_again(archive)}") from error
    if problem:
        raise DataError(f"{archive}: {problem}; {_again(archive)}")


def _problem(members: list[zipfile.ZipInfo]) -> str | None:
    """Return why the archive is not to be unpacked, None if nothing speaks against it."""
    if len(members) > MOST_MEMBERS:
        return f"expected at most {MOST_MEMBERS:,} members, found {len(members):,}"
    if (total := sum(member.file_size for member in members)) > LARGEST_ARCHIVE:
        return f"expected at most {LARGEST_ARCHIVE:,} bytes unpacked, found {total:,}"
    if len({member.filename.lower().rstrip("/") for member in members}) < len(members):
        return "two members of one name"
    return next((problem for member in members if (problem := _member_problem(member))), None)


def _member_problem(member: zipfile.ZipInfo) -> str | None:
    """Return why one member is not to be unpacked, None if nothing speaks against it."""
    names = member.orig_filename, member.filename  # which an extra field of the archive may set apart
    largest = LARGEST_RATIO * max(member.compress_size, 1)
    checks = {
        f"expected only plain paths below {ROOT}/": all(map(MEMBER_NAME.fullmatch, names)),
        "expected only files and folders": stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR),
        "expected no encrypted members": not member.flag_bits & 1,
        "expected only deflated or stored members": member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        f"expected at most {LARGEST_FILE:,} bytes a file": member.file_size <= LARGEST_FILE,
        f"expected no member that shrinks below 1/{LARGEST_RATIO}": member.file_size <= largest,
    }
    return next((f"{text}, found {member.orig_filename!r}" for text, passed in checks.items() if not passed), None)


@contextmanager
def _filling(target: Path) -> Iterator[None]:
    """Let one process at a time fill the folder `target`, and explain what its disk refuses."""
    from filelock import FileLock

    with _explained(target, "free 1 GB there, or choose a folder that you may write to"):
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(target / ".data_road.lock", timeout=PATIENCE):
            for left in target.glob(f"{TEMPORARY}*"):  # by a process that was killed
                shutil.rmtree(left)
            yield


@contextmanager
def _explained(path: Path, remedy: str) -> Iterator[None]:
    """Turn errors of the file system into a DataError that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or path}: {error.strerror or _line(error)}; {remedy}") from error


def _again(archive: Path) -> str:
    return f"delete {archive} and download it again, or {BY_HAND} {archive.parent}"


def _few(names: list[str] | tuple[str, ...]) -> str:
    """Join up to three names, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
