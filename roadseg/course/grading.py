"""What this course adds to nbgrader's autograding: three preprocessors, which `nbgrader_config.py` names.

RestoreCells   : answers and tests get their nbgrader metadata back, and missing cells return.
ExecuteNeeded  : only the cells that a grade needs run, and a kernel that dies or never ends stops nothing else.
ShowRubrics    : each text gets its rubric above it, and tests that could not run fairly are left to be graded by hand.
"""

import copy
import time
from pathlib import Path

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader import utils
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Float, Unicode

from roadseg.course.needs import needed_cells
from roadseg.workbook import questions

REMARKS = "roadseg_grading"  # metadata of a graded notebook: remarks for the teacher about how grading went
BY_HAND = "roadseg_by_hand"  # metadata of a test that could not run fairly: why
SUMMARY = '<summary style="display: list-item; cursor: pointer">Reference answer</summary>'  # with its triangle


class RestoreCells(NbGraderPreprocessor):
    """Give each answer and test its nbgrader metadata again, once each, and put back missing cells that grading needs.

    A cell is known by its nbgrader name, or by its id where a program has dropped that. Of duplicates the first that
    was worked on counts; the others stay as ordinary cells. A text that is put back is blank, and so earns no points; a
    test that is put back tests what the notebook defines; code to be graded is not put back.
    """

    handed_out = Unicode(help="folder of the notebooks as they were handed out").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Restore the cells of a submitted notebook."""
        original = nbformat.read(Path(self.handed_out) / f"{resources['nbgrader']['notebook']}.ipynb", as_version=4)
        nb = nbformat.v4.upgrade(nb)  # some programs save an older format, without ids
        nb.metadata[REMARKS] = []
        chosen = {id(_find_answer(nb, cell)): cell for cell in original.cells if _grade_id(cell)}
        for cell in nb.cells:
            for name in ("nbgrader", BY_HAND):
                cell.metadata.pop(name, None)
            if id(cell) in chosen:
                cell.metadata.nbgrader = copy.deepcopy(chosen[id(cell)].metadata.nbgrader)
        self._put_back(nb, original)
        return nb, resources

    def _put_back(self, nb: NotebookNode, original: NotebookNode) -> None:
        """Insert each missing cell after the last of the cells that preceded it; note all that are missing."""
        wanted = {i for i, cell in enumerate(original.cells) if utils.is_grade(cell)}
        wanted |= needed_cells(*_graded_code(original))
        before: set[str] = set()
        for index, cell in enumerate(original.cells):
            if index in wanted and not any(_is_same(other, cell) for other in nb.cells):
                nb.metadata[REMARKS].append(f"{cell.id} was deleted")
                if utils.is_grade(cell) or not utils.is_solution(cell):
                    last = max((i for i, other in enumerate(nb.cells) if _names(other) & before), default=-1)
                    nb.cells.insert(last + 1, copy.deepcopy(cell))
            before |= _names(cell)


def _find_answer(nb: NotebookNode, original: NotebookNode) -> NotebookNode | None:
    """The cell of a notebook that counts for an answer or a test; None where all such cells are missing."""
    same = [cell for cell in nb.cells if _grade_id(cell) == _grade_id(original)]
    same = same or [cell for cell in nb.cells if cell.get("id") == original.id]
    worked_on = [cell for cell in same if cell.source.strip() not in ("", original.source.strip())]
    return next(iter(worked_on or same), None)


def _grade_id(cell: NotebookNode) -> str:
    """The name by which nbgrader knows a cell; empty where it does not."""
    role = cell.metadata.get("nbgrader")
    return str(role.get("grade_id", "")) if isinstance(role, dict) else ""


def _names(cell: NotebookNode) -> set[str]:
    return {_grade_id(cell), cell.get("id", "")} - {""}


def _is_same(cell: NotebookNode, original: NotebookNode) -> bool:
    """Whether a cell is one that was handed out: by its nbgrader name, otherwise by its id or source."""
    if _grade_id(original):
        return _grade_id(cell) == _grade_id(original)
    return cell.get("id") == original.id or cell.source == original.source


def _graded_code(nb: NotebookNode) -> tuple[list[str], set[int]]:
    """The code of each cell, empty for texts; and the positions of the answers in code and of the tests."""
    sources = [cell.source if cell.cell_type == "code" else "" for cell in nb.cells]
    return sources, {i for i, cell in enumerate(nb.cells) if cell.cell_type == "code" and _grade_id(cell)}


class ExecuteNeeded(Execute):
    """Run the answers, the tests and what these need; all other cells keep the outputs that the student saw.

    A cell that exceeds its time, or ends the kernel, ends the run of its notebook. Tests after it, and tests that
    failed because something other than an answer could not run, are left to be graded by hand.
    """

    until = Float(float("inf"), help="time.time() after which no cell runs").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict, km=None) -> tuple[NotebookNode, dict]:
        """Run the cells of a notebook that grading needs."""
        self.sources, self.graded = _graded_code(nb)
        self.needed = needed_cells(self.sources, self.graded)
        self.failed: set[int] = set()  # cells that failed, and are no answers or tests
        self.ended = ""  # why no further cell runs
        self.shutdown_kernel = "immediate"
        self.timeout_func = self._seconds
        if time.time() < self.until:
            return super().preprocess(nb, resources, km)
        self.nb = nb
        for index, cell in enumerate(nb.cells):  # without a kernel, as nothing runs
            self.preprocess_cell(cell, resources, index)
        return nb, resources

    def _seconds(self, cell: NotebookNode) -> float:
        """The time limit of a cell: doubled for a cell that answers build on, where TensorFlow loads."""
        limit = self.timeout if _grade_id(cell) else 2 * self.timeout
        return max(1.0, min(limit, self.until - time.time()))

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Run a cell if it is needed; note which tests are left to be graded by hand."""
        if index not in self.needed:
            return cell, resources
        if not self.ended and time.time() >= self.until:
            self._end("there was no time left")
        if self.ended:
            _show_error(cell, "DidNotRun", self.ended)
            self._leave_to_teacher(cell, self.ended)
            return cell, resources
        try:
            super().preprocess_cell(cell, resources, index)
        except (CellTimeoutError, DeadKernelError) as error:
            why = "exceeded its time" if isinstance(error, CellTimeoutError) else "ended the kernel"
            _show_error(cell, type(error).__name__, f"this cell {why}")
            self._end(f"{_grade_id(cell) or f'cell {index + 1}'} {why}")
        if any(output.output_type == "error" for output in cell.outputs):
            if index not in self.graded:
                self.failed.add(index)
            elif self.failed & needed_cells(self.sources, {index}):
                names = ", ".join(str(i + 1) for i in sorted(self.failed))
                self._leave_to_teacher(cell, f"what it builds on could not be run (cell {names})")
        return cell, resources

    def _leave_to_teacher(self, cell: NotebookNode, why: str) -> None:
        if utils.is_grade(cell):
            cell.metadata[BY_HAND] = why

    def _end(self, why: str) -> None:
        """Run no further cell."""
        self.ended = why
        self.nb.metadata[REMARKS].append(why)


