"""From a course folder to a table of points. nbgrader grades; all of its commands and pages work in the folder::

    nbgrader_config.py                settings of this course, for the teacher to change
    road_segmentation_student.zip     what a class gets
    source, release                   the worked notebooks, and what nbgrader makes of them
    roster.csv, collected.json        who takes part, and what `collect` took of whom
    submitted, autograded, feedback   a folder for each student
    gradebook.db, points.csv          all points
    reading.jsonl, stats.html         the ideas that marks were given for, and statistics
    backups                           the gradebook as it was before each run of grading
    outcomes, logs                    what grading found for each student, and nbgrader's output

Needs the extra `course`.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import importlib.util
import io
import json
import multiprocessing
import os
import re
import secrets
import shutil
import signal
import sqlite3
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from filelock import FileLock, Timeout

import roadseg
from roadseg import workbook
from roadseg.course import archive, workers
from roadseg.errors import OptionError, RoadsegError, explained, one_line, printable
from roadseg.storage import atomic_write, part_of, project_root, replace
from roadseg.workbook import questions
from roadseg.workbook.files import role, source_of

if TYPE_CHECKING:
    from distributed import Client
    from nbgrader.api import Gradebook

ASSIGNMENT = "road_segmentation"
ARCHIVE = f"{ASSIGNMENT}_student.zip"
NOTEBOOKS = tuple(sorted({item.notebook for item in questions.ITEMS}))  # those that carry points
SECONDS = 15  # for an answer; reference answers take one to three on two cores, and a slow machine gets more
BACKUPS = 30
ROOM = 2**26  # bytes that have to be free to record a submission, beside a copy of the gradebook
SECRET = "submission_secret.txt"  # by which nbgrader's exchange gives feedback to whom handed in, and to nobody else
EXCHANGED = f"{NOTEBOOKS[0]}.html"  # nbgrader asks for pages of feedback by notebook
FAILED = "not graded:"  # how the remark about a submission begins whose grading failed
NOT_GRADED = "nothing has been graded: run python -m roadseg course grade first."
# Canvas's columns, and one of Moodle's.
PERSON_COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Email address")


class CourseError(RoadsegError):
    """A course folder, or what a course needs, is missing or not as expected."""


class RecordError(RoadsegError):
    """Nothing more can be recorded, such as on a full disk; what was recorded before stays."""


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
    _require_nbgrader()
    if odd := sorted(set(re.findall(r"[][?*]|%[0-9a-fA-F]{2}", str(course)))):
        raise CourseError(f"{course}: nbgrader fails where a folder's name has {' '.join(odd)}; name another folder.")
    worked = workbook.worked_folder()
    source, record = course / "source" / ASSIGNMENT, course / "source" / ".as_set_up.json"
    with explained(CourseError, course, "name a folder that you may write to, or free space"):
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
        with atomic_write(record) as file:
            file.write(json.dumps(copied).encode())
        if not (course / "nbgrader_config.py").exists():
            shutil.copyfile(Path(__file__).with_name("nbgrader_config.py"), course / "nbgrader_config.py")
    with _nbgrader_process() as run:
        run(course, "GenerateAssignmentApp", [ASSIGNMENT, "--force"], log="generate_assignment")
    archive.write_archive(course / ARCHIVE, worked.parent)
    return kept


def _differences(own: dict, new: dict) -> str:
    """Which cells of two notebooks differ, by their ids; empty where the notebooks are equal."""
    if own == new:
        return ""
    one, two = ({cell["id"]: source_of(cell) for cell in notebook["cells"]} for notebook in (own, new))
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
        raise CourseError(NOT_GRADED)


def students_to_grade(course: Path, named: list[str], *, everybody: bool = False) -> list[str]:
    """The students named, else everybody, else those whose submission is new or has changed since it was graded.

    Raises
    ------
    CourseError : nothing has been collected, or not from all of those named.
    """
    require_course(course)
    collected = sorted(path.name for path in course.glob("submitted/[!.]*") if path.is_dir())
    missing = sorted(set(named) - set(collected))
    if missing or not collected:
        whom = ", ".join(missing) or "anybody"
        raise CourseError(f"nothing has been collected from {whom}: run python -m roadseg course collect FOLDER first.")
    graded = set() if named or everybody else _graded(course)
    return list(dict.fromkeys(named)) or [student for student in collected if student not in graded]


def _graded(course: Path) -> set[str]:
    """The students whose latest submission has been graded and is in the gradebook."""
    return {
        who
        for who in _in_gradebook(course)
        if _digest_of(course, "submitted", who) == _digest_of(course, "autograded", who)
    }


def _in_gradebook(course: Path) -> set[str]:
    """The students whose latest grading is in the gradebook, which may be an older copy that was put back."""
    if not (course / "gradebook.db").is_file():
        return set()
    with open_gradebook(course) as gradebook:
        students = {submission.student_id for submission in gradebook.assignment_submissions(ASSIGNMENT)}
    digests = dict(_graded_answers(course, "select student, digest from graded_answers"))
    return {who for who in students if digests.get(who, "") == _digest_of(course, "autograded", who)}


def _digest_of(course: Path, stage: str, student: str) -> str:
    """The digest of a submission, which nbgrader copies from stage to stage; empty where there is none."""
    path = course / stage / student / ASSIGNMENT / "digest.txt"
    return path.read_text() if path.is_file() else ""


def _graded_answers(course: Path, query: str, *values: str) -> list[tuple]:
    """Rows about the submissions for which the gradebook's marks were given. They are kept in the gradebook itself, so
    that every copy of it has those of its own marks."""
    with closing(sqlite3.connect(course / "gradebook.db")) as gradebook:
        if not gradebook.execute("select 1 from sqlite_master where name = 'graded_answers'").fetchall():
            return []
        return gradebook.execute(query, values).fetchall()


def _keep_answers(gradebook: Path, student: str, digest: str, answers: dict[str, str]) -> None:
    """Note in a gradebook for which submission and answers a student's marks were given."""
    with closing(sqlite3.connect(gradebook)) as database, database:
        database.execute("create table if not exists graded_answers (student text primary key, digest, answers)")
        database.execute("replace into graded_answers values (?, ?, ?)", (student, digest, json.dumps(answers)))


