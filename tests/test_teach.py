"""The teacher's side: what a class gets, what it hands in, and what nbgrader makes of that."""

import argparse
import copy
import csv
import io
import json
import re
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import compute_checksum

from roadseg import questions, teach, teach_archive, teach_collect, teach_course, workbook
from roadseg.errors import OptionError, RoadsegError
from roadseg.teach_course import ASSIGNMENT, CourseError
from roadseg.teach_needs import names, needed

PROJECT = Path(__file__).parent.parent
GRADED = sorted({item.notebook for item in questions.ITEMS})
POINTS = {item.id: item.points for item in questions.ITEMS}
TEXTS = {item.id for item in questions.ITEMS if item.kind == "text"}
LINE = 20  # characters from which on a line says something of its own


def worked(name: str) -> dict:
    return workbook.read_notebook(PROJECT / "notebooks" / f"{name}.ipynb")


def cell_of(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def set_source(notebook: dict, name: str, source: str) -> None:
    cell_of(notebook, name)["source"] = source.splitlines(keepends=True)


def delete(notebook: dict, *ids: str) -> None:
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in ids]


def perfect() -> dict[str, dict]:
    """What a student hands in who has written what the worked notebooks say: blank copies with all answers in them."""
    made = {name: workbook.filled(workbook.blank(worked(name)), worked(name)) for name in GRADED}
    for cell in (cell for notebook in made.values() for cell in notebook["cells"]):
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
    """Run `python -m roadseg teach ...` in this process."""
    parser = argparse.ArgumentParser()
    teach.add_commands(parser.add_subparsers())
    options = parser.parse_args(["teach", *map(str, arguments)])
    return options.command(options)


@pytest.fixture
def course(tmp_path) -> Path:
    """A course folder that holds what collecting needs."""
    for name, notebook in blank().items():
        workbook.write_notebook(tmp_path / "course" / "release" / ASSIGNMENT / f"{name}.ipynb", notebook)
    return tmp_path / "course"


def submitted(course: Path, student: str) -> dict[str, dict]:
    folder = course / "submitted" / student / ASSIGNMENT
    return {path.stem: workbook.read_notebook(path) for path in sorted(folder.glob("*.ipynb"))}


# --- the worked notebooks ---------------------------------------------------------------------------------------------


def test_points_are_those_of_the_questions_and_add_up_to_100():
    roles = [cell["metadata"].get("nbgrader", {}) for name in GRADED for cell in worked(name)["cells"]]
    graded = {role["grade_id"].removeprefix("check-"): role["points"] for role in roles if role.get("grade")}
    assert graded == POINTS
    assert sum(graded.values()) == 100


@pytest.mark.parametrize("name", GRADED)
def test_worked_and_blank_notebooks_pass_nbgraders_validation(name):
    """Of the metadata: `nbgrader validate` would run the trainings, which `make test` does already."""
    for notebook in (worked(name), workbook.blank(worked(name))):
        MetadataValidator().validate_nb(nbformat.from_dict(notebook))


@pytest.mark.parametrize("name", GRADED)
def test_an_untouched_answer_has_the_checksum_by_which_nbgrader_knows_it(name):
    roles = [cell for cell in nbformat.from_dict(workbook.blank(worked(name))).cells if "nbgrader" in cell.metadata]
    for cell in roles:
        cell.source = "".join(cell.source)
        assert cell.metadata.nbgrader.checksum == compute_checksum(cell)
    assert len(roles) >= 3


def test_other_notebooks_carry_no_points():
    others = [path.stem for path in (PROJECT / "notebooks").glob("0*.ipynb") if path.stem not in GRADED]
    assert len(others) == 2
    assert not [cell for name in others for cell in worked(name)["cells"] if "nbgrader" in cell["metadata"]]


