"""Blank copies, starting, and reading what a student has done, on the workbook's own notebooks."""

import copy
import json
import stat

import pytest

from roadseg.checks.result import MIME
from roadseg.workbook import notebooks as workbook
from roadseg.workbook import questions
from roadseg.workbook.notebooks import CODE_STUB, TEXT_STUB, NotebookError

NAMES = sorted(path.stem for path in workbook.worked_folder().glob("0*.ipynb"))
ANSWER = "Most pixels are no road, so a network that says no road everywhere is right four times in five, as one sees."


def worked(name):
    return workbook.read_notebook(workbook.worked_folder() / f"{name}.ipynb")


def text_of(notebook):
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"])


def cell_of(notebook, name):
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


@pytest.fixture
def folder(tmp_path):
    workbook.start(tmp_path)
    return tmp_path


def edit(folder, notebook, change):
    """Change a saved notebook in place, as JupyterLab does."""
    path = folder / f"{notebook}.ipynb"
    content = workbook.read_notebook(path)
    change(content)
    workbook.write_notebook(path, content)


def entry(folder, name):
    return next(entry for entry in workbook.read(folder).entries if entry.item.id == name)


def set_source(name, source):
    return lambda notebook: cell_of(notebook, name).update(source=source.splitlines(keepends=True))


# --- blank copies


