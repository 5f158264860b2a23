"""What this course adds to nbgrader: which cells run, which come back, and what graders see."""

import copy
import json
import textwrap
import time
from pathlib import Path

import nbformat
import pytest
from handed_in import GRADED, blank, cell_of, delete, make_course, perfect, set_own_jupyter

from roadseg.course.course import ASSIGNMENT
from roadseg.course.needs import names, needed
from roadseg.workbook import questions

nbgraderformat = pytest.importorskip("nbgrader.nbgraderformat", reason="nbgrader is missing: pip install -e .[teach]")
nbgrader_utils = pytest.importorskip("nbgrader.utils")

# nbclient 0.11 asks for the time in a way that Python 3.12 warns about
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


@pytest.mark.parametrize(
    ("source", "used", "made"),
    [
        ("a = b", {"b"}, {"a"}),
        ("a = 1\nc = a + b", {"b"}, {"a", "c"}),
        ("def f(x):\n    y = helper(x)\n    return [y * k for i in x]", {"helper", "k"}, {"f"}),
        ("def f():\n    global count\n    count = 1", set(), {"count", "f"}),
        ("class Net(keras.Model):\n    size = n", {"keras", "n"}, {"Net"}),
        ("import numpy as np\nfrom roadseg import data", set(), {"np", "data"}),
        ("from helpers import *", set(), {"*"}),
        ("rows['a'] = value", {"rows", "value"}, {"rows"}),
        ("layers.extra[0] = layer", {"layers", "layer"}, {"layers"}),
        ("show(figure)", {"show", "figure"}, set()),
        ("%matplotlib inline\nx = 1", {"get_ipython"}, {"x"}),
        ("%%time\nx = f()", {"f"}, {"x"}),
        ("if (n := len(x)):\n    pass", {"len", "x"}, {"n"}),
        ("this is no Python", set(), set()),
        ("", set(), set()),
    ],
)
def test_names_that_code_uses_and_makes(source, used, made):
    assert names(source)[:2] == (used, made)


def test_only_what_the_answers_build_on_is_needed():
    cells = [
        "import numpy as np",  # 0
        "run = train('unet')",  # 1: for minutes, and for nothing that is graded
        "def helper(x):\n    return scale * np.abs(x)",  # 2
        "scale = 1",  # 3
        "scale += 1",  # 4: changes what the helper uses
        "def answer(x):\n    return helper(x)",  # 5: the answer
        "figure = plot(run)",  # 6
        "assert answer(-1) == 2",  # 7: its test
        "scale = 7",  # 8: too late to matter
    ]
    assert needed(cells, {5, 7}) == {0, 2, 3, 4, 5, 7}
    assert needed(cells, set()) == set()
    assert needed(["found = []", "found.append(1)", "len(found)"], {2}) == {0, 1, 2}
    assert needed(["import plots", "plots.show(figure)", "plots.style"], {2}) == {
        0,
        2,
    }  # a module's call changes nothing
    assert needed([*cells[:6], "from tricks import *", *cells[7:]], {5, 7}) == {0, 2, 3, 4, 5, 6, 7}


@pytest.mark.parametrize("name", GRADED)
def test_of_a_perfect_notebook_the_imports_are_all_that_the_answers_need(name):
    cells = perfect()[name]["cells"]
    code = ["".join(cell["source"]) if cell["cell_type"] == "code" else "" for cell in cells]
    roles = {i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and "nbgrader" in cell["metadata"]}
    assert [cells[i]["id"] for i in needed(code, roles) - roles] == ["imports"]


def notebook_of(notebook: dict) -> nbformat.NotebookNode:
    return nbformat.reads(json.dumps(notebook), as_version=4)


@pytest.fixture
def restore(course):
    """Restores the cells of notebook 03 as it was handed in."""
    from roadseg.course.grading import RestoreCells

    preprocessor = RestoreCells(handed_out=str(course / "release" / ASSIGNMENT))
    place = {"nbgrader": {"notebook": "03_written_questions"}}

    def restored(notebook: dict) -> nbformat.NotebookNode:
        found, _ = preprocessor.preprocess(notebook_of(notebook), place)
        nbgraderformat.MetadataValidator().validate_nb(found)
        nbformat.validate(found)
        return found

    return restored


