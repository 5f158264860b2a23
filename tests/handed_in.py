"""Notebooks as students hand them in, for the tests of the teacher's side."""

import json
import os
import zipfile
from pathlib import Path
from unittest.mock import patch

from students import cell_of, filled, worked

from roadseg import workbook
from roadseg.cli import build_parser
from roadseg.course import workers, workflow
from roadseg.course.workflow import ASSIGNMENT
from roadseg.workbook import questions

PROJECT = Path(__file__).parent.parent
GRADED = sorted({item.notebook for item in questions.ITEMS})
POINTS = {item.id: item.points for item in questions.ITEMS}
TEXTS = {item.id for item in questions.ITEMS if item.kind == "text"}
NOT_WRITTEN = {"points": 0, "why": "not written", "aspects": []}
NOTHING_RIGHT = {"items": {name: NOT_WRITTEN for name in POINTS if name not in TEXTS}, "errors": {}, "remarks": {}}


def set_source(notebook: dict, name: str, source: str) -> None:
    cell_of(notebook, name)["source"] = source.splitlines(keepends=True)


def delete(notebook: dict, *ids: str) -> None:
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in ids]


def perfect() -> dict[str, dict]:
    """What a student hands in who has written what the worked notebooks say: blank copies with all answers in them."""
    made = {name: filled(name) for name in GRADED}
    for cell in (cell for book in made.values() for cell in book["cells"] if cell["cell_type"] == "code"):
        lines, hidden = [], False
        for line in cell["source"]:
            hidden = "BEGIN HIDDEN" in line or (hidden and "END HIDDEN" not in line)
            lines += [] if hidden or line.lstrip().startswith("### ") else [line]
        cell["source"] = lines
    return made


def blank() -> dict[str, dict]:
    return {name: workbook.blank(worked(name)) for name in GRADED}


def write_zip(path: Path, files: dict[str, bytes | dict]) -> Path:
    """A zip of files, or of notebooks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(content) if isinstance(content, dict) else content)
    return path


def hand_in(path: Path, notebooks: dict[str, dict]) -> Path:
    return write_zip(path, {f"notebooks/{name}.ipynb": notebook for name, notebook in notebooks.items()})


def command(*arguments: str | Path) -> int:
    """Run `python -m roadseg course ...` in this process."""
    options = build_parser().parse_args(["course", *map(str, arguments)])
    return options.command(options)


def make_course(folder: Path) -> Path:
    """A course folder that holds what collecting needs."""
    for name, notebook in blank().items():
        workbook.write_notebook(folder / "release" / ASSIGNMENT / f"{name}.ipynb", notebook)
    return folder


def submitted(course: Path, student: str) -> dict[str, dict]:
    folder = course / "submitted" / student / ASSIGNMENT
    return {path.stem: workbook.read_notebook(path) for path in sorted(folder.glob("*.ipynb"))}


def set_own_jupyter(monkeypatch, folder: Path) -> None:
    """No kernel or nbgrader reads settings of whoever runs the tests."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        (folder / "jupyter" / name).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(name, str(folder / "jupyter" / name))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)


def answered_course(folder: Path, answers: dict[str, dict[str, str]]) -> Path:
    """A course in which all is graded but the texts, without running anything. answers : texts by student and item."""
    from nbgrader.api import Gradebook

    make_course(folder)
    texts = [item for item in questions.ITEMS if item.kind == "text"]
    roles = {item.id: {"grade_id": item.id, "grade": True, "solution": True, "points": item.points} for item in texts}
    database = f"sqlite:///{folder / 'gradebook.db'}"
    with patch.dict(os.environ, workflow.nbgrader_environment()), Gradebook(database, folder.name) as gradebook:
        gradebook.add_assignment(ASSIGNMENT)
        for name in GRADED:
            gradebook.add_notebook(name, ASSIGNMENT)
        for item in questions.ITEMS:
            name, kind = (item.id, "markdown") if item.kind == "text" else (f"check-{item.id}", "code")
            gradebook.add_grade_cell(name, item.notebook, ASSIGNMENT, max_score=item.points, cell_type=kind)
            gradebook.add_solution_cell(item.id, item.notebook, ASSIGNMENT)
        for student in answers:
            gradebook.add_student(student)
            submission = gradebook.add_submission(ASSIGNMENT, student)
            for grade in (grade for notebook in submission.notebooks for grade in notebook.grades):
                if grade.name not in roles:
                    grade.auto_score, grade.needs_manual_grade = 0, False
        gradebook.db.commit()
    for student, own in answers.items():
        for name in GRADED:
            cells = [
                {"cell_type": "markdown", "id": item.id, "metadata": {"nbgrader": roles[item.id]}, "source": [text]}
                for item in texts
                if item.notebook == name and (text := own.get(item.id)) is not None
            ]
            notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
            workbook.write_notebook(folder / "autograded" / student / ASSIGNMENT / f"{name}.ipynb", notebook)
    return folder


def record(course: Path, student: str, found: dict) -> None:
    """Record a submission as if a worker had found this."""
    with workers.connect() as client:
        done = workflow.grade_submissions([student], course, client, seconds=1, judge=lambda *_: found)
        assert dict(done) == {student: []}
