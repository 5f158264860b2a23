"""Two speeds: a guess before each experiment, short answers, nothing that stops a student's copy."""

import ast
import re

import pytest

from roadseg import workbook

WORDS = 100
PROSE_CHECK = "prose-check"  # tag of the cells that are not in a student's copy
TEXTS = [item.id for item in workbook.ITEMS if item.kind == "text" and item.notebook == "03_written_questions"]


def cells(notebook: str) -> list[dict]:
    return workbook.read_notebook(workbook.worked_folder() / f"{notebook}.ipynb")["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def sections() -> dict[int, list[dict]]:
    """The cells of each question in notebook 03."""
    found, number = {}, 0
    for cell in cells("03_written_questions"):
        heading = re.match(r"## (Question (\d+))?", source(cell)) if cell["cell_type"] == "markdown" else None
        number = int(heading[2] or 0) if heading else number
        found.setdefault(number, []).append(cell)
    return {number: section for number, section in found.items() if number}


@pytest.mark.parametrize("name", TEXTS)
def test_a_model_answer_is_short(name):
    (answer,) = (cell for cell in cells("03_written_questions") if cell["id"] == name)
    text = re.sub(r"\]\([^)]*\)", "]", source(answer)).removeprefix("**Answer.**")
    assert 20 <= len(text.split()) <= WORDS


def test_each_question_asks_for_a_guess_or_an_answer_before_anything_is_measured():
    assert sorted(sections()) == list(range(1, 15))
    for number, section in sections().items():
        first = next(cell for cell in section if cell["cell_type"] == "code")
        assert first["id"] in (f"guess-{number}", f"answer-{number}", f"choice-{number}")


@pytest.mark.parametrize("notebook, least", [("00", 2), ("01", 2), ("02", 2), ("03", 10), ("04", 1)])
def test_a_guess_may_be_left_open_and_is_shown_beside_the_result(notebook, least):
    (path,) = workbook.worked_folder().glob(f"{notebook}*.ipynb")
    code = {cell["id"]: source(cell) for cell in cells(path.stem) if cell["cell_type"] == "code"}
    guesses = {name: text for name, text in code.items() if name.startswith("guess-")}
    assert len(guesses) >= least
    for name, text in guesses.items():
        variable = name.replace("-", "_")
        assert re.fullmatch(rf"{variable} = None  # .+", text)
        shown = next(text for key, text in code.items() if key != name and re.search(rf"\b{variable}\b", text))
        assert f"workbook.compare_guess({variable}, " in shown


@pytest.mark.parametrize("notebook", ["03_written_questions", "04_going_further"])
def test_only_cells_that_a_copy_leaves_out_hold_the_prose_to_its_numbers(notebook):
    for cell in cells(notebook):
        if cell["cell_type"] == "code" and PROSE_CHECK not in cell["metadata"].get("tags", ()):
            assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source(cell)))), cell["id"]
        elif cell["cell_type"] == "code":
            assert cell["metadata"]["jupyter"]["source_hidden"] and "hide-input" in cell["metadata"]["tags"]


def test_what_goes_deeper_is_folded_and_comes_after_the_answer():
    for section in sections().values():
        names = [cell["id"] for cell in section]
        for cell in section:
            if source(cell).startswith("### "):
                assert cell["metadata"]["jp-MarkdownHeadingCollapsed"] is True
                answers = [place for place, name in enumerate(names) if re.match(r"(check-)?answer-", name)]
                assert names.index(cell["id"]) > max(answers)


@pytest.mark.parametrize("notebook", ["03_written_questions", "04_going_further"])
def test_a_copy_needs_nothing_that_is_left_out(notebook):
    """Each name that is read in a cell of a copy, and written in the notebook, is written in a cell of the copy."""
    left_out, kept, read = set(), set(), set()
    for cell in cells(notebook):
        if cell["cell_type"] == "code":
            used = [node for node in ast.walk(ast.parse(source(cell))) if isinstance(node, ast.Name)]
            written = {node.id for node in used if isinstance(node.ctx, ast.Store)}
            if PROSE_CHECK in cell["metadata"].get("tags", ()):
                left_out |= written
            else:
                kept |= written
                read |= {node.id for node in used if isinstance(node.ctx, ast.Load)}
    assert (left_out - kept) & read == set()
