"""Fetch, unpack and verify KITTI road as published.

The folder appears only when it is whole: after a download, once every file has its published digest; from an archive
put there by hand, which may hold other images, once every checksum in the archive is right.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from roadseg.errors import DataError, explained, one_line
from roadseg.kitti import IMAGES, LABELS, ROOT, a_few, find_dataset, find_path

URL = "https://s3.eu-central-1.amazonaws.com/avg-kitti/data_road.zip"
ARCHIVE = f"{ROOT}.zip"
TEMPORARY = ".data_road-"  # how folders begin that nobody needs after a download or unpacking
LARGEST_ARCHIVE = 2 * 2**30  # bytes unpacked; the published archive has about half a billion
RETRIES = 2  # after a broken connection
PATIENCE = 3600  # seconds to wait for another process that fills the same folder
# What zipfile and its decoders raise about an archive that is truncated, encrypted or has changed bytes.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, IndexError, RuntimeError, ValueError)
BY_HAND = f"download {URL} by hand and put {ARCHIVE} into"


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
        found = [f"{len(names)} {group} ({a_few(names)})" for group, names in groups.items() if names]
        total = self.good + len(self.missing) + len(self.damaged)
        return ", ".join([f"{self.good} of {total} files are intact", *found])


def download(target: Path, *, url: str = URL, progress: bool = True) -> Path:
    """Download KITTI road (495 MB), verify and unpack it; return the folder target/data_road.

    A folder that is there already and intact is left as it is, an archive that is there already is used.

    Parameters
    ----------
    target
        Folder that takes data_road and data_road.zip, usually the project's data folder.
    progress
        Whether to show a progress bar.

    Raises
    ------
    DataError
        Errors of network, disk and archive; each says how to go on.
    """
    import pooch
    import requests

    with _filling(target):
        if folder := find_path(target, ROOT):
            if not (found := verify(folder)).ok:
                raise DataError(f"{folder}: {found}; move this folder away and download again")
            return folder
        if archive := find_path(target, ARCHIVE):
            return _install(archive, target, verified=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target) as temporary:
            downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=2**18)
            source = pooch.create(temporary, "", registry={ARCHIVE: None}, urls={ARCHIVE: url}, retry_if_failed=RETRIES)
            try:
                archive = Path(source.fetch(ARCHIVE, downloader=downloader))
            except (requests.RequestException, ValueError) as error:
                raise DataError(
                    f"{url} was not downloaded ({one_line(error)}); try again, or {BY_HAND} {target}"
                ) from error
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
    """Unpack data_road.zip; return target/data_road, which is left as it is where it exists already.

    Raises DataError, and leaves `target` as it was, for an archive that is damaged, encrypted, too large, or that holds
    no road images. Nothing is written outside of `target`.
    """
    with _filling(target):
        return find_path(target, ROOT) or _install(archive, target, verified=False)


def verify(root: Path) -> Verification:
    """Compare the files below `root`, a folder data_road, with the published digests.

    Calibration files and hidden files count neither as good nor as unknown.
    """
    import pooch

    base, published = find_dataset(root), published_digests()
    with explained(DataError, base, "make all of it readable"), ThreadPoolExecutor() as pool:
        paths = {path.relative_to(base).as_posix().lower(): path for path in base.rglob("*") if path.is_file()}
        known = sorted(paths.keys() & published.keys())
        actual = dict(zip(known, pool.map(pooch.file_hash, (paths[name] for name in known)), strict=True))
    damaged = tuple(name for name in known if actual[name] != published[name])
    unknown = sorted(name for name in paths.keys() - published.keys() if not re.search(r"(^|/)(calib/|\.)", name))
    missing = sorted(published.keys() - paths.keys())
    return Verification(tuple(missing), damaged, tuple(unknown), len(known) - len(damaged))


def published_digests() -> dict[str, str]:
    """The published SHA-256 of each of the 963 PNG files, keyed by its path below data_road."""
    lines = (Path(__file__).parent / "kitti_road.sha256").read_text(encoding="ascii").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def _install(archive: Path, target: Path, *, verified: bool) -> Path:
    """Unpack to a temporary sibling, check what came out, and move it into place."""
    remedy = f"delete {archive} and download it again, or {BY_HAND} {archive.parent}"
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target) as temporary:
        unpacked = Path(temporary) / ROOT
        try:
            with zipfile.ZipFile(archive) as zipped:
                total = sum(member.file_size for member in zipped.infolist())
                if total > LARGEST_ARCHIVE:
                    raise DataError(f"{archive}: expected at most {LARGEST_ARCHIVE:,} bytes, found {total:,}; {remedy}")
                for member in zipped.infolist():
                    member.filename = member.filename.replace("\\", "/")  # old programs of Windows write these
                    zipped.extract(member, unpacked)  # which keeps it below the folder, and a link as a plain file
        except DataError:
            raise
        except DAMAGED as error:
            raise DataError(f"{archive}: truncated or damaged ({one_line(error)}); {remedy}") from error
        folders = (folder for folder in sorted(unpacked.rglob("*/")) if "__MACOSX" not in folder.parts)
        candidates = (unpacked, *folders)  # anybody may have packed it again, with other folders
        folder = next((f for f in candidates if find_path(f, *IMAGES) and find_path(f, *LABELS)), None)
        if folder is None:
            found = a_few(sorted(path.name for path in unpacked.rglob("*") if path.is_file())) or "nothing"
            raise DataError(
                f"{archive}: expected {ROOT}/training with images and labels in it, found {found}; if they are in "
                f"there, unpack it by hand and put the folder {ROOT} into {target}; else {remedy}"
            )
        if verified and not (found := verify(folder)).ok:
            raise DataError(f"{archive}: {found}; {remedy}")
        return folder.replace(target / ROOT)


@contextmanager
def _filling(target: Path) -> Iterator[None]:
    """Let one process at a time fill the folder `target`, and explain what its disk refuses."""
    from filelock import FileLock

    with explained(DataError, target, "free 1 GB there, or choose a folder that you may write to"):
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(target / ".data_road.lock", timeout=PATIENCE):
            for left in target.glob(f"{TEMPORARY}*"):  # by a process that was killed
                shutil.rmtree(left)
            yield
