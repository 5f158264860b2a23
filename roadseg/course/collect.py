"""Submissions out of zips, which anybody may have made: nothing is unpacked, only notebooks are read and validated.

A zip holds a student's notebooks in any of its folders; `python -m roadseg report` makes such a zip. Its name becomes
the student's id, after the name of its folder where several zips have the same name.
"""

import json
import lzma
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import nbformat

from roadseg.course.workflow import ASSIGNMENT, NOTEBOOKS, CourseError, require_course
from roadseg.errors import RoadsegError
from roadseg.storage import atomic_write

LARGEST_ZIP = 200 * 2**20  # bytes; a report's zip has less than 20 MiB
LARGEST_NOTEBOOK = 30 * 2**20  # bytes unpacked
IGNORED_FOLDERS = {"__MACOSX", ".ipynb_checkpoints"}

# What zipfile and the three kinds of compression raise about damaged or encrypted archives.
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
NO_NOTEBOOK = (*DAMAGED, nbformat.ValidationError, LookupError, TypeError, AttributeError)


class SubmissionError(RoadsegError):
    """A zip that was handed in cannot be read, or belongs to nobody in particular."""


def collect_submissions(folder: Path, course: Path) -> dict[str, str | SubmissionError]:
    """Copy the notebooks in a folder's zips into the course; return what came of each zip, by student.

    Raises
    ------
    CourseError : there are no zips, or the course has not been set up.
    SubmissionError : two zips would be of the same student.
    """
    require_course(course)
    zips = [path for path in folder.rglob("*") if path.suffix.lower() == ".zip" and path.is_file()]
    if not zips:
        raise CourseError(f"there are no zips in {folder}: name the folder that holds what students handed in.")
    outcomes: dict[str, str | SubmissionError] = {}
    for student, path in name_students(zips).items():
        try:
            notebooks, remarks = read_zip(path, NOTEBOOKS)
            outcomes[student] = "; ".join([_store(notebooks, student, course), *remarks])
        except SubmissionError as error:
            outcomes[student] = error
    return outcomes


def _store(notebooks: dict[str, bytes], student: str, course: Path) -> str:
    """Write a student's notebooks, with a blank one for a missing one; return "new", "changed" or "as before"."""
    folder = course / "submitted" / student / ASSIGNMENT
    content = {}
    for name in NOTEBOOKS:
        blank = course / "release" / ASSIGNMENT / f"{name}.ipynb"
        content[folder / blank.name] = notebooks.get(name) or blank.read_bytes()
    if all(path.is_file() and path.read_bytes() == notebook for path, notebook in content.items()):
        return "as before"
    state = "changed" if folder.is_dir() else "new"
    folder.mkdir(parents=True, exist_ok=True)
    content[folder / "timestamp.txt"] = f"{datetime.now(UTC)}".encode()  # tells whether nbgrader has graded this
    for path, notebook in content.items():
        with atomic_write(path) as file:
            file.write(notebook)
    return state


def name_students(zips: Iterable[Path]) -> dict[str, Path]:
    """The zips by their students' ids, which are valid for nbgrader, in a path and in an address.

    Raises
    ------
    SubmissionError : two zips of the same name in folders of the same name.
    """
    zips = sorted(zips)
    counts = Counter(_plain(path.stem).casefold() for path in zips)
    students: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for path in zips:
        name = _plain(path.stem)
        if counts[name.casefold()] > 1:
            name = _plain(f"{path.parent.name}-{path.stem}")
        other = taken.setdefault(name.casefold(), path)
        if other != path:
            raise SubmissionError(f"{other} and {path} would both be the student {name}: rename one of them.")
        students[name] = path
    return students


def _plain(name: str) -> str:
    """Letters, digits, dashes, dots and underscores; never a lone dot, never empty."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-")[:100] or "unnamed"


def read_zip(path: Path, names: Iterable[str]) -> tuple[dict[str, bytes], list[str]]:
    """The notebooks of these names in a zip, by name, and remarks: which are missing, damaged or there twice.

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
                copies = _find_copies(archive, f"{name}.ipynb")
                if not copies:
                    remarks.append(f"{name} is missing")
                    continue
                newest = copies[-1]
                if len(copies) > 1:
                    remarks.append(f"{name} is there {len(copies)} times: the newest counts, {newest.filename}")
                if newest.file_size > LARGEST_NOTEBOOK:
                    remarks.append(f"{name} has more than {LARGEST_NOTEBOOK >> 20} MiB")
                    continue
                try:
                    notebooks[name] = _read_notebook(archive, newest)
                except NO_NOTEBOOK as error:
                    remarks.append(f"{name} is damaged ({type(error).__name__})")
    except DAMAGED as error:
        raise SubmissionError(f"{path.name} is damaged or no zip ({error}): ask for it again.") from error
    if not notebooks:
        raise SubmissionError(f"{path.name} holds no readable notebook of the assignment: ask for it again.")
    return notebooks, remarks


def _find_copies(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """All files of that name in an archive, the newest last; of those of the same time, the one that is least deep."""
    places = [(info, PurePosixPath(info.filename.replace("\\", "/"))) for info in archive.infolist()]
    found = [(info, place) for info, place in places if place.name == name and not IGNORED_FOLDERS & set(place.parts)]
    return [info for info, place in sorted(found, key=lambda pair: (pair[0].date_time, -len(pair[1].parts)))]


def _read_notebook(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a valid notebook; one of NO_NOTEBOOK where it is none."""
    with archive.open(member) as file:
        content = file.read(LARGEST_NOTEBOOK)  # no more, whatever size the archive claims
    with warnings.catch_warnings(action="ignore"):  # of ids that are missing or doubled, which grading mends
        notebook = nbformat.validator.normalize(nbformat.from_dict(json.loads(content)))[1]
    nbformat.validate(notebook, version=4)
    return content
