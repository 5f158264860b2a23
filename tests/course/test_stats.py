"""Statistics of a class: each number is counted here in another way; nothing that a student wrote runs."""

import copy
import re
from pathlib import Path

import pytest
from handed_in import GRADED, answered_course, blank, cell_of, command, set_source

from roadseg import workbook
from roadseg.checks.result import MIME
from roadseg.course import workflow
from roadseg.course.workflow import ASSIGNMENT
from roadseg.workbook import questions

api = pytest.importorskip("nbgrader.api")
bs4 = pytest.importorskip("bs4")
reading = pytest.importorskip("roadseg.course.reading")
stats = pytest.importorskip("roadseg.course.stats")

# nbgrader adds submissions in a way that SQLAlchemy warns about
pytestmark = pytest.mark.filterwarnings("ignore:Object of type:sqlalchemy.exc.SAWarning")

STEP = '''def train_step(model, image, mask, *, loss_fn, optimizer, running_loss, running_accuracy):
    """Learn from one batch."""
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(mask, probability)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return probability
'''
RENAMED = (
    STEP.replace("probability", "p")
    .replace("gradients = ", "g = ")
    .replace("zip(gradients", "zip(g")
    .replace("tape", "t")
    + "    # mine\n"
).replace('    """Learn from one batch."""\n', "")
OTHER = STEP.replace("training=True", "training=False")
CODE = {"ada": STEP, "bob": RENAMED, "cyd": OTHER, "dan": None, "eve": STEP.replace("return", "return\n return")}
CAUSES = {"ada": "gradients_not_applied", "bob": "gradients_not_applied", "cyd": "<script>alert(1)</script>"}
POINTS = {"ada": 12, "bob": 12, "cyd": 6, "dan": 0, "eve": 3}


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """Five students, of whom two have the same code; the texts of four to question 7 are marked by ideas."""
    answers = {name: {"answer-7": f"An answer of {name * 9}."} for name in CODE}
    made = answered_course(tmp_path_factory.mktemp("stats") / "a <b>course", answers)
    books = blank()
    for student, code in CODE.items():
        own = copy.deepcopy(books)
        if code:
            set_source(own["01_simple_model"], "train_step", code)
        cause = CAUSES.get(student)
        card = {MIME: {"name": "train_step", "passed": cause is None, "cause": cause}, "text/plain": ""}
        output = {"output_type": "display_data", "data": card, "metadata": {}}
        hostile = [{**output, "data": {MIME: value}} for value in (7, ["train_step"], {"name": None}, {"cause": {}})]
        cell_of(own["01_simple_model"], "check-train_step")["outputs"] = [*hostile, output]
        for name in GRADED:
            workbook.write_notebook(made / "submitted" / student / ASSIGNMENT / f"{name}.ipynb", own[name])
    with api.Gradebook(f"sqlite:///{made / 'gradebook.db'}", made.name) as gradebook:
        for student, points in POINTS.items():
            grade = gradebook.find_grade("check-train_step", "01_simple_model", ASSIGNMENT, student)
            grade.auto_score = points
        gradebook.db.commit()
    own = reading.Reading(made, questions.item("answer-7"))
    for students, points, ideas in ((["ada", "bob"], 3, [1, 3]), (["cyd"], 2, [1]), (["dan"], 4, None)):
        for student in students:
            own.place = next(i for i, group in enumerate(own.groups) if student in reading.students_of(group))
            number = 1 + next(i for i, same in enumerate(own.group) if student in same)
            assert own.give(points, only={number}, ideas=ideas) == []
    with api.Gradebook(f"sqlite:///{made / 'gradebook.db'}", made.name) as gradebook:  # in the formgrader, later
        gradebook.find_grade("answer-7", "03_written_questions", ASSIGNMENT, "cyd").manual_score = 5
        gradebook.db.commit()
    assert command("stats", "--course", made) == 0
    return made


@pytest.mark.slow
def test_points_of_an_item(course):
    found = {row.item.id: row for row in stats.points_by_item(workflow.read_points(course))}
    assert (found["train_step"].mean, found["train_step"].classes) == (33 / 60, (1, 1, 1, 2))
    assert found["answer-7"].mean == pytest.approx((3 + 3 + 5 + 4) / 20)
    assert (found["answer-7"].classes, found["answer-7"].waiting) == ((0, 0, 3, 1), 1)
    assert "answer-1" not in found


@pytest.mark.slow
def test_ideas_count_where_the_mark_is_still_the_one_that_was_given_for_them(course):
    found = stats.ideas_by_item(course, workflow.read_points(course))
    assert {(idea.item.id, idea.number, idea.count, idea.total) for idea in found} == {
        ("answer-7", number, count, 2) for number, count in ((1, 2), (2, 0), (3, 2), (4, 0))
    }
    assert [idea.number for idea in found][:2] == [2, 4]


def test_code_with_other_names_and_comments_is_the_same_and_any_other_is_not():
    assert RENAMED != STEP and stats.without_names(RENAMED) == stats.without_names(STEP) != ""
    for source in (OTHER, STEP.replace("(loss, ", "(probability, "), STEP.replace("loss_fn(mask, ", "loss_fn(image, ")):
        assert stats.without_names(source) != stats.without_names(STEP)
    for no_python in ("def", "(" * 500, "\0", "x = " + "-" * 20_000 + "1", "x = " + "-" * 1_500 + "1"):
        assert stats.without_names(no_python) == ""


@pytest.mark.slow
def test_the_page_says_all_this_and_runs_nothing(course):
    page = (course / "stats.html").read_text("utf-8")
    soup = bs4.BeautifulSoup(page, "html.parser")
    rows = {t["id"]: [[cell.get_text(strip=True) for cell in row("td")] for row in t("tr")][1:] for t in soup("table")}
    (train_step,) = (row for row in rows["points"] if "training step" in row[0])
    assert train_step[3:] == ["1", "1", "1", "2", "0"]
    assert [row[:2] for row in rows["causes"]] == [["2", "gradients_not_applied"], ["1", CAUSES["cyd"]]]
    assert [row[0] for row in rows["same"]] == ["ada, bob"]
    assert sorted(row[:2] for row in rows["ideas"]) == [["0", "2"]] * 2 + [["2", "2"]] * 2
    assert not soup(["script", "img", "iframe", "link"])
    assert not re.search(r"https?://|src=|@import|url\(", page)
