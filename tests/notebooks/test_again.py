"""The worked notebooks several times over in one kernel, at last out of order: nothing breaks, memory levels off.

What they train goes below ROADSEG_HOME, which `make test-slow` sets to build/test, so that runs that are there are
reused.
"""

import os
import random
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("0*.ipynb"))
HOME = os.environ.get("ROADSEG_HOME")
MEBIBYTES = "print(int(open('/proc/self/statm').read().split()[1]) * __import__('resource').getpagesize() // 2**20)"
PASSES = {"03_written_questions": 2}  # its experiments take minutes each time

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not HOME, reason="ROADSEG_HOME is not set: run `make test-slow`"),
    pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc"),
]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_again_and_out_of_order(path, monkeypatch):
    """Once all cells have run, each works whatever ran before it, and none says anything on stderr."""
    monkeypatch.setenv("ROADSEG_HOME", HOME)
    monkeypatch.delenv("ROADSEG_RUNS")
    monkeypatch.delenv("ROADSEG_CACHE")
    monkeypatch.setenv("ROADSEG_EPOCHS", "6")
    book, memory = nbformat.read(path, as_version=4), []
    code = [i for i, cell in enumerate(book.cells) if cell.cell_type == "code"]
    book.cells.append(nbformat.v4.new_code_cell(MEBIBYTES))
    client = NotebookClient(book, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    with client.setup_kernel():
        for passed in range(PASSES.get(path.stem, 6)):
            order = code if not passed else random.Random(passed).sample(code, len(code))
            for i in order:
                client.execute_cell(book.cells[i], i)  # raises what the cell raises
                noise = [output.text for output in book.cells[i].outputs if output.get("name") == "stderr"]
                assert noise == [], f"cell {book.cells[i].id} of pass {passed + 1} says {noise}"
            client.execute_cell(book.cells[-1], len(book.cells) - 1)
            memory.append(int(book.cells[-1].outputs[0].text))
    print(f"{path.stem}: {memory} MiB after each pass")
    if len(memory) > 4:
        a_pass = (memory[-1] - memory[-4]) / 3
        assert a_pass < 0.04 * memory[-4], f"memory grows on and on: {memory} MiB after each pass"
