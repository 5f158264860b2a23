"""Notebooks' files as whatever program has saved them, read as one."""

import copy
import json
import subprocess
import sys

import nbformat
import pytest
from students import QUESTIONS, cell_of, worked

from roadseg import workbook
from roadseg.workbook.files import parse_notebook, role, source_of
from roadseg.workbook.questions import EXERCISES

FIRST, SECOND = "Most pixels are background, so it is high.", "It stays there until the road is learned."


@pytest.fixture(scope="module")
def blank() -> dict:
    return workbook.blank(worked(QUESTIONS))


@pytest.fixture
def notebook(blank) -> dict:
    """A copy with two answers and an output of each kind."""
    made = copy.deepcopy(blank)
    cell_of(made, "answer-1")["source"] = [FIRST]
    kinds = {"stream": {"text": "a"}, "display_data": {"data": {}}, "error": {"ename": "E", "evalue": "e"}}
    cell_of(made, "answer-3")["source"] = ["steps_per_epoch = 68\n", "print(1)"]
    cell_of(made, "answer-3")["outputs"] = [{"output_type": kind, **rest} for kind, rest in kinds.items()]
    return made


def parsed(notebook: dict) -> dict:
    """What the reader makes of it; valid for Jupyter, and the same when it is read again."""
    found = parse_notebook(json.dumps(notebook).encode(), "x.ipynb")
    nbformat.validate(json.loads(json.dumps(found)), version=4)
    assert parse_notebook(workbook.notebook_bytes(found), "x.ipynb") == found
    return found


def each(change):
    return lambda notebook: [change(cell) for cell in notebook["cells"]]


def strip(*names):
    return each(lambda cell: [cell.pop(name, None) for name in names])


def as_format_3(notebook):
    cells = notebook.pop("cells")
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["input"], cell["language"] = cell.pop("source"), "python"
            cell["prompt_number"], cell["outputs"] = cell.pop("execution_count"), []
    notebook.update(nbformat=3, nbformat_minor=0, worksheets=[{"cells": cells, "metadata": {}}])


def drop_names(notebook):
    """As Deepnote and Kaggle do, and some that convert."""
    for i, cell in enumerate(notebook["cells"]):
        cell.update(metadata={"cell_id": f"a{i}"}, source="".join(cell["source"]).strip())
        del cell["id"]
    notebook["metadata"] = {}


def merge_into_checks(notebook):
    """As JupyterLab does where the check is the active cell."""
    for cell in [cell for cell in notebook["cells"] if role(cell).get("grade_id", "").startswith("check-")]:
        answer = cell_of(notebook, cell["id"].removeprefix("check-"))
        cell["source"] = [*answer["source"], *cell["source"]] if cell["id"] != "check-answer-3" else answer["source"]
        notebook["cells"].remove(answer)


