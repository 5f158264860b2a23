"""The assignment's table: points, rubrics, and agreement with the notebooks."""

import re

import pytest

from roadseg import workbook
from roadseg.errors import OptionError
from roadseg.workbook import questions


def role(cell):
    return cell["metadata"].get("nbgrader", {})


@pytest.fixture(scope="module")
def cells():
    """All cells of the worked notebooks with nbgrader's metadata, by grade id: (notebook, cell)."""
    found = {}
    for path in workbook.worked_folder().glob("0*.ipynb"):
        for cell in workbook.read_notebook(path)["cells"]:
            if role(cell):
                assert role(cell)["grade_id"] not in found, "two cells of one id"
                assert cell["id"] == role(cell)["grade_id"]
                found[cell["id"]] = path.stem, cell
    return found


def test_five_tasks_and_fourteen_questions_carry_100_points():
    labels = list(dict.fromkeys(item.label for item in workbook.ITEMS))
    assert labels == [f"Task {n}" for n in range(1, 6)] + [f"Question {n}" for n in range(1, 15)]
    assert sum(item.points for item in workbook.ITEMS) == 100 and all(item.points > 0 for item in workbook.ITEMS)


def test_each_item_is_of_a_known_kind_and_has_what_its_kind_needs():
    for item in workbook.ITEMS:
        assert item.kind in questions.KINDS and item.title and item.text
        assert bool(item.words) == (item.kind == "text") and bool(item.defines) == (item.kind != "text"), item.id


def test_the_notebooks_hold_exactly_these_cells_with_these_points(cells):
    expected = {}
    for item in workbook.ITEMS:
        expected[item.id] = (item.notebook, item.points if item.kind == "text" else None)
        if item.kind != "text":
            expected[f"check-{item.id}"] = (item.notebook, item.points)
    expected |= {item.id: (item.notebook, None) for item in questions.EXERCISES}  # no points, no locked check
    assert {name: (notebook, role(cell).get("points")) for name, (notebook, cell) in cells.items()} == expected


def test_what_can_be_graded_has_the_right_type(cells):
    for item in workbook.ITEMS:
        own = cells[item.id][1]
        assert own["cell_type"] == ("markdown" if item.kind == "text" else "code")
        assert role(own)["solution"] and role(own)["grade"] == (item.kind == "text")
        if item.kind != "text":
            check = role(cells[f"check-{item.id}"][1])
            assert check["grade"] and check["locked"] and not check["solution"]


def test_the_questions_are_worded_as_in_the_notebook():
    cells = workbook.read_notebook(workbook.worked_folder() / "03_written_questions.ipynb")["cells"]
    asked = re.findall(r"^\*([^*].*)\*$", "\n".join("".join(c["source"]) for c in cells), re.M)
    assert asked == [item.text for item in workbook.ITEMS if item.label.startswith("Question")]


def test_each_text_and_nothing_else_has_a_rubric():
    assert set(workbook.rubrics()) == {item.id for item in workbook.ITEMS if item.kind == "text"}
    for rubric in workbook.rubrics().values():
        assert len(rubric.ideas) >= 2 and len(rubric.mistakes) >= 1


def test_a_copy_without_rubrics_works(tmp_path):
    assert workbook.rubrics(tmp_path / "rubric.toml") == {}


def test_an_unknown_item_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"'answer-15'.*answer-14"):
        workbook.item("answer-15")
