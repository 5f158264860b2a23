"""A course from setup to points, with three submissions; and the errors on the way."""

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest
from conftest import files_below
from handed_in import (
    GRADED,
    POINTS,
    PROJECT,
    TEXTS,
    blank,
    cell_of,
    command,
    delete,
    hand_in,
    make_course,
    perfect,
    set_own_jupyter,
    set_source,
    submitted,
    worked,
)

from roadseg import workbook
from roadseg.course import workers, workflow
from roadseg.course.workflow import ASSIGNMENT, CourseError
from roadseg.errors import OptionError
from roadseg.workbook import questions

nbgrader_utils = pytest.importorskip("nbgrader.utils")
QUESTIONS = "03_written_questions"


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "error", "found"),
    [
        (["collect", "nowhere"], CourseError, "nowhere"),
        (["grade"], CourseError, "course collect"),
        (["grade", "ada", "bob"], CourseError, "ada, bob"),
        (["grade", "--workers", "0"], OptionError, "--workers 0"),
        (["grade", "--seconds", "0"], OptionError, "--seconds 0"),
        (["grade", "--seconds", "inf"], OptionError, "--seconds inf"),
        (["grade", "--item", "answer-99"], OptionError, "answer-99"),
        (["feedback"], CourseError, "course grade"),
    ],
)
def test_a_step_that_cannot_start_says_why(step, error, found, course):
    with pytest.raises(error, match=found):
        command(*step, "--course", course)


def test_every_step_requires_a_course(tmp_path):
    for step in (["collect", "in"], ["grade"], ["open"], ["feedback"], ["points"]):
        with pytest.raises(CourseError, match=re.escape(str(tmp_path / "nowhere"))):
            command(*step, "--course", tmp_path / "nowhere")


def test_without_nbgrader_setup_says_how_to_install_it_and_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="nbgrader"):
        workflow.set_up_course(tmp_path / "course")
    assert not (tmp_path / "course").exists()


def test_a_course_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "course").write_text("in the way")
    with pytest.raises(CourseError, match=re.escape(str(tmp_path / "course"))):
        command("setup", tmp_path / "course")


def test_on_a_full_disk_setup_leaves_its_record_whole(course, monkeypatch):
    record = course / "source" / ".as_set_up.json"
    record.parent.mkdir()
    record.write_text("{}")
    monkeypatch.setattr(os, "fsync", Mock(side_effect=[*(None for _ in GRADED), OSError(28, "full")]))
    with pytest.raises(CourseError, match="full"):
        workflow.set_up_course(course)
    assert record.read_text() == "{}"


@pytest.mark.slow
def test_where_nbgrader_fails_its_log_is_named_and_the_teachers_settings_stay(course, tmp_path, monkeypatch):
    set_own_jupyter(monkeypatch, tmp_path)
    (course / "nbgrader_config.py").write_text("raise SystemExit(3)")
    with pytest.raises(CourseError, match=re.escape(str(course / "logs" / "generate_assignment.txt"))):
        command("setup", course)
    assert (course / "nbgrader_config.py").read_text() == "raise SystemExit(3)"


@contextmanager
def changed(path):
    """A gradebook's connection, committed and closed afterwards."""
    with closing(sqlite3.connect(path)) as gradebook, gradebook:
        yield gradebook


def test_by_default_the_course_folder_is_in_the_project(tmp_path, course):
    hand_in(tmp_path / "in" / "ada.zip", blank())
    assert command("collect", tmp_path / "in") == 0
    assert submitted(tmp_path / "course", "ada")


def test_marks_given_while_a_submission_is_recorded_are_not_lost(course):
    path = course / "gradebook.db"
    with changed(path) as gradebook:
        gradebook.execute("create table marks (points)")

    def mark_meanwhile(*arguments, log) -> None:
        with changed(path) as gradebook:
            gradebook.execute("insert into marks values (4)")

    found = {"items": {}, "errors": {}, "remarks": {}}
    with pytest.raises(CourseError):
        workflow.record(course, "ada", found, again=False, run=mark_meanwhile)
    with changed(path) as gradebook:
        assert gradebook.execute("select * from marks").fetchall() == [(4,)]
    assert not list(course.glob(".*.part.db"))