# --- the archive ------------------------------------------------------------------------------------------------------


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
    texts = {name: data.decode("utf-8") for name, data in files.items() if not name.endswith(".jpg")}
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
    pairs = {" ".join(pair) for part in parts for pair in zip(part, part[1:])}
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
    package = {path.name for path in (PROJECT / "roadseg").glob("[a-z]*.*")}
    kept_back = package - {Path(name).name for name in handed_out if name.startswith("roadseg/")}
    assert kept_back == {"rubric.toml", *(path.name for path in (PROJECT / "roadseg").glob("teach*.py"))}
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
    usage = [sys.executable, "-m", "roadseg", "--help"]
    assert "teach" not in subprocess.run(usage, cwd=folder, capture_output=True, text=True, timeout=60).stdout


# --- what a grade needs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "used", "made"),
    [
        ("a = b", {"b"}, {"a"}),
        ("a = 1\nc = a + b", {"b"}, {"a", "c"}),
        ("def f(x):\n    y = helper(x)\n    return [y * k for i in x]", {"helper", "k"}, {"f"}),
        ("def f():\n    global count\n    count = 1", set(), {"count", "f"}),
        ("class Net(keras.Model):\n    size = n", {"keras", "n"}, {"Net"}),
        ("import numpy as np\nfrom roadseg import data", set(), {"np", "data"}),
        ("from helpers import *", set(), {"*"}),
        ("rows['a'] = value", {"rows", "value"}, {"rows"}),
        ("layers.extra.append(layer)", {"layers", "layer"}, {"layers"}),
        ("show(figure)", {"show", "figure"}, set()),
        ("%matplotlib inline\nx = 1", {"get_ipython"}, {"x"}),
        ("%%time\nx = f()", {"f"}, {"x"}),
        ("if (n := len(x)):\n    pass", {"len", "x"}, {"n"}),
        ("this is no Python", set(), set()),
        ("", set(), set()),
    ],
)
def test_names_that_code_uses_and_makes(source, used, made):
    assert names(source) == (used, made)


def test_only_what_the_answers_build_on_is_needed():
    cells = [
        "import numpy as np",  # 0
        "run = train('unet')",  # 1: for minutes, and for nothing that is graded
        "def helper(x):\n    return scale * np.abs(x)",  # 2
        "scale = 1",  # 3
        "scale += 1",  # 4: changes what the helper uses
        "def answer(x):\n    return helper(x)",  # 5: the answer
        "figure = plot(run)",  # 6
        "assert answer(-1) == 2",  # 7: its test
        "scale = 7",  # 8: too late to matter
    ]
    assert needed(cells, {5, 7}) == {0, 2, 3, 4, 5, 7}
    assert needed(cells, set()) == set()
    assert needed([*cells[:6], "from tricks import *", *cells[7:]], {5, 7}) == {0, 2, 3, 4, 5, 6, 7}


@pytest.mark.parametrize("name", GRADED)
def test_of_a_perfect_notebook_the_imports_are_all_that_the_answers_need(name):
    cells = perfect()[name]["cells"]
    code = ["".join(cell["source"]) if cell["cell_type"] == "code" else "" for cell in cells]
    roles = {i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and "nbgrader" in cell["metadata"]}
    assert [cells[i]["id"] for i in needed(code, roles) - roles] == ["imports"]


# --- collecting -------------------------------------------------------------------------------------------------------


def test_collecting_takes_the_notebooks_of_each_zip_from_wherever_they_are(course, tmp_path, capsys):
    full = perfect()
    hand_in(tmp_path / "in" / "ada.zip", full)
    write_zip(tmp_path / "in" / "bob.ZIP", {f"road/my workbook\\{name}.ipynb": book for name, book in full.items()})
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert capsys.readouterr().out == "ada: new\nbob: new\n"
    assert submitted(course, "ada") == submitted(course, "bob") == full


