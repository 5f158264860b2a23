"""Whose a file is that was handed in: by the names that learning platforms give, and by a course's `roster.csv`.

The roster is a table with a row for each student: a column `id`, and any others, whose values are names by which the
student is known, such as the full name, an e-mail address or a login.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from roadseg.course.workflow import ASSIGNMENT, CourseError
from roadseg.errors import explained
from roadseg.workbook.files import ascii_name

ROSTER = "roster.csv"
PLATFORMS = {  # what they call a student's file or folder
    "Moodle": r"(?P<name>.+?)_(?P<key>\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?",
    "Sakai": r"(?P<name>[^()]+, [^()]*\S)\((?P<key>[^()]+)\)",
    "Blackboard": r"(?P<key>.+?_(?P<login>[^_]+))_attempt_(?P<time>\d{4}(?:-\d\d){5})(?:_.*)?",
    "Canvas": r"(?P<name>.+?)_(?P<late>LATE_)?(?P<key>\d{3,})_(?P<number>\d{3,})_.+",
    "nbgrader": r"(?P<key>[^+]+)\+road_segmentation\+(?P<time>[^+]+)(?:\+.*)?",  # in its exchange
    "Brightspace": r"(?P<key>\d+-\d+) - (?P<name>.+?) - (?P<time>\w+ \w+, \d{4} \d+ [AP]M)(?: - .*)?",
}
TIMES = ("%Y-%m-%d-%H-%M-%S", "%b %d, %Y %I%M %p", "%B %d, %Y %I%M %p", "%d %B, %Y %I%M %p")
TIMES += ("%Y-%m-%d %H:%M:%S.%f %z",)
ILIAS = r"(?P<name>.+)_(?P<login>[^_]+)_(?P<key>\d{3,})"  # looks like many other names: only for a student's folder


@dataclass(frozen=True)
class Owner:
    """Whoever handed a file in.

    name : as it was found. key : the platform and how it knows the person, empty where a plain name is all.
    names : other names. time : of handing in, ISO 8601 in local time, empty where the platform does not say. number :
    grows with each file that is handed in. late : whether the platform says so.
    """

    name: str
    key: str = ""
    names: tuple[str, ...] = ()
    time: str = ""
    number: int = 0
    late: bool = False

    @property
    def person(self) -> str:
        """The same for all that one person hands in. With the name, as numbers that look like a key may be a date."""
        return f"{self.key} {self.id}".strip().lower()

    @property
    def id(self) -> str:
        """The student's id where nothing else is known: the name in ASCII."""
        return ascii_name(self.name) or f"unnamed_{self.name.encode(errors='replace').hex()[:16]}"


def recognized(name: str, *, of_folder: bool = False) -> Owner | None:
    """Whose a file or folder of that name is, if a platform has named it."""
    name = unicodedata.normalize("NFC", name)
    for platform, pattern in [*PLATFORMS.items(), *([("ILIAS", ILIAS)] * of_folder)]:
        if found := re.fullmatch(pattern, name):
            parts = found.groupdict()
            return Owner(
                name=parts.get("name") or parts.get("login") or parts["key"],
                key=f"{platform} {parts['key']}",
                names=(parts.get("login") or "", *_ends(parts["key"])),
                time=_time(parts.get("time") or ""),
                number=int(parts.get("number") or 0),
                late=bool(parts.get("late")),
            )
    return None


def _ends(key: str) -> list[str]:
    """A key, and what follows its underscores: Blackboard puts one between task and login, and both may have some."""
    words = key.split("_")
    return ["_".join(words[i:]) for i in range(len(words))]


def _time(written: str) -> str:
    """The time in a name, in ISO 8601; empty where there is none."""
    for form in TIMES:
        try:
            time = datetime.strptime(re.sub(r" (\d{3} [AP]M)", r" 0\1", written).replace("UTC", "+0000"), form)
            return (time.astimezone().replace(tzinfo=None) if time.tzinfo else time).isoformat()
        except (ValueError, OverflowError):  # such as a year 1
            continue
    return ""