# --- a whole course ---------------------------------------------------------------------------------------------------


def submissions() -> dict[str, dict[str, dict]]:
    """A right one, in which a test was deleted; a blank one; and one with wrong numbers, deleted cells and attacks, and
    blank but for that. Its name is a number, as many have."""
    found = {"perfect": perfect(), "blank": blank(), "8103": blank()}
    delete(found["perfect"]["02_unet"], "check-build_unet")
    first, second, third = found["8103"].values()
    delete(first, "val_step")
    attack = "import os\nfor number in range(2, 50):\n    os.kill(os.getppid(), 9)\n    os.kill(1, 9)\n"
    set_source(first, "train_step", f"{attack}train_step = training.train_step")
    set_source(second, "build_unet", "checks.points = print\nbuild_unet = models.unet")
    delete(third, "answer-7", "answer-4")
    set_source(third, "answer-3", "steps_per_epoch = 70")
    set_source(third, "answer-8", "trainable_parameters = 485_817")
    text = {"cell_type": "markdown", "id": "new", "metadata": {}, "source": ["Twenty words of an answer. " * 4]}
    third["cells"].insert(third["cells"].index(cell_of(third, "answer-2")), text)
    set_source(third, "answer-1", "<img src=x onerror='alert(1)'><script>alert(1)</script>")
    return found


@pytest.fixture(scope="module")
def worker(tmp_path_factory, road_folder):
    """The folder of a course with few small images, no runs, and nobody's Jupyter settings; and a worker's address."""
    folder = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        set_own_folders(patch, folder, road_folder)
        with workers.connect() as client:
            yield folder, client.scheduler.address


@pytest.fixture(scope="module")
def graded(set_up, worker, road_folder) -> dict:
    """A course from setup to points: its folder, all that was printed, and the points."""
    folder, address = worker
    for student, books in submissions().items():
        hand_in(folder / "in" / f"{student}.zip", books)
    course, printed = Path(shutil.copytree(set_up, folder / "course")), io.StringIO()
    (course / "roster.csv").write_text("id,name,mail\nperfect,Per Fect,perfect@example.org\n")
    with pytest.MonkeyPatch.context() as patch:
        set_own_folders(patch, folder, road_folder)
        patch.setattr(sys, "stdout", printed)
        assert command("collect", folder / "in", "--course", course) == 0
        before = files_below(course / "submitted")
        assert command("grade", "--seconds", "60", "--scheduler", address, "--course", course) == 0
        assert files_below(course / "submitted") == before
        assert command("feedback", "--course", course) == 0
        assert command("points", "--course", course) == 0
    return {"course": course, "printed": printed.getvalue(), "points": points_of(course)}


def set_own_folders(monkeypatch, folder: Path, road_folder: Path) -> None:
    """A few small images, no runs, and nobody's Jupyter settings."""
    set_own_jupyter(monkeypatch, folder)
    for name, value in (("HOME", folder), ("DATA", road_folder), ("CACHE", folder / "cache"), ("RUNS", folder / "own")):
        monkeypatch.setenv(f"ROADSEG_{name}", str(value))


def points_of(course: Path) -> dict[str, dict[str, float | None]]:
    """The table of points: by student and item, None where nobody has graded."""
    rows = csv.DictReader((course / "points.csv").read_text("utf-8").splitlines())
    number = lambda text: float(text) if text else None  # noqa: E731
    return {row["SIS Login ID"]: {name: number(row[name]) for name in (*POINTS, ASSIGNMENT)} for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "wrong"),
    [("perfect", ()), ("blank", POINTS), ("8103", POINTS.keys() - {"answer-1", "answer-2", "answer-8"})],
)
def test_points_of_each_item(graded, student, wrong):
    """Full points for all but texts, which wait for the teacher, apart from those named."""
    expected = {name: None if name in TEXTS else float(points) for name, points in POINTS.items()}
    expected |= dict.fromkeys(wrong, 0.0)
    total = None if None in expected.values() else sum(expected.values())
    assert graded["points"][student] == {**expected, ASSIGNMENT: total}


