"""From a course folder to a table of points. nbgrader grades; all of its commands and pages work in the folder::

    nbgrader_config.py                settings of this course, for the teacher to change
    road_segmentation_student.zip     what a class gets
    source, release                   the worked notebooks, and what nbgrader makes of them
    submitted, autograded, feedback   a folder for each student
    gradebook.db, points.csv          all points
    runs, logs                        runs that graded code reads or makes, and nbgrader's output

Needs the extra `course`.
"""

import csv
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import roadseg
from roadseg.errors import RoadsegError
from roadseg.storage import atomic_write, project_root, runs_folder
from roadseg.workbook import questions

ASSIGNMENT = "road_segmentation"
ARCHIVE = f"{ASSIGNMENT}_student.zip"
NOTEBOOKS = tuple(sorted({item.notebook for item in questions.ITEMS}))  # those that carry points
SECONDS = 90  # for a submission, on two cores; a slow machine needs more
SECONDS_TO_FINISH = 15  # the last seconds of these, in which no code runs


class CourseError(RoadsegError):
    """A course folder, or what a course needs, is missing or not as expected."""


def set_up_course(course: Path) -> None:
    """Make the course folder from the worked notebooks, or renew all of it but its settings; write the archive.

    Raises
    ------
    CourseError : nbgrader is not installed, there are no worked notebooks, or nbgrader refuses them, as it does where
        answers have been added or removed since the first submission.
    """
    from roadseg import workbook
    from roadseg.course import archive

    _require_nbgrader()
    worked = workbook.worked_folder()
    source = course / "source" / ASSIGNMENT
    try:
        source.mkdir(parents=True, exist_ok=True)
        for name in NOTEBOOKS:
            shutil.copyfile(worked / f"{name}.ipynb", source / f"{name}.ipynb")
        if not (course / "nbgrader_config.py").exists():
            shutil.copyfile(Path(__file__).with_name("nbgrader_config.py"), course / "nbgrader_config.py")
    except OSError as error:
        raise CourseError(f"the course folder {course} cannot be filled: {error}.") from error
    _run_nbgrader(course, "generate_assignment", ASSIGNMENT, "--force", log="generate_assignment")
    archive.write_archive(course / ARCHIVE, worked.parent)


def require_course(course: Path) -> None:
    """Raise CourseError where nbgrader is not installed, or the folder has not been set up."""
    _require_nbgrader()
    if not (course / "release" / ASSIGNMENT).is_dir():
        raise CourseError(f"{course} is no course yet: run python -m roadseg course setup, or name another folder.")


def students_to_grade(course: Path, named: list[str]) -> list[str]:
    """The students named, by default those whose submission is new or has changed since it was graded.

    Raises
    ------
    CourseError : nothing has been collected, or not from all of those named.
    """
    require_course(course)
    collected = sorted(path.parent.name for path in course.glob(f"submitted/*/{ASSIGNMENT}"))
    missing = sorted(set(named) - set(collected))
    if missing or not collected:
        whom = ", ".join(missing) or "anybody"
        raise CourseError(f"nothing has been collected from {whom}: run python -m roadseg course collect FOLDER first.")
    return named or [student for student in collected if not _is_graded(course, student)]


def _is_graded(course: Path, student: str) -> bool:
    """Whether nbgrader has graded what was collected last: it copies the submission's digest."""
    stamps = [course / stage / student / ASSIGNMENT / "digest.txt" for stage in ("submitted", "autograded")]
    return all(path.is_file() for path in stamps) and stamps[0].read_bytes() == stamps[1].read_bytes()


def prepare_data_and_runs(course: Path) -> None:
    """Prepare what graded code may read: the images, resized and cached, and copies of the project's finished runs."""
    roadseg.load(log=print)
    for path in runs_folder().glob("*/finished.json"):
        if not (copied := course / "runs" / path.parent.name).exists():
            shutil.copytree(path.parent, copied)


