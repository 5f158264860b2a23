"""Errors as a user meets them: one line, in Jupyter without a traceback."""

import nbformat
import pytest
from nbclient import NotebookClient

from roadseg.errors import DataError, RunError, explained, shorten_tracebacks


def test_any_file_name_is_printed_in_one_line():
    message = str(DataError("café\n\x1b[31m\udcff.png"))
    assert message.isprintable() and message.encode() and message.startswith("café") and message.endswith(".png")


def test_explained_names_the_file_and_leaves_our_own_errors_alone(tmp_path):
    with pytest.raises(RunError, match=r"gone.png.*remedy") as error, explained(RunError, tmp_path, "remedy"):
        (tmp_path / "gone.png").read_bytes()
    assert isinstance(error.value.__cause__, FileNotFoundError)
    with pytest.raises(RunError, match=rf"{tmp_path.name}: no\ lock"), explained(RunError, tmp_path, "remedy"):
        raise OSError("no\nlock")
    with pytest.raises(DataError, match="mine"), explained(RunError, tmp_path, "remedy"):
        raise DataError("mine")


# --- in a real kernel ------------------------------------------------------------------------------------------------

CELLS = {  # code, and how its one line begins
    "from pathlib import Path\nfrom roadseg import errors, kitti\nerrors.shorten_tracebacks()": None,
    "kitti.list_frames(Path('nowhere'))": "DataError: nowhere",
    "with errors.interruptible('what is kept'):\n    raise KeyboardInterrupt": "Interrupted: what is kept",
    "answer = roads.images": "NameError: name 'roads'",
    "split = 1\n[splt for _ in range(1)]": "NameError: name 'splt' is not defined. Did you mean 'split'?",
    "def f():\n    return roadz\nf()": "a traceback",
    "1 / 0": "a traceback",
}


def test_a_kernel_shows_our_errors_and_cells_out_of_order_in_one_line():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(book, timeout=120, allow_errors=True).execute()
    for cell, start in zip(book.cells, CELLS.values(), strict=True):
        lines = [line for output in cell.outputs for line in "\n".join(output.traceback).splitlines()]
        if start == "a traceback":
            assert len(lines) > 3, cell.source
        else:
            assert len(lines) == (start is not None), cell.source
            assert "".join(lines).startswith(start or ""), cell.source


def test_outside_of_jupyter_nothing_happens():
    assert shorten_tracebacks() is None
