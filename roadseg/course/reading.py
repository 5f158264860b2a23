"""The reading of written answers: one question of all students, answers that are alike together, marked by people.

Marks and comments are nbgrader's own, in `gradebook.db`, where the formgrader shows them, too. The ideas for which they
were given are kept in `reading.jsonl`, a line each time. Nothing here decides on a mark: it only says what is alike.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from nbgrader import api
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sqlalchemy import text as sql
from sqlalchemy.exc import OperationalError

from roadseg import workbook
from roadseg.course.workflow import ASSIGNMENT, CourseError, gradebook_lock, open_gradebook, read_points
from roadseg.errors import OptionError
from roadseg.workbook.files import TEXT_STUB, role, source_of
from roadseg.workbook.questions import Item

ALIKE = 0.5  # the largest mean cosine distance in a group, from 0 (the same words) to 1 (no word in common)
MOST = 8  # different texts in a group, as many as fit on a screen
PATIENCE = 60  # seconds to wait while `grade` records a submission, or somebody else a mark
JOURNAL = "reading.jsonl"

Group = list[tuple[str, ...]]  # the students whose answers are alike; those with the same text in one tuple


class Answer(NamedTuple):
    """A text, Markdown, and the images in it, name to {mime type: base64}."""

    source: str
    attachments: dict

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to read."""
        return not self.source.replace(TEXT_STUB, "").strip() and not self.attachments


class Mark(NamedTuple):
    """What the gradebook says of an answer. points : given by a person, or None. is_open : whether it waits for one."""

    points: float | None
    is_open: bool
    comment: str | None


