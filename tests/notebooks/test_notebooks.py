"""The worked notebooks as a reader finds them, without running them: structure, outputs, figures, guesses, markers."""

import ast
import dis
import re
import statistics
from collections import Counter
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from roadseg import workbook
from roadseg.workbook.copies import PROSE_CHECK

NOTEBOOKS = sorted(workbook.worked_folder().glob("0*.ipynb"))
QUESTIONS = next(path for path in NOTEBOOKS if path.stem == "03_written_questions")
GUESSES = {"00": 2, "01": 2, "02": 2, "03": 10, "04": 1}  # at least
VARIES = "nbval-ignore-output"
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:root|home|tmp|work|Users)/[\w./-]+")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "") -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind or not kind]


def is_prose_check(cell) -> bool:
    """Whether a cell only holds the prose to its numbers, and is not in a student's copy, where the run is another."""
    return PROSE_CHECK in cell.metadata.get("tags", ())


def in_sight(path: Path) -> list:
    """The cells of a student's copy that no folded heading hides."""
    found, folded = [], 7  # the level of the folded heading above; 7 is none
    for cell in cells(path):
        level = len(re.match("#*", cell.source)[0]) if cell.cell_type == "markdown" else 0
        if 0 < level <= folded:
            found.append(cell)
            folded = level if cell.metadata.get("jp-MarkdownHeadingCollapsed") else 7
        elif folded == 7 and not is_prose_check(cell):
            found.append(cell)
    return found


def asserts(cell) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source)))


@each_notebook
def test_valid_and_of_one_form(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    content = path.read_text("utf-8")
    assert len(content) < 2_000_000 and not MACHINE_PATH.search(content)
    text = [cell.source for cell in cells(path, "markdown")]
    assert sum(len(re.findall(r"^# ", source, flags=re.M)) for source in text) == 1
    for promise in ("**You will**", "**You will learn**", "**You need**", "**Running time:**"):
        assert promise in " ".join(text[0].split())
    assert "## What you did" in text[-1] and "**To try on your own:**" in text[-1]
    lengths = [len(cell.source.splitlines()) for cell in cells(path, "code")]
    assert max(lengths) <= 20 and statistics.median(lengths) <= 6
    assert "ccc" not in "".join(cell.cell_type[0] for cell in cells(path))  # code is never far from prose


@each_notebook
def test_executed_in_order_without_errors_or_noise_and_figures_in_words(path):
    code, figures = cells(path, "code"), []
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type != "error" and output.get("name") != "stderr", output
        figures += [(output, kind) for kind in {"image/png", "image/jpeg"} & set(output.get("data", {}))]
    assert len(figures) >= 2
    for output, kind in figures:
        assert len(output.metadata[kind]["alt"]) > 30 and output.data["text/plain"].endswith(".")


@each_notebook
def test_solution_markers_pair_up(path):
    for cell in cells(path, "code"):
        begins, ends = cell.source.count("### BEGIN SOLUTION"), cell.source.count("### END SOLUTION")
        assert begins == ends == bool(cell.metadata.get("nbgrader", {}).get("solution"))


@each_notebook
def test_what_varies_is_followed_by_an_assertion(path):
    """Cells that nbval does not compare are followed, before the next heading, by one that asserts what they show."""
    waiting = None
    for cell in [*cells(path), nbformat.v4.new_markdown_cell("## End")]:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, flags=re.M):
            assert waiting is None, f"nothing asserts what cell {waiting} shows"
        elif cell.cell_type == "code":
            waiting = None if asserts(cell) else cell.id if VARIES in cell.metadata.get("tags", ()) else waiting


def names(code) -> dict[str, set]:
    """The notebook's names that compiled code writes, and those that it reads before it has written them itself."""
    found = {"written": set(), "read": set()}
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            found["written"].add(instruction.argval)
        elif instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL") and instruction.argval not in found["written"]:
            found["read"].add(instruction.argval)
        elif hasattr(instruction.argval, "co_code"):  # the body of a function
            found["read"] |= names(instruction.argval)["read"] - found["written"]
    return found


