"""The cells of a notebook that nbgrader knows: by its names for them, or by their ids where these are lost."""

import copy

import nbformat
from nbformat import NotebookNode
from nbgrader import utils

from roadseg.workbook import notebook_bytes, parse_notebook
from roadseg.workbook.needs import needed_cells

BY_HAND = "roadseg_by_hand"  # metadata of a test that is left to the teacher: why


def grade_id(cell: NotebookNode) -> str:
    """The name by which nbgrader knows a cell; empty where it does not."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def nbgrader_notebook(content: bytes, name: str) -> NotebookNode:
    """A notebook's file as every command of this package reads it, for nbgrader. Raises NotebookError."""
    return nbformat.reads(notebook_bytes(parse_notebook(content, name)).decode(), as_version=4)


def restore(nb: NotebookNode, original: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """A notebook from `nbgrader_notebook` in which each answer and test has its nbgrader metadata again, and missing
    cells that grading needs are back; and the names of the cells that had been deleted, with a word.

    A text that is put back is blank, and so earns no points; a test that is put back tests what the notebook defines;
    code to be graded is not put back.
    """
    chosen = {id(_find(nb, cell)): cell for cell in original.cells if grade_id(cell)}
    for cell in nb.cells:
        for name in ("nbgrader", BY_HAND):
            cell.metadata.pop(name, None)
        if id(cell) in chosen:
            cell.metadata.nbgrader = copy.deepcopy(chosen[id(cell)].metadata.nbgrader)
    return nb, _put_back(nb, original)


def _put_back(nb: NotebookNode, original: NotebookNode) -> list[str]:
    """Insert each missing cell after the last of the cells that preceded it; return which are missing."""
    sources = [cell.source if cell.cell_type == "code" else "" for cell in original.cells]
    code = {i for i, cell in enumerate(original.cells) if cell.cell_type == "code" and grade_id(cell)}
    wanted = {i for i, cell in enumerate(original.cells) if utils.is_grade(cell)} | needed_cells(sources, code)
    missing: list[str] = []
    before: set[str] = set()
    for index, cell in enumerate(original.cells):
        if index in wanted and not any(_is_same(other, cell) for other in nb.cells):
            missing.append(f"{cell.id} was deleted")
            if utils.is_grade(cell) or not utils.is_solution(cell):
                last = max((i for i, other in enumerate(nb.cells) if _names(other) & before), default=-1)
                nb.cells.insert(last + 1, copy.deepcopy(cell))
        before |= _names(cell)
    return missing


def _find(nb: NotebookNode, original: NotebookNode) -> NotebookNode | None:
    """The cell of a notebook that is an answer or a test; None where it is missing."""
    by_name = (cell for cell in nb.cells if grade_id(cell) == grade_id(original))
    return next(by_name, None) or next((cell for cell in nb.cells if cell.id == original.id), None)


def _names(cell: NotebookNode) -> set[str]:
    return {grade_id(cell), cell.id} - {""}


def _is_same(cell: NotebookNode, original: NotebookNode) -> bool:
    """Whether a cell is one that was handed out: by its nbgrader name, otherwise by its id or source."""
    if grade_id(original):
        return grade_id(cell) == grade_id(original)
    return cell.id == original.id or cell.source == original.source
