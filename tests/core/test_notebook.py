"""Errors as a notebook's reader meets them: one line, no traceback page. Run in a real kernel."""

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = {
    "first": "from roadseg import kitti, notebook\nfrom pathlib import Path\nnotebook.short_errors()",
    "missing folder": "kitti.frames(Path('nowhere'))",
    "out of order": "answer = roads.images",
    "in a function": "def f():\n    return roadz\nf()",
    "another error": "1 / 0",
    "syntax": "print('still alive')",
}


@pytest.fixture(scope="module")
def outputs():
    """The outputs of each cell."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    NotebookClient(book, timeout=60, allow_errors=True).execute()
    return dict(zip(CELLS, (cell.outputs for cell in book.cells)))


def traceback(outputs) -> list[str]:
    """The lines of the one error that a cell shows."""
    (output,) = outputs
    assert output.output_type == "error"
    return "\n".join(output.traceback).splitlines()


def test_our_errors_are_one_line(outputs):
    (line,) = traceback(outputs["missing folder"])
    assert line.startswith("DataError: nowhere: expected") and "unpack data_road.zip there" in line


def test_a_cell_out_of_order_names_the_remedy(outputs):
    (line,) = traceback(outputs["out of order"])
    assert line == (
        "NameError: name 'roads' is not defined. Run the cells above first: menu Run, Run All Above Selected Cell."
    )


def test_other_errors_keep_their_traceback(outputs):
    assert len(traceback(outputs["another error"])) > 3
    assert any("roadz" in line for line in traceback(outputs["in a function"]))


def test_the_kernel_goes_on(outputs):
    assert [output.text for output in outputs["syntax"]] == ["still alive\n"]
    assert outputs["first"] == []


def test_outside_of_ipython_nothing_happens():
    from roadseg import notebook

    assert notebook.short_errors() is None
