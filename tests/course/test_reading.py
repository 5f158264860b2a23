"""Reading answers: what is alike, marks and comments in nbgrader's gradebook, several readers, and the panel."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from handed_in import (
    PROJECT,
    TEXTS,
    answered_course,
    command,
    make_course,
    perfect,
    record,
    set_own_jupyter,
    set_source,
)

from roadseg import workbook
from roadseg.course import workflow
from roadseg.course.workflow import ASSIGNMENT, CourseError
from roadseg.errors import OptionError
from roadseg.workbook import questions

api = pytest.importorskip("nbgrader.api")
reading = pytest.importorskip("roadseg.course.reading")
review_panel = pytest.importorskip("roadseg.course.review_panel")

# nbgrader adds submissions in a way that SQLAlchemy warns about
pytestmark = pytest.mark.filterwarnings("ignore:Object of type:sqlalchemy.exc.SAWarning")

SEVEN = questions.item("answer-7")
COPIES = "Each input value is multiplied by the kernel, the copies are placed a stride apart and overlaps are added."
TEXTS_OF_SEVEN = {
    "ada": COPIES,
    "bob": f"  {COPIES.upper()}\n",
    "cyd": COPIES.replace("overlaps are added", "all overlaps are summed up"),
    "dan": "It is a deconvolution, the inverse of a convolution: it gives back what a convolution took.",
    "eve": "Another name for upsampling <img src=x onerror='alert(1)'><script>f()</script>[x](javascript:alert(3))",
    "fay": " \n",
    "gil": workbook.TEXT_STUB,
}


@pytest.fixture(scope="module")
def unread(tmp_path_factory) -> Path:
    answers = {name: {"answer-7": text} for name, text in TEXTS_OF_SEVEN.items()}
    return answered_course(tmp_path_factory.mktemp("unread") / "course", answers)


@pytest.fixture
def course(unread, tmp_path) -> Path:
    """Seven answers to question 7, which wait for their marks."""
    return shutil.copytree(unread, tmp_path / "course")


def marks_of(course: Path, item: questions.Item = SEVEN) -> dict[str, tuple]:
    """Points, whether an answer waits, and the comment, by student, as nbgrader reads them."""
    found = {}
    with api.Gradebook(f"sqlite:///{course / 'gradebook.db'}", course.name) as gradebook:
        for student in gradebook.students:
            place = (item.id, item.notebook, ASSIGNMENT, student.id)
            grade, comment = gradebook.find_grade(*place), gradebook.find_comment(*place)
            found[student.id] = (grade.score, grade.needs_manual_grade, comment.comment)
    return found


def students_in(groups: list) -> list[set[str]]:
    return [set(reading.students_of(group)) for group in groups]


def place_of(student: str, own) -> int:
    """The place of the group with that student's answer."""
    return next(place for place, students in enumerate(students_in(own.groups)) if student in students)


# --- what is alike ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_alike_are_the_blank_the_same_and_those_of_nearly_the_same_words(course):
    found = reading.Reading(course, SEVEN)
    assert students_in(found.groups)[:2] == [{"fay", "gil"}, {"ada", "bob", "cyd"}]
    assert len(found.groups) == 4
    assert ("ada", "bob") in found.groups[1] and ("cyd",) in found.groups[1]


def test_every_answer_is_in_one_group_of_few_texts_whatever_it_says():
    answers = {f"s{i}": reading.Answer(f"?! {i % 30}" if i % 3 else "問" * (i % 40), {}) for i in range(200)}
    groups = reading.grouped(answers)
    assert sorted(student for group in groups for student in reading.students_of(group)) == sorted(answers)
    assert all(len(group) <= reading.MOST for group in groups)
    assert reading.grouped({}) == [] and reading.grouped({"ada": reading.Answer("a", {})}) == [[("ada",)]]
    image = {"plot.png": {"image/png": "aGVsbG8="}}
    pasted = {"ada": reading.Answer("See.", image), "bob": reading.Answer("See.", {}), "cyd": reading.Answer("", image)}
    assert all(len(students) == 1 for group in reading.grouped(pasted) for students in group)


# --- marks ------------------------------------------------------------------------------------------------------------


def test_a_mark_reaches_each_of_its_group_but_those_taken_out_and_undo_restores(course):
    before = marks_of(course)
    own = reading.Reading(course, SEVEN)
    assert own.go_to(1) and own.left == 7
    assert own.give(2, only={1 + own.group.index(("ada", "bob"))}, comment="And then?", ideas=[1]) == []
    given = {"ada": (2, False, "And then?"), "bob": (2, False, "And then?")}
    assert marks_of(course) == {**before, **given} and own.left == 5
    assert own.comments == ["And then?"]
    assert workflow.read_points(course)["ada"][SEVEN] == 2
    assert reading.ideas_given(course) == {("answer-7", name): (2, [1]) for name in given}
    assert own.give(4) == [] and marks_of(course) == {**before, **given, "cyd": (4, False, None)}
    assert own.undo() == own.undo() == [] and marks_of(course) == before
    assert own.undo() is None and marks_of(course) == before


