"""From a course folder to a table of points. nbgrader grades; all of its commands and pages work in the folder::

    nbgrader_config.py                settings of this course, for the teacher to change
    road_segmentation_student.zip     what a class gets
    source, release                   the worked notebooks, and what nbgrader makes of them
    submitted, autograded, feedback   a folder for each student
    gradebook.db, points.csv          all points
    reading.jsonl, stats.html         the ideas that marks were given for, and statistics
    backups                           the gradebook as it was before each run of grading
    outcomes, logs                    what grading found for each student, and nbgrader's output

Needs the extra `course`.
"""

import csv
import hashlib
import importlib.util
import io
import json
import multiprocessing
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from roadseg.errors import OptionError, RoadsegError
from roadseg.storage import atomic_write, project_root, replace
from roadseg.workbook import questions

ASSIGNMENT = "road_segmentation"
ARCHIVE = f"{ASSIGNMENT}_student.zip"
NOTEBOOKS = tuple(sorted({item.notebook for item in questions.ITEMS}))  # those that carry points
SECONDS = 15  # for an answer; reference answers take one to three on two cores, and a slow machine gets more
BACKUPS = 30
PLATFORM = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Email address")  # Canvas's, and one of Moodle's


class CourseError(RoadsegError):
    """A course folder, or what a course needs, is missing or not as expected."""


def set_up_course(course: Path) -> list[str]:
    """Make the course folder from the worked notebooks, or renew what nobody has changed in it; write the archive.

    Returns
    -------
    What was kept as the teacher has changed it, a line each: notebooks in `source`, with the cells that differ.

    Raises
    ------
    CourseError : nbgrader is not installed, there are no worked notebooks, or nbgrader refuses them, as it does where
        answers have been added or removed since the first submission.
    """
    from roadseg import workbook
    from roadseg.course import archive

    _require_nbgrader()
    worked = workbook.worked_folder()
    source, record = course / "source" / ASSIGNMENT, course / "source" / ".as_set_up.json"
    try:
        source.mkdir(parents=True, exist_ok=True)
        copied = json.loads(record.read_text("utf-8")) if record.is_file() else {}
        kept = []
        for name in NOTEBOOKS:
            own, new = source / f"{name}.ipynb", workbook.read_notebook(worked / f"{name}.ipynb")
            new = workbook.without_prose_checks(new)
            if not own.exists() or _digest(own) == copied.get(name):
                workbook.write_notebook(own, new)
                copied[name] = _digest(own)
            elif differences := _differences(workbook.read_notebook(own), new):
                kept.append(f"{own} stays as you have changed it: {differences}")
        record.write_text(json.dumps(copied), "utf-8")
        if not (course / "nbgrader_config.py").exists():
            shutil.copyfile(Path(__file__).with_name("nbgrader_config.py"), course / "nbgrader_config.py")
    except OSError as error:
        raise CourseError(f"the course folder {course} cannot be filled: {error}.") from error
    _run_nbgrader(course, "generate_assignment", ASSIGNMENT, "--force", log="generate_assignment")
    archive.write_archive(course / ARCHIVE, worked.parent)
    return kept


def _differences(own: dict, new: dict) -> str:
    """Which cells of two notebooks differ, by their ids; empty where the notebooks are equal."""
    from roadseg.workbook.files import text

    if own == new:
        return ""
    one, two = ({cell["id"]: text(cell) for cell in notebook["cells"]} for notebook in (own, new))
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    return f"it differs from the project's in {', '.join(names) or 'outputs and metadata alone'}"


def require_course(course: Path) -> None:
    """Raise CourseError where nbgrader is not installed, or the folder has not been set up."""
    _require_nbgrader()
    if not (course / "release" / ASSIGNMENT).is_dir():
        raise CourseError(f"{course} is no course yet: run python -m roadseg course setup, or name another folder.")


def require_gradebook(course: Path) -> None:
    """Raise CourseError where there is no gradebook yet; nbgrader would make an empty one."""
    require_course(course)
    if not (course / "gradebook.db").is_file():
        raise CourseError("nothing has been graded: run python -m roadseg course grade first.")


def students_to_grade(course: Path, named: list[str], *, everybody: bool = False) -> list[str]:
    """The students named, else everybody, else those whose submission is new or has changed since it was graded.

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
    return named or [student for student in collected if everybody or not _is_graded(course, student)]


def _is_graded(course: Path, student: str) -> bool:
    """Whether nbgrader has graded what was collected last: it copies the submission's digest."""
    stamps = [course / stage / student / ASSIGNMENT / "digest.txt" for stage in ("submitted", "autograded")]
    return all(path.is_file() for path in stamps) and stamps[0].read_bytes() == stamps[1].read_bytes()