def letters(name: str) -> str:
    """A name's letters, marks and digits alone, in lower case: a person's name is written in many ways."""
    whole = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in whole if c.isalnum() or unicodedata.category(c).startswith("M"))


def read_roster(course: Path) -> dict[str, str]:
    """The ids of all students by each of their names, written plainly; empty where a course has no roster.

    A name that two students share is left out.

    Raises
    ------
    CourseError : the roster cannot be read, or has no column `id`.
    """
    ids: dict[str, set[str]] = {}
    for row in _rows(course):
        values = list(filter(None, row.values()))
        pairs = [f"{one} {two}" for one, two in pairwise(values)]  # first and last names may have columns of their own
        for value in (*values, *pairs):
            words = re.findall(r"[^\s,]+", value)
            orders = [" ".join(words[i:] + words[:i]) for i in range(len(words))]  # last names come first, too
            for name in (*orders, value.partition("@")[0]):
                ids.setdefault(letters(name), set()).add(row["id"])
    return {name: min(own) for name, own in ids.items() if name and len(own) == 1}


def _rows(course: Path) -> list[dict[str, str]]:
    path = course / ROSTER
    if not path.exists():
        return []
    with explained(CourseError, path, "make it a readable file"):
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")  # as Excel saves it
    lines = re.sub(r"\Asep=.[\r\n]+", "", text).splitlines()  # as Excel may begin
    head = "".join(lines[:1])
    table = csv.DictReader(lines, delimiter=max(",;\t", key=head.count), restkey="", restval="")
    rows = [{(key or "").strip().lower(): str(value).strip() for key, value in row.items()} for row in table]
    rows = [row for row in rows if letters("".join(row.values()))]  # others may hold separators alone
    for number, row in enumerate(rows, start=1):
        if not row.get("id") or row["id"] != ascii_name(row["id"]):
            found = f"student {number} has {row.get('id')!r}, and the head is {head}"
            raise CourseError(f"{path}: expected a column id, in ASCII and without spaces, in each row; {found}.")
    if twice := [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]:
        raise CourseError(f"{path}: expected one row for each id; found several for {', '.join(twice)}.")
    return rows


def people(course: Path) -> dict[str, tuple[str, str]]:
    """The name and the e-mail address of each student of the roster, by id; empty where the roster does not say."""
    mail = lambda row: next((value for value in row.values() if "@" in value), "")  # noqa: E731
    return {row["id"]: (row.get("name", ""), mail(row)) for row in _rows(course)}


def not_collected(course: Path) -> list[str]:
    """The students of the roster from whom nothing has been collected."""
    return [row["id"] for row in _rows(course) if not (course / "submitted" / row["id"] / ASSIGNMENT).is_dir()]


def name_students(owners: Iterable[Owner], roster: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    """The student's id for each person; ids are ASCII, and valid for nbgrader, in a path and in an address.

    Parameters
    ----------
    roster : ids by plain names.
    known : ids by person, of whoever has handed in before.

    Raises
    ------
    CourseError : the roster has another id for somebody than the one of before.
    """
    people = {owner.person: owner for owner in sorted(owners, key=lambda owner: (owner.name, owner.number))}
    students = {}
    for person, owner in people.items():
        ids = {other: others.id for other, others in people.items()} | known
        same = {other for other, taken in ids.items() if " " in other and taken.lower() == owner.id.lower()}  # by key
        listed = {roster[name] for name in map(letters, (owner.name, *owner.names)) if name in roster}
        if len(listed) == 1:
            students[person] = listed.pop()
            if known.get(person, students[person]) != students[person]:
                raise CourseError(
                    f"{owner.name} has been collected as {known[person]}, and the roster says {students[person]}: give "
                    "the roster the ids that were collected, or collect everything into a new course folder."
                )
        elif person in known:
            students[person] = known[person]
        elif owner.key and same - {person}:  # another person of that name
            students[person] = ascii_name(f"{owner.id}_{owner.key.partition(' ')[2]}")
        else:
            students[person] = owner.id
    return students