@each_notebook
def test_cells_can_be_run_again_and_need_none_that_a_copy_lacks(path):
    """A name that other cells read is written in one, so a cell run after later ones finds what it found at first."""
    code = [(cell, names(compile(cell.source, cell.id, "exec"))) for cell in cells(path, "code")]
    count, read = Counter(name for _, found in code for name in found["written"]), set()
    kept, left_out = set(), set()
    for cell, found in code:
        read |= found["read"]
        (left_out if is_prose_check(cell) else kept).update(found["written"])
        assert is_prose_check(cell) == bool(cell.metadata.get("jupyter", {}).get("source_hidden")), cell.id
        assert is_prose_check(cell) <= asserts(cell), cell.id
        if path.stem >= "03":  # so nothing stops a student's copy there
            assert is_prose_check(cell) == asserts(cell) == ("hide-input" in cell.metadata.get("tags", ())), cell.id
    assert not [name for name in read if count[name] > 1]
    needed = {name for cell, found in code if not is_prose_check(cell) for name in found["read"]}
    assert not (left_out - kept) & needed


@each_notebook
def test_a_guess_may_be_left_open_and_is_shown_beside_the_result(path):
    code = {cell.id: cell.source for cell in cells(path, "code")}
    guesses = {name: text for name, text in code.items() if name.startswith("guess-")}
    assert len(guesses) >= GUESSES[path.stem[:2]]
    asked = [after.id for before, after in pairwise(cells(path)) if "**Predict:**" in before.source]
    assert asked and set(asked) <= set(guesses)
    for name, text in guesses.items():
        variable = name.replace("-", "_")
        assert re.fullmatch(rf"{variable} = None  # .+", text)
        shown = next(text for key, text in code.items() if key != name and re.search(rf"\b{variable}\b", text))
        assert f"workbook.compare_guess({variable}, " in shown


@pytest.mark.parametrize("path", NOTEBOOKS[:3], ids=lambda path: path.stem)
def test_no_number_that_a_question_asks_for_stands_before_it(path):
    """Steps in all, and trainable parameters with and without skips, in code, text or outputs."""
    content = re.sub(r'"image/(png|jpeg)": "[^"]*"', "", path.read_text("utf-8"))
    assert not re.search(r"(?<![\d.])(816|485[,_]?817|529[,_]?457)\b", content)


def test_each_question_asks_first_answers_in_few_words_and_folds_what_goes_deeper():
    sections, number = {}, "0"
    for cell in cells(QUESTIONS):
        if cell.cell_type == "markdown" and (head := re.match(r"## (?:Question (\d+))?", cell.source)):
            number = head[1] or "0"
        sections.setdefault(number, []).append(cell)
    del sections["0"]
    assert list(sections) == [str(number) for number in range(1, 15)]
    for number, section in sections.items():
        first = next(cell for cell in section if cell.cell_type == "code")
        assert first.id in (f"guess-{number}", f"answer-{number}", f"choice-{number}")
        answered = False
        for cell in section:
            answered |= bool(re.match(r"(check-)?answer-", cell.id))
            if cell.source.startswith("### "):
                assert answered and cell.metadata["jp-MarkdownHeadingCollapsed"] is True
            if cell.source.startswith("**Answer.**"):
                text = re.sub(r"\]\([^)]*\)", "]", cell.source).removeprefix("**Answer.**")
                assert 20 <= len(text.split()) <= 100, number


def test_experiments_in_sight_are_short_and_notebook_04_is_read_in_twenty_minutes():
    experiments = [c for c in in_sight(QUESTIONS) if c.cell_type == "code" and "nbgrader" not in c.metadata]
    long = {cell.id: len(cell.source.splitlines()) for cell in experiments if cell.id != "imports"}
    assert {name: lines for name, lines in long.items() if lines > 12} == {}
    read = [cell for cell in in_sight(NOTEBOOKS[4]) if cell.cell_type == "markdown"]
    assert sum(len(cell.source.split()) for cell in read if cell.id not in ("glossary", "reading")) < 2000
