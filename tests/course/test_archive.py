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

from roadseg import workbook
from roadseg.course import archive
from roadseg.workbook import questions

LINE = 20  # characters from which on a line says something of its own
REFERENCE_CODE = (  # stays readable
    "roadseg/training.py",
    "roadseg/models.py",
    "roadseg/checks/step_mistakes.py",
    "roadseg/checks/unet_mistakes.py",
    "roadseg/checks/exercises.py",
)
HELP = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]  # of the whole project
from roadseg.__main__ import main
main(["--help"])
"""


@pytest.fixture(scope="module")
def zipped(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "student.zip"
    archive.write_archive(path, PROJECT)
    return path


@pytest.fixture(scope="module")
def handed_out(zipped) -> dict[str, str]:
    """All texts in the archive, by path; of a notebook also its strings as they read, line by line."""
    with zipfile.ZipFile(zipped) as content:
        files = {name.removeprefix("road_segmentation/"): content.read(name) for name in content.namelist()}
    strictness = {".npz": "replace"}  # weights
    texts = {
        name: data.decode("utf-8", strictness.get(Path(name).suffix, "strict"))
        for name, data in files.items()
        if not name.endswith((".gif", ".jpg", ".png"))
    }
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


def secret_regions() -> list[list[str]]:
    """The lines between the marks of solutions and hidden tests, a list a region."""
    found = []
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        for cell in worked(path.stem)["cells"]:
            for kind in ("SOLUTION", "HIDDEN TESTS"):
                marks = rf"### BEGIN {kind}\n(.*?)\n *### END {kind}"
                parts = re.findall(marks, "".join(cell["source"]), re.DOTALL)
                found += [[flat(line) for line in part.split("\n")] for part in parts]
    return found


def test_no_solution_or_hidden_test_is_in_the_archive(handed_out):
    """In notebooks and pages not a line; in the package no two that follow each other, as a hint may quote one."""
    blank = [workbook.blank(worked(path.stem)) for path in (PROJECT / "notebooks").glob("*.ipynb")]
    visible = {flat(line) for notebook in blank for cell in notebook["cells"] for line in cell["source"]}
    lines = {line for region in secret_regions() for line in region if len(line) >= LINE} - visible
    pairs = {" ".join(pair) for region in secret_regions() for pair in pairwise(region)}
    assert len(lines) > 25 and len(pairs) > 20 and len(handed_out) > 40
    found = []
    for name, text in handed_out.items():
        secret = pairs if name.startswith("roadseg/") else lines
        found += [(name, line) for line in secret if line in text and name not in REFERENCE_CODE]
    assert [(name, line[:90]) for name, line in found] == []


def test_no_reference_answer_or_rubric_is_in_the_archive(handed_out):
    rubrics = [line for rubric in questions.rubrics().values() for line in (*rubric.ideas, *rubric.mistakes)]
    cells = [cell for name in GRADED for cell in worked(name)["cells"]]
    answers = ["".join(cell["source"]) for cell in cells if cell["id"] in TEXTS]
    sentences = [part for answer in answers for part in re.split(r"(?<=[.:;?])\s", flat(answer)) if len(part) >= LINE]
    assert len(answers) == len(TEXTS) and len(sentences) > 60 and len(rubrics) > 60
    secret = [*sentences, *map(flat, rubrics)]
    assert [(name, line) for name, text in handed_out.items() for line in secret if line in text] == []


def test_the_search_would_find_what_the_worked_notebooks_say():
    text = flat("\n".join(strings(worked("00_road_data"))))
    assert all(line in text for region in secret_regions()[:2] for line in region)


def test_the_archive_holds_what_a_student_needs_and_nothing_of_the_teachers(handed_out):
    package = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "roadseg").rglob("[_a-z]*.*")}
    left_out = {name for name in package if "__pycache__" not in name} - handed_out.keys()
    course = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "roadseg" / "course").glob("*.*")}
    assert left_out == {"roadseg/workbook/rubric.toml", "roadseg/cli/course.py", *course}
    others = {name for name in handed_out if not name.startswith(("roadseg/", ".github/"))}
    blank = {f"notebooks/{path.name}" for path in (PROJECT / "notebooks").glob("*.ipynb")}
    assert others == {*archive.FILES, *blank}
    assert not [name for name in handed_out if "__pycache__" in name]


def test_the_archives_pages_do_not_speak_of_what_is_not_in_it(zipped):
    with zipfile.ZipFile(zipped) as content:
        readme, makefile = (content.read(f"road_segmentation/{name}").decode() for name in ("README.md", "Makefile"))
        files = {name.removeprefix("road_segmentation/") for name in content.namelist()}
    assert not re.search(r"teach|roadseg course|pytest|solutions|make (test|check|bench)|maintainers", readme)
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme)
    assert len(links) >= 2 and set(links) <= files
    assert set(re.findall(r"^([a-z0-9]+):", makefile, re.MULTILINE)) == {"help", "lab", "report", "clean"}


def test_the_archive_has_the_same_bytes_whenever_it_is_made(zipped, tmp_path):
    archive.write_archive(tmp_path / "again.zip", PROJECT)
    assert (tmp_path / "again.zip").read_bytes() == zipped.read_bytes()


def test_the_archive_makes_the_same_blank_notebooks_and_has_no_command_for_teachers(zipped, tmp_path):
    with zipfile.ZipFile(zipped) as content:
        content.extractall(tmp_path)
    folder = tmp_path / "road_segmentation"
    start = [sys.executable, "-m", "roadseg", "start", str(tmp_path / "own")]
    done = subprocess.run(start, cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    for name in GRADED:
        assert workbook.read_notebook(tmp_path / "own" / f"{name}.ipynb") == workbook.blank(worked(name))
    usage = subprocess.run([sys.executable, "-c", HELP], cwd=folder, capture_output=True, text=True, timeout=300)
    commands = re.findall(r"^    (\w+)  ", usage.stdout, re.MULTILINE)
    assert commands == ["start", "status", "report", "doctor", "data", "train", "evaluate", "predict", "submit"]