@contextmanager
def one_grader(course: Path) -> Iterator[None]:
    """Keep others from grading a course in this block; CourseError where somebody does."""
    try:
        with FileLock(course / ".grading.lock", 0):
            yield
    except Timeout as error:
        raise CourseError(f"somebody is grading {course} just now: wait until that has ended.") from error


def judge_in_worker(notebooks: dict, handed_out: dict, seconds: float, only: frozenset[str]) -> dict:
    """What `judging.grade_submission` finds, as JSON has it. Only workers call this, as TensorFlow is loaded there."""
    from roadseg.course import judging

    found = judging.grade_submission(notebooks, handed_out, seed=secrets.randbits(64), seconds=seconds, only=only)
    return json.loads(json.dumps(found))


def grade_submissions(
    students: list[str],
    course: Path,
    client: Client,
    *,
    seconds: float,
    only: frozenset[str] = frozenset(),
    judge: Callable[..., dict] = judge_in_worker,
) -> Iterator[tuple[str, list[str]]]:
    """Let workers grade submissions (`judging`), and record each here as soon as it is graded.

    client : of the workers, from `workers.connect`.
    only : the ids of the items to grade again, in submissions that have been graded; all if empty.

    Yields
    ------
    A student, and remarks for the teacher, a line each, as soon as they are recorded.

    Raises
    ------
    RecordError : nothing more can be recorded, such as on a full disk. What was recorded stays.
    WorkerError : the scheduler is lost.
    """
    with _recordable(course):
        back_up_gradebook(course)
    handed_out = _notebooks(course / "release" / ASSIGNMENT)
    graded_before = _graded(course) if only else set()

    def task(student: str) -> tuple:
        again = only if student in graded_before else frozenset()
        return _notebooks(course / "submitted" / student / ASSIGNMENT), handed_out, seconds, again

    with _nbgrader_process() as run:
        for student, found in workers.results(client, judge, students, task):
            if isinstance(found, dict):
                try:
                    with _recordable(course):
                        remarks = record(course, student, found, again=student in graded_before, run=run)
                except CourseError as error:
                    found = error
            if isinstance(found, Exception):  # one submission stops no other
                kind = "" if isinstance(found, RoadsegError) else f"{type(found).__name__}: "
                remarks = [f"{FAILED} {kind}{one_line(found)}"]
            yield student, remarks


