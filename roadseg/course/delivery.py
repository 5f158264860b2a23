"""Files as learning platforms deliver them: in folders, zips and zips of zips, and whose each file is.

Anybody may have made these zips: nothing is unpacked, and only what is asked for is read.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from roadseg.course.roster import Owner, letters, recognized
from roadseg.course.workflow import NOTEBOOKS, CourseError
from roadseg.errors import explained

LARGEST_ZIP = 200 * 2**20  # bytes of a zip in a zip, and of what is read of one student; a report's zip has 20 MiB
DEEPEST = 3  # zips in zips: of a class, of a student, of a report
UNKNOWN = 1980  # the year of a zip's entry without a date
IGNORED_FOLDERS = {"__MACOSX", ".ipynb_checkpoints"}
NOTEBOOK = re.compile(r"(?i)\.(ipynb|json)")  # a browser may put .txt behind it
OF_NO_STUDENT = r"(my_?)?(work|note)books?.*|report.*|release|v?\d|hand_?in|submission|road_segmentation"
OF_NO_STUDENT += r"|(.*[\W_])?(old|backup|cop(y|ies?)|draft|final|new|version)([\W\d_].*)?"
DOWNLOADED_AGAIN = re.compile(r"(?P<name>.+?) ?\((?P<number>\d{1,2})\)")  # as browsers name it

# What zipfile and the three kinds of compression raise about damaged or encrypted archives.
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class File:
    """A file on the disk, or in a zip there, or in a zip in that.

    members : its names in these zips, outermost first. date : the earliest of these members', ISO 8601, empty where no
    zip has one. size : in bytes, as its zip claims. problem : why nothing in it can be read.
    """

    path: Path
    members: tuple[str, ...] = ()
    date: str = ""
    size: int = 0
    problem: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """In the zip on the disk, the names of all folders and zips that hold it, and its own."""
        names = (_as_meant(member).replace("\\", "/") for member in self.members)
        return tuple(part for name in names for part in PurePosixPath(name).parts)

    @property
    def name(self) -> str:
        """Its own name, without folders."""
        return self.parts[-1] if self.parts else self.path.name

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return "/".join(self.parts) or self.path.name

    @property
    def is_zip(self) -> bool:
        """By its name."""
        return self.name.lower().endswith(".zip")

    def open(self, stack: ExitStack) -> BinaryIO:
        """The open file, which `stack` closes. Raises one of DAMAGED."""
        opened: BinaryIO = stack.enter_context(self.path.open("rb"))
        for i, member in enumerate(self.members, start=1):
            opened = stack.enter_context(stack.enter_context(zipfile.ZipFile(opened)).open(member))
            if i < len(self.members):  # a zip, in which reading goes back and forth
                opened = io.BytesIO(opened.read())
        return opened


def _as_meant(member: str) -> str:
    """The name of a zip's member: a Mac writes UTF-8 without saying so, which is then read as an old code page."""
    try:
        return member.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member


def list_files(file: File) -> Iterator[File]:
    """The files in a zip and in the zips in it, the zip itself where it cannot be read; any other file itself."""
    if IGNORED_FOLDERS.intersection(file.parts or file.path.parts) or file.name.startswith("._"):  # of a Mac
        return
    if not file.is_zip or len(file.members) == DEEPEST:
        yield file
        return
    try:
        if file.size > LARGEST_ZIP:
            raise ValueError(f"it has more than {LARGEST_ZIP >> 20} MiB")
        with ExitStack() as stack:
            members = stack.enter_context(zipfile.ZipFile(file.open(stack))).infolist()
    except DAMAGED as error:
        yield replace(file, problem=f"{file.place} is damaged or no zip ({error})")
        return
    for member in members:
        date = file.date  # a platform may put that of the download on its zip
        with suppress(ValueError):  # a month 13
            own = datetime(*member.date_time).isoformat() if member.date_time[0] > UNKNOWN else ""
            date = min(filter(None, (own, date)), default="")
        if member.filename and not member.is_dir():
            yield from list_files(File(file.path, (*file.members, member.filename), date, member.file_size))