def test_collecting_again_says_what_has_changed(course, tmp_path, capsys):
    full = perfect()
    hand_in(tmp_path / "in" / "ada.zip", full)
    command("collect", tmp_path / "in", "--course", course)
    collected = (course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes()
    command("collect", tmp_path / "in", "--course", course)
    assert (course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes() == collected
    set_source(full["03_written_questions"], "answer-3", "steps_per_epoch = 70")
    hand_in(tmp_path / "in" / "ada.zip", full)
    command("collect", tmp_path / "in", "--course", course)
    assert capsys.readouterr().out == "ada: new\nada: as before\nada: changed\n"
    assert (course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes() != collected
    assert submitted(course, "ada") == full


def test_a_missing_or_damaged_notebook_is_told_and_the_blank_one_takes_its_place(course, tmp_path, capsys):
    full = perfect()
    first, second, third = GRADED
    write_zip(tmp_path / "in" / "ada.zip", {f"{first}.ipynb": full[first], f"{second}.ipynb": b'{"cells": ['})
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert capsys.readouterr().out == f"ada: new; {second} is damaged (JSONDecodeError); {third} is missing\n"
    assert submitted(course, "ada") == {first: full[first], second: blank()[second], third: blank()[third]}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"cells": 1, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"worksheets": [], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_notebook_is_damaged(content, tmp_path):
    path = write_zip(tmp_path / "ada.zip", {"01_simple_model.ipynb": content, "02_unet.ipynb": blank()["02_unet"]})
    found = teach_collect.read(path, student="ada", names=GRADED[:2])
    assert list(found.notebooks) == ["02_unet"]
    assert [remark.split(" (")[0] for remark in found.remarks] == ["01_simple_model is damaged"]


def test_a_bad_zip_is_told_by_name_and_does_not_stop_the_others(course, tmp_path, capsys):
    folder = tmp_path / "in"
    whole = hand_in(folder / "zoe.zip", perfect()).read_bytes()
    (folder / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.zip").write_bytes(b"")
    write_zip(folder / "other.zip", {"essay.txt": b"Roads."})
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF  # in the first notebook's content
    (folder / "flipped.zip").write_bytes(flipped)
    assert command("collect", folder, "--course", course) == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines.keys() == {"cut", "empty", "other", "flipped", "zoe"}
    assert lines["cut"].startswith("cut.zip is no whole zip") and lines["empty"].startswith("empty.zip is no whole zip")
    assert lines["other"].startswith("other.zip holds no notebook of the assignment")
    assert lines["flipped"] == "new; 01_simple_model is damaged (BadZipFile)"
    assert lines["zoe"] == "new"
    assert sorted(path.name for path in (course / "submitted").iterdir()) == ["flipped", "zoe"]


def test_names_that_lead_outside_and_links_do_no_harm(course, tmp_path):
    name = GRADED[0]
    link = zipfile.ZipInfo(f"notebooks/{name}.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "in" / "eve.zip", {f"../../../{GRADED[1]}.ipynb": blank()[GRADED[1]], "/etc/x": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    before = {found for found in tmp_path.rglob("*") if "submitted" not in found.parts}
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert {found for found in tmp_path.rglob("*") if "submitted" not in found.parts} == before
    folder = course / "submitted" / "eve" / ASSIGNMENT
    assert sorted(found.name for found in folder.iterdir()) == [*(f"{name}.ipynb" for name in GRADED), "timestamp.txt"]
    assert submitted(course, "eve")[name] == blank()[name]


def test_a_bomb_is_read_no_further_than_a_notebook_may_be_long(tmp_path, monkeypatch):
    monkeypatch.setattr(teach_collect, "LARGEST_NOTEBOOK", 2**20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_simple_model.ipynb", bytes(2**24))
        archive.writestr("02_unet.ipynb", json.dumps(blank()["02_unet"]))
    assert path.stat().st_size < 2**17
    found = teach_collect.read(path, student="bomb", names=GRADED[:2])
    assert found.remarks == ("01_simple_model has more than 1 MiB",)
    monkeypatch.setattr(teach_collect, "LARGEST_ZIP", 100)
    with pytest.raises(teach_collect.SubmissionError, match=r"bomb.zip has more than 0 MiB"):
        teach_collect.read(path, student="bomb", names=GRADED)


def test_of_several_copies_the_newest_counts(tmp_path):
    old, new = blank()["02_unet"], perfect()["02_unet"]
    path = tmp_path / "ada.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, book, year in (("my_workbook", new, 2026), ("notebooks", old, 2024), ("__MACOSX", {}, 2027)):
            info = zipfile.ZipInfo(f"project/{name}/02_unet.ipynb", (year, 1, 1, 0, 0, 0))
            archive.writestr(info, json.dumps(book))
    found = teach_collect.read(path, student="ada", names=["02_unet"])
    assert json.loads(found.notebooks["02_unet"]) == new
    assert found.remarks == ("02_unet is there 2 times: the newest counts, project/my_workbook/02_unet.ipynb",)


def test_students_are_known_by_the_names_of_their_zips(tmp_path):
    zips = [
        "ada.zip",
        "Émile Zola.zip",
        "4711.zip",
        "..zip",
        "a[b]*?.zip",
        "x/report.zip",
        "y/report.zip",
        "z/REPORT.zip",
    ]
    found = teach_collect.students(tmp_path / name for name in zips)
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.items()} == {
        **{
            "ada": "ada.zip",
            "Émile_Zola": "Émile Zola.zip",
            "4711": "4711.zip",
            "unnamed": "..zip",
            "a_b": "a[b]*?.zip",
        },
        **{"x-report": "x/report.zip", "y-report": "y/report.zip", "z-REPORT": "z/REPORT.zip"},
    }
    with pytest.raises(RoadsegError, match=r"a b.zip and .*a_b.zip would both be the student .*a_b: rename one of them"):
        teach_collect.students([tmp_path / "a b.zip", tmp_path / "a_b.zip", tmp_path / "c.zip"])


# --- nbgrader's preprocessors -----------------------------------------------------------------------------------------


def notebook_of(notebook: dict) -> nbformat.NotebookNode:
    return nbformat.reads(json.dumps(notebook), as_version=4)


@pytest.fixture
def restore(course):
    """Restores the cells of notebook 03 as it was handed in."""
    from roadseg.teach_grading import RestoreCells

    preprocessor = RestoreCells(handed_out=str(course / "release" / ASSIGNMENT))
    place = {"nbgrader": {"notebook": "03_written_questions"}}

    def restored(notebook: dict) -> nbformat.NotebookNode:
        found, _ = preprocessor.preprocess(notebook_of(notebook), place)
        MetadataValidator().validate_nb(found)
        nbformat.validate(found)
        return found

    return restored


def roles(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata]


def test_an_intact_notebook_is_restored_to_itself(restore):
    original = perfect()["03_written_questions"]
    found = restore(original)
    assert [cell.source for cell in found.cells] == ["".join(cell["source"]) for cell in original["cells"]]
    assert roles(found) == roles(notebook_of(original))
    assert found.metadata.roadseg_grading == []


def test_graded_cells_that_are_gone_come_back_blank_in_their_places(restore):
    original = perfect()["03_written_questions"]
    notebook = copy.deepcopy(original)
    gone = ["answer-1", "check-answer-3", "answer-14", "answer-4"]
    delete(notebook, *gone, "imports")
    found = restore(notebook)
    assert roles(found) == [name for name in roles(notebook_of(original)) if name != "answer-4"]  # carries no points
    assert [cell.id for cell in found.cells] == [
        cell["id"] for cell in original["cells"] if cell["id"] not in ("answer-4", "imports")
    ]
    put_back = next(cell for cell in found.cells if cell.id == "answer-1")
    assert compute_checksum(put_back) == put_back.metadata.nbgrader.checksum  # so nbgrader gives no points for it
    assert found.metadata.roadseg_grading == [f"{name} was deleted" for name in gone[:3]]


def test_a_notebook_without_any_of_its_cells_gets_the_graded_ones(restore):
    notebook = perfect()["03_written_questions"]
    graded = [cell["id"] for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade")]
    notebook["cells"] = []
    assert roles(restore(notebook)) == graded


def test_of_doubled_answers_the_one_that_was_worked_on_counts(restore):
    notebook = blank()["03_written_questions"]
    own = copy.deepcopy(cell_of(notebook, "answer-7"))
    own.update(id="pasted", source=["Scatter and add."])
    notebook["cells"].insert(0, own)
    notebook["cells"].append({**copy.deepcopy(own), "id": "again", "source": ["Another."]})
    found = restore(notebook)
    (chosen,) = (cell for cell in found.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "answer-7")
    assert chosen.source == "Scatter and add."
    assert [cell.source for cell in found.cells if cell.id == "again"] == ["Another."]


def test_roles_that_were_lost_or_changed_are_given_again(restore):
    original = perfect()["03_written_questions"]
    notebook = copy.deepcopy(original)
    del cell_of(notebook, "answer-1")["metadata"]["nbgrader"]
    cell_of(notebook, "check-answer-3")["metadata"]["nbgrader"].update(points=50, grade=False)
    cell_of(notebook, "imports")["metadata"]["nbgrader"] = {"grade_id": "answer-99", "grade": True}
    cell_of(notebook, "q3-check")["metadata"]["nbgrader"] = "nonsense"
    found = restore(notebook)
    assert [cell.metadata for cell in found.cells] == [cell["metadata"] for cell in original["cells"]]


def test_a_notebook_of_an_older_format_keeps_its_answers(restore):
    """Colab saves format 4.0, where cells have no ids."""
    notebook = perfect()["03_written_questions"]
    for cell in notebook["cells"]:
        cell["metadata"]["id"] = cell.pop("id")
    notebook["nbformat_minor"] = 0
    found = restore(notebook)
    assert found.nbformat_minor == 5
    assert found.metadata.roadseg_grading == []
    answer = next(cell for cell in found.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "answer-1")
    assert answer.source.startswith("**Answer.** Because the classes")


@pytest.fixture
def own_jupyter(monkeypatch, tmp_path):
    set_own_jupyter(monkeypatch, tmp_path)


def set_own_jupyter(monkeypatch, folder: Path) -> None:
    """No kernel or nbgrader reads settings of whoever runs the tests."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        (folder / "jupyter" / name).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(name, str(folder / "jupyter" / name))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)


def code(source: str, name: str = "", **role) -> nbformat.NotebookNode:
    """A code cell that has run, an answer or a test if it has a name."""
    cell = nbformat.v4.new_code_cell(source, outputs=[nbformat.v4.new_output("stream", text="as the student saw it")])
    if name:
        cell.metadata.nbgrader = {"grade_id": name, "grade": name.startswith("check"), "solution": False, **role}
    return cell


def run_needed(*cells: nbformat.NotebookNode, **options) -> nbformat.NotebookNode:
    """Run what is needed of a notebook of these cells."""
    from roadseg.teach_grading import ExecuteNeeded

    notebook = nbformat.v4.new_notebook(cells=list(cells), metadata={"roadseg_grading": []})
    ExecuteNeeded(kernel_name="python3", **options).preprocess(notebook, {"metadata": {"path": "."}})
    return notebook


def failed(cell: nbformat.NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def as_it_was(cell: nbformat.NotebookNode) -> bool:
    return [output.get("text") for output in cell.outputs] == ["as the student saw it"]


@pytest.mark.slow
def test_what_is_not_needed_does_not_run_and_keeps_its_output(own_jupyter):
    found = run_needed(
        code("import time\ntime.sleep(600)"),
        code("two = 2"),
        code("answer = 2 * two", "answer"),
        code("assert answer == 4", "check-right"),
        code("assert answer == 5", "check-wrong"),
    )
    sleeping, helper, answer, right, wrong = found.cells
    assert as_it_was(sleeping) and not helper.outputs and not answer.outputs
    assert not failed(right) and failed(wrong)
    assert not [cell for cell in found.cells if "roadseg_by_hand" in cell.metadata]
    assert found.metadata.roadseg_grading == []


@pytest.mark.slow
def test_an_endless_answer_costs_its_own_points_only(own_jupyter):
    endless = "def answer():\n    while True:\n        pass"
    found = run_needed(code(endless, "answer"), code("answer()", "check-1"), code("pass", "check-2"), timeout=2)
    assert failed(found.cells[1]) and not failed(found.cells[2])
    assert not [cell for cell in found.cells if "roadseg_by_hand" in cell.metadata]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("import os\ndef answer():\n    os._exit(1)", "check-1 ended the kernel"),
        (
            "def answer():\n    while True:\n        try:\n            sum(range(10**12))\n        except:\n            pass",
            "check-1 went on after its time",
        ),
    ],
)
def test_behind_a_cell_that_kills_its_kernel_people_grade(own_jupyter, answer, why):
    started = time.monotonic()
    found = run_needed(code(answer, "answer"), code("answer()", "check-1"), code("pass", "check-2"), timeout=2)
    assert time.monotonic() - started < 60
    assert found.metadata.roadseg_grading == [why]
    assert failed(found.cells[1]) and "roadseg_by_hand" not in found.cells[1].metadata
    assert failed(found.cells[2]) and found.cells[2].metadata.roadseg_by_hand == why


@pytest.mark.slow
def test_an_answer_that_builds_on_what_cannot_run_here_is_for_people(own_jupyter):
    found = run_needed(
        code("run = open('a run that the grader does not have')"),
        code("answer = run.count", "answer"),
        code("assert answer == 2", "check-1"),
        code("own = undefined", "answer-2"),
        code("assert own == 2", "check-2"),
    )
    assert found.cells[2].metadata.roadseg_by_hand == "what it builds on could not be run (cell 1)"
    assert failed(found.cells[4]) and "roadseg_by_hand" not in found.cells[4].metadata


@pytest.mark.slow
def test_after_the_time_of_a_submission_nothing_runs(own_jupyter):
    found = run_needed(code("x = 1"), code("assert x == 1", "check-1"), until=time.time() - 1)
    assert found.cells[1].metadata.roadseg_by_hand == "there was no time left"


def test_a_rubric_says_points_ideas_mistakes_and_the_reference_answer():
    from roadseg.teach_grading import rubric_text

    item, rubric = questions.item("answer-7"), questions.rubrics()["answer-7"]
    text = rubric_text(item, "**Answer.** Scatter and add.")
    assert text.startswith('<div class="alert') and text.endswith("</div>")
    assert f"**Question 7, {item.points} points" in text and "\n\nScatter and add.\n\n" in text
    assert all(f"- {line}" in text for line in (*rubric.ideas, *rubric.mistakes))


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "in"], "is no course yet: python -m roadseg teach setup first, or name another folder."),
        (["grade"], "is no course yet"),
        (["feedback"], "is no course yet"),
        (["points"], "is no course yet"),
        (["open"], "is no course yet"),
    ],
)
def test_without_a_course_every_step_says_so(arguments, message, tmp_path):
    with pytest.raises(CourseError, match=re.escape(f"{tmp_path / 'nowhere'} ") + f".*{message}"):
        command(*arguments, "--course", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["collect", "nowhere"], CourseError, "there are no zips in nowhere: name the folder that holds what students"),
        (
            ["grade"],
            CourseError,
            "nothing has been collected from anybody: python -m roadseg teach collect FOLDER first",
        ),
        (["grade", "ada", "bob"], CourseError, "nothing has been collected from ada, bob"),
        (["grade", "--jobs", "0"], OptionError, "--jobs 0 --seconds 90: expected 1 or more, and over 15"),
        (["grade", "--seconds", "10"], OptionError, "--jobs 1 --seconds 10"),
        (["feedback"], CourseError, "nothing has been graded: python -m roadseg teach grade first"),
    ],
)
def test_a_step_too_early_says_what_comes_first(arguments, error, message, course):
    with pytest.raises(error, match=re.escape(message)):
        command(*arguments, "--course", course)


def test_without_nbgrader_a_teacher_is_told_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(teach_course.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match=r'^nbgrader is not installed: python -m pip install -e "\.\[teach\]"'):
        command("setup", tmp_path / "course")
    assert not (tmp_path / "course").exists()


def test_a_course_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "course").write_text("in the way")
    with pytest.raises(CourseError, match=f"the course folder {re.escape(str(tmp_path / 'course'))} cannot be filled"):
        command("setup", tmp_path / "course")


def test_what_nbgrader_refuses_is_told_with_its_log(course, own_jupyter):
    (course / "nbgrader_config.py").write_text("raise SystemExit(3)")
    with pytest.raises(CourseError, match=r"^nbgrader generate_assignment failed: see .*generate_assignment.txt$"):
        command("setup", course)
    assert (course / "nbgrader_config.py").read_text() == "raise SystemExit(3)"  # the teacher's own


def test_without_a_course_folder_it_is_in_the_project(tmp_path, course, capsys):
    hand_in(tmp_path / "in" / "ada.zip", blank())
    assert command("collect", tmp_path / "in") == 0
    assert submitted(tmp_path / "course", "ada")


# --- a whole course ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(tmp_path_factory, road_folder) -> Iterator[dict]:
    """A course from setup to points, with five submissions; all that it printed."""
    folder = tmp_path_factory.mktemp("course")
    for student, notebooks in submissions().items():
        hand_in(folder / "in" / f"{student}.zip", notebooks)
    course, printed = folder / "course", io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        set_own_jupyter(patch, folder)
        patch.setenv("ROADSEG_HOME", str(folder))
        patch.setenv("ROADSEG_DATA", str(road_folder))
        patch.setenv("ROADSEG_CACHE", str(folder / "cache"))
        patch.setattr(sys, "stdout", printed)
        assert command("setup", course) == 0
        assert command("collect", folder / "in", "--course", course) == 0
        assert command("grade", "--jobs", "2", "--seconds", "600", "--course", course) == 0
        assert command("feedback", "--course", course) == 0
        assert command("points", "--course", course) == 0
        yield {"course": course, "printed": printed.getvalue(), "points": points_of(course)}


def submissions() -> dict[str, dict[str, dict]]:
    """Five students, by what is the matter with them; the third has a number for a name, as many have."""
    found = {name: perfect() for name in ("perfect", "blank", "8103", "deleted", "endless")}
    found["blank"] = blank()
    for name, source in (
        ("answer-3", "steps_per_epoch = 70"),
        ("answer-4", "steps_in_all = 810"),
        ("answer-8", "trainable_parameters = 529_457"),
    ):
        set_source(found["8103"]["03_written_questions"], name, source)
    delete(found["deleted"]["01_simple_model"], "val_step")
    delete(found["deleted"]["02_unet"], "check-build_unet")
    delete(found["deleted"]["03_written_questions"], "answer-7", "answer-4")
    head = "".join(cell_of(blank()["01_simple_model"], "train_step")["source"][:1])
    set_source(found["endless"]["01_simple_model"], "train_step", f"{head}    while True:\n        pass")
    return found


def points_of(course: Path) -> dict[str, dict[str, float | None]]:
    """The table of points: by student and item, None where nobody has graded."""
    found: dict[str, dict[str, float | None]] = {}
    for row in csv.DictReader((course / "points.csv").read_text("utf-8").splitlines()):
        found.setdefault(row["student"], {})[row["id"] or "total"] = float(row["points"]) if row["points"] else None
    return found


def by_machine(**other: float) -> dict[str, float | None]:
    """Full points for all but texts, apart from those named; "_" stands for "-"."""
    expected = {name: None if name in TEXTS else float(points) for name, points in POINTS.items()}
    expected |= other
    return {**expected, "total": sum(points or 0 for points in expected.values())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "other"),
    [
        ("perfect", {}),
        ("blank", dict.fromkeys(POINTS, 0.0)),
        ("8103", {"answer-3": 0.0, "answer-4": 0.0, "answer-8": 0.0}),
        ("deleted", {"val_step": 0.0, "answer-7": 0.0, "answer-4": 0.0}),
        ("endless", {"train_step": 0.0}),
    ],
)
def test_points_come_out_as_expected_for_each_item(graded, student, other):
    assert graded["points"][student] == by_machine(**other)


@pytest.mark.slow
def test_what_a_teacher_is_told(graded):
    lines = graded["printed"].splitlines()
    assert "perfect: new" in lines
    (line,) = (line for line in lines if line.startswith("perfect: 47 of 47 points, 13 answers to grade by hand ("))
    print("\n".join(line for line in lines if line.endswith(" s)")))  # how long each took: pytest -rP shows it
    assert (
        "  02_unet: check-build_unet was deleted" in lines and "  03_written_questions: answer-7 was deleted" in lines
    )
    assert "Still to grade by hand (python -m roadseg teach open): 8103, deleted, endless, perfect." in lines


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADED)
def test_the_release_and_the_blank_copies_agree(graded, name):
    """All but the figures to aim at, which a blank copy keeps, and what it remembers of itself."""
    release = workbook.read_notebook(graded["course"] / "release" / ASSIGNMENT / f"{name}.ipynb")
    made = workbook.blank(worked(name))
    assert len(release["cells"]) == len(made["cells"])
    for theirs, ours in zip(release["cells"], made["cells"]):
        assert theirs["metadata"] == ours["metadata"]
        assert "".join(theirs["source"]) == "".join(ours["source"]).split(f"\n\n{workbook.AIM}")[0]
        assert not theirs.get("outputs") and not ours.get("outputs")


@pytest.mark.slow
def test_graders_and_students_see_the_rubric_above_each_text(graded):
    course = graded["course"]
    for name in GRADED:
        page = (course / "feedback" / "perfect" / ASSIGNMENT / f"{name}.html").read_text("utf-8")
        book = nbformat.read(course / "autograded" / "perfect" / ASSIGNMENT / f"{name}.ipynb", as_version=4)
        for above, cell in zip(book.cells, book.cells[1:]):
            if (role := cell.metadata.get("nbgrader", {}).get("grade_id")) in TEXTS:
                assert all(idea in above.source for idea in questions.rubrics()[role].ideas)
                assert f"{questions.item(role).label}, {POINTS[role]} points: what a full answer says" in page
    assert len(list(course.glob(f"feedback/*/{ASSIGNMENT}/*.html"))) == 5 * len(GRADED)


@pytest.mark.slow
def test_grading_again_takes_what_has_changed_and_keeps_what_people_gave(graded, road_folder, monkeypatch, capsys):
    from nbgrader.api import Gradebook

    course = graded["course"]
    folder = course.parent
    set_own_jupyter(monkeypatch, folder)
    for name, value in (("HOME", folder), ("DATA", road_folder), ("CACHE", folder / "cache")):
        monkeypatch.setenv(f"ROADSEG_{name}", str(value))
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        for notebook in gradebook.find_submission(ASSIGNMENT, "perfect").notebooks:
            for grade in notebook.grades:
                if grade.needs_manual_grade:
                    grade.manual_score, grade.needs_manual_grade = grade.max_score, False
        gradebook.db.commit()
    command("points", "--course", course)
    assert points_of(course)["perfect"] == {**POINTS, "total": 100}
    assert command("grade", "--course", course) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "All submissions are graded as they were handed in."
    assert command("grade", "blank", "--seconds", "16", "--course", course) == 0  # a second to run: not enough
    printed = capsys.readouterr().out
    assert "there was no time left" in printed or "went on after its time" in printed
    command("points", "--course", course)
    assert points_of(course)["perfect"]["total"] == 100
    assert points_of(course)["blank"]["train_step"] is None  # nothing has run: for people
