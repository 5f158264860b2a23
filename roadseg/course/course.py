"""A course folder, from setup to points. nbgrader does the grading; all of its commands and pages work in the folder::

    nbgrader_config.py                what this course sets, yours to change
    road_segmentation_student.zip     what a class gets
    source, release                   the worked notebooks, and what nbgrader makes of them
    submitted, autograded, feedback   a folder for each student
    gradebook.db, points.csv          all points
    runs, logs                        what graded code reads and trains, and what nbgrader said

Needs the extra `teach`.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import roadseg
from roadseg.errors import RoadsegError
from roadseg.files import written_whole

if TYPE_CHECKING:
    from roadseg.course.collect import Submission
    from roadseg.workbook.questions import Item

ASSIGNMENT = "road_segmentation"
ARCHIVE = f"{ASSIGNMENT}_student.zip"
SECONDS = 90  # for a submission, on two cores; a slow machine needs more
TO_FINISH = 15  # the last seconds of these, in which no code runs any more
WITHOUT_CODE = 0.0  # a time that is over: no cell runs


class CourseError(RoadsegError):
    """A course folder, or what a course needs, is missing or not as expected."""


@dataclass(frozen=True)
class Points:
    """What a student has for an item; None while that is open."""

    item: Item
    points: float | None


# --- setup and collect ------------------------------------------------------------------------------------------------


def setup(course: Path) -> None:
    """Make the course folder from the worked notebooks, or renew all of it but its settings; write the archive.

    Raises
    ------
    CourseError : nbgrader is not installed, there are no worked notebooks, or nbgrader refuses them, as it does where
        answers have come or gone since the first submission.
    """
    from roadseg.course import archive as teach_archive
    from roadseg.workbook import notebooks as workbook

    _need_nbgrader()
    worked = workbook.worked_folder()
    source = course / "source" / ASSIGNMENT
    try:
        source.mkdir(parents=True, exist_ok=True)
        for name in _notebooks():
            shutil.copyfile(worked / f"{name}.ipynb", source / f"{name}.ipynb")
        if not (course / "nbgrader_config.py").exists():
            shutil.copyfile(Path(__file__).with_name("nbgrader_config.py"), course / "nbgrader_config.py")
    except OSError as error:
        raise CourseError(f"the course folder {course} cannot be filled: {error}.") from error
    _nbgrader(course, "generate_assignment", ASSIGNMENT, "--force", log="generate_assignment")
    teach_archive.write(course / ARCHIVE, worked.parent)


def _notebooks() -> list[str]:
    """The notebooks that carry points, by name."""
    from roadseg.workbook import questions

    return sorted({item.notebook for item in questions.ITEMS})


def collect(folder: Path, course: Path) -> dict[str, str | RoadsegError]:
    """Take over the zips in a folder: what came of each, by student.

    Raises
    ------
    CourseError : there are no zips, or the course has not been set up.
    SubmissionError : two zips would be of the same student.
    """
    from roadseg.course import collect as teach_collect

    set_up(course)
    zips = [path for path in folder.rglob("*") if path.suffix.lower() == ".zip" and path.is_file()]
    if not zips:
        raise CourseError(f"there are no zips in {folder}: name the folder that holds what students handed in.")
    outcomes: dict[str, str | RoadsegError] = {}
    for student, path in teach_collect.students(zips).items():
        try:
            outcomes[student] = _taken_over(course, teach_collect.read(path, student=student, names=_notebooks()))
        except teach_collect.SubmissionError as error:
            outcomes[student] = error
    return outcomes


def _taken_over(course: Path, submission: Submission) -> str:
    """Put the notebooks into the student's folder, blank ones for those that are missing; say what that changed."""
    folder = course / "submitted" / submission.student / ASSIGNMENT
    blank = {name: (course / "release" / ASSIGNMENT / f"{name}.ipynb").read_bytes() for name in _notebooks()}
    content = {folder / f"{name}.ipynb": notebook for name, notebook in (blank | submission.notebooks).items()}
    state = "changed" if folder.is_dir() else "new"
    if all(path.is_file() and path.read_bytes() == notebook for path, notebook in content.items()):
        state = "as before"
    else:
        folder.mkdir(parents=True, exist_ok=True)
        # nbgrader compares these times to see what it has graded already.
        for path, notebook in {**content, folder / "timestamp.txt": f"{datetime.now(UTC)}".encode()}.items():
            with written_whole(path) as file:
                file.write(notebook)
    return "; ".join((state, *submission.remarks))


# --- grading ----------------------------------------------------------------------------------------------------------


def to_grade(course: Path, students: list[str]) -> list[str]:
    """The students named, else those whose submission has not been graded as it is now.

    Raises
    ------
    CourseError : nothing has been collected, or not from one of those named.
    """
    set_up(course)
    there = sorted(path.parent.name for path in course.glob(f"submitted/*/{ASSIGNMENT}"))
    if not there or set(students) - set(there):
        missing = ", ".join(sorted(set(students) - set(there))) or "anybody"
        raise CourseError(f"nothing has been collected from {missing}: python -m roadseg teach collect FOLDER first.")
    return students or [student for student in there if not _graded_as_it_is(course, student)]