def find_owners(folder: Path, roster: dict[str, str]) -> dict[File, Owner | None]:
    """All files below a folder, and whose each is: None where nothing tells.

    A file belongs to whom the platform, or the roster, has named one of its folders or zips after; else to the student
    after whom a zip of a class has named a folder; else to the student after whom the zip is named. What the roster's
    names of several students hold, such as a tutor's folder, is nobody's, with that problem.

    Raises CourseError where the folder cannot be read.
    """
    with explained(CourseError, folder, "name a folder that you may read"):
        refused = {path: problem for path in folder.iterdir() if (problem := _refusal(path))}
    inside, below = folder.resolve(), set(refused)
    files = filter(os.path.isfile, sorted(folder.rglob("*")))  # pathlib's raises in a folder that is locked
    paths = [path for path in files if below.isdisjoint(path.parents)]
    paths = [path for path in paths if path.resolve().is_relative_to(inside)]  # links may lead to the solutions
    zips = {path: list(list_files(File(path))) for path in paths if File(path).is_zip}
    loose = [file for path in paths if path not in zips for file in list_files(File(path))]
    above = {part for path in zips for part in path.relative_to(folder).parts[:-1]}
    of_ilias = {part: owner for part in above if (owner := recognized(part, of_folder=True))}
    owners: dict[File, Owner | None] = {
        File(path, problem=problem): next(iter(_named((path.name,), roster)), _owner(path.name))
        for path, problem in refused.items()
    }
    for path, files in [(None, loose), *zips.items()]:
        places = {file: file.parts or file.path.relative_to(folder).parts for file in files}
        depth = _depth_of_students(list(places.values()))
        for file, parts in places.items():
            on_disk = file.path.relative_to(folder).parts
            named = _named(on_disk, roster) or _named(file.parts[:1], roster)
            owner = named[0] if named else None
            names = {letters(name) for one in named for name in (one.name, *one.names)}
            ids = sorted({roster[name] for name in names if name in roster})
            if owner and not owner.key and len(ids) > 1:
                problem = f"{'/'.join((*on_disk, *file.parts))} is named after several students: {', '.join(ids)}"
                owners[replace(file, problem=problem)] = None
                continue
            if owner is None and depth is not None and len(parts) > depth + 1:
                owner = recognized(_stem(parts[depth]), of_folder=True) or _owner(parts[depth])
            elif owner is None and path and depth is None:
                owner = next((of_ilias[part] for part in path.relative_to(folder).parts if part in of_ilias), None)
                if owner is None or len(of_ilias) == 1:  # zips of one name: the outermost folder in which they differ
                    alike = [other.parent for other in zips if other.stem.casefold() == path.stem.casefold()]
                    differ = path.relative_to(os.path.commonpath(alike)).parts[:-1]
                    owner = _owner("-".join([*differ[:1], path.name]))
            owners[file] = owner
    return owners


def _refusal(path: Path) -> str:
    """Why nothing in a folder is taken over: it cannot be read, or another account has put it into nbgrader's exchange
    than the one that it is named after. Empty where it is."""
    if not path.is_dir():
        return ""
    if not os.access(path, os.R_OK | os.X_OK):
        return f"{path.name} cannot be read (no permission)"
    found = recognized(path.name)
    if found and found.key.startswith("nbgrader"):
        with suppress(KeyError, OSError, NotImplementedError):  # accounts of another machine, or Windows
            if (account := path.owner()) != found.name and path.stat().st_uid != os.getuid():
                return f"{path.name} belongs to the account {account}, not to {found.name}"
    return ""


def _named(parts: tuple[str, ...], roster: dict[str, str]) -> list[Owner]:
    """Whose a file is by the names of what holds it, outermost first, as a platform or the roster knows them."""
    owners = []
    for part in parts:
        listed = (owner for owner in (Owner(_stem(part)), _owner(part)) if letters(owner.name) in roster)
        if owner := recognized(part) or next(listed, None):
            owners.append(owner)
    return owners


def _owner(part: str) -> Owner:
    """The student after whom a folder or a zip is named, which may have been downloaded for the second time."""
    again = DOWNLOADED_AGAIN.fullmatch(name := _stem(part))
    if again and not re.fullmatch(OF_NO_STUDENT, again["name"].casefold()):  # those are of several students
        return Owner(again["name"], number=int(again["number"]))
    return Owner(name)


def _stem(name: str) -> str:
    return re.sub(r"(?i)\.zip$", "", name)


def _depth_of_students(places: list[tuple[str, ...]]) -> int | None:
    """How many folders are above those of the students; None where the folders are not named after students.

    They are where several folders, side by side, hold the same notebook, and none has a name that a student gives.
    """
    places = [place for place in places if place and NOTEBOOK.search(place[-1]) and notebook_named(place[-1])]
    differ = (depth for depth, names in enumerate(zip(*(place[:-1] for place in places))) if len(set(names)) > 1)
    depth = next(differ, None)
    if depth is None:
        return None
    held = {(place[depth], notebook_named(place[-1])) for place in places}
    side_by_side = len({name for _, name in held}) < len(held)
    named_otherwise = any(re.fullmatch(OF_NO_STUDENT, folder.casefold()) for folder, _ in held)
    return depth if side_by_side and not named_otherwise else None


def notebook_named(name: str) -> str | None:
    """Which notebook of the assignment has about that name, such as "Copy of 02-UNet (1).ipynb"."""
    squeezed = re.sub(r"[\W_]", "", name.casefold())
    return next((notebook for notebook in NOTEBOOKS if notebook.lstrip("0").replace("_", "") in squeezed), None)