@contextmanager
def _recordable(course: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, BrokenProcessPool) as error:
        kept = "what was recorded stays: free space or mend the folder, and grade the rest"
        raise RecordError(f"nothing more can be recorded in {course} ({one_line(error)}); {kept}.") from error


def _notebooks(folder: Path) -> dict[str, bytes]:
    with explained(CourseError, folder, "make it readable, or collect it again"):
        paths = [path for path in sorted(folder.iterdir()) if path.suffix == ".ipynb" and path.stem in NOTEBOOKS]
        return {path.stem: path.read_bytes() for path in paths}


@contextmanager
def _nbgrader_process() -> Iterator[Callable[..., None]]:
    """Gives a function that runs nbgrader's commands as `_nbgrader` does, and raises CourseError where one fails.

    It does so in a process that stays, as to load nbgrader takes longer than its work.
    """
    spawn = {"mp_context": multiprocessing.get_context("spawn")}
    with ProcessPoolExecutor(1, **spawn, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        pool.submit(importlib.import_module, "nbgrader.apps")  # while the first submission is being graded

        def run(course: Path, app: str, arguments: list[str], *, log: str) -> None:
            running = pool.submit(_nbgrader, course, app, arguments, log=log)
            try:
                status = running.result()
            finally:
                wait([running])  # after an interrupt, nothing writes any more
            if status:
                raise CourseError(f"nbgrader failed: see {course / 'logs' / log}.txt")

        yield run


def _nbgrader(course: Path, app: str, arguments: list[str], *, log: str) -> int:
    """Run an nbgrader command in the course folder, with its output in `logs`; its exit status."""
    from nbgrader import apps

    os.chdir(course)
    os.environ.update(nbgrader_environment())
    path = course / "logs" / f"{log}.txt"
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        command = getattr(apps, app)()
        command.initialize(arguments)
        command.start()
        return 0
    except (Exception, SystemExit):
        traceback.print_exc()
        return 1


def record(course: Path, student: str, found: dict, *, again: bool, run: Callable[..., None]) -> list[str]:
    """Let nbgrader record what was found for a student, all of it or nothing; return the remarks.

    again : only for some items; the others stay as they were found before. run : that of `_nbgrader_process`."""
    path = course / "outcomes" / f"{student}.json"
    if again:
        before = json.loads(path.read_text("utf-8"))
        found["items"] = {**before["items"], **found["items"]}
        found["errors"] = {name: {**before["errors"].get(name, {}), **new} for name, new in found["errors"].items()}
    found["graded_before"] = _marked_answers(course, student)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(found, indent=1, ensure_ascii=False).encode(errors="replace"))
    graded = course / "autograded" / student / ASSIGNMENT
    options = [ASSIGNMENT, "--force", f"--student={student}"]
    options += [f"--{part}.outcome={path}" for part in ("RecordPoints", "ShowRubrics")]
    with tempfile.TemporaryDirectory(prefix=".autograded.part.", dir=course) as part:
        with _new_gradebook(course) as gradebook:
            if shutil.disk_usage(course).free < ROOM + gradebook.stat().st_size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            options += [f"--CourseDirectory.db_url=sqlite:///{gradebook}"]
            options += [f"--CourseDirectory.autograded_directory={Path(part).name}"]
            run(course, "AutogradeApp", options, log=student)
            new = Path(part) / student / ASSIGNMENT
            books = map(workbook.read_notebook, new.glob("*.ipynb"))
            cells = [cell for book in books for cell in book["cells"] if role(cell)]
            answers = {role(cell)["grade_id"]: source_of(cell) for cell in cells}
            _keep_answers(gradebook, student, _digest_of(course, "submitted", student), answers)
        shutil.rmtree(graded, ignore_errors=True)
        graded.parent.mkdir(parents=True, exist_ok=True)
        replace(new, graded)  # last of all: its digest says that it is graded
    return [printable(f"{name}: {line}") for name, lines in found["remarks"].items() for line in lines]


def _marked_answers(course: Path, student: str) -> dict[str, str]:
    """The answers for which marks were given, by nbgrader's names for their cells: none that waits for a mark."""
    if not (course / "gradebook.db").is_file():
        return {}
    rows = _graded_answers(course, "select answers from graded_answers where student = ?", student)
    answers = json.loads(rows[0][0]) if rows else {}
    marked = {item.id for item, points in read_points(course, student).get(student, {}).items() if points is not None}
    return {name: text for name, text in answers.items() if name in marked}