def grade_submissions(
    students: list[str], course: Path, *, seconds: float, jobs: int = 1, only: frozenset[str] = frozenset()
) -> Iterator[tuple[str, list[str]]]:
    """Grade submissions, each in a process that holds nothing (`judging`), and record one after the other.

    only : the ids of the items to grade again, in submissions that have been graded; all if empty.

    Yields
    ------
    A student, and remarks for the teacher, a line each, as soon as they are recorded.
    """
    from roadseg.course import judging

    back_up_gradebook(course)
    handed_out = _notebooks(course / "release" / ASSIGNMENT)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: dict[str, Future] = {}
        for student in [*students, *[None] * 2 * jobs]:  # a few at a time, as their notebooks are held in memory
            if student:
                books, seed = _notebooks(course / "submitted" / student / ASSIGNMENT), secrets.randbits(64)
                options = {"seed": seed, "seconds": seconds, "only": only if _is_graded(course, student) else ()}
                waiting[student] = pool.submit(judging.grade, books, handed_out, **options)
            if waiting and (student is None or len(waiting) > 2 * jobs):
                first = next(iter(waiting))
                try:
                    found = json.loads(json.dumps(waiting.pop(first).result()))
                    remarks = record(course, first, found, again=bool(only) and _is_graded(course, first))
                except (RoadsegError, ValueError) as error:  # one submission stops no other
                    remarks = [f"not graded: {error}"]
                yield first, remarks


def _notebooks(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.ipynb")) if path.stem in NOTEBOOKS}


def record(course: Path, student: str, found: dict, *, again: bool) -> list[str]:
    """Let nbgrader record what was found for a student; return the remarks. again : only for some items; the others
    stay as they were found before."""
    path = course / "outcomes" / f"{student}.json"
    if again:
        before = json.loads(path.read_text("utf-8"))
        found["items"] = {**before["items"], **found["items"]}
        found["errors"] = {name: {**before["errors"].get(name, {}), **new} for name, new in found["errors"].items()}
    found["graded_before"] = _graded_sources(course / "autograded" / student / ASSIGNMENT)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(found, indent=1).encode())
    options = [f"--{part}.outcome={path}" for part in ("RecordPoints", "ShowRubrics")]
    with _new_gradebook(course) as gradebook:
        options += [f"--CourseDirectory.db_url=sqlite:///{gradebook}"]
        _run_nbgrader(course, "autograde", ASSIGNMENT, "--force", f"--student={student}", *options, log=student)
    return [f"{name}: {line}" for name, lines in found["remarks"].items() for line in lines]


def _graded_sources(folder: Path) -> dict[str, str]:
    """The answers that marks and comments are of, by nbgrader's names for their cells."""
    from roadseg import workbook
    from roadseg.workbook.files import role, text

    cells = [cell for path in folder.glob("*.ipynb") for cell in workbook.read_notebook(path)["cells"]]
    return {role(cell)["grade_id"]: text(cell) for cell in cells if role(cell)}


def gradebook_lock(course: Path) -> FileLock:
    """What each program of this package holds while it writes to the gradebook."""
    return FileLock(course / ".gradebook.lock")