def grade_submission(student: str, course: Path, *, seconds: float = SECONDS) -> list[str]:
    """Let nbgrader grade a submission; return remarks for the teacher, a line each.

    Where nbgrader fails, or takes longer than `seconds`, it grades again without running any code: the texts can then
    be graded as usual, and all else by hand.

    Raises
    ------
    CourseError : nbgrader cannot grade the submission even so.
    """
    from roadseg import workbook

    command = ("autograde", ASSIGNMENT, "--force", f"--student={student}")
    until = time.time() + seconds - SECONDS_TO_FINISH
    try:
        _run_nbgrader(course, *command, f"--ExecuteNeeded.until={until}", log=student, seconds=seconds)
    except CourseError as error:
        _run_nbgrader(course, *command, "--ExecuteNeeded.until=0", log=student)
        return [str(error)]
    paths = sorted((course / "autograded" / student / ASSIGNMENT).glob("*.ipynb"))
    remarks = {path.stem: workbook.read_notebook(path)["metadata"]["roadseg_grading"] for path in paths}
    return [f"{name}: {line}" for name, lines in remarks.items() for line in lines]


def make_feedback(course: Path) -> Path:
    """Let nbgrader make the feedback pages; return their folder. CourseError where nothing has been graded."""
    require_course(course)
    if not list(course.glob(f"autograded/*/{ASSIGNMENT}")):
        raise CourseError("nothing has been graded: run python -m roadseg course grade first.")
    _run_nbgrader(course, "generate_feedback", ASSIGNMENT, "--force", log="feedback")
    return course / "feedback"


def read_points(course: Path) -> dict[str, dict[questions.Item, float | None]]:
    """The points of each student for each item, in the order of the questions; None while an answer is ungraded."""
    require_course(course)
    from nbgrader.api import Gradebook

    names = {item: item.id if item.kind == "text" else f"check-{item.id}" for item in questions.ITEMS}
    points = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", course.name) as gradebook:
        for submission in gradebook.assignment_submissions(ASSIGNMENT):
            grades = {grade.name: _points(grade) for notebook in submission.notebooks for grade in notebook.grades}
            points[submission.student.id] = {item: grades.get(name) for item, name in names.items()}
    return dict(sorted(points.items()))


def _points(grade) -> float | None:
    """The points of nbgrader's grade; None where they are still to be given by hand, or nothing was graded."""
    if grade.needs_manual_grade or (grade.auto_score is None and grade.manual_score is None):
        return None
    return float(grade.score)


def write_points(course: Path) -> Path:
    """Write points.csv: a row for each student and item, without points where it is ungraded, and a row of totals."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("student", "label", "id", "points", "of"))
    for student, points in read_points(course).items():
        for item, value in points.items():
            table.writerow((student, item.label, item.id, "" if value is None else f"{value:g}", item.points))
        total = sum(value or 0 for value in points.values())
        table.writerow((student, "Total", "", f"{total:g}", sum(item.points for item in points)))
    with atomic_write(course / "points.csv") as file:
        file.write(text.getvalue().encode("utf-8"))
    return course / "points.csv"


def _require_nbgrader() -> None:
    if importlib.util.find_spec("nbgrader") is None:
        raise CourseError('nbgrader is not installed: python -m pip install -e ".[course]" in the project\'s folder.')


def nbgrader_environment() -> dict[str, str]:
    """The environment for nbgrader: it finds its program alembic on the path, even where the venv is not activated."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "ROADSEG_HOME": str(project_root())}


def _run_nbgrader(course: Path, *arguments: str, log: str, seconds: float | None = None) -> None:
    """Run an nbgrader command in the course folder, with its output in `logs`. CourseError where it fails."""
    path = course / "logs" / f"{log}.txt"
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nbgrader", *arguments]
    options = {"cwd": course, "env": nbgrader_environment(), "timeout": seconds, "check": True}
    with open(path, "wb") as file:
        try:
            subprocess.run(command, stdout=file, stderr=file, **options)
        except subprocess.TimeoutExpired as error:
            raise CourseError(f"nbgrader was stopped after {seconds} seconds: see {path}") from error
        except subprocess.CalledProcessError as error:
            raise CourseError(f"nbgrader {arguments[0]} failed: see {path}") from error
