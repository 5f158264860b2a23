"""What this course adds to nbgrader's autograding: three preprocessors, which `nbgrader_config.py` names.

RestoreCells    gives answers and tests the roles that they were handed out with, and puts missing ones back
ExecuteNeeded   runs only the cells that a grade needs, and survives a kernel that dies or never ends
ShowRubrics     puts what a text should say above it, and leaves to people what no machine can decide
"""

from __future__ import annotations

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

from roadseg.course.needs import needed
from roadseg.workbook import questions

REMARKS = "roadseg_grading"  # metadata of a graded notebook: what a teacher should know about its grading
SUMMARY = '<summary style="display: list-item; cursor: pointer">Reference answer</summary>'  # with its triangle
BY_HAND = "roadseg_by_hand"  # metadata of a test that could not be run fairly: why


class RestoreCells(NbGraderPreprocessor):
    """Give each answer and test its role again, once each, and put back what is gone and grading needs.

    A cell is known by its nbgrader name, or by its id where a program has dropped that. Of doubled ones the first that
    was worked on counts; the others stay as ordinary cells. A text that is put back is blank and so gives no points; a
    test that is put back tests what the notebook defines; code to be graded does not come back.
    """

    handed_out = Unicode(help="folder of the notebooks as they were handed out").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Restore the cells of a submitted notebook."""
        original = nbformat.read(Path(self.handed_out) / f"{resources['nbgrader']['notebook']}.ipynb", as_version=4)
        nb = nbformat.v4.upgrade(nb)  # some programs save an older format, without ids
        nb.metadata[REMARKS] = []
        chosen = {id(cell): role for role in original.cells if _role(role) for cell in _answering(nb, role)}
        for cell in nb.cells:
            for name in ("nbgrader", BY_HAND):
                cell.metadata.pop(name, None)
            if id(cell) in chosen:
                cell.metadata.nbgrader = copy.deepcopy(chosen[id(cell)].metadata.nbgrader)
        self._put_back(nb, original)
        return nb, resources

    def _put_back(self, nb: NotebookNode, original: NotebookNode) -> None:
        """Insert each missing cell behind the last of the cells that came before it; note all that are gone."""
        counts = {i for i, cell in enumerate(original.cells) if utils.is_grade(cell)}
        counts |= needed(_sources(original), _code_roles(original))
        before: set[str] = set()
        for index, cell in enumerate(original.cells):
            if index in counts and not any(_is(other, cell) for other in nb.cells):
                nb.metadata[REMARKS].append(f"{cell.id} was deleted")
                if utils.is_grade(cell) or not utils.is_solution(cell):
                    behind = max((i for i, other in enumerate(nb.cells) if _known_as(other) & before), default=-1)
                    nb.cells.insert(behind + 1, copy.deepcopy(cell))
            before |= _known_as(cell)


def _answering(nb: NotebookNode, role: NotebookNode) -> list[NotebookNode]:
    """The one cell of a notebook that takes a role; none where all are gone."""
    cells = [cell for cell in nb.cells if _role(cell) == _role(role)] or [
        cell for cell in nb.cells if cell.get("id") == role.id
    ]
    worked_on = [cell for cell in cells if cell.source.strip() not in ("", role.source.strip())]
    return (worked_on or cells)[:1]


def _role(cell: NotebookNode) -> str:
    """The name under which nbgrader knows a cell; empty where it does not."""
    role = cell.metadata.get("nbgrader")
    return str(role.get("grade_id", "")) if isinstance(role, dict) else ""


def _known_as(cell: NotebookNode) -> set[str]:
    return {_role(cell), cell.get("id", "")} - {""}


def _is(cell: NotebookNode, original: NotebookNode) -> bool:
    """Whether a cell takes the role of one that was handed out; without a role, whether it is that cell."""
    if _role(original):
        return _role(cell) == _role(original)
    return cell.get("id") == original.id or cell.source == original.source


def _sources(nb: NotebookNode) -> list[str]:
    """The code of each cell, empty for texts."""
    return [cell.source if cell.cell_type == "code" else "" for cell in nb.cells]


def _code_roles(nb: NotebookNode) -> set[int]:
    """Positions of the answers in code and of the tests."""
    return {i for i, cell in enumerate(nb.cells) if cell.cell_type == "code" and _role(cell)}


class ExecuteNeeded(Execute):
    """Run the answers, the tests and what these need; all other cells keep the outputs that the student has seen.

    A cell that goes on after its time, or ends the kernel, ends the run of its notebook. Tests behind it, and tests
    that failed because something other than an answer could not be run, are left to people.
    """

    until = Float(float("inf"), help="wall clock, in seconds since the epoch, after which no cell runs").tag(
        config=True
    )

    def preprocess(self, nb: NotebookNode, resources: dict, km=None) -> tuple[NotebookNode, dict]:
        """Run what is needed of a notebook."""
        self.sources, self.roles = _sources(nb), _code_roles(nb)
        self.needed = needed(self.sources, self.roles)
        self.broken: set[int] = set()
        self.ended = ""
        self.shutdown_kernel = "immediate"
        self.timeout_func = self._seconds
        if time.time() < self.until:
            return super().preprocess(nb, resources, km)
        self.nb = nb
        for index, cell in enumerate(nb.cells):  # without a kernel, since nothing runs
            self.preprocess_cell(cell, resources, index)
        return nb, resources

    def _seconds(self, cell: NotebookNode) -> float:
        """What a cell may take: what it builds on twice as long as an answer, since TensorFlow loads there."""
        return max(1.0, min(self.timeout if _role(cell) else 2 * self.timeout, self.until - time.time()))

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Run a cell if it is needed, and note what came of it."""
        if index not in self.needed:
            return cell, resources
        if not self.ended and time.time() >= self.until:
            self._end("there was no time left")
        if self.ended:
            _fail(cell, "DidNotRun", self.ended)
            self._leave_to_people(cell, self.ended)
            return cell, resources
        try:
            super().preprocess_cell(cell, resources, index)
        except (CellTimeoutError, DeadKernelError) as error:
            why = "went on after its time" if isinstance(error, CellTimeoutError) else "ended the kernel"
            _fail(cell, type(error).__name__, f"this cell {why}")
            self._end(f"{_role(cell) or f'cell {index + 1}'} {why}")
        if any(output.output_type == "error" for output in cell.outputs):
            self._judge(cell, index)
        return cell, resources

    def _judge(self, cell: NotebookNode, index: int) -> None:
        """Decide who is to blame for a cell that failed."""
        if index not in self.roles:
            self.broken.add(index)
        elif self.broken & needed(self.sources, {index}):
            names = ", ".join(str(i + 1) for i in sorted(self.broken))
            self._leave_to_people(cell, f"what it builds on could not be run (cell {names})")

    def _leave_to_people(self, cell: NotebookNode, why: str) -> None:
        if utils.is_grade(cell):
            cell.metadata[BY_HAND] = why

    def _end(self, why: str) -> None:
        self.ended = why
        self.nb.metadata[REMARKS].append(why)