def roles(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata]


def test_an_intact_notebook_is_restored_to_itself(restore):
    original = perfect()["03_written_questions"]
    found = restore(original)
    assert [cell.source for cell in found.cells] == ["".join(cell["source"]) for cell in original["cells"]]
    assert roles(found) == roles(notebook_of(original))
    assert found.metadata.roadseg_grading == []


def test_cells_that_are_gone_and_needed_come_back_blank_in_their_places(restore):
    original = perfect()["03_written_questions"]
    notebook = copy.deepcopy(original)
    gone = ["imports", "answer-1", "check-answer-3", "answer-4", "answer-14"]
    delete(notebook, *gone, "q3-check")  # evidence is not needed
    found = restore(notebook)
    assert roles(found) == [name for name in roles(notebook_of(original)) if name != "answer-4"]  # carries no points
    assert [cell.id for cell in found.cells] == [
        cell["id"] for cell in original["cells"] if cell["id"] not in ("answer-4", "q3-check")
    ]
    put_back = next(cell for cell in found.cells if cell.id == "answer-1")
    assert (
        nbgrader_utils.compute_checksum(put_back) == put_back.metadata.nbgrader.checksum
    )  # so nbgrader gives no points for it
    assert found.metadata.roadseg_grading == [f"{name} was deleted" for name in gone]


