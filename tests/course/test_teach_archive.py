"""What a class gets: everything it needs, and nothing that gives an answer away."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from handed_in import GRADED, PROJECT, TEXTS, worked

from roadseg.course import archive as teach_archive
from roadseg.workbook import notebooks as workbook
from roadseg.workbook import questions

LINE = 20  # characters from which on a line says something of its own
HELP = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]  # of the whole project
from roadseg.__main__ import main
main(["--help"])
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "student.zip"
    teach_archive.write(path, PROJECT)
    return path


@pytest.fixture(scope="module")
def handed_out(archive) -> dict[str, str]:
    """All texts in the archive, by path; of a notebook also its strings as they read, line by line."""
    with zipfile.ZipFile(archive) as content:
        files = {name.removeprefix("road_segmentation/"): content.read(name) for name in content.namelist()}
    texts = {name: data.decode("utf-8") for name, data in files.items() if not name.endswith((".jpg", ".png"))}
    for name in texts:
        if name.endswith((".ipynb", ".json")):
            texts[name] += "\n".join(strings(json.loads(texts[name])))
    return {name: flat(text) for name, text in texts.items()}


def strings(value) -> Iterator[str]:
    """All strings in JSON, a list of lines as the text that it is."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        yield "".join(value)
    elif isinstance(value, dict | list):
        for part in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            yield from strings(part)


def flat(text: str) -> str:
    return " ".join(text.split())


def regions(kind: str) -> list[list[str]]:
    """The lines between the marks of that kind, SOLUTION or HIDDEN TESTS, a list a region."""
    found = []
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        for cell in worked(path.stem)["cells"]:
            parts = re.findall(rf"### BEGIN {kind}\n(.*?)\n *### END {kind}", "".join(cell["source"]), re.DOTALL)
            found += [[flat(line) for line in part.split("\n")] for part in parts]
    return found


def visible_lines() -> set[str]:
    """Lines that a class may read in the blank notebooks, such as the loss that an experiment and a test both make."""
    cells = [
        cell for path in (PROJECT / "notebooks").glob("*.ipynb") for cell in workbook.blank(worked(path.stem))["cells"]
    ]
    return {flat(line) for cell in cells for line in cell["source"]}


def test_no_line_of_a_solution_or_hidden_test_is_in_the_archives_texts(handed_out):
    """In notebooks and pages not a line; in the package no two that follow each other, since a hint may quote one. The
    package's own steps and models are reference code that stays readable."""
    secret = [line for kind in ("SOLUTION", "HIDDEN TESTS") for part in regions(kind) for line in part]
    secret = {line for line in secret if len(line) >= LINE} - visible_lines()
    pages = {name: text for name, text in handed_out.items() if not name.startswith("roadseg/")}
    assert len(secret) > 40 and len(pages) >= 10
    assert [(name, line) for name, text in pages.items() for line in secret if line in text] == []


def test_no_solution_or_hidden_test_is_in_the_archives_package(handed_out):
    parts = [part for kind in ("SOLUTION", "HIDDEN TESTS") for part in regions(kind)]
    pairs = {" ".join(pair) for part in parts for pair in pairwise(part)}
    readable = ("roadseg/training.py", "roadseg/models.py")
    package = {name: text for name, text in handed_out.items() if name.startswith("roadseg/") and name not in readable}
    assert len(pairs) > 40 and len(package) > 20
    assert [(name, pair) for name, text in package.items() for pair in pairs if pair in text] == []


def test_no_reference_answer_or_rubric_is_in_the_archive(handed_out):
    rubrics = [line for rubric in questions.rubrics().values() for line in (*rubric.ideas, *rubric.mistakes)]
    cells = [cell for name in GRADED for cell in worked(name)["cells"]]
    answers = ["".join(cell["source"]) for cell in cells if cell["id"] in TEXTS]
    sentences = [part for answer in answers for part in re.split(r"(?<=[.:;?])\s", flat(answer)) if len(part) >= LINE]
    assert len(answers) == len(TEXTS) and len(sentences) > 60 and len(rubrics) > 60
    secret = [*sentences, *map(flat, rubrics)]
    assert [(name, line) for name, text in handed_out.items() for line in secret if line in text] == []


def test_the_search_would_find_what_the_worked_notebooks_say():
    text = flat("\n".join(strings(worked("01_simple_model"))))
    assert all(line in text for part in regions("SOLUTION")[:2] for line in part)


def test_the_archive_holds_what_a_student_needs_and_nothing_of_the_teachers(handed_out):
    package = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "roadseg").rglob("[_a-z]*.*")}
    kept_back = {name for name in package if "__pycache__" not in name} - set(handed_out)
    course = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "roadseg" / "course").glob("*.py")}
    assert kept_back == {"roadseg/workbook/rubric.toml", *course}
    assert {name for name in handed_out if name.startswith("notebooks/")} == {
        f"notebooks/{path.name}" for path in (PROJECT / "notebooks").glob("*.ipynb")
    }
    assert {
        "LICENSE",
        "Makefile",
        "README.md",
        "data/README.md",
        "pyproject.toml",
        "requirements.txt",
    } <= handed_out.keys()
    assert not [name for name in handed_out if name.startswith(("tests/", ".ci/", "data/scenes", "runs/"))]
    assert not [name for name in handed_out if "__pycache__" in name]


def test_the_archives_pages_do_not_speak_of_what_is_not_in_it(archive):
    with zipfile.ZipFile(archive) as content:
        readme, makefile = (content.read(f"road_segmentation/{name}").decode() for name in ("README.md", "Makefile"))
        files = {name.removeprefix("road_segmentation/") for name in content.namelist()}
    assert "## For students" in readme and "make lab" in readme
    assert not re.search(r"teach|pytest|solutions|make (test|check|bench)|maintainers", readme)
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme)
    assert len(links) >= 2 and set(links) <= files
    assert set(re.findall(r"^([a-z0-9]+):", makefile, re.MULTILINE)) <= {"help", "lab", "report", "clean"}
    assert "\nlab:" in makefile


def test_the_archive_has_the_same_bytes_whenever_it_is_made(archive, tmp_path):
    teach_archive.write(tmp_path / "again.zip", PROJECT)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_the_archive_makes_the_same_blank_notebooks_and_has_no_command_for_teachers(archive, tmp_path):
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path)
    folder = tmp_path / "road_segmentation"
    start = [sys.executable, "-m", "roadseg", "start", str(tmp_path / "own")]
    done = subprocess.run(start, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for name in GRADED:
        own = workbook.read_notebook(tmp_path / "own" / f"{name}.ipynb")
        assert own == workbook.blank(worked(name))
        full = workbook.filled(own, worked(name))
        assert [cell["source"] for cell in full["cells"]] == [cell["source"] for cell in worked(name)["cells"]]
    usage = subprocess.run([sys.executable, "-c", HELP], cwd=folder, capture_output=True, text=True, timeout=60)
    assert "start" in usage.stdout and "teach" not in usage.stdout