def grouped(answers: dict[str, Answer]) -> list[Group]:
    """The students whose answers are alike: blank answers first, then groups by size, neighbors beside each other.

    The distance of two answers is one minus the cosine of their TF-IDF vectors, of words and of parts of words.
    """
    same: dict[tuple[str, str], list[str]] = {}
    for student, answer in sorted(answers.items()):
        key = (" ".join(answer.source.casefold().split()), json.dumps(answer.attachments, sort_keys=True))
        same.setdefault(("", "") if answer.is_blank else key, []).append(student)
    blank = same.pop(("", ""), None)
    sources, members = [source for source, _ in same], list(map(tuple, same.values()))
    order = labels = list(range(len(members)))
    if len(members) > 1 and any(sources):
        words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]+", ngram_range=(1, 2), sublinear_tf=True)
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
        vectors = make_union(words, letters).fit_transform(sources)
        distances = (1 - (vectors @ vectors.T).toarray() / 2).clip(0)  # both halves have length 1
        tree = linkage(squareform(distances, checks=False), "average")
        order, labels = leaves_list(tree).tolist(), fcluster(tree, ALIKE, "distance").tolist()
    groups: dict[tuple[int, int], Group] = {}
    seen: Counter[int] = Counter()
    for i in order:
        groups.setdefault((labels[i], seen[labels[i]] // MOST), []).append(members[i])
        seen[labels[i]] += 1
    by_size = sorted(groups.values(), key=lambda group: -len(students_of(group)))
    return [[tuple(blank)], *by_size] if blank else by_size


def students_of(group: Group) -> list[str]:
    """All students of a group."""
    return [student for students in group for student in students]


class Reading:
    """The reading of one question by one person, group after group.

    answers, marks : by student, as this person sees them. groups : of those whose answers a person marks. place : that
    of the group that is being read. `group` is this group, empty where there is nothing to read.
    """

    def __init__(self, course: Path, item: Item):
        self.course, self.item, self.place = course, item, 0
        self.marks: dict[str, Mark] = {}
        self._steps: list[tuple] = []  # what each step has changed, the last step last
        self._lock: FileLock | None = None  # on the group that is being read
        self.refresh()
        self.answers = {student: self._answer(student) for student in self.marks}
        by_hand = [student for student, mark in self.marks.items() if mark.is_open or mark.points is not None]
        self.groups = grouped({student: self.answers[student] for student in by_hand})

    @property
    def group(self) -> Group:
        return self.groups[self.place] if self.groups else []

    @property
    def left(self) -> int:
        """How many answers wait for a mark."""
        return sum(self.marks[student].is_open for group in self.groups for student in students_of(group))

    @property
    def comments(self) -> list[str]:
        """The comments given to this question, the most frequent first."""
        count = Counter(mark.comment for mark in self.marks.values() if mark.comment)
        return [comment for comment, _ in count.most_common()]

    def refresh(self) -> None:
        """See what others have marked meanwhile."""
        with open_gradebook(self.course) as gradebook:
            self.marks |= {student: _mark(*row) for student, row in _rows(gradebook, self.item).items()}

    def go_on(self) -> bool:
        """Go to the next group that waits for a mark and that nobody else reads; False where there is none."""
        self.refresh()
        for place in [*range(self.place, len(self.groups)), *range(self.place)]:
            waits = any(self.marks[student].is_open for student in students_of(self.groups[place]))
            if waits and self.go_to(place):
                return True
        return False

    def go_to(self, place: int) -> bool:
        """Go to the group at that place; False where somebody else reads it."""
        self.place = place
        self.leave()
        (self.course / ".reading").mkdir(exist_ok=True)
        lock = FileLock(self.course / ".reading" / f"{self.item.id}-{self.group[0][0]}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            self._lock = lock
        return self._lock is not None

    def leave(self) -> None:
        """Let others read the group, as the end of this process does, too."""
        if self._lock:
            self._lock.release()
        self._lock = None

    def give(
        self,
        points: float,
        *,
        only: set[int] | None = None,
        comment: str | None = None,
        ideas: list[int] | None = None,
        overwrite: bool = False,
    ) -> list[str]:
        """Mark answers of the group, in one transaction.

        Parameters
        ----------
        only : the numbers, from 1, of the texts in the group that are marked; None: all.
        comment : for each of these students; None leaves the comments that are there.
        ideas : the numbers, from 1, of the rubric's ideas for which there are points.
        overwrite : also where there is a mark, as long as it is the one in `marks`.

        Returns
        -------
        Students whose answers stay as they are, as something in them has changed since it was shown.

        Raises
        ------
        CourseError : the gradebook cannot be written; nothing has changed. OptionError : all of these have marks, and
            `overwrite` is off.
        """
        texts = [students for number, students in enumerate(self.group, start=1) if only is None or number in only]
        before = {student: self.marks[student] for student in students_of(texts)}
        changes = {
            student: (mark, Mark(points, False, comment or mark.comment))
            for student, mark in before.items()
            if mark.is_open or overwrite
        }
        if not changes:
            raise OptionError("nothing here waits for a mark (13! overwrites marks, n goes on).")
        if written := self._write(changes, ideas):
            self._steps.append((self.place, written))
        return [student for student in changes if student not in written]

    def undo(self) -> list[str] | None:
        """Take the last step back; return the students whose marks stay, as others changed them. None: no such step."""
        if not self._steps:
            return None
        place, given = self._steps[-1]
        written = self._write({student: (after, before) for student, (before, after) in given.items()}, None)
        self._steps.pop()
        self.go_to(place)
        return [student for student in given if student not in written]

    def _write(self, changes: dict[str, tuple[Mark, Mark]], ideas: list[int] | None) -> dict[str, tuple[Mark, Mark]]:
        """Write the second mark where the first is in the gradebook and the answer is the one that was read; return
        what was written. Nobody else writes meanwhile, neither `grade` nor the formgrader."""
        written = {}
        try:
            with gradebook_lock(self.course).acquire(timeout=PATIENCE), open_gradebook(self.course) as gradebook:
                gradebook.db.rollback()  # ends what opening has begun
                gradebook.db.execute(sql("BEGIN IMMEDIATE"))
                rows, lines = _rows(gradebook, self.item), []
                for student, (before, after) in changes.items():
                    answer = self._answer(student)
                    if student in rows and _mark(*rows[student]) == before and answer == self.answers[student]:
                        grade, comment = rows[student]
                        grade.manual_score, grade.needs_manual_grade, comment.manual_comment = after
                        written[student] = before, after
                        lines.append({"item": self.item.id, "student": student, "points": after.points, "ideas": ideas})
                    self.answers[student] = answer
                self.marks |= {student: _mark(*row) for student, row in rows.items()}
                with open(self.course / JOURNAL, "a", encoding="utf-8") as journal:
                    journal.writelines(f"\n{json.dumps(line)}" for line in lines)
                gradebook.db.commit()
        except (Timeout, OperationalError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise CourseError(f"no mark was written ({reason}): wait a moment and give it again.") from error
        return written

    def _answer(self, student: str) -> Answer:
        path = self.course / "autograded" / student / ASSIGNMENT / f"{self.item.notebook}.ipynb"
        return _texts(path, path.stat().st_mtime_ns if path.exists() else 0).get(self.item.id, Answer("", {}))


@cache
def _texts(path: Path, modified: int) -> dict[str, Answer]:
    """The answers in a graded notebook, by id."""
    cells = [cell for cell in workbook.read_notebook(path)["cells"] if role(cell).get("solution")]
    return {role(cell)["grade_id"]: Answer(source_of(cell), cell.get("attachments", {})) for cell in cells}


def _rows(gradebook: api.Gradebook, item: Item) -> dict[str, tuple[api.Grade, api.Comment]]:
    """nbgrader's records of an item's answers, by student."""
    found = (
        gradebook.db.query(api.SubmittedAssignment.student_id, api.Grade, api.Comment)
        .join(api.SubmittedNotebook, api.SubmittedNotebook.assignment_id == api.SubmittedAssignment.id)
        .join(api.Grade, api.Grade.notebook_id == api.SubmittedNotebook.id)
        .join(api.Comment, api.Comment.notebook_id == api.SubmittedNotebook.id)
        .filter(api.Grade.cell.has(name=item.id), api.Comment.cell.has(name=item.id))
        .filter(api.SubmittedAssignment.assignment.has(name=ASSIGNMENT))
    )
    return {student: (grade, comment) for student, grade, comment in found}


def _mark(grade: api.Grade, comment: api.Comment) -> Mark:
    return Mark(grade.manual_score, grade.needs_manual_grade, comment.manual_comment)


def open_answers(course: Path) -> dict[Item, int]:
    """How many answers to each question wait for a mark."""
    points = read_points(course).values()
    return {item: sum(own[item] is None for own in points) for item in workbook.ITEMS if item.kind == "text"}


def ideas_given(course: Path) -> dict[tuple[str, str], tuple[float | None, list[int] | None]]:
    """By item and student, the points that were given last and the numbers of the ideas that they were given for."""
    found, path = {}, course / JOURNAL
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):  # half a line, of a disk that was full
            entry = json.loads(line)
            found[entry["item"], entry["student"]] = entry["points"], entry["ideas"]
    return found
