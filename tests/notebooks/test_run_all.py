"""Run All reaches the end of a student's copy: blank, half done and done, with one epoch on drawn images."""

import nbformat
import pytest
from conftest import write_roads
from nbclient import NotebookClient
from students import filled, worked

from roadseg import workbook

NOTEBOOKS = ("00_road_data", "01_simple_model", "02_unet")
WRONG = {  # of each kind of mistake one: not a function, an error, another result, another network
    "mean_mask": "mean_mask = 3",
    "train_loop": "def train_loop(*arguments, **options):\n    return {}",
    "val_step": "def val_step(model, image, mask):\n    return 1 / 0",
    "build_unet": "def build_unet():\n    return models.unet(skip_connections=False)",
}

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize("state", ["blank", "half done", "done"])
def test_run_all_reaches_the_end(state, tmp_path, monkeypatch):
    monkeypatch.setenv("ROADSEG_DATA", str(write_roads(tmp_path / "roads", count=41)))
    monkeypatch.setenv("ROADSEG_EPOCHS", "1")
    for name in NOTEBOOKS:
        copy = filled(name) if state == "done" else workbook.blank(worked(name))
        for cell in copy["cells"]:
            if state == "half done" and cell["id"] in WRONG:
                cell["source"] = WRONG[cell["id"]]
        workbook.write_notebook(tmp_path / f"{name}.ipynb", copy)
        book = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
        NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code)
        noise = {cell.id: o.text for cell in code for o in cell.outputs if o.get("name") == "stderr"}
        assert noise == {}