@contextmanager
def open_gradebook(course: Path, path: Path | None = None) -> Iterator[Gradebook]:
    """nbgrader's gradebook of a course, or a copy of it at `path`. Raises CourseError where there is none yet."""
    if path is None:
        require_gradebook(course)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{path or course / 'gradebook.db'}", course.name) as gradebook:
        yield gradebook


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
        try:
            copy_gradebook(path, copied)
            yield copied
            if _digest(path) != before:
                raise CourseError("somebody gave marks just now: run this again.")
            copy_gradebook(copied, path)  # not the file, which an open formgrader would go on writing to
        finally:
            copied.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def copy_gradebook(path: Path, copied: Path) -> None:
    """Copy a whole state of the gradebook, whoever writes to it, in one step for whoever has the copy open.

    Raises OSError where that is refused, such as on a full disk."""
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copied)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"the gradebook cannot be copied here ({error})", str(copied)) from error


def back_up_gradebook(course: Path) -> None:
    """Keep the gradebook as it is, under the time; of many copies the latest stay."""
    folder = course / "backups"
    folder.mkdir(exist_ok=True)
    if (course / "gradebook.db").is_file():
        with part_of(folder / f"gradebook-{datetime.now():%Y%m%d-%H%M%S-%f}.db") as part:
            copy_gradebook(course / "gradebook.db", part)
    for path in sorted(folder.glob("gradebook-*.db"))[:-BACKUPS]:
        path.unlink()


def get_ready() -> str:
    """On a worker: read the road images, so that nobody's answer waits for them; return its wall (`sandbox.walls`)."""
    from roadseg.course import sandbox

    roadseg.load()
    return sandbox.walls()


def seconds_for_an_answer(course: Path, client: Client) -> float:
    """The limit for an answer: five times what the slowest reference answer takes on the slowest worker, when all of
    them work, and 15 s at least.

    Raises CourseError where a reference answer does not earn its points, as then nobody's would.
    """
    books = [_notebooks(course / stage / ASSIGNMENT) for stage in ("source", "release")]
    slowest = 0.0
    for found in workers.everywhere(client, judge_in_worker, *books, 10 * SECONDS, frozenset()):
        for item in questions.ITEMS:
            entry = found["items"].get(item.id)
            if entry and entry["points"] != item.points:
                raise CourseError(f"the reference answer of {item.id} earns {entry['points']} here: {entry['why']}.")
        slowest = max(slowest, *(entry["seconds"] for entry in found["items"].values()))
    return max(SECONDS, 5 * slowest)


def make_feedback(course: Path) -> list[Path]:
    """Write a page for each student whose submission, points or comments are new; return these pages.

    What came from nbgrader's exchange goes back there by `nbgrader release_feedback`, named after the first notebook.

    Raises CourseError where nothing has been graded.
    """
    require_gradebook(course)
    from roadseg.course import feedback

    _renew_late_penalties(course)
    pages, known = [], _in_gradebook(course)
    for folder in sorted(course.glob(f"autograded/*/{ASSIGNMENT}")):
        student, notebooks = folder.parent.name, sorted(folder.glob("*.ipynb"))
        page = course / "feedback" / student / ASSIGNMENT / f"{ASSIGNMENT}.html"
        if student in known and feedback.write_page(student, notebooks, course / "gradebook.db", page):
            pages.append(page)
        exchanged = {SECRET: folder / SECRET, "timestamp.txt": folder / "timestamp.txt", EXCHANGED: page}
        if student in known and all(path.is_file() for path in exchanged.values()):
            for name, path in exchanged.items():
                shutil.copyfile(path, page.parent / name)
    if not list(course.glob(f"feedback/*/{ASSIGNMENT}")):
        raise CourseError(NOT_GRADED)
    return pages


