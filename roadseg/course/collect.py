"""Submissions out of zips, which anybody may have made: nothing is unpacked, single notebooks are read and looked at.

A zip holds a student's notebooks anywhere in it; `python -m roadseg report` makes such a one. Its name becomes the
student's id, behind the name of its folder where several zips have the same.
"""

from __future__ import annotations

import json
import lzma
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import nbformat

from roadseg.errors import RoadsegError

LARGEST_ZIP = 200 * 2**20  # bytes; a report's zip has less than 20 MiB
LARGEST_NOTEBOOK = 30 * 2**20  # bytes unpacked
ASIDE = ("__MACOSX", ".ipynb_checkpoints")

# What zipfile and the three kinds of compression raise about damaged or encrypted archives.
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


class SubmissionError(RoadsegError):
    """A zip or a notebook that was handed in cannot be read."""


@dataclass(frozen=True)
class Submission:
    """What one student has handed in.

    notebooks : bytes of each readable notebook, by name. remarks : what is missing, damaged or there twice, a line
    each.
    """

    student: str
    notebooks: dict[str, bytes]
    remarks: tuple[str, ...]


def students(zips: Iterable[Path]) -> dict[str, Path]:
    """The zips by the ids of their students: names that nbgrader, a file system and an address can take.

    Raises
    ------
    SubmissionError : two zips of the same name in folders of the same name.
    """
    zips = sorted(zips)
    alike = Counter(_plain(path.stem).casefold() for path in zips)
    found: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for path in zips:
        name = _plain(path.stem)
        name = name if alike[name.casefold()] == 1 else _plain(f"{path.parent.name}-{path.stem}")
        other = taken.setdefault(name.casefold(), path)
        if other != path:
            raise SubmissionError(f"{other} and {path} would both be the student {name}: rename one of them.")
        found[name] = path
    return found


def _plain(name: str) -> str:
    """Letters, digits, dashes and underscores; never a lone dot, never empty."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-")[:100] or "unnamed"


def read(path: Path, *, student: str, names: Iterable[str]) -> Submission:
    """The notebooks of these names from a zip.

    Raises
    ------
    SubmissionError : the zip cannot be read, is too large, or holds none of the notebooks.
    """
    notebooks, remarks = {}, []
    try:
        if path.stat().st_size > LARGEST_ZIP:
            raise SubmissionError(f"{path.name} has more than {LARGEST_ZIP >> 20} MiB: ask for the report's zip.")
        with zipfile.ZipFile(path) as archive:
            for name in names:
                found = _members(archive, f"{name}.ipynb")
                if len(found) > 1:
                    remarks.append(f"{name} is there {len(found)} times: the newest counts, {found[-1].filename}")
                try:
                    notebooks[name] = _notebook(archive, found, name)
                except SubmissionError as error:
                    remarks.append(str(error))
    except DAMAGED as error:
        raise SubmissionError(f"{path.name} is no whole zip ({error}): ask for it again.") from error
    if not notebooks:
        raise SubmissionError(f"{path.name} holds no notebook of the assignment that can be read: ask for it again.")
    return Submission(student, notebooks, tuple(remarks))


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """All files of that name in an archive, the newest last; of those of the same time, the one that is least deep."""
    places = [(info, PurePosixPath(info.filename.replace("\\", "/"))) for info in archive.infolist()]
    found = [(info, place) for info, place in places if place.name == name and not set(place.parts) & set(ASIDE)]
    return [info for info, place in sorted(found, key=lambda pair: (pair[0].date_time, -len(pair[1].parts)))]


def _notebook(archive: zipfile.ZipFile, found: list[zipfile.ZipInfo], name: str) -> bytes:
    """The bytes of the newest, where they are a notebook."""
    if not found:
        raise SubmissionError(f"{name} is missing")
    try:
        with archive.open(found[-1]) as file:
            content = file.read(LARGEST_NOTEBOOK + 1)  # whatever size the archive claims
        if len(content) > LARGEST_NOTEBOOK:
            raise SubmissionError(f"{name} has more than {LARGEST_NOTEBOOK >> 20} MiB")
        with warnings.catch_warnings(action="ignore"):  # of ids that are missing or doubled, which grading mends
            notebook = nbformat.validator.normalize(nbformat.from_dict(json.loads(content)))[1]
        nbformat.validate(notebook, version=4)
    except (*DAMAGED, nbformat.ValidationError, LookupError, TypeError, AttributeError) as error:
        raise SubmissionError(f"{name} is damaged ({type(error).__name__})") from error
    return content
