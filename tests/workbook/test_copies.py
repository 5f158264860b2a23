"""Blank copies of the workbook's own notebooks, starting."""

import copy

import pytest
from students import QUESTIONS, cell_of, change, edit, filled, worked

from roadseg import workbook
from roadseg.workbook import copies, files

NAMES = [path.stem for path in files.worked_notebooks()]


def source_of(notebook, name):
    return "".join(cell_of(notebook, name)["source"])


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_copy_holds_no_solution_answer_hidden_test_or_output(name):
    made = workbook.blank(worked(name))
    text = "\n".join("".join(cell["source"]) for cell in made["cells"])
    marks = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN", "END HIDDEN", "**Answer.**")
    assert len(NAMES) == 5 and not any(mark in text for mark in marks)
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert workbook.blank(made) == made
    kept = [c for c in worked(name)["cells"] if copies.PROSE_CHECK not in c["metadata"].get("tags", ())]
    assert [(cell["id"], cell["source"]) for cell in filled(name)["cells"]] == [
        (cell["id"], cell["source"]) for cell in kept
    ]


@pytest.mark.parametrize("end", ["    ### END SOLUTION\nprint(add)", ""])
def test_a_solution_becomes_one_stub_even_where_its_end_is_not_marked(end):
    source = f"def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n{end}"
    cell = {"cell_type": "code", "id": "add", "metadata": {}, "source": source, "outputs": [], "execution_count": 1}
    source = source_of(workbook.blank({"cells": [cell], "metadata": {}}), "add")
    assert source.count(workbook.CODE_STUB) == 1 and "return" not in source and ("print(add)" in source) == bool(end)
    exec(source.replace("print(add)", ""), namespace := {})
    assert namespace["add"](1, 2) is None  # a stub is a function that gives None


def test_texts_ask_for_an_answer_and_what_is_locked_cannot_be_edited():
    made = workbook.blank(worked(QUESTIONS))
    texts = [i.id for i in workbook.ITEMS if i.kind == "text" and i.notebook == QUESTIONS]
    assert {source_of(made, name) for name in texts} == {workbook.TEXT_STUB}
    assert cell_of(made, "check-answer-3")["metadata"]["editable"] is False
    assert cell_of(made, "answer-3")["metadata"]["deletable"] is False
    assert "editable" not in cell_of(made, "answer-3")["metadata"]


@pytest.mark.parametrize("name", ["01_simple_model", "02_unet"])
def test_the_expected_figure_is_folded_below_its_cell(name):
    original, made = worked(name), workbook.blank(worked(name))
    tagged = [c["id"] for c in original["cells"] if copies.EXPECTED in c["metadata"].get("tags", ())]
    assert tagged
    for cell_id in tagged:
        (shown,) = (o["data"] for o in cell_of(original, cell_id)["outputs"] if "alt" in str(o.get("metadata")))
        below = made["cells"][[c["id"] for c in made["cells"]].index(cell_id) + 1]
        image = "".join(shown["image/png"]).replace("\n", "")
        assert below["cell_type"] == "markdown" and f"(data:image/png;base64,{image})" in "".join(below["source"])
        assert "".join(below["source"]).startswith("<details>")
        assert below["metadata"]["editable"] is False  # so that nobody meets its source


def test_a_second_start_makes_only_what_is_missing_and_writes_to_nothing_that_is_there(tmp_path):
    assert len(workbook.start(tmp_path)) == 5 and len(list(tmp_path.iterdir())) == 5
    change(tmp_path, "train_step", "01_simple_model", source="mine = 1")
    damaged = tmp_path / "00_road_data.ipynb"
    damaged.write_text('{"cells": [')
    (tmp_path / "02_unet.ipynb").unlink()
    before = {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    lines = workbook.start(tmp_path)
    assert [line.split(":")[0] for line in lines if line.endswith("new")] == ["02_unet.ipynb"]
    assert str(damaged) in lines[0] and len(list(tmp_path.iterdir())) == 5
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_workbook_that_has_changed_says_where_and_merges_nothing(tmp_path, monkeypatch):
    newer, older = tmp_path / "newer", tmp_path / "mine"
    workbook.start(older)
    for name in NAMES:
        workbook.write_notebook(newer / f"{name}.ipynb", worked(name))
    with edit(newer, "02_unet") as notebook:
        cell_of(notebook, "levels")["source"] = ["print('changed')"]
        notebook["cells"].append({**copy.deepcopy(cell_of(notebook, "c002")), "id": "fresh"})
        notebook["cells"].remove(cell_of(notebook, "levels-panel"))
    before = (older / "02_unet.ipynb").read_bytes()
    monkeypatch.setattr(files, "worked_folder", lambda: newer)
    lines = {line.split(".")[0]: line for line in workbook.start(older)}
    assert all(part in lines["02_unet"] for part in ("levels", "fresh", "levels-panel"))
    assert (older / "02_unet.ipynb").read_bytes() == before and "start again" not in lines["01_simple_model"]


def test_folders_that_cannot_be_written_or_hold_no_notebooks(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(workbook.NotebookError, match="file"):
        workbook.start(tmp_path / "file" / "below")
    monkeypatch.setattr(files, "worked_folder", lambda: tmp_path)
    with pytest.raises(workbook.NotebookError, match=str(tmp_path)):
        workbook.start(tmp_path / "mine")