def _graded_as_it_is(course: Path, student: str) -> bool:
    """Whether nbgrader has graded what was collected last: it copies the time of that."""
    times = [course / stage / student / ASSIGNMENT / "timestamp.txt" for stage in ("submitted", "autograded")]
    return all(path.is_file() for path in times) and times[0].read_bytes() == times[1].read_bytes()


def grade(student: str, course: Path, *, seconds: float = SECONDS) -> list[str]:
    """Let nbgrader grade a submission, and return what a teacher should know about how that went.

    Where nbgrader fails or has to be stopped, it grades once more without running any code: then texts can be graded as
    ever, and all else by hand.

    Raises
    ------
    CourseError : nbgrader cannot grade the submission even so.
    """
    from roadseg.workbook import notebooks as workbook

    try:
        _autograde(student, course, until=time.time() + seconds - TO_FINISH, seconds=seconds)
    except CourseError as error:
        _autograde(student, course, until=WITHOUT_CODE)
        return [str(error)]
    found = sorted((course / "autograded" / student / ASSIGNMENT).glob("*.ipynb"))
    notebooks = {path.stem: workbook.read_notebook(path) for path in found}
    return [f"{name}: {remark}" for name, book in notebooks.items() for remark in book["metadata"]["roadseg_grading"]]


def _autograde(student: str, course: Path, *, until: float, seconds: float | None = None) -> None:
    options = ("--force", f"--student={student}", f"--ExecuteNeeded.until={until}")
    _nbgrader(course, "autograde", ASSIGNMENT, *options, log=student, seconds=seconds)


def lend(course: Path) -> None:
    """Make what graded code may read: pictures, resized and cached, and a copy of the finished runs of the project."""
    roadseg.load(say=print)
    for path in roadseg.runs.place().glob("*/finished.json"):
        if not (copied := course / "runs" / path.parent.name).exists():
            shutil.copytree(path.parent, copied)


# --- feedback and points ----------------------------------------------------------------------------------------------


def feedback(course: Path) -> Path:
    """Let nbgrader make the pages of feedback; return their folder. CourseError where nothing has been graded."""
    set_up(course)
    if not list(course.glob(f"autograded/*/{ASSIGNMENT}")):
        raise CourseError("nothing has been graded: python -m roadseg teach grade first.")
    _nbgrader(course, "generate_feedback", ASSIGNMENT, "--force", log="feedback")
    return course / "feedback"


def points(course: Path) -> dict[str, list[Points]]:
    """What each student has for each item, in the order of the questions, from nbgrader's gradebook."""
    set_up(course)
    from nbgrader.api import Gradebook

    from roadseg.workbook import questions

    found: dict[str, list[Points]] = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", course.name) as gradebook:
        for submission in gradebook.assignment_submissions(ASSIGNMENT):
            grades = {grade.name: grade for notebook in submission.notebooks for grade in notebook.grades}
            found[submission.student.id] = [
                Points(item, _given(grades.get(item.id if item.kind == "text" else f"check-{item.id}")))
                for item in questions.ITEMS
            ]
    return dict(sorted(found.items()))


def _given(grade) -> float | None:
    """The points of nbgrader's grade; None where a person is to give them, or where nothing was graded."""
    if grade is None or grade.needs_manual_grade or (grade.auto_score is None and grade.manual_score is None):
        return None
    return float(grade.score)


def write_points(course: Path) -> Path:
    """Write points.csv: a row for each student and item, with empty points where they are open, and one of totals."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("student", "label", "id", "points", "of"))
    for student, given in points(course).items():
        for entry in given:
            value = "" if entry.points is None else f"{entry.points:g}"
            table.writerow((student, entry.item.label, entry.item.id, value, entry.item.points))
        total = sum(entry.points or 0 for entry in given)
        table.writerow((student, "Total", "", f"{total:g}", sum(entry.item.points for entry in given)))
    with written_whole(course / "points.csv") as file:
        file.write(text.getvalue().encode("utf-8"))
    return course / "points.csv"


# --- nbgrader ---------------------------------------------------------------------------------------------------------


def _need_nbgrader() -> None:
    if importlib.util.find_spec("nbgrader") is None:
        raise CourseError('nbgrader is not installed: python -m pip install -e ".[teach]" in the project\'s folder.')


def set_up(course: Path) -> None:
    """Raise CourseError where nbgrader is not installed, or the folder is no course."""
    _need_nbgrader()
    if not (course / "release" / ASSIGNMENT).is_dir():
        raise CourseError(f"{course} is no course yet: python -m roadseg teach setup first, or name another folder.")


def environment() -> dict[str, str]:
    """What nbgrader runs in: it calls a program of its own, alembic, found on the path even of a venv not activated."""
    programs = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": programs, "ROADSEG_HOME": str(roadseg.kitti.project_root())}


def _nbgrader(course: Path, *arguments: str, log: str, seconds: float | None = None) -> None:
    """Run an nbgrader command in the course folder. What it says goes into `logs`; only a failure is told."""
    path = course / "logs" / f"{log}.txt"
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nbgrader", *arguments]
    with open(path, "wb") as file:
        try:
            subprocess.run(
                command, cwd=course, env=environment(), stdout=file, stderr=file, timeout=seconds, check=True
            )
        except subprocess.TimeoutExpired as error:
            raise CourseError(f"nbgrader was stopped after {seconds} seconds: see {path}") from error
        except subprocess.CalledProcessError as error:
            raise CourseError(f"nbgrader {arguments[0]} failed: see {path}") from error
