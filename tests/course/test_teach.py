"""A course from setup to points, with five submissions; and the errors on the way."""

import csv
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
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

from roadseg.course import course as teach_course
from roadseg.course.course import ASSIGNMENT, CourseError
from roadseg.errors import OptionError
from roadseg.workbook import notebooks as workbook
from roadseg.workbook import questions

nbgraderformat = pytest.importorskip("nbgrader.nbgraderformat", reason="nbgrader is missing: pip install -e .[teach]")
nbgrader_utils = pytest.importorskip("nbgrader.utils")


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


@pytest.fixture
def own_jupyter(monkeypatch, tmp_path):
    set_own_jupyter(monkeypatch, tmp_path)


# --- the worked notebooks ---------------------------------------------------------------------------------------------


def test_points_are_those_of_the_questions_and_add_up_to_100():
    roles = [cell["metadata"].get("nbgrader", {}) for name in GRADED for cell in worked(name)["cells"]]
    graded = {role["grade_id"].removeprefix("check-"): role["points"] for role in roles if role.get("grade")}
    assert graded == POINTS
    assert sum(graded.values()) == 100


@pytest.mark.parametrize("name", GRADED)
def test_worked_and_blank_notebooks_pass_nbgraders_validation(name):
    """Of the metadata: `nbgrader validate` would run the trainings, which `make test` does already."""
    for notebook in (worked(name), workbook.blank(worked(name))):
        nbgraderformat.MetadataValidator().validate_nb(nbformat.from_dict(notebook))


@pytest.mark.parametrize("name", GRADED)
def test_an_untouched_answer_has_the_checksum_by_which_nbgrader_knows_it(name):
    roles = [cell for cell in nbformat.from_dict(workbook.blank(worked(name))).cells if "nbgrader" in cell.metadata]
    for cell in roles:
        cell.source = "".join(cell.source)
        assert cell.metadata.nbgrader.checksum == nbgrader_utils.compute_checksum(cell)
    assert len(roles) >= 3


def test_other_notebooks_carry_no_points():
    others = [path.stem for path in (PROJECT / "notebooks").glob("0*.ipynb") if path.stem not in GRADED]
    assert len(others) == 2
    assert not [cell for name in others for cell in worked(name)["cells"] if "nbgrader" in cell["metadata"]]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "in"], "is no course yet: python -m roadseg teach setup first, or name another folder."),
        (["grade"], "is no course yet"),
        (["feedback"], "is no course yet"),
        (["points"], "is no course yet"),
        (["open"], "is no course yet"),
    ],
)
def test_without_a_course_every_step_says_so(arguments, message, tmp_path):
    with pytest.raises(CourseError, match=re.escape(f"{tmp_path / 'nowhere'} ") + f".*{message}"):
        command(*arguments, "--course", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["collect", "nowhere"], CourseError, "there are no zips in nowhere: name the folder that holds what students"),
        (["grade"], CourseError, "nothing has been collected from anybody: python -m roadseg teach collect"),
        (["grade", "ada", "bob"], CourseError, "nothing has been collected from ada, bob"),
        (["grade", "--jobs", "0"], OptionError, "--jobs 0 --seconds 90: expected at least 1, and over 15."),
        (["grade", "--seconds", "10"], OptionError, "--jobs 1 --seconds 10"),
        (["feedback"], CourseError, "nothing has been graded: python -m roadseg teach grade first"),
    ],
)
def test_a_step_too_early_says_what_comes_first(arguments, error, message, course):
    with pytest.raises(error, match=re.escape(message)):
        command(*arguments, "--course", course)


def test_without_nbgrader_a_teacher_is_told_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(teach_course.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match=r'^nbgrader is not installed: python -m pip install -e "\.\[teach\]"'):
        command("setup", tmp_path / "course")
    assert not (tmp_path / "course").exists()


def test_a_course_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "course").write_text("in the way")
    with pytest.raises(CourseError, match=f"the course folder {re.escape(str(tmp_path / 'course'))} cannot be filled"):
        command("setup", tmp_path / "course")


