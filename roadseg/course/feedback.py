"""A page of feedback for each student: the whole submission with points and comments, in nbgrader's own look."""

import hashlib
import importlib.resources
import json
import re
from pathlib import Path

import nbformat
from nbconvert.exporters import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_notebook
from nbgrader import utils
from nbgrader.api import Gradebook
from nbgrader.preprocessors import GetGrades
from traitlets.config import Config

from roadseg.course.sanitizing import markdown2html
from roadseg.storage import atomic_write

OPEN = float("nan")  # the score of what nobody has graded, which nbgrader's page would show as 0
NOT_GRADED = re.compile(r"Score: nan / ([\d.]+)")
TEMPLATES = importlib.resources.files("nbgrader") / "server_extensions" / "formgrader"


def write_page(student: str, notebooks: list[Path], gradebook: Path, page: Path) -> bool:
    """Write a student's page, from the graded notebooks and the gradebook; False where it would be as it is. The score
    is of what has been graded.

    Raises nbgrader's MissingEntry where the gradebook does not know the submission.
    """
    place = {"assignment": page.parent.name, "student": student, "db_url": f"sqlite:///{gradebook}"}
    cells, score, most, penalty, unmarked = [], 0.0, 0.0, 0.0, 0
    for path in notebooks:
        resources = {"nbgrader": {**place, "notebook": path.stem}}
        book, resources = GetGrades().preprocess(nbformat.read(path, as_version=4), resources)
        with Gradebook(place["db_url"]) as grades:
            for role in (cell.metadata.nbgrader for cell in book.cells if utils.is_grade(cell)):
                grade = grades.find_grade(role.grade_id, path.stem, place["assignment"], student)
                if grade.needs_manual_grade:  # its old mark was for another answer
                    role.score, role.comment = OPEN, ""
                    unmarked += 1
                else:
                    score += role.score
                    most += role.points
        cells += [new_markdown_cell(f"# {path.stem}"), *book.cells]
        penalty += resources["nbgrader"]["late_penalty"]
    if unmarked:
        cells.insert(0, new_markdown_cell(f"**Not graded yet: {unmarked} answer{'s' * (unmarked > 1)}.**"))
    for number, cell in enumerate(cells):  # several notebooks may have the same ids
        cell.id = f"cell-{number}"
    total = {"notebook": place["assignment"], "score": score - penalty, "max_score": most, "late_penalty": penalty}
    digest = hashlib.sha256(json.dumps([cells, total]).encode()).hexdigest()
    if page.is_file() and digest in page.read_text("utf-8"):
        return False
    settings = Config()
    settings.HTMLExporter.template_name = "feedback"
    settings.HTMLExporter.extra_template_basedirs = [str(TEMPLATES / "templates")]
    settings.HTMLExporter.extra_template_paths = [str(TEMPLATES / "static/node_modules/bootstrap/dist/css")]
    settings.HTMLExporter.filters = {"markdown2html": markdown2html}
    exporter = HTMLExporter(config=settings)
    html, _ = exporter.from_notebook_node(new_notebook(cells=cells), resources={"nbgrader": total})
    page.parent.mkdir(parents=True, exist_ok=True)
    text = NOT_GRADED.sub(r"not graded yet, of \1", html)
    with atomic_write(page) as file:
        file.write(f"{text}\n<!-- {digest} -->\n".encode())
    return True