def test_there_are_five_notebooks():
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_copy_holds_no_solution_answer_hidden_test_or_output(name):
    made = workbook.blank(worked(name))
    text = text_of(made)
    assert not any(
        mark in text for mark in ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN", "END HIDDEN", "**Answer.**")
    )
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_blank_plus_solutions_is_the_worked_notebook(name):
    original = worked(name)
    full = workbook.filled(workbook.blank(original), original)
    assert [(c["id"], "".join(c["source"])) for c in full["cells"]] == [
        (c["id"], "".join(c["source"])) for c in original["cells"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_copy_of_a_blank_copy_is_the_same(name):
    once = workbook.blank(worked(name))
    assert workbook.blank(once) == once


def test_each_solution_becomes_one_stub_in_its_place():
    made = workbook.blank(worked("01_simple_model"))
    source = "".join(cell_of(made, "train_step")["source"])
    assert source.count(CODE_STUB) == 1 and f"    {CODE_STUB}" in source and source.startswith("def train_step(model")
    namespace = {}
    exec(source, namespace)  # a stub is a function that gives None
    assert namespace["train_step"](*[None] * 3, loss_fn=0, optimizer=0, running_loss=0, running_accuracy=0) is None


def test_each_text_asks_for_an_answer():
    made = workbook.blank(worked("03_written_questions"))
    texts = [i.id for i in questions.ITEMS if i.kind == "text" and i.notebook == "03_written_questions"]
    assert all("".join(cell_of(made, name)["source"]) == TEXT_STUB for name in texts)


def test_locked_cells_cannot_be_edited_and_answers_not_deleted():
    made = workbook.blank(worked("03_written_questions"))
    assert cell_of(made, "check-answer-3")["metadata"]["editable"] is False
    assert cell_of(made, "answer-3")["metadata"]["deletable"] is False
    assert "editable" not in cell_of(made, "answer-3")["metadata"]


@pytest.mark.parametrize("name", ["01_simple_model", "02_unet"])
def test_the_expected_figure_moves_into_the_text_above(name):
    original, made = worked(name), workbook.blank(worked(name))
    tagged = [c["id"] for c in original["cells"] if workbook.EXPECTED in c["metadata"].get("tags", ())]
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


def test_starting_makes_all_and_a_second_start_only_what_is_missing(tmp_path):
    assert all(line.endswith("a blank copy, new") for line in workbook.start(tmp_path))
    edit(tmp_path, "01_simple_model", set_source("train_step", "mine = 1"))
    (tmp_path / "02_unet.ipynb").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    lines = workbook.start(tmp_path)
    assert [line for line in lines if line.endswith("new")] == ["02_unet.ipynb: a blank copy, new"]
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


def test_a_workbook_that_has_moved_on_says_what_changed_and_merges_nothing(tmp_path, monkeypatch):
    newer, older = tmp_path / "newer", tmp_path / "mine"
    workbook.start(older)
    newer.mkdir()
    for name in NAMES:
        notebook = worked(name)
        if name == "02_unet":
            set_source("levels", "print('changed')")(notebook)
            added = copy.deepcopy(cell_of(notebook, "c002"))
            notebook["cells"].append({**added, "id": "fresh"})
            notebook["cells"].remove(cell_of(notebook, "bottom-count"))
        workbook.write_notebook(newer / f"{name}.ipynb", notebook)
    before = (older / "02_unet.ipynb").read_bytes()
    monkeypatch.setattr(workbook, "worked_folder", lambda: newer)
    line = next(line for line in workbook.start(older) if line.startswith("02_unet"))
    assert "changed: levels" in line and "new: fresh" in line and "gone: bottom-count" in line
    assert (older / "02_unet.ipynb").read_bytes() == before
    assert "moved on" not in next(line for line in workbook.start(older) if line.startswith("01"))


def test_a_damaged_notebook_is_never_overwritten(folder):
    path = folder / "01_simple_model.ipynb"
    path.write_text('{"cells": [')
    with pytest.raises(NotebookError, match=r"01_simple_model.ipynb is no whole notebook.*Revert"):
        workbook.start(folder)
    assert path.read_text() == '{"cells": ['


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotebookError, match="cannot be written"):
        workbook.start(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == ""


def test_a_workbook_without_notebooks_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "worked_folder", lambda: tmp_path)
    with pytest.raises(NotebookError, match="no notebooks"):
        workbook.start(tmp_path / "mine")


def test_a_notebook_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "00_road_data.ipynb"
    workbook.write_notebook(path, {"cells": [], "metadata": {}})
    with pytest.raises(TypeError):
        workbook.write_notebook(path, {"cells": [object()]})
    assert json.loads(path.read_text()) == {"cells": [], "metadata": {}} and list(tmp_path.iterdir()) == [path]


# --- reading


def test_a_fresh_copy_is_all_open(folder):
    book = workbook.read(folder)
    assert {e.state for e in book.entries} == {"open"} and all(ids == [] for ids in book.untouched.values())
    assert [e.item for e in book.entries] == list(questions.ITEMS)
    assert "0 of 21 done" in workbook.summary(book)


def test_the_worked_notebooks_are_all_done():
    book = workbook.read(workbook.worked_folder())
    assert {e.item.id: e.remark for e in book.entries if not e.done} == {}
    assert "21 of 21 done; they carry 100 of 100 points" in workbook.summary(book)


def test_a_text_is_done_or_too_short(folder):
    edit(folder, "03_written_questions", set_source("answer-1", ANSWER))
    edit(folder, "03_written_questions", set_source("answer-2", f"{TEXT_STUB}\n\nIt is so."))
    assert entry(folder, "answer-1").done and entry(folder, "answer-1").source == ANSWER
    short = entry(folder, "answer-2")
    assert short.state == "too short" and short.remark == "3 words, at least 25 expected"


@pytest.mark.parametrize(
    "text", ["Потому что дорог мало. " * 6, "道路以外が大半だから。" * 3, "weil’s so ist, größer als üblich " * 5]
)
def test_words_count_in_any_script(folder, text):
    edit(folder, "03_written_questions", set_source("answer-1", text))
    assert entry(folder, "answer-1").done


def test_a_pasted_picture_comes_with_its_answer(folder):
    def paste(notebook):
        cell_of(notebook, "answer-1").update(source=[ANSWER], attachments={"a.png": {"image/png": "aGk="}})

    edit(folder, "03_written_questions", paste)
    assert entry(folder, "answer-1").attachments == {"a.png": {"image/png": "aGk="}}


def add_cell(kind, source, after):
    def change(notebook):
        cell = {"cell_type": kind, "id": "added", "metadata": {}, "source": [source]}
        if kind == "code":
            cell |= {"outputs": [], "execution_count": None}
        position = [c["id"] for c in notebook["cells"]].index(after)
        notebook["cells"].insert(position + 1, cell)

    return change


@pytest.mark.parametrize(
    "name, change",
    [
        ("answer-1", add_cell("markdown", ANSWER, "answer-1")),
        ("answer-1", add_cell("code", ANSWER, "compare-1")),
        ("answer-3", add_cell("code", "steps_per_epoch = 68", "imports")),
        ("choice-10", add_cell("code", "four_classes = ('softmax', 4)", "check-choice-10")),
    ],
)
def test_an_answer_in_the_wrong_cell_is_found(folder, name, change):
    edit(folder, "03_written_questions", change)
    found = entry(folder, name)
    assert found.state == "wrong cell" and "cell " in found.remark
    assert {e.item.id for e in workbook.read(folder).entries if e.state != "open"} == {name}


def test_a_text_written_into_the_question_is_found(folder):
    def change(notebook):
        next(c for c in notebook["cells"] if "## Question 5" in "".join(c["source"]))["source"] += ["\n" + ANSWER]

    edit(folder, "03_written_questions", change)
    assert entry(folder, "answer-5").state == "wrong cell"


def test_a_deleted_and_a_doubled_cell(folder):
    def change(notebook):
        notebook["cells"].remove(cell_of(notebook, "answer-1"))
        double = copy.deepcopy(cell_of(notebook, "answer-3"))
        notebook["cells"].append({**double, "id": "copy", "source": ["steps_per_epoch = 70"]})

    edit(folder, "03_written_questions", change)
    assert entry(folder, "answer-1").state == "deleted"
    assert entry(folder, "answer-3").state == "doubled" and "2 times" in entry(folder, "answer-3").remark


def card(name, passed, cause=None):
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {MIME: {"name": name, "passed": passed, "cause": cause}},
    }