def test_what_another_person_marks_meanwhile_stays_until_it_was_seen(course):
    one, two = (reading.Reading(course, SEVEN) for _ in range(2))
    for own in (one, two):
        own.place = 1
    assert two.give(5, only={1 + two.group.index(("cyd",))}, comment="Well said.") == []
    assert one.give(1, overwrite=True) == ["cyd"]  # a mark that has not been seen
    with pytest.raises(OptionError):
        one.give(2)
    assert marks_of(course)["cyd"] == (5, False, "Well said.") and marks_of(course)["ada"][0] == 1
    assert one.give(2, overwrite=True) == [] and marks_of(course)["cyd"] == (2, False, "Well said.")
    two.refresh()
    assert two.undo() == ["cyd"] and marks_of(course)["cyd"][0] == 2


def test_an_answer_that_has_changed_since_it_was_shown_gets_no_mark(course):
    own = reading.Reading(course, SEVEN)
    own.place = place_of("dan", own)
    path = course / "autograded" / "dan" / ASSIGNMENT / "03_written_questions.ipynb"
    notebook = workbook.read_notebook(path)
    set_source(notebook, "answer-7", "A new hand-in.")
    workbook.write_notebook(path, notebook)
    assert own.give(0) == ["dan"] and marks_of(course)["dan"][1]
    assert own.answers["dan"].source == "A new hand-in."


READER = """
import json, sys
from pathlib import Path
from roadseg.course.reading import Reading, students_of
from roadseg.workbook import questions
own, given = Reading(Path(sys.argv[1]), questions.item("answer-7")), []
print("ready", flush=True)
while own.go_on():
    students, kept = students_of(own.group), own.give(2)
    given += [student for student in students if student not in kept]
print(json.dumps(given))
"""


@pytest.mark.slow
def test_two_people_and_a_formgrader_at_once_lose_nothing(tmp_path):
    texts = {f"s{i:02}": f"{COPIES} {'abcdefgh'[i % 8] * 40 * (1 + i // 8)}" for i in range(16)}
    answers = {name: {"answer-7": text, "answer-1": "Background."} for name, text in texts.items()}
    course, first = answered_course(tmp_path / "course", answers), questions.item("answer-1")
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": PROJECT}
    reader, own = subprocess.Popen([sys.executable, "-c", READER, course], **options), reading.Reading(course, SEVEN)
    assert reader.stdout.readline() == "ready\n"
    given = []
    for student in answers:  # one at a time, and with a mark that knows no lock between them
        if own.go_on():
            students = reading.students_of(own.group)
            given += set(students) - set(own.give(1))
        with api.Gradebook(f"sqlite:///{course / 'gradebook.db'}", course.name) as gradebook:
            grade = gradebook.find_grade(first.id, first.notebook, ASSIGNMENT, student)
            grade.manual_score, grade.needs_manual_grade = 3, False
            gradebook.db.commit()
    others = json.loads(reader.communicate()[0])
    assert sorted(given + others) == sorted(answers) and given
    points = {**dict.fromkeys(given, 1), **dict.fromkeys(others, 2)}
    assert marks_of(course) == {student: (points[student], False, None) for student in answers}
    assert {points for points, *_ in marks_of(course, first).values()} == {3}
    assert len(reading.ideas_given(course)) == 16


def test_while_the_gradebook_is_written_to_no_mark_is_given_and_the_line_says_so(course, monkeypatch):
    monkeypatch.setattr(reading, "PATIENCE", 0.1)
    own, before = reading.Reading(course, SEVEN), marks_of(course)
    with workflow.gradebook_lock(course), pytest.raises(CourseError):
        own.give(1)
    assert marks_of(course) == before and own.give(1) == []


@pytest.mark.long
def test_marks_stay_when_a_submission_is_graded_again_while_its_text_is_unchanged(tmp_path, monkeypatch):
    set_own_jupyter(monkeypatch, tmp_path)
    course = tmp_path / "course"
    command("setup", course)
    books = perfect()
    set_source(books["03_written_questions"], "answer-7", COPIES)

    def grade() -> None:
        for name, book in books.items():
            workbook.write_notebook(course / "submitted" / "ada" / ASSIGNMENT / f"{name}.ipynb", book)
        machine = (item for item in questions.ITEMS if item.kind != "text")
        items = {item.id: {"points": item.points, "why": "", "aspects": []} for item in machine}
        found = {"items": items, "errors": {name: {} for name in books}, "remarks": {}}
        record(course, "ada", found)

    grade()
    assert {item.id for item, count in reading.open_answers(course).items() if count} == TEXTS
    own = reading.Reading(course, SEVEN)
    assert own.answers["ada"].source == COPIES and own.go_on() and own.give(2.5, comment="Go on.") == []
    grade()
    assert marks_of(course)["ada"] == (2.5, False, "Go on.")
    assert own.undo() == [] and own.give(4, comment="Go on.") == []  # what was read has not changed
    set_source(books["03_written_questions"], "answer-7", "Another text.")
    grade()
    assert marks_of(course)["ada"] == (4, True, "Go on.")
    assert workflow.read_points(course)["ada"][SEVEN] is None