@pytest.mark.slow
def test_the_teacher_sees_points_deleted_cells_attacks_and_who_is_ungraded(graded):
    lines = graded["printed"].splitlines()
    (perfect_line,) = (line for line in lines if re.match(r"perfect: \d", line))
    assert re.findall(r"\d+", perfect_line)[:3] == ["47", "47", "13"]  # points, of so many, texts to grade
    deleted = [line.split()[1] for line in lines if line.endswith("deleted")]
    assert sorted(deleted) == ["answer-4", "answer-7", "check-build_unet", "val_step"]
    assert lines[-1].endswith(": 8103, perfect.")
    assert any("answer-2" in line for line in lines)  # which is in another cell, and waits for the teacher
    assert "os.kill" in graded["printed"] and "checks.points" in graded["printed"]
    table = (graded["course"] / "points.csv").read_text("utf-8")
    assert re.search(r"^Per Fect,.*,perfect@example.org,", table, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADED)
def test_the_release_and_the_blank_copies_agree(set_up, name):
    """All but the figures to aim at, which a blank copy keeps."""
    release = workbook.read_notebook(set_up / "release" / ASSIGNMENT / f"{name}.ipynb")
    made = [cell for cell in workbook.blank(worked(name))["cells"] if workbook.AIM not in "".join(cell["source"])]
    assert len(release["cells"]) == len(made)
    for theirs, ours in zip(release["cells"], made):
        assert theirs["metadata"] == ours["metadata"]
        assert "".join(theirs["source"]) == "".join(ours["source"])
        assert not theirs.get("outputs") and not ours.get("outputs")


@pytest.mark.slow
def test_graders_and_students_see_rubrics_and_what_is_open_and_no_folder(graded):
    course = graded["course"]
    pages = {page.parts[-3]: page.read_text("utf-8") for page in course.glob("feedback/*/*/*.html")}
    assert pages.keys() == graded["points"].keys()
    for student, page in pages.items():
        still_open = sum(points is None for name, points in graded["points"][student].items() if name in TEXTS)
        assert len(re.findall(r"not graded yet, of [\d.]+ <a", page)) == still_open
        assert str(course) not in page and str(PROJECT) not in page and "<script>alert" not in page
    for name in GRADED:
        book = nbformat.read(course / "autograded" / "perfect" / ASSIGNMENT / f"{name}.ipynb", as_version=4)
        for above, cell in zip(book.cells, book.cells[1:]):
            if (item := cell.metadata.get("nbgrader", {}).get("grade_id")) in TEXTS:
                assert all(idea in above.source for idea in questions.rubrics()[item].ideas)
                assert f"{questions.item(item).label}, {POINTS[item]} points" in pages["perfect"]