def _fail(cell: NotebookNode, name: str, why: str) -> None:
    """Give a cell the output of an error, which is what nbgrader takes for a failed test."""
    cell.outputs = [new_output("error", ename=name, evalue=why, traceback=[f"{name}: {why}"])]


class ShowRubrics(NbGraderPreprocessor):
    """Put above each text what it should say, for the formgrader and the feedback; leave to people what is theirs."""

    worked = Unicode(help="folder of the worked notebooks").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Insert the rubrics of a notebook's texts, and notes above tests that are left to people."""
        place = resources["nbgrader"]
        path = Path(self.worked) / f"{place['notebook']}.ipynb"
        answers = {_role(cell): cell.source for cell in nbformat.read(path, as_version=4).cells if _role(cell)}
        cells = []
        for cell in nb.cells:
            if _role(cell) in questions.rubrics():
                cells.append(new_markdown_cell(rubric_text(questions.item(_role(cell)), answers[_role(cell)])))
            elif BY_HAND in cell.metadata:
                cells.append(new_markdown_cell(_box("warning", f"**To grade by hand:** {cell.metadata[BY_HAND]}.")))
                _ask_for_a_grade(_role(cell), place)
            cells.append(cell)
        nb.cells = cells
        return nb, resources


def rubric_text(item: questions.Item, reference: str) -> str:
    """What a full answer holds, what is often said wrong, and the reference answer, in Markdown."""
    rubric = questions.rubrics()[item.id]
    parts = [f"**{item.label}, {item.points} points: what a full answer says**", _bullets(rubric.ideas)]
    parts += ["Often said wrong:", _bullets(rubric.mistakes)]
    parts += [f"<details>{SUMMARY}", reference.removeprefix("**Answer.** "), "</details>"]
    return _box("info", "\n\n".join(parts))


def _bullets(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _box(kind: str, text: str) -> str:
    """Markdown in a coloured box of the formgrader's and the feedback's style."""
    return f'<div class="alert alert-{kind}">\n\n{text}\n\n</div>'


def _ask_for_a_grade(name: str, place: dict) -> None:
    """Take a test's verdict back: its points are open until somebody gives them in the formgrader."""
    with Gradebook(place["db_url"]) as gradebook:
        grade = gradebook.find_grade(name, place["notebook"], place["assignment"], place["student"])
        grade.auto_score, grade.needs_manual_grade = None, True
        gradebook.db.commit()