def read_points(course: Path, student: str | None = None) -> dict[str, dict[questions.Item, float | None]]:
    """The points of each student, or of one, for each item, in the order of the questions; None while an answer is
    ungraded."""
    names = {item: item.id if item.kind == "text" else f"check-{item.id}" for item in questions.ITEMS}
    points = {}
    with open_gradebook(course) as gradebook:
        found = gradebook.assignment_submissions(ASSIGNMENT)
        for submission in (one for one in found if student in (None, one.student_id)):
            grades = {grade.name: grade for notebook in submission.notebooks for grade in notebook.grades}
            given = {
                name: float(grade.score)
                for name, grade in grades.items()
                if not grade.needs_manual_grade and (grade.auto_score, grade.manual_score) != (None, None)
            }
            points[submission.student_id] = {item: given.get(name) for item, name in names.items()}
    return dict(sorted(points.items()))


def write_points(course: Path) -> Path:
    """Write points.csv, a row for each student, in columns that Canvas and Moodle import.

    What is not graded yet is empty, and so is a total that it belongs to; a total is less what is taken off for late
    days. Names and addresses are those of the roster, or else those that nbgrader knows of its students.
    """
    require_gradebook(course)
    from roadseg.course.collect import canvas_id, handed_in
    from roadseg.course.roster import people

    _renew_late_penalties(course)
    points, text = read_points(course), io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    listed = people(course)
    table.writerow((*PERSON_COLUMNS, *(item.id for item in questions.ITEMS), "handed in", "late", ASSIGNMENT))
    with open_gradebook(course) as gradebook:
        for student, given in points.items():
            known, submission = gradebook.find_student(student), gradebook.find_submission(ASSIGNMENT, student)
            name, mail = listed.get(student, ("", ""))
            name = name or ", ".join(part for part in (known.last_name, known.first_name) if part) or student
            late = sum(notebook.late_submission_penalty or 0 for notebook in submission.notebooks)
            total = "" if None in given.values() else f"{sum(given.values()) - late:g}"
            values = ["" if value is None else f"{value:g}" for value in given.values()]
            name, address = (_plain(text) for text in (name, mail or known.email or ""))
            person = (name, known.lms_user_id or canvas_id(course, student), student, student, "", address)
            table.writerow((*person, *values, handed_in(course, student), f"{late:g}", total))
    with atomic_write(course / "points.csv") as file:
        file.write(text.getvalue().encode("utf-8"))
    return course / "points.csv"


def _plain(text: str) -> str:
    """A text that no table program takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _renew_late_penalties(course: Path) -> None:
    """Take off for late days what they cost of the marks that were given since grading, too."""
    from roadseg.course import grading

    folders = [path for path in course.glob(f"submitted/*/{ASSIGNMENT}") if (path / "digest.txt").is_file()]
    untimed = {path.parent.name for path in folders if not (path / "timestamp.txt").is_file()}
    with _new_gradebook(course) as gradebook:
        grading.renew_late_penalties(course / "nbgrader_config.py", gradebook, ASSIGNMENT, untimed)


def set_due_date(course: Path, due: str) -> datetime:
    """Note when submissions are due, and return it: a time such as "2027-03-01 23:59", in this computer's time zone
    unless one follows, such as Europe/Berlin, CET, UTC or +01:00.

    Raises OptionError where that is no time."""
    try:
        written, zone = re.fullmatch(r"(\S+[ T]\d\d:\d\d) ?(\S*)", due.strip()).groups()
        offset = zone if zone.startswith(("+", "-")) else ""
        time = datetime.fromisoformat(written + offset)
        time = time.replace(tzinfo=ZoneInfo(zone)) if zone and not offset else time.astimezone(time.tzinfo)
    except (AttributeError, ValueError, OverflowError, OSError, ZoneInfoNotFoundError) as error:
        expected = "a day, a time and perhaps a zone, such as 2027-03-01 23:59, or 2027-03-01 23:59 Europe/Berlin"
        raise OptionError(f"--due {due}: expected {expected}.") from error
    with _new_gradebook(course) as path, open_gradebook(course, path) as gradebook:
        gradebook.update_or_create_assignment(ASSIGNMENT, duedate=time.astimezone(UTC).replace(tzinfo=None))
    return time


def _require_nbgrader() -> None:
    if importlib.util.find_spec("nbgrader") is None:
        raise CourseError('nbgrader is not installed: python -m pip install -e ".[course]" in the project\'s folder.')


def nbgrader_environment() -> dict[str, str]:
    """The environment for nbgrader: it finds its program alembic on the path, even where the venv is not activated."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "ROADSEG_HOME": str(project_root())}
