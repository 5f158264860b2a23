"""What this course adds to nbgrader: which cells are put back, and what graders see."""

import copy
import json

import nbformat
import pytest
from handed_in import blank, cell_of, delete, perfect

from roadseg.workbook import questions

nbgrader_utils = pytest.importorskip("nbgrader.utils")
nbgraderformat = pytest.importorskip("nbgrader.nbgraderformat")
grading = pytest.importorskip("roadseg.course.grading")
cells = pytest.importorskip("roadseg.course.cells")

# nbclient 0.11 asks for the time in a way that Python 3.12 warns about
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


# --- cells that are put back ------------------------------------------------------------------------------------------


@pytest.fixture
def restore():
    """Restores the cells of notebook 03 as it was handed in."""
    original = blank()["03_written_questions"]

    def restored(notebook: dict) -> nbformat.NotebookNode:
        books = (cells.nbgrader_notebook(json.dumps(book).encode(), "03") for book in (notebook, original))
        found, restored.remarks = cells.restore(*books)
        nbgraderformat.MetadataValidator().validate_nb(found)
        nbformat.validate(found)
        return found

    return restored


def test_missing_cells_are_put_back_blank_in_their_places(restore):
    original = perfect()["03_written_questions"]
    notebook = copy.deepcopy(original)
    gone = ["imports", "answer-1", "check-answer-3", "answer-4", "answer-14"]
    delete(notebook, *gone, "q4-optimizer")  # the last is not needed
    found = restore(notebook)
    expected = [cell["id"] for cell in original["cells"] if cell["id"] not in ("answer-4", "q4-optimizer")]
    assert [cell.id for cell in found.cells] == expected  # answer-4 carries no points, its test does
    untouched = cell_of(found, "answer-1")
    assert nbgrader_utils.compute_checksum(untouched) == untouched.metadata.nbgrader.checksum  # so it earns no points
    assert [remark.split()[0] for remark in restore.remarks] == gone


def test_an_empty_notebook_gets_the_graded_cells_and_their_imports(restore):
    notebook = perfect()["03_written_questions"]
    graded = [cell["id"] for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade")]
    assert [cell.id for cell in restore({**notebook, "cells": []}).cells] == ["imports", *graded]


def test_metadata_that_was_lost_or_changed_is_restored(restore):
    original = perfect()["03_written_questions"]
    notebook = copy.deepcopy(original)
    del cell_of(notebook, "answer-1")["metadata"]["nbgrader"]
    cell_of(notebook, "check-answer-3")["metadata"]["nbgrader"].update(points=50, grade=False)
    cell_of(notebook, "imports")["metadata"]["nbgrader"] = {"grade_id": "answer-99", "grade": True}
    cell_of(notebook, "q4-optimizer")["metadata"].update(nbgrader="nonsense", roadseg_by_hand="Please.")
    found = restore(notebook)
    assert [cell.metadata for cell in found.cells] == [cell["metadata"] for cell in original["cells"]]
    assert [cell.source for cell in found.cells] == ["".join(cell["source"]) for cell in original["cells"]]
    assert restore.remarks == []


# --- points and marks -------------------------------------------------------------------------------------------------


def test_nbgrader_reads_points_errors_are_shown_and_what_was_not_judged_is_the_teachers(tmp_path):
    answer, test = (nbformat.v4.new_code_cell(name) for name in ("answer", "test"))
    answer.metadata.nbgrader = {"grade_id": "train_step", "grade": False, "solution": True}
    test.metadata.nbgrader = {"grade_id": "check-train_step", "grade": True, "solution": False, "points": 12}
    notebook = nbformat.v4.new_notebook(cells=[answer, test])
    entry = {"why": "exceeded", "aspects": [["loss", True], ["update", False]]}
    for points in (7.33, 0, None):
        found = {"items": {"train_step": {**entry, "points": points}}, "errors": {"n": {"0": "NameError: x"}}}
        (tmp_path / "ada.json").write_text(json.dumps(found))
        recorder = grading.RecordPoints(outcome=str(tmp_path / "ada.json"))
        recorder.preprocess(notebook, {"nbgrader": {"notebook": "n"}})
        assert nbgrader_utils.determine_grade(test) == (points or 0, 12)
    nbformat.validate(notebook)
    assert all(part in test.outputs[0].text for part in ("loss", "update", "exceeded"))
    assert test.metadata.roadseg_by_hand == "exceeded"
    assert [output.evalue for output in answer.outputs] == ["NameError: x"]


@pytest.mark.parametrize(
    ("days", "percent", "free", "lost"),
    [(0, 10, 0, 0), (0.1, 10, 0, 2), (2.5, 10, 3, 0), (4, 10, 1, 6), (99, 10, 0, 20), (3, 0, 0, 0)],
)
def test_late_days_cost_a_part_of_the_points_for_each_day_that_has_begun(days, percent, free, lost):
    plugin = grading.LateDays(percent=percent, free_days=free)
    assert plugin.late_submission_penalty("ada", 20.0, days * 24 * 60 * 60) == lost


def test_a_rubric_holds_points_ideas_mistakes_and_the_reference_answer():
    item, rubric = questions.item("answer-7"), questions.rubrics()["answer-7"]
    text = grading.rubric_text(item, "**Answer.** Scatter and add.")
    assert f"{item.label}, {item.points} points" in text and "\n\nScatter and add.\n\n" in text
    assert all(f"- {line}" in text for line in (*rubric.ideas, *rubric.mistakes))