@pytest.mark.slow
def test_what_nbgrader_refuses_is_told_with_its_log(course, own_jupyter):
    (course / "nbgrader_config.py").write_text("raise SystemExit(3)")
    with pytest.raises(CourseError, match=r"^nbgrader generate_assignment failed: see .*generate_assignment.txt$"):
        command("setup", course)
    assert (course / "nbgrader_config.py").read_text() == "raise SystemExit(3)"  # the teacher's own


def test_without_a_course_folder_it_is_in_the_project(tmp_path, course, capsys):
    hand_in(tmp_path / "in" / "ada.zip", blank())
    assert command("collect", tmp_path / "in") == 0
    assert submitted(tmp_path / "course", "ada")


# --- a whole course ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(tmp_path_factory, road_folder) -> dict:
    """A course from setup to points, with five submissions: its folder, all that was printed, and the points."""
    folder = tmp_path_factory.mktemp("course")
    for student, notebooks in submissions().items():
        hand_in(folder / "in" / f"{student}.zip", notebooks)
    course, printed = folder / "course", io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        set_own_jupyter(patch, folder)
        set_own_folders(patch, folder, road_folder)
        patch.setattr(sys, "stdout", printed)
        assert command("setup", course) == 0
        with open(course / "nbgrader_config.py", "a") as settings:
            settings.write("c.ExecuteNeeded.timeout = 90  # other tests may run beside this one\n")
        assert command("collect", folder / "in", "--course", course) == 0
        assert command("grade", "--jobs", "2", "--seconds", "600", "--course", course) == 0
        assert command("feedback", "--course", course) == 0
        assert command("points", "--course", course) == 0
    return {"course": course, "printed": printed.getvalue(), "points": points_of(course)}


def set_own_folders(monkeypatch, folder: Path, road_folder: Path) -> None:
    """A few drawn pictures, which are quickly loaded, and no runs."""
    for name, value in (("HOME", folder), ("DATA", road_folder), ("CACHE", folder / "cache"), ("RUNS", folder / "own")):
        monkeypatch.setenv(f"ROADSEG_{name}", str(value))


def submissions() -> dict[str, dict[str, dict]]:
    """Five students, by what is the matter with them; the third has a number for a name, as many have."""
    found = {name: perfect() for name in ("perfect", "blank", "8103", "deleted", "endless")}
    found["blank"] = blank()
    for name, source in (
        ("answer-3", "steps_per_epoch = 70"),
        ("answer-4", "steps_in_all = 810"),
        ("answer-8", "trainable_parameters = 529_457"),
    ):
        set_source(found["8103"]["03_written_questions"], name, source)
    delete(found["deleted"]["01_simple_model"], "val_step")
    delete(found["deleted"]["02_unet"], "check-build_unet")
    delete(found["deleted"]["03_written_questions"], "answer-7", "answer-4")
    head = "".join(cell_of(blank()["01_simple_model"], "train_step")["source"][:1])
    set_source(found["endless"]["01_simple_model"], "train_step", f"{head}    while True:\n        pass")
    return found


def points_of(course: Path) -> dict[str, dict[str, float | None]]:
    """The table of points: by student and item, None where nobody has graded."""
    found: dict[str, dict[str, float | None]] = {}
    for row in csv.DictReader((course / "points.csv").read_text("utf-8").splitlines()):
        found.setdefault(row["student"], {})[row["id"] or "total"] = float(row["points"]) if row["points"] else None
    return found


