"""Pandoc, the program that comes with pypandoc-binary: from text to text, reading no file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pypandoc

from roadseg.errors import RoadsegError

SECONDS = 20  # for one answer; a few milliseconds are usual


class PandocError(RoadsegError):
    """Pandoc gave up, or did not come to an end."""


def pandoc(source: str, *options: str) -> str:
    """What pandoc makes of a source. It reads no other file and gets 1 GB of memory.

    Raises PandocError."""
    command = [_path(), "--sandbox", "--wrap=none", "--eol=lf", *options, "+RTS", "-M1g", "-RTS"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PandocError(f"pandoc gave up: {error}") from error
    return done.stdout.decode()


def _path() -> str:
    """The pandoc of the wheel, whatever else is installed."""
    path = shutil.which("pandoc", path=str(Path(pypandoc.__file__).parent / "files"))
    if path is None:
        raise RoadsegError("pandoc is missing from pypandoc: install it with `pip install pypandoc-binary`.")
    return path
