"""Blank copies of the workbook's own notebooks, starting."""

import copy
import stat

import pytest

from roadseg import workbook
from roadseg.workbook import copies, files

NAMES = [path.stem for path in files.worked_notebooks()]


def worked(name):
    return workbook.read_notebook(workbook.worked_folder() / f"{name}.ipynb")


def cell_of(notebook, name):
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def edit(path, name, source):
    """Change a cell of a saved notebook, as JupyterLab does."""
    notebook = workbook.read_notebook(path)
    cell_of(notebook, name)["source"] = source
    workbook.write_notebook(path, notebook)


def test_there_are_five_notebooks():
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_copy_holds_no_solution_answer_hidden_test_or_output(name):
    made = workbook.blank(worked(name))
    text = "\n".join("".join(cell["source"]) for cell in made["cells"])
    marks = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN", "END HIDDEN", "**Answer.**")
    assert not any(mark in text for mark in marks)
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert workbook.blank(made) == made
    full = workbook.filled(made, worked(name))
    sources = [{cell["id"]: "".join(cell["source"]) for cell in book["cells"]} for book in (full, worked(name))]
    left_out = [c["id"] for c in worked(name)["cells"] if copies.PROSE_CHECK in c["metadata"].get("tags", ())]
    assert list(sources[0]) == [cell_id for cell_id in sources[1] if cell_id not in left_out]
    assert sources[0].items() <= sources[1].items()


def test_each_solution_becomes_one_stub_in_its_place():
    made = workbook.blank(worked("01_simple_model"))
    source = "".join(cell_of(made, "train_step")["source"])
    assert source.count(workbook.CODE_STUB) == 1 and source.startswith("def train_step(model")
    namespace = {}
    exec(source, namespace)  # a stub is a function that gives None
    assert namespace["train_step"](*[None] * 3, loss_fn=0, optimizer=0, running_loss=0, running_accuracy=0) is None


@pytest.mark.parametrize("end", ["    ### END SOLUTION\nprint(add)", ""])
def test_a_solution_does_not_get_out_even_where_its_end_is_not_marked(end):
    source = f"def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n{end}"
    cell = {"cell_type": "code", "id": "add", "metadata": {}, "source": source, "outputs": [], "execution_count": 1}
    (made,) = workbook.blank({"cells": [cell], "metadata": {}})["cells"]
    source = "".join(made["source"])
    assert workbook.CODE_STUB in source and "return" not in source and ("print(add)" in source) == bool(end)


def test_each_text_asks_for_an_answer():
    made = workbook.blank(worked("03_written_questions"))
    texts = [i.id for i in workbook.ITEMS if i.kind == "text" and i.notebook == "03_written_questions"]
    assert all("".join(cell_of(made, name)["source"]) == workbook.TEXT_STUB for name in texts)


def test_locked_cells_cannot_be_edited_and_answers_not_deleted():
    made = workbook.blank(worked("03_written_questions"))
    assert cell_of(made, "check-answer-3")["metadata"]["editable"] is False
    assert cell_of(made, "answer-3")["metadata"]["deletable"] is False
    assert "editable" not in cell_of(made, "answer-3")["metadata"]


@pytest.mark.parametrize("name", ["01_simple_model", "02_unet"])
def test_the_expected_figure_moves_into_the_text_above(name):
    original, made = worked(name), workbook.blank(worked(name))
    tagged = [c["id"] for c in original["cells"] if copies.EXPECTED in c["metadata"].get("tags", ())]
    assert tagged
    for cell_id in tagged:
        (shown,) = (o["data"] for o in cell_of(original, cell_id)["outputs"] if "alt" in str(o.get("metadata")))
        (kind,) = (kind for kind in shown if kind.startswith("image/"))
        name = f"{cell_id}.{kind.removeprefix('image/')}"
        holder = next(c for c in made["cells"] if name in c.get("attachments", {}))
        assert holder["cell_type"] == "markdown" and f"(attachment:{name})" in "".join(holder["source"])
        assert holder["attachments"][name][kind] == "".join(shown[kind]).replace("\n", "")
        assert made["cells"].index(holder) < [c["id"] for c in made["cells"]].index(cell_id)


# --- starting


def test_a_second_start_makes_only_what_is_missing(tmp_path):
    assert len(workbook.start(tmp_path)) == 5 and len(list(tmp_path.iterdir())) == 5
    edit(tmp_path / "01_simple_model.ipynb", "train_step", "mine = 1")
    (tmp_path / "02_unet.ipynb").unlink()
    before = {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    lines = workbook.start(tmp_path)
    assert [line.split(":")[0] for line in lines if line.endswith("new")] == ["02_unet.ipynb"]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (tmp_path / "02_unet.ipynb").stat().st_mode & stat.S_IRUSR


def test_a_workbook_that_has_changed_says_where_and_merges_nothing(tmp_path, monkeypatch):
    newer, older = tmp_path / "newer", tmp_path / "mine"
    workbook.start(older)
    for name in NAMES:
        notebook = worked(name)
        if name == "02_unet":
            cell_of(notebook, "levels")["source"] = ["print('changed')"]
            notebook["cells"].append({**copy.deepcopy(cell_of(notebook, "c002")), "id": "fresh"})
            notebook["cells"].remove(cell_of(notebook, "levels-panel"))
        workbook.write_notebook(newer / f"{name}.ipynb", notebook)
    before = (older / "02_unet.ipynb").read_bytes()
    monkeypatch.setattr(files, "worked_folder", lambda: newer)
    lines = {line.split(".")[0]: line for line in workbook.start(older)}
    assert all(part in lines["02_unet"] for part in ("levels", "fresh", "levels-panel"))
    assert (older / "02_unet.ipynb").read_bytes() == before and "start again" not in lines["01_simple_model"]


def test_a_damaged_notebook_is_never_overwritten(tmp_path):
    workbook.start(tmp_path)
    path = tmp_path / "01_simple_model.ipynb"
    path.write_text('{"cells": [')
    (tmp_path / "02_unet.ipynb").unlink()
    lines = workbook.start(tmp_path)
    assert str(path) in lines[1] and (tmp_path / "02_unet.ipynb").is_file()
    assert path.read_text() == '{"cells": ['


def test_folders_that_cannot_be_written_or_hold_no_notebooks(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(workbook.NotebookError, match="file"):
        workbook.start(tmp_path / "file" / "below")
    monkeypatch.setattr(files, "worked_folder", lambda: tmp_path)
    with pytest.raises(workbook.NotebookError, match=str(tmp_path)):
        workbook.start(tmp_path / "mine")