def by_machine(**other: float) -> dict[str, float | None]:
    """Full points for all but texts, which wait for people, apart from those named."""
    expected = {name: None if name in TEXTS else float(points) for name, points in POINTS.items()}
    expected |= other
    return {**expected, "total": sum(points or 0 for points in expected.values())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "other"),
    [
        ("perfect", {}),
        ("blank", dict.fromkeys(POINTS, 0.0)),
        ("8103", {"answer-3": 0.0, "answer-4": 0.0, "answer-8": 0.0}),
        ("deleted", {"val_step": 0.0, "answer-7": 0.0, "answer-4": 0.0}),
        ("endless", {"train_step": 0.0}),
    ],
)
def test_points_come_out_as_expected_for_each_item(graded, student, other):
    assert graded["points"][student] == by_machine(**other)


@pytest.mark.slow
def test_what_a_teacher_is_told(graded):
    lines = graded["printed"].splitlines()
    print("\n".join(line for line in lines if line.endswith(" s)")))  # how long each took: pytest -rP shows it
    assert "perfect: new" in lines
    assert [line for line in lines if line.startswith("perfect: 47 of 47 points, 13 answers to grade by hand (")]
    deleted = [line.strip() for line in lines if line.endswith("deleted")]
    assert deleted == [
        "01_simple_model: val_step was deleted",
        "02_unet: check-build_unet was deleted",
        "03_written_questions: answer-4 was deleted",
        "03_written_questions: answer-7 was deleted",
    ]
    assert "Still to grade by hand (python -m roadseg teach open): 8103, deleted, endless, perfect." in lines


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADED)
def test_the_release_and_the_blank_copies_agree(graded, name):
    """All but the figures to aim at, which a blank copy keeps, and what it remembers of itself."""
    release = workbook.read_notebook(graded["course"] / "release" / ASSIGNMENT / f"{name}.ipynb")
    made = workbook.blank(worked(name))
    assert len(release["cells"]) == len(made["cells"])
    for theirs, ours in zip(release["cells"], made["cells"]):
        assert theirs["metadata"] == ours["metadata"]
        assert "".join(theirs["source"]) == "".join(ours["source"]).split(f"\n\n{workbook.AIM}")[0]
        assert not theirs.get("outputs") and not ours.get("outputs")


@pytest.mark.slow
def test_graders_and_students_see_the_rubric_above_each_text(graded):
    course = graded["course"]
    for name in GRADED:
        page = (course / "feedback" / "perfect" / ASSIGNMENT / f"{name}.html").read_text("utf-8")
        book = nbformat.read(course / "autograded" / "perfect" / ASSIGNMENT / f"{name}.ipynb", as_version=4)
        for above, cell in zip(book.cells, book.cells[1:]):
            if (role := cell.metadata.get("nbgrader", {}).get("grade_id")) in TEXTS:
                assert all(idea in above.source for idea in questions.rubrics()[role].ideas)
                assert f"{questions.item(role).label}, {POINTS[role]} points: what a full answer says" in page
    assert len(list(course.glob(f"feedback/*/{ASSIGNMENT}/*.html"))) == 5 * len(GRADED)


@pytest.mark.slow
def test_grading_again_takes_what_has_changed_and_keeps_what_people_gave(graded, road_folder, monkeypatch, capsys):
    from nbgrader.api import Gradebook

    course = graded["course"]
    set_own_jupyter(monkeypatch, course.parent)
    set_own_folders(monkeypatch, course.parent, road_folder)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        for notebook in gradebook.find_submission(ASSIGNMENT, "perfect").notebooks:
            for grade in notebook.grades:
                if grade.needs_manual_grade:
                    grade.manual_score, grade.needs_manual_grade = grade.max_score, False
        gradebook.db.commit()
    command("points", "--course", course)
    assert points_of(course)["perfect"] == {**POINTS, "total": 100}
    assert command("grade", "--course", course) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "All submissions are graded as they were handed in."
    (remark,) = teach_course.grade("blank", course, seconds=0.5)  # stopped, then graded without running anything
    assert remark.startswith("nbgrader was stopped after 0.5 seconds: see ")
    command("points", "--course", course)
    assert points_of(course)["perfect"]["total"] == 100
    assert points_of(course)["blank"] == {name: 0 if name in TEXTS else None for name in POINTS} | {"total": 0}