def _show_error(cell: NotebookNode, name: str, why: str) -> None:
    """Give a cell the output of an error, by which nbgrader knows that a test failed."""
    cell.outputs = [new_output("error", ename=name, evalue=why, traceback=[f"{name}: {why}"])]


class ShowRubrics(NbGraderPreprocessor):
    """Put its rubric above each text, for formgrader and feedback; reopen the grades that are to be given by hand."""

    worked = Unicode(help="folder of the worked notebooks").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Insert rubrics above texts, and notes above tests that are graded by hand."""
        place = resources["nbgrader"]
        worked = nbformat.read(Path(self.worked) / f"{place['notebook']}.ipynb", as_version=4)
        references = {_grade_id(cell): cell.source for cell in worked.cells}
        cells = []
        for cell in nb.cells:
            name = _grade_id(cell)
            if name in questions.rubrics():
                cells.append(new_markdown_cell(rubric_text(questions.item(name), references[name])))
            elif BY_HAND in cell.metadata:
                cells.append(new_markdown_cell(_box("warning", f"**To grade by hand:** {cell.metadata[BY_HAND]}.")))
                with Gradebook(place["db_url"]) as gradebook:
                    grade = gradebook.find_grade(name, place["notebook"], place["assignment"], place["student"])
                    grade.auto_score, grade.needs_manual_grade = None, True
                    gradebook.db.commit()
            cells.append(cell)
        nb.cells = cells
        return nb, resources


def rubric_text(item: questions.Item, reference: str) -> str:
    """What a full answer says, common mistakes and the reference answer, in Markdown."""
    rubric = questions.rubrics()[item.id]
    parts = [f"**{item.label}, {item.points} points: what a full answer says**"]
    parts += ["\n".join(f"- {line}" for line in rubric.ideas)]
    parts += ["Common mistakes:", "\n".join(f"- {line}" for line in rubric.mistakes)]
    parts += [f"<details>{SUMMARY}", reference.removeprefix("**Answer.** "), "</details>"]
    return _box("info", "\n\n".join(parts))


def _box(kind: str, text: str) -> str:
    """Markdown in a colored box of the formgrader's and the feedback's style."""
    return f'<div class="alert alert-{kind}">\n\n{text}\n\n</div>'