def give_marks(course: Path, student: str) -> None:
    """Give full points and a comment for each text, as a teacher does in the formgrader."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        for notebook in gradebook.find_submission(ASSIGNMENT, student).notebooks:
            for grade in (grade for grade in notebook.grades if grade.needs_manual_grade):
                grade.manual_score, grade.needs_manual_grade = grade.max_score, False
            for comment in notebook.comments:
                comment.manual_comment = "Well said."
        gradebook.db.commit()


@pytest.mark.slow
def test_one_item_is_graded_again_and_marks_stay_where_the_text_is_unchanged(graded, worker, road_folder, monkeypatch):
    course, (_, address) = graded["course"], worker
    set_own_folders(monkeypatch, course.parent, road_folder)
    again = ["grade", "perfect", "--item", "answer-3", "--seconds", "60", "--scheduler", address, "--course", course]
    assert workflow.make_feedback(course) == []  # nothing has changed
    give_marks(course, "perfect")
    command("points", "--course", course)
    assert points_of(course)["perfect"] == {**POINTS, ASSIGNMENT: 100}
    assert workflow.make_feedback(course)[0].parts[-3] == "perfect"
    assert workflow.students_to_grade(course, []) == []
    assert len(workflow.students_to_grade(course, [], everybody=True)) == 3
    path, outcome = course / "submitted/perfect" / ASSIGNMENT / f"{QUESTIONS}.ipynb", course / "outcomes/perfect.json"
    notebook, before = workbook.read_notebook(path), json.loads(outcome.read_text("utf-8"))
    set_source(notebook, "answer-1", "Another answer.")
    set_source(notebook, "answer-3", "steps_per_epoch = 70")
    workbook.write_notebook(path, notebook)
    before["items"]["val_step"]["points"] = 5  # what was found before is recorded again
    outcome.write_text(json.dumps(before))
    assert command(*again) == 0
    command("points", "--course", course)
    changed = {"answer-1": None, "answer-3": 0, "val_step": 5, ASSIGNMENT: None}
    assert points_of(course)["perfect"] == {**POINTS, **changed}
    assert command(*again) == 0
    command("points", "--course", course)  # the mark is of the text before
    assert points_of(course)["perfect"] == {**POINTS, **changed}
    assert len(list((course / "backups").glob("*.db"))) == 3


@pytest.mark.slow
def test_what_late_days_cost_follows_the_due_date_and_an_open_formgrader_goes_on(graded, tmp_path):
    course = Path(shutil.copytree(graded["course"], tmp_path / "course"))
    with open(course / "nbgrader_config.py", "a") as settings:
        settings.write("\nc.LateDays.percent = 10\n")
    stamp = course / "submitted/perfect" / ASSIGNMENT / "timestamp.txt"
    late = lambda: next(csv.DictReader(io.StringIO(workflow.write_points(course).read_text())))["late"]  # noqa: E731
    with changed(course / "gradebook.db") as formgrader:
        formgrader.execute("update submitted_assignment set timestamp = '2026-11-20 12:00:00'")
        formgrader.execute("select * from assignment").fetchall()
        formgrader.commit()
        stamp.write_text("2026-11-20 12:00:00 UTC")
        (course / "submitted/8103" / ASSIGNMENT / "timestamp.txt").write_text("2026-11-20 12:00:00 UTC")
        costs = []
        for due in ("2026-11-19 12:00 UTC", "2026-12-01 12:00 UTC", "2026-11-18 12:00 UTC"):
            workflow.set_due_date(course, due)
            costs.append(float(late()))
        assert costs[1] == 0 < costs[0] < costs[2]
        stamp.unlink()
        (course / "submitted/8103" / ASSIGNMENT / "timestamp.txt").unlink()
        assert float(late()) == 0
        formgrader.execute("update comment set manual_comment = 'Mine.'")
    with changed(course / "gradebook.db") as gradebook:
        assert gradebook.execute("select distinct manual_comment from comment").fetchall() == [("Mine.",)]


@pytest.mark.slow
def test_marks_of_another_submission_do_not_count_for_this_one(graded, tmp_path):
    course = Path(shutil.copytree(graded["course"], tmp_path / "course"))
    outcome, older = course / "outcomes/perfect.json", course / "older.db"

    def grade_as_before() -> None:
        found = json.loads(outcome.read_text("utf-8"))
        with workers.connect() as client:
            list(workflow.grade_submissions(["perfect"], course, client, seconds=1, judge=lambda *_: found))

    give_marks(course, "perfect")
    marks = workflow.read_points(course)["perfect"]
    grade_as_before()
    shutil.rmtree(course / "autograded/perfect")  # as nbgrader's own button does
    grade_as_before()
    assert workflow.read_points(course)["perfect"] == marks and None not in marks.values()
    workflow.copy_gradebook(course / "gradebook.db", older)
    path = course / "submitted/perfect" / ASSIGNMENT / f"{QUESTIONS}.ipynb"
    notebook = workbook.read_notebook(path)
    set_source(notebook, "answer-1", "An answer after that.")
    workbook.write_notebook(path, notebook)
    path.with_name("digest.txt").write_text("of that")
    grade_as_before()
    assert workflow.students_to_grade(course, []) == []
    workflow.copy_gradebook(older, course / "gradebook.db")
    assert workflow.students_to_grade(course, []) == ["perfect"]
    assert all(page.parts[-3] != "perfect" for page in workflow.make_feedback(course))
    grade_as_before()
    points = {item.id: points for item, points in workflow.read_points(course)["perfect"].items()}
    assert points == {item.id: value for item, value in marks.items()} | {"answer-1": None}
    assert workflow.students_to_grade(course, []) == []


@pytest.mark.slow
def test_feedback_leaves_out_marks_of_replaced_answers_and_goes_back_through_the_exchange(graded, tmp_path):
    course = Path(shutil.copytree(graded["course"], tmp_path / "course"))
    give_marks(course, "perfect")
    with workflow.open_gradebook(course) as gradebook:
        grade = gradebook.find_grade("answer-1", QUESTIONS, ASSIGNMENT, "perfect")
        grade.needs_manual_grade = True
        gradebook.db.commit()
    for name, text in ((workflow.SECRET, "secret"), ("timestamp.txt", "2026-11-20 12:00:00 UTC")):
        (course / "autograded/perfect" / ASSIGNMENT / name).write_text(text)
    workflow.make_feedback(course)
    page = (course / "feedback/perfect" / ASSIGNMENT / f"{ASSIGNMENT}.html").read_text("utf-8")
    given = sum(points for points in workflow.read_points(course)["perfect"].values() if points)
    assert f"Score: {given:.1f} / {100 - POINTS['answer-1']:.1f}" in " ".join(page.split())
    options = ["--course", "roads", f"--Exchange.root={tmp_path / 'exchange'}"]
    (tmp_path / "exchange").mkdir(mode=0o777)
    (tmp_path / "exchange").chmod(0o777)
    released = [sys.executable, "-m", "nbgrader", "release_feedback", ASSIGNMENT, "--student", "perfect", *options]
    subprocess.run(released, cwd=course, check=True, capture_output=True)
    name = nbgrader_utils.notebook_hash(secret="secret", notebook_id=GRADED[0])
    assert (tmp_path / "exchange/roads/feedback" / f"{name}.html").read_text("utf-8") == page


@pytest.mark.slow
def test_a_due_date_is_in_the_zone_that_it_names(set_up, tmp_path):
    course = Path(shutil.copytree(set_up, tmp_path / "course"))
    zones = {"2027-03-01 23:59 CET": 1, "2027-07-01 23:59 Europe/Berlin": 2, "2027-03-01 23:59 -0800": -8}
    for due, hours in (zones | {"2027-03-01T23:59+01:00": 1, "2027-03-01 23:59 UTC": 0}).items():
        time = workflow.set_due_date(course, due)
        with workflow.open_gradebook(course) as gradebook:
            stored = gradebook.find_assignment(ASSIGNMENT).duedate
        assert stored.replace(tzinfo=UTC) == time and time.utcoffset().total_seconds() == 3600 * hours


@pytest.mark.parametrize("due", ["2027-03-01 23:59 PST", "2027-03-01 23:59 Europe", "01.03.2027 23:59", "March"])
def test_what_is_no_due_date_is_refused(course, due):
    with pytest.raises(OptionError, match=re.escape(due)):
        workflow.set_due_date(course, due)


def test_a_folder_that_nbgrader_cannot_take_is_refused(tmp_path):
    for name, odd in {"road [WS26]": r"\[ \]", "road%20course": "%20;"}.items():
        with pytest.raises(CourseError, match=odd):
            workflow.set_up_course(tmp_path / name)


@pytest.mark.slow
def test_setup_keeps_what_a_teacher_has_changed_and_says_what_differs(set_up, tmp_path, monkeypatch, capsys):
    course = Path(shutil.copytree(set_up, tmp_path / "course"))
    set_own_jupyter(monkeypatch, tmp_path)
    path = course / "source" / ASSIGNMENT / "02_unet.ipynb"
    notebook = workbook.read_notebook(path)
    set_source(notebook, "imports", "".join(cell_of(notebook, "imports")["source"]) + "# ours\n")
    workbook.write_notebook(path, notebook)
    kept = path.read_bytes()
    assert command("setup", course, "--due", "2020-01-01 12:00 CET") == 0
    assert path.read_bytes() == kept
    assert "imports" in next(line for line in capsys.readouterr().out.splitlines() if str(path) in line)
    with pytest.raises(OptionError, match="--due soon"):
        workflow.set_due_date(course, "soon")
