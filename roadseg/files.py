"""Files that are either whole or not there."""

from __future__ import annotations

import os
import secrets
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# What NumPy, zipfile and zlib raise about an npz file that is missing, truncated or has changed bytes: found by
# changing every bit of one.
DAMAGED_ARRAYS = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write, which takes the name `path` only when all of it is on the disk.

    A process killed on the way leaves the old file, or none, and at most a `.part` file beside it.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