CHANGES = {
    "no names": drop_names,
    "new cells in place of those deleted": lambda notebook: [
        cell_of(notebook, name).update(id="new", metadata={}) for name in ("answer-1", "answer-3")
    ],
    "answers merged into checks": merge_into_checks,
    "code as text and text as code": each(
        lambda cell: (
            role(cell).get("solution") and cell.update(cell_type="code" if cell["cell_type"] == "markdown" else "raw")
        )
    ),
    "nulls": each(
        lambda cell: cell.update(
            outputs=[
                {"output_type": "stream", "name": None, "text": None},
                {"output_type": "error", "traceback": [1]},
                {"output_type": "display_data", "data": {"text/plain": None}},
            ],
            attachments={"a.png": {"image/png": None}, "b.png": None},
        )
    ),
    "format 4.0": lambda notebook: (strip("id")(notebook), notebook.update(nbformat_minor=0)),
    "format 4.0 of Colab": each(lambda cell: cell.update(metadata={"id": cell.pop("id")})),
    "format 3": as_format_3,
    "no format, outputs, counts, ids": lambda notebook: (
        strip("id", "outputs", "execution_count")(notebook),
        [notebook.pop(name) for name in ("nbformat", "nbformat_minor")],
    ),
    "no metadata of cells that have ids": strip("metadata"),
    "no kinds": strip("cell_type"),
    "other ids": each(lambda cell: cell.update(id="Ü b" if not role(cell) else cell["id"] + "-other")),
    "one id for all": each(lambda cell: cell.update(id="x")),
    "keys of other programs": each(lambda cell: cell.update(collapsed=True, attachments={}, execution_count="*")),
    "line ends": each(lambda cell: cell.update(source="".join(cell["source"]).replace("\n", "\r\n"))),
    "outputs of other kinds": each(lambda cell: cell.update(outputs=[{}, {"output_type": "pyout"}])),
    "junk": lambda notebook: (
        notebook["metadata"].update(roadseg={"cells": {"a": []}, "locked": 1}),
        notebook["cells"].append({"source": [1], "outputs": [1, {"output_type": []}], "metadata": [], "id": {}}),
        notebook["cells"].append({"cell_type": "code", "outputs": 1, "metadata": {"nbgrader": 1}}),
    ),
    "widgets of Colab": lambda notebook: notebook["metadata"].update(
        widgets={"application/vnd.jupyter.widget-state+json": {"4711": {}}}
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_answers_are_found_whatever_has_saved_them(notebook, name):
    CHANGES[name](notebook)
    found = parsed(notebook)
    names = [role(cell)["grade_id"] for cell in found["cells"] if role(cell)]
    exercises, answers = {each.id for each in EXERCISES}, [i.id for i in workbook.ITEMS if i.notebook == QUESTIONS]
    assert [name for name in names if not name.startswith("check-") and name not in exercises] == answers
    assert "best_f1" in names  # an exercise
    by_name = {role(cell)["grade_id"]: source_of(cell) for cell in found["cells"] if role(cell)}
    assert by_name["answer-1"] == FIRST and by_name["answer-3"] == "steps_per_epoch = 68\nprint(1)"
    assert "widgets" not in found["metadata"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_encodings(notebook, encoding):
    cell_of(notebook, "answer-1")["source"] = ["Straße"]
    content = json.dumps(notebook, ensure_ascii=False).encode(encoding, "replace")
    assert source_of(cell_of(parse_notebook(content, "x"), "answer-1")) == "Straße"


def test_an_old_end_is_not_read_and_half_characters_can_be_written(notebook, tmp_path):
    cell_of(notebook, "answer-1")["source"] = ["a\ud800b"]
    content = json.dumps(notebook).encode()
    found = parse_notebook(content + content[-100:], "x")
    assert found == parse_notebook(content, "x")
    workbook.write_notebook(tmp_path / "x.ipynb", found)
    assert source_of(cell_of(workbook.read_notebook(tmp_path / "x.ipynb"), "answer-1")) == "a?b"


def part(notebook, name, source, *, after, **changes):
    """Another cell with the metadata of an answer, or, without a name, one that was added."""
    cell = copy.deepcopy(cell_of(notebook, name)) if name else {"cell_type": "markdown", "metadata": {}}
    place = notebook["cells"].index(cell_of(notebook, after))
    notebook["cells"].insert(place + 1, {**cell, "id": "part", "source": source, **changes})


@pytest.mark.parametrize("name, after", [("answer-1", "answer-1"), ("answer-1", "check-answer-3"), ("", "answer-1")])
def test_both_parts_of_a_text_count(notebook, blank, name, after):
    part(notebook, name, SECOND, after=after, attachments={"a.png": {"image/png": "AA=="}})
    assert source_of(cell_of(parsed(notebook), "answer-1")) == f"{FIRST}\n\n{SECOND}"
    cell_of(notebook, "answer-1")["source"] = cell_of(blank, "answer-1")["source"]
    found = parsed(notebook)
    assert source_of(cell_of(found, "answer-1")) == SECOND and cell_of(found, "answer-1")["attachments"]
    assert len(found["cells"]) == len(blank["cells"])


def test_both_parts_of_code_count_and_blank_ones_and_copies_add_nothing(notebook, blank):
    written = source_of(cell_of(notebook, "answer-3"))
    part(notebook, "answer-3", cell_of(blank, "answer-3")["source"], after="answer-4")
    part(notebook, "answer-3", written, after="answer-4")
    part(notebook, "check-answer-3", "display(1)", after="answer-4")
    found = parsed(notebook)
    assert source_of(cell_of(found, "answer-3")) == written
    assert [role(cell).get("grade_id") for cell in found["cells"]].count("check-answer-3") == 1
    part(notebook, "answer-3", "steps_per_epoch = 70", after="answer-4")
    assert source_of(cell_of(parsed(notebook), "answer-3")) == f"{written}\nsteps_per_epoch = 70"


def test_what_stands_below_an_answer_and_is_none(notebook, blank):
    part(notebook, "", "# My notes", after="answer-1")
    found = parsed(notebook)
    assert source_of(cell_of(found, "answer-1")) == FIRST and len(found["cells"]) == len(blank["cells"]) + 1


def test_images_of_one_name_are_kept_apart(notebook):
    shown = ["![](attachment:a.png)"]
    cell_of(notebook, "answer-1").update(source=shown, attachments={"a.png": {"image/png": "AA=="}})
    part(notebook, "answer-1", shown, after="answer-1", attachments={"a.png": {"image/png": "BB=="}})
    found = cell_of(parsed(notebook), "answer-1")
    assert [list(kinds.values()) for kinds in found["attachments"].values()] == [["AA=="], ["BB=="]]
    assert all(f"attachment:{name})" in source_of(found) for name in found["attachments"])


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 9, b"\x80\xff", b'{"cells": [', b"[]", b'{"cells": 1}', b'{"cells": [1]}', b"[" * 10**5],
)
def test_what_is_no_notebook_is_named(content, tmp_path):
    with pytest.raises(workbook.NotebookError, match=r"x\.ipynb"):
        parse_notebook(content, "x.ipynb")


def test_the_reader_loads_nothing_heavy():
    code = "import sys, roadseg.workbook.files; print({'nbformat', 'numpy', 'IPython'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_notebook_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "00_road_data.ipynb"
    workbook.write_notebook(path, {"cells": [], "metadata": {}})
    with pytest.raises(TypeError):
        workbook.write_notebook(path, {"cells": [object()]})
    assert json.loads(path.read_text()) == {"cells": [], "metadata": {}} and list(tmp_path.iterdir()) == [path]


def test_widgets_are_left_out_of_what_jupyter_saves():
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "a panel"}
    cells = [{"outputs": [{"data": data}, {"name": "stdout"}]}, {"source": "text"}]
    workbook.without_widgets(model={"type": "notebook", "content": {"cells": cells}}, path="", contents_manager=None)
    workbook.without_widgets(model={"type": "file", "content": ""}, path="", contents_manager=None)
    assert data == {"text/plain": "a panel"}