# --- the panel --------------------------------------------------------------------------------------------------------


@pytest.fixture
def panel(course):
    return review_panel.Panel(course, 7)


def enter(panel, typed: str) -> None:
    """Type into the command line as a browser reports it, letter by letter, and Enter."""
    for letter in f"{typed}\n":
        panel.line.value += letter


def test_all_is_done_by_typing(panel, course):
    enter(panel, "0")  # the blank ones
    place = panel.reading.place
    enter(panel, f"14 x{1 + panel.reading.group.index(('cyd',))} c Not the inverse.")
    assert panel.reading.place == place and marks_of(course)["cyd"][1]
    enter(panel, "n")
    enter(panel, "p")
    enter(panel, f"1234 @ {1 + panel.reading.group.index(('cyd',))} c1")
    enter(panel, "=0.5")
    (last,) = reading.students_of(panel.reading.group)
    enter(panel, "3")
    enter(panel, "u")
    now, comment = marks_of(course), "Not the inverse."
    assert now["ada"] == now["bob"] == (3, False, comment) and now["cyd"] == (5, False, comment)
    assert now["fay"] == now["gil"] == (0, False, None) and now[last] == (0, True, None)
    assert {now["dan"], now["eve"]} == {(0.5, False, None), (0, True, None)}
    enter(panel, "13!")
    assert marks_of(course)[last] == (3, False, None) and panel.reading.left == 0
    for typed, points in (("=1", 3), ("=1!", 1)):
        enter(panel, typed)
        assert marks_of(course)[last][0] == points
    enter(panel, "q task-3")
    assert panel.reading.item.id == "task-3" and panel.reading.left == 7


def test_no_points_but_those_of_the_rubric_and_the_item(panel, course):
    before = marks_of(course)
    for typed in ("9", "=6", "=", "c3", "", "yes", "1 x 9", "1 @", "1 x", "q answer-3", "q 99", "-1"):
        enter(panel, typed)
        assert panel.message
    assert marks_of(course) == before
    for item in (item for item in questions.ITEMS if item.kind == "text"):
        rubric = questions.rubrics()[item.id]
        assert len(rubric.points) == len(rubric.ideas) < 10
        assert review_panel.points_for(item, list(range(1, 1 + len(rubric.ideas)))) == item.points
    assert review_panel.points_for(SEVEN, [1, 3]) == 3


def test_a_line_runs_once_whatever_is_typed_while_it_runs(panel, course):
    old = panel.line.value
    panel.line.value = f"{old}0\n"
    panel.line.value = f"{old}0\n1"  # typed before the browser knew of the new prompt
    panel.line.value = f"{old}0\n13\n"
    assert panel.reading.left == 5
    panel.line.value = "13\n"  # somebody deleted the prompt
    assert panel.reading.left == 5
    enter(panel, "13")
    assert panel.reading.left == 2


def test_nothing_that_a_student_wrote_runs_and_nobody_is_named(panel):
    panel.reading.place = place_of("eve", panel.reading)
    shown = review_panel.group_page(panel.reading)
    assert "upsampling" in shown
    assert not any(word in shown for word in ("<script", "onerror", "src=", "href", "eve"))
    enter(panel, "0 c <b onclick='alert(1)'>bold</b>")
    enter(panel, "p")
    for page in (panel.rubric, panel.texts, panel.status):
        assert "<b onclick" not in page.value


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_notebook_that_shows_the_panel(course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    for options, name in (([], "review.ipynb"), (["--question", "7"], "review-answer-7.ipynb")):
        assert command("review", "--no-open", *options, "--course", course) == 0
        assert name in capsys.readouterr().out
        (code,) = (cell for cell in workbook.read_notebook(course / name)["cells"] if cell["cell_type"] == "code")
        exec("".join(code["source"]), {})
        assert capsys.readouterr().out
    assert len(list((course / "backups").glob("*.db"))) == 2


@pytest.mark.parametrize("step", ["review", "stats"])
def test_there_has_to_be_something_to_read(step, tmp_path):
    course = make_course(tmp_path / "course")
    with pytest.raises(CourseError):
        command(step, "--course", course)
    with pytest.raises(OptionError):
        command("review", "--question", "3", "--course", course)


def test_answers_of_images_alone_are_read():
    images = {name: reading.Answer("", {"a.png": {"image/png": name}}) for name in ("ada", "bob")}
    assert sorted(map(reading.students_of, reading.grouped(images))) == [["ada"], ["bob"]]