@contextmanager
def _new_gradebook(course: Path) -> Iterator[Path]:
    """A copy of the gradebook to write to, which takes its place at the end of the block, or not at all.

    Raises CourseError where the formgrader has written to the gradebook meanwhile: nothing of that is lost.
    """
    path = course / "gradebook.db"
    with gradebook_lock(course):
        before, copied = _digest(path), course / ".gradebook.part.db"
        _copy_gradebook(path, copied)
        try:
            yield copied
            if _digest(path) != before:
                raise CourseError("somebody gave marks just now: run this again.")
            replace(copied, path)
        finally:
            copied.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _copy_gradebook(path: Path, copied: Path) -> None:
    """Copy a whole state of the gradebook, whoever writes to it."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copied)) as target:
        source.backup(target)


def back_up_gradebook(course: Path) -> None:
    """Keep the gradebook as it is, under the time; of many copies the latest stay."""
    folder = course / "backups"
    folder.mkdir(exist_ok=True)
    if (course / "gradebook.db").is_file():
        _copy_gradebook(course / "gradebook.db", folder / f"gradebook-{datetime.now():%Y%m%d-%H%M%S-%f}.db")
    for path in sorted(folder.glob("gradebook-*.db"))[:-BACKUPS]:
        path.unlink()


def seconds_for_an_answer(course: Path) -> float:
    """The limit for an answer on this machine: five times what the slowest reference answer takes, and 15 s at least.

    Raises CourseError where a reference answer does not earn its points here, as then nobody's would.
    """
    from roadseg.course import judging

    books = [_notebooks(course / stage / ASSIGNMENT) for stage in ("source", "release")]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(judging.grade, *books, seed=secrets.randbits(64), seconds=10 * SECONDS).result()
    for item in questions.ITEMS:
        entry = found["items"].get(item.id)
        if entry and entry["points"] != item.points:
            raise CourseError(f"the reference answer of {item.id} earns {entry['points']} here: {entry['why']}.")
    return max(SECONDS, 5 * max(entry["seconds"] for entry in found["items"].values()))


def make_feedback(course: Path) -> list[Path]:
    """Write a page for each student whose submission, points or comments are new; return these pages.

    Raises CourseError where nothing has been graded.
    """
    require_course(course)
    from roadseg.course import feedback

    _renew_late_penalties(course)
    pages = []
    for folder in sorted(course.glob(f"autograded/*/{ASSIGNMENT}")):
        student, notebooks = folder.parent.name, sorted(folder.glob("*.ipynb"))
        page = course / "feedback" / student / ASSIGNMENT / f"{ASSIGNMENT}.html"
        pages += [page] if feedback.write_page(student, notebooks, course / "gradebook.db", page) else []
    if not list(course.glob(f"feedback/*/{ASSIGNMENT}")):
        raise CourseError("nothing has been graded: run python -m roadseg course grade first.")
    return pages


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
    """Write points.csv, a row for each student, in columns that Canvas and Moodle import.

    What is not graded yet is empty, and so is a total that it belongs to; a total is less what is taken off for late
    days. Names and addresses are those of the roster, or else those that nbgrader knows of its students.
    """
    from nbgrader.api import Gradebook

    from roadseg.course.collect import handed_in
    from roadseg.course.roster import people

    _renew_late_penalties(course)
    points, text = read_points(course), io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    listed = people(course)
    table.writerow((*PLATFORM, *(item.id for item in questions.ITEMS), "handed in", "late", ASSIGNMENT))
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", course.name) as gradebook:
        for student, given in points.items():
            known, submission = gradebook.find_student(student), gradebook.find_submission(ASSIGNMENT, student)
            name, mail = listed.get(student, ("", ""))
            name = name or ", ".join(part for part in (known.last_name, known.first_name) if part) or student
            late = sum(notebook.late_submission_penalty or 0 for notebook in submission.notebooks)
            total = "" if None in given.values() else f"{sum(given.values()) - late:g}"
            values = ["" if value is None else f"{value:g}" for value in given.values()]
            person = (name, known.lms_user_id, student, student, "", mail or known.email)
            table.writerow((*person, *values, handed_in(course, student), f"{late:g}", total))
    with atomic_write(course / "points.csv") as file:
        file.write(text.getvalue().encode("utf-8"))
    return course / "points.csv"


def _renew_late_penalties(course: Path) -> None:
    """Take off for late days what they cost of the marks that were given since grading, too."""
    from roadseg.course import grading

    if not (course / "gradebook.db").is_file():
        return
    with _new_gradebook(course) as gradebook:
        grading.renew_late_penalties(course / "nbgrader_config.py", gradebook, ASSIGNMENT)


def set_due_date(course: Path, due: str) -> None:
    """Note when submissions are due, such as "2027-03-01 23:59 CET"; OptionError where that is no time."""
    from nbgrader.api import Gradebook

    with _new_gradebook(course) as path, Gradebook(f"sqlite:///{path}", course.name) as gradebook:
        try:
            gradebook.update_or_create_assignment(ASSIGNMENT, duedate=due)
        except (ValueError, OverflowError) as error:
            raise OptionError(f"--due {due}: expected a day and a time, such as 2027-03-01 23:59 CET.") from error


def _require_nbgrader() -> None:
    if importlib.util.find_spec("nbgrader") is None:
        raise CourseError('nbgrader is not installed: python -m pip install -e ".[course]" in the project\'s folder.')


def nbgrader_environment() -> dict[str, str]:
    """The environment for nbgrader: it finds its program alembic on the path, even where the venv is not activated."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "ROADSEG_HOME": str(project_root())}


def _run_nbgrader(course: Path, *arguments: str, log: str) -> None:
    """Run an nbgrader command in the course folder, with its output in `logs`. CourseError where it fails."""
    path = course / "logs" / f"{log}.txt"
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nbgrader", *arguments]
    with open(path, "wb") as file:
        try:
            subprocess.run(command, stdout=file, stderr=file, cwd=course, env=nbgrader_environment(), check=True)
        except subprocess.CalledProcessError as error:
            raise CourseError(f"nbgrader {arguments[0]} failed: see {path}") from error