def test_a_notebook_without_any_of_its_cells_gets_the_graded_ones_and_their_imports(restore):
    notebook = perfect()["03_written_questions"]
    graded = [cell["id"] for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade")]
    notebook["cells"] = []
    assert [cell.id for cell in restore(notebook).cells] == ["imports", *graded]


def test_of_doubled_answers_the_one_that_was_worked_on_counts(restore):
    notebook = blank()["03_written_questions"]
    own = copy.deepcopy(cell_of(notebook, "answer-7"))
    own.update(id="pasted", source=["Scatter and add."])
    notebook["cells"].insert(0, own)
    notebook["cells"].append({**copy.deepcopy(own), "id": "again", "source": ["Another."]})
    found = restore(notebook)
    (chosen,) = (cell for cell in found.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "answer-7")
    assert chosen.source == "Scatter and add."
    assert [cell.source for cell in found.cells if cell.id == "again"] == ["Another."]


def test_roles_that_were_lost_or_changed_are_given_again(restore):
    original = perfect()["03_written_questions"]
    notebook = copy.deepcopy(original)
    del cell_of(notebook, "answer-1")["metadata"]["nbgrader"]
    cell_of(notebook, "check-answer-3")["metadata"]["nbgrader"].update(points=50, grade=False)
    cell_of(notebook, "imports")["metadata"]["nbgrader"] = {"grade_id": "answer-99", "grade": True}
    cell_of(notebook, "q3-check")["metadata"].update(nbgrader="nonsense", roadseg_by_hand="Please.")
    found = restore(notebook)
    assert [cell.metadata for cell in found.cells] == [cell["metadata"] for cell in original["cells"]]


def test_a_notebook_of_an_older_format_keeps_its_answers(restore):
    """Colab saves format 4.0, where cells have no ids."""
    notebook = perfect()["03_written_questions"]
    for cell in notebook["cells"]:
        cell["metadata"]["id"] = cell.pop("id")
    notebook["nbformat_minor"] = 0
    found = restore(notebook)
    assert found.nbformat_minor == 5
    assert found.metadata.roadseg_grading == []
    answer = next(cell for cell in found.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "answer-1")
    assert answer.source.startswith("**Answer.** Because the classes")


@pytest.fixture
def own_jupyter(monkeypatch, tmp_path):
    set_own_jupyter(monkeypatch, tmp_path)


def code(source: str, name: str = "", **role) -> nbformat.NotebookNode:
    """A code cell that has run, an answer or a test if it has a name."""
    cell = nbformat.v4.new_code_cell(source, outputs=[nbformat.v4.new_output("stream", text="as the student saw it")])
    if name:
        cell.metadata.nbgrader = {"grade_id": name, "grade": name.startswith("check"), "solution": False, **role}
    return cell


def run_needed(*cells: nbformat.NotebookNode, **options) -> nbformat.NotebookNode:
    """Run what is needed of a notebook of these cells."""
    from roadseg.course.grading import ExecuteNeeded

    notebook = nbformat.v4.new_notebook(cells=list(cells), metadata={"roadseg_grading": []})
    ExecuteNeeded(kernel_name="python3", **options).preprocess(notebook, {"metadata": {"path": "."}})
    return notebook


def failed(cell: nbformat.NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def as_it_was(cell: nbformat.NotebookNode) -> bool:
    return [output.get("text") for output in cell.outputs] == ["as the student saw it"]


@pytest.mark.slow
def test_what_is_not_needed_does_not_run_and_keeps_its_output(own_jupyter):
    found = run_needed(
        code("import time\ntime.sleep(600)"),
        code("two = 2"),
        code("answer = 2 * two", "answer"),
        code("assert answer == 4", "check-right"),
        code("assert answer == 5", "check-wrong"),
    )
    sleeping, helper, answer, right, wrong = found.cells
    assert as_it_was(sleeping) and not helper.outputs and not answer.outputs
    assert not failed(right) and failed(wrong)
    assert not [cell for cell in found.cells if "roadseg_by_hand" in cell.metadata]
    assert found.metadata.roadseg_grading == []


@pytest.mark.slow
def test_an_endless_answer_costs_its_own_points_only(own_jupyter):
    endless = "def answer():\n    while True:\n        pass"
    found = run_needed(code(endless, "answer"), code("answer()", "check-1"), code("pass", "check-2"), timeout=2)
    assert failed(found.cells[1]) and not failed(found.cells[2])
    assert not [cell for cell in found.cells if "roadseg_by_hand" in cell.metadata]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("os._exit(1)", "check-1 ended the kernel"),
        (
            "while True:\n    try:\n        sum(range(10**12))\n    except:\n        pass",
            "check-1 went on after its time",
        ),
    ],
)
def test_behind_a_cell_that_kills_its_kernel_people_grade(own_jupyter, answer, why):
    function = "import os\ndef answer():\n" + textwrap.indent(answer, "    ")
    found = run_needed(code(function, "answer"), code("answer()", "check-1"), code("pass", "check-2"), timeout=2)
    assert found.metadata.roadseg_grading == [why]
    assert failed(found.cells[1]) and "roadseg_by_hand" not in found.cells[1].metadata
    assert failed(found.cells[2]) and found.cells[2].metadata.roadseg_by_hand == why


@pytest.mark.slow
def test_an_answer_that_builds_on_what_cannot_run_here_is_for_people(own_jupyter):
    found = run_needed(
        code("run = open('a run that the grader does not have')"),
        code("answer = run.count", "answer"),
        code("assert answer == 2", "check-1"),
        code("own = undefined", "answer-2"),
        code("assert own == 2", "check-2"),
    )
    assert found.cells[2].metadata.roadseg_by_hand == "what it builds on could not be run (cell 1)"
    assert failed(found.cells[4]) and "roadseg_by_hand" not in found.cells[4].metadata


@pytest.mark.slow
def test_after_the_time_of_a_submission_nothing_runs(own_jupyter):
    found = run_needed(code("x = 1"), code("assert x == 1", "check-1"), until=time.time() - 1)
    assert found.cells[1].metadata.roadseg_by_hand == "there was no time left"


def test_a_rubric_says_points_ideas_mistakes_and_the_reference_answer():
    from roadseg.course.grading import rubric_text

    item, rubric = questions.item("answer-7"), questions.rubrics()["answer-7"]
    text = rubric_text(item, "**Answer.** Scatter and add.")
    assert text.startswith('<div class="alert') and text.endswith("</div>")
    assert f"**Question 7, {item.points} points" in text and "\n\nScatter and add.\n\n" in text
    assert all(f"- {line}" in text for line in (*rubric.ideas, *rubric.mistakes))
