"""The assignment's table: points, rubrics, and agreement with the notebooks."""

import re

import pytest
from students import QUESTIONS, worked

from roadseg import workbook
from roadseg.errors import OptionError
from roadseg.workbook import questions

TEXTS = {item.id for item in workbook.ITEMS if item.kind == "text"}


def test_five_tasks_and_fourteen_questions_carry_100_points():
    labels = list(dict.fromkeys(item.label for item in workbook.ITEMS))
    assert labels == [f"Task {n}" for n in range(1, 6)] + [f"Question {n}" for n in range(1, 15)]
    assert sum(item.points for item in workbook.ITEMS) == 100 and all(item.points > 0 for item in workbook.ITEMS)
    for item in workbook.ITEMS:
        assert item.kind in ("code", "number", "choice", "text") and item.title and item.text
        assert bool(item.words) == (item.kind == "text") and bool(item.defines) == (item.kind != "text"), item.id


def test_the_notebooks_hold_exactly_these_cells_of_the_right_types_with_these_points():
    expected, found = {}, {}
    answer = {"solution": True, "grade": False, "locked": False, "points": None}
    for item in workbook.ITEMS:
        if item.kind == "text":
            expected[item.id] = (item.notebook, "markdown", answer | {"grade": True, "points": item.points})
        else:
            check = {"solution": False, "grade": True, "locked": True, "points": item.points}
            expected[item.id] = (item.notebook, "code", answer)
            expected[f"check-{item.id}"] = (item.notebook, "code", check)
    expected |= {item.id: (item.notebook, "code", answer) for item in questions.EXERCISES}  # no points, no locked check
    for path in workbook.worked_folder().glob("0*.ipynb"):
        for cell in worked(path.stem)["cells"]:
            if role := cell["metadata"].get("nbgrader"):
                assert role["grade_id"] == cell["id"] and cell["id"] not in found
                found[cell["id"]] = (path.stem, cell["cell_type"], {name: role.get(name) for name in answer})
    assert found == expected


def test_the_questions_are_worded_as_in_the_notebook():
    text = "\n".join("".join(cell["source"]) for cell in worked(QUESTIONS)["cells"])
    asked = re.findall(r"^\*([^*].*)\*$", text, re.M)
    assert asked == [item.text for item in workbook.ITEMS if item.label.startswith("Question")]


def test_each_text_and_nothing_else_has_a_rubric_and_a_copy_may_lack_them_all(tmp_path):
    assert set(workbook.rubrics()) == TEXTS
    assert all(len(rubric.ideas) >= 2 and rubric.mistakes for rubric in workbook.rubrics().values())
    assert workbook.rubrics(tmp_path / "rubric.toml") == {}


def test_an_unknown_item_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"'answer-15'.*answer-14"):
        workbook.item("answer-15")
