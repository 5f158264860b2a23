"""What this course adds to nbgrader's autograding: three preprocessors and a plugin, named in `nbgrader_config.py`.

RestoreCells   : answers and tests get their nbgrader metadata back, missing cells return, and nothing that a student
                 wrote runs when the notebook is shown.
RecordPoints   : tests get the points that `judging` gave, as their output; nothing runs here.
ShowRubrics    : each text gets its rubric above it, and a mark stays where its answer has not changed.
LateDays       : takes points off for late days.
"""

import json
import math
from collections.abc import Collection
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook, new_output
from nbgrader import utils
from nbgrader.api import Grade, Gradebook
from nbgrader.plugins import LateSubmissionPlugin
from nbgrader.preprocessors import AssignLatePenalties, NbGraderPreprocessor
from traitlets import Float, Unicode
from traitlets.config import PyFileConfigLoader

from roadseg.course.cells import BY_HAND, grade_id, nbgrader_notebook, restore
from roadseg.course.sanitizing import sanitize
from roadseg.workbook import questions

SECONDS_A_DAY = 24 * 60 * 60
SUMMARY = '<summary style="display: list-item">Reference answer</summary>'  # with its triangle


class RestoreCells(NbGraderPreprocessor):
    """Restore what nbgrader needs in a submitted notebook, and sanitize it."""

    handed_out = Unicode(help="folder of the notebooks as they were handed out").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Restore the cells of a submitted notebook, as `judging` has done before it ran some of them."""
        name = resources["nbgrader"]["notebook"]
        original = nbformat.read(Path(self.handed_out) / f"{name}.ipynb", as_version=4)
        nb, _ = restore(nbgrader_notebook(nbformat.writes(nb).encode(errors="replace"), name), original)
        sanitize(nb, original)
        return nb, resources


class RecordPoints(NbGraderPreprocessor):
    """Give each test the points that it earned as its output, from which nbgrader takes them."""

    outcome = Unicode(help="file of what `judging.grade_submission` found, as JSON").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Write what was found into the outputs of tests and of cells that failed."""
        found = json.loads(Path(self.outcome).read_text("utf-8"))
        for position, text in found["errors"].get(resources["nbgrader"]["notebook"], {}).items():
            nb.cells[int(position)].outputs = [new_output("error", ename="", evalue=text, traceback=[text])]
        for cell in (cell for cell in nb.cells if utils.is_grade(cell)):
            entry = found["items"].get(grade_id(cell).removeprefix("check-"))
            if cell.cell_type == "code":
                _show_points(cell, entry)
            elif entry:
                cell.metadata[BY_HAND] = entry["why"]
        return nb, resources


def _show_points(cell: NotebookNode, entry: dict) -> None:
    """The outputs of a test: which aspects are right, what its function raised, and the points as the last value."""
    lines = [f"{'right' if right else 'not right'}: {name}" for name, right in entry["aspects"]]
    lines += [entry["why"]] if entry["why"] else []
    cell.outputs = [new_output("stream", text="\n".join(lines) + "\n")] if lines else []
    if entry["points"] is None:
        cell.metadata[BY_HAND] = entry["why"]
    cell.outputs.append(new_output("execute_result", {"text/plain": f"{entry['points'] or 0}"}))


class ShowRubrics(NbGraderPreprocessor):
    """Put its rubric above each text, for formgrader and feedback; decide which grades are to be given by hand."""

    worked = Unicode(help="folder of the worked notebooks").tag(config=True)
    outcome = Unicode(help="file with the sources of the answers that were graded before, as JSON").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Insert rubrics above texts, and notes above tests that are graded by hand."""
        place = resources["nbgrader"]
        worked = nbformat.read(Path(self.worked) / f"{place['notebook']}.ipynb", as_version=4)
        references = {grade_id(cell): cell.source for cell in worked.cells}
        graded_before = json.loads(Path(self.outcome).read_text("utf-8"))["graded_before"]
        sources = {grade_id(cell): cell.source for cell in nb.cells}
        cells = []
        with Gradebook(place["db_url"]) as gradebook:
            for cell in nb.cells:
                name = grade_id(cell)
                if utils.is_grade(cell):
                    grade = gradebook.find_grade(name, place["notebook"], place["assignment"], place["student"])
                    answer = name.removeprefix("check-")
                    _settle(grade, cell, unchanged=answer in sources and graded_before.get(answer) == sources[answer])
                if name in questions.rubrics():
                    cells.append(new_markdown_cell(rubric_text(questions.item(name), references[name])))
                if BY_HAND in cell.metadata:
                    cells.append(new_markdown_cell(_box("warning", f"**To grade by hand:** {cell.metadata[BY_HAND]}.")))
                cells.append(cell)
            gradebook.db.commit()
        nb.cells = cells
        return nb, resources


def _settle(grade: Grade, cell: NotebookNode, *, unchanged: bool) -> None:
    """Say whether a grade is to be given by hand: nbgrader reopens all that a teacher has given, whatever changed."""
    if BY_HAND in cell.metadata:
        grade.auto_score = None
    grade.needs_manual_grade = grade.auto_score is None if grade.manual_score is None else not unchanged


class LateDays(LateSubmissionPlugin):
    """Takes points off for late days."""

    percent = Float(0, help="of the points, for each day that has begun").tag(config=True)
    free_days = Float(0, help="days late that cost nothing").tag(config=True)

    def late_submission_penalty(self, student_id: str, score: float, total_seconds_late: float) -> float:
        """The points that a notebook with this score loses."""
        days = math.ceil(total_seconds_late / SECONDS_A_DAY - self.free_days)
        return round(score * min(max(days, 0) * self.percent / 100, 1), 2)


def renew_late_penalties(settings: Path, gradebook: Path, assignment: str, untimed: Collection[str] = ()) -> None:
    """Let nbgrader compute the penalties for late days again.

    settings : a course's `nbgrader_config.py`; untimed : the students of whom nothing tells when they handed in."""
    assigner = AssignLatePenalties(config=PyFileConfigLoader(settings.name, str(settings.parent)).load_config())
    place = {"assignment": assignment, "db_url": f"sqlite:///{gradebook}"}
    with Gradebook(place["db_url"]) as grades:
        submissions = grades.assignment_submissions(assignment)
        for one in submissions:  # a due date may have been moved, a time of handing in have gone
            one.timestamp = None if one.student_id in untimed else one.timestamp
            for notebook in one.notebooks:
                notebook.late_submission_penalty = None
        grades.db.commit()
        late = [one for one in submissions if one.total_seconds_late > 0]
        names = [(one.student_id, notebook.name) for one in late for notebook in one.notebooks]
    for student, notebook in names:
        assigner.preprocess(new_notebook(), {"nbgrader": {**place, "student": student, "notebook": notebook}})


def rubric_text(item: questions.Item, reference: str) -> str:
    """What a full answer says, common mistakes and the reference answer, in Markdown."""
    rubric = questions.rubrics()[item.id]
    parts = [f"**{item.label}, {item.points} points: what a full answer says**"]
    parts += ["\n".join(f"- {line} ({points:g})" for line, points in zip(rubric.ideas, rubric.points))]
    parts += ["Common mistakes:", "\n".join(f"- {line}" for line in rubric.mistakes)]
    parts += [f"<details>{SUMMARY}", reference.removeprefix("**Answer.** "), "</details>"]
    return _box("info", "\n\n".join(parts))


def _box(kind: str, text: str) -> str:
    """Markdown in a colored box of the formgrader's and the feedback's style."""
    return f'<div class="alert alert-{kind}">\n\n{text}\n\n</div>'
