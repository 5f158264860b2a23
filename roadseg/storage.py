"""Where the project keeps its files, and files that are either whole or not there.

Environment variables:

    ROADSEG_HOME         the project: by default the nearest folder upwards that looks like one
    ROADSEG_DATA         road images in KITTI's layout: by default what `roadseg.download.locate` finds in HOME/data
    ROADSEG_CACHE        resized images: by default HOME/data/cache; where that is read-only, HOME/data/cache as well
    ROADSEG_RUNS         training runs: by default HOME/runs
    ROADSEG_SHARED_RUNS  finished runs to reuse, such as those that a teacher shares: by default none; only read
    ROADSEG_EPOCHS       the most epochs of a training run: by default no limit
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from roadseg.errors import DataError, OptionError

if TYPE_CHECKING:
    import numpy as np

PATIENCE = 2.0  # seconds in which a virus scanner or a synchronizing folder lets go of a file

# What NumPy, zipfile and zlib raise about an npz file that is truncated or has changed bytes: found by changing every
# bit of one.
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, TypeError)
DAMAGED += (tokenize.TokenError, zipfile.BadZipFile, zlib.error)


def project_root() -> Path:
    """ROADSEG_HOME, else the nearest folder upwards that looks like a project, else the package's checkout.

    Raises DataError where ROADSEG_HOME is no folder."""
    if home := os.environ.get("ROADSEG_HOME"):
        if not os.path.isdir(os.path.expanduser(home)):
            raise DataError(f"ROADSEG_HOME is {home}: expected an existing folder; correct or unset ROADSEG_HOME")
        return Path(os.path.realpath(os.path.expanduser(home)))
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        # os.path's answer is no where a folder may not be read: pathlib's is an error
        if os.path.isfile(folder / "roadseg" / "__init__.py") or any((folder / "notebooks").glob("00_*.ipynb")):
            return folder
    return here


def cache_folder() -> Path:
    """ROADSEG_CACHE, else the project's `data/cache`."""
    return Path(os.environ.get("ROADSEG_CACHE") or project_root() / "data" / "cache").expanduser()


def runs_folder(out: str | Path | None = None) -> Path:
    """`out`, else ROADSEG_RUNS, else the project's `runs`."""
    return Path(out or os.environ.get("ROADSEG_RUNS") or project_root() / "runs").expanduser()


def all_runs_folders(out: str | Path | None = None) -> list[Path]:
    """`runs_folder(out)`, and ROADSEG_SHARED_RUNS where that is set."""
    shared = os.environ.get("ROADSEG_SHARED_RUNS")
    return [runs_folder(out), *([Path(shared).expanduser()] if shared else [])]


def max_epochs() -> float:
    """What ROADSEG_EPOCHS allows at most, infinity without it; OptionError where it is no whole number from 1 on."""
    text = os.environ.get("ROADSEG_EPOCHS")
    if not text:
        return math.inf
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"ROADSEG_EPOCHS is {text!r}: expected a whole number of at least 1; correct or unset it.")
    return int(text)


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """A free name beside `path`, with its ending, for a file that is called `path` once it is whole and on the disk.

    A process that is killed on the way leaves the old file, or none, and at most a `.part` file beside it. Raises
    OSError where that is refused, at once where `path` is a folder.
    """
    part = path.with_name(f".part.{secrets.token_hex(4)}.{path.name}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        replace(part, path)
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None  # nobody has to know of the other name
        raise
    finally:
        with suppress(OSError):  # the first error is the one to tell
            part.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the name `path` only when all of it is on the disk, as in `part_of`."""
    with part_of(path) as part, open(part, "xb") as file:
        yield file


def replace(source: Path, target: Path) -> None:
    """Rename, and try again for two seconds where another program holds the target."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file. Never unpickles.

    Raises
    ------
    FileNotFoundError, NotADirectoryError : there is no such file.
    ValueError : the file is damaged or cannot be read.
    """
    import numpy as np

    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if damaged := arrays.zip.testzip():  # a changed shape hides from NumPy, which then reads a part only
                raise ValueError(f"{damaged} has another checksum")
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, NotADirectoryError):
        raise
    except DAMAGED as error:
        raise ValueError(f"{path}: {error}") from error
