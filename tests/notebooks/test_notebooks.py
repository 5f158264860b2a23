"""The worked notebooks as a reader finds them, without running them: structure, outputs, figures, markers."""

import ast
import dis
import re
import statistics
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest

from roadseg.workbook.copies import PROSE_CHECK

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("0*.ipynb"))
VARIES = "nbval-ignore-output"
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:root|home|tmp|work|Users)/[\w./-]+")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def outputs(path: Path) -> list:
    return [output for cell in cells(path, "code") for output in cell.outputs]


def test_valid_and_small(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < 2_000_000


def test_one_title_with_a_verb_and_what_it_is_about(path):
    text = [cell.source for cell in cells(path, "markdown")]
    assert sum(len(re.findall(r"^# ", source, flags=re.M)) for source in text) == 1
    for promise in ("**You will**", "**You will learn**", "**You need**", "**Running time:**"):
        assert promise in " ".join(text[0].split())
    assert "## What you did" in text[-1] and "**To try alone:**" in text[-1]


def test_cells_are_short_and_never_far_from_prose(path):
    lengths = [len(cell.source.splitlines()) for cell in cells(path, "code")]
    assert max(lengths) <= 20 and statistics.median(lengths) <= 6
    kinds = "".join(cell.cell_type[0] for cell in nbformat.read(path, as_version=4).cells)
    assert "ccc" not in kinds


def test_executed_in_order_without_errors_or_noise(path):
    assert [cell.execution_count for cell in cells(path, "code")] == list(range(1, len(cells(path, "code")) + 1))
    for output in outputs(path):
        assert output.output_type != "error" and output.get("name") != "stderr", output


def test_figures_have_alternative_text_and_a_caption(path):
    figures = [output for output in outputs(path) if {"image/png", "image/jpeg"} & set(output.get("data", {}))]
    assert len(figures) >= 2
    for output in figures:
        (kind,) = {"image/png", "image/jpeg"} & set(output.data)
        assert len(output.metadata[kind]["alt"]) > 30
        assert output.data["text/plain"].endswith(".")


def test_no_path_of_one_machine(path):
    assert not MACHINE_PATH.search(path.read_text())


def test_solution_markers_pair_up(path):
    for cell in cells(path, "code"):
        begins, ends = cell.source.count("### BEGIN SOLUTION"), cell.source.count("### END SOLUTION")
        assert begins == ends <= 1
        assert bool(begins) == bool(cell.metadata.get("nbgrader", {}).get("solution"))


def test_what_varies_is_followed_by_an_assertion(path):
    """Cells that nbval does not compare are followed, before the next heading, by one that asserts what they show."""
    waiting = None
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, flags=re.M):
            assert waiting is None, f"nothing asserts what cell {waiting} shows"
        if cell.cell_type != "code":
            continue
        if VARIES in cell.metadata.get("tags", ()):
            waiting = cell.id
        if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source))):
            waiting = None
    assert waiting is None, f"nothing asserts what cell {waiting} shows"


def test_a_name_that_other_cells_read_is_written_in_one(path):
    """So a cell run again, after later ones, finds what it found the first time."""
    written, read = defaultdict(list), defaultdict(list)
    for cell in cells(path, "code"):
        for name in (found := names(compile(cell.source, cell.id, "exec")))["written"]:
            written[name].append(cell.id)
        for name in found["read"]:
            read[name].append(cell.id)
    assert {name: (places, read[name]) for name, places in written.items() if len(places) > 1 and name in read} == {}


def test_cells_that_hold_the_prose_to_its_numbers_are_hidden_and_nobody_needs_them(path):
    """They are not in a student's copy, where the run may be another."""
    kept, left_out = {"written": set(), "read": set()}, {"written": set(), "read": set()}
    for cell in cells(path, "code"):
        check = PROSE_CHECK in cell.metadata.get("tags", ())
        for kind, found in names(compile(cell.source, cell.id, "exec")).items():
            (left_out if check else kept)[kind].update(found)
        assert check == bool(cell.metadata.get("jupyter", {}).get("source_hidden"))
        assert not check or "assert" in cell.source
    assert not (left_out["written"] - kept["written"]) & kept["read"]


def test_no_number_that_a_question_asks_for_stands_before_it(path):
    """Steps in all, and trainable parameters with and without skips, in code, text or outputs."""
    if path.stem < "03":
        content = re.sub(r'"image/(png|jpeg)": "[^"]*"', "", path.read_text())
        assert not re.search(r"(?<![\d.])(816|485[,_]?817|529[,_]?457)\b", content)


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