@pytest.mark.parametrize(
    "source, output, state",
    [
        ("steps_per_epoch = 68", None, "not checked"),
        (f"steps_per_epoch = 68\n{CODE_STUB}", card("answer-3", True), "done"),
        ("steps_per_epoch = 70", card("answer-3", False, "all_pictures"), "not right"),
        ("steps_per_epoch = 68", card("answer-3", False, "not_written"), "not checked"),
        ("steps_per_epoch = None", card("answer-3", False, "not_written"), "open"),
        ("steps_per_epoch == 68", None, "open"),
        ("steps_per_epoch = = 68", None, "not right"),
    ],
)
def test_the_states_of_a_number(folder, source, output, state):
    def change(notebook):
        set_source("answer-3", source)(notebook)
        cell_of(notebook, "check-answer-3")["outputs"] = [output] if output else []

    edit(folder, "03_written_questions", change)
    assert entry(folder, "answer-3").state == state


def test_a_function_with_a_body_is_an_attempt(folder):
    source = "def val_step(model, image, road, *, loss_fn, running_loss, running_accuracy):\n    return model(image)"
    edit(folder, "01_simple_model", set_source("val_step", source))
    assert entry(folder, "val_step").state == "not checked" and entry(folder, "train_step").state == "open"


def test_a_changed_locked_cell_is_told(folder):
    edit(folder, "03_written_questions", set_source("check-answer-3", "print('right')"))
    book = workbook.read(folder)
    assert book.untouched["03_written_questions"] == ["check-answer-3"]
    assert "check-answer-3" in workbook.summary(book)


def test_a_missing_notebook_and_a_missing_folder(folder, tmp_path):
    (folder / "02_unet.ipynb").unlink()
    assert entry(folder, "build_unet").state == "no notebook"
    with pytest.raises(NotebookError, match="roadseg start"):
        workbook.read(tmp_path / "nowhere")


def test_the_order_of_execution_is_kept(folder):
    def run(notebook):
        for count, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), start=1):
            cell["execution_count"] = count

    edit(folder, "00_road_data", run)
    counts = workbook.read(folder).counts
    assert counts["00_road_data"] == list(range(1, len(counts["00_road_data"]) + 1)) and set(counts["02_unet"]) == {
        None
    }


def test_the_file_is_readable_by_others(folder):
    assert (folder / "00_road_data.ipynb").stat().st_mode & stat.S_IRUSR
