"""Reading what a student has done, in copies of the workbook's own notebooks."""

import shutil

import pytest

from roadseg import workbook
from roadseg.checks.result import MIME

ANSWER = ("Most pixels are background. " * 6).strip()
NUMBERS = "03_written_questions"


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    workbook.start(folder := tmp_path_factory.mktemp("blank"))
    return folder


@pytest.fixture
def folder(blank, tmp_path):
    return shutil.copytree(blank, tmp_path, dirs_exist_ok=True)


def cell_of(notebook, name):
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def edit(folder, change, notebook=NUMBERS):
    """Change a saved notebook in place, as JupyterLab does."""
    path = folder / f"{notebook}.ipynb"
    content = workbook.read_notebook(path)
    change(content)
    workbook.write_notebook(path, content)


def set_source(name, source):
    return lambda notebook: cell_of(notebook, name).update(source=source.splitlines(keepends=True))


def add_cell(kind, source, after):
    def change(notebook):
        cell = {"cell_type": kind, "id": "added", "metadata": {}, "source": [source]}
        position = [c["id"] for c in notebook["cells"]].index(after)
        notebook["cells"].insert(position + 1, cell)

    return change


def entry(folder, name):
    return next(entry for entry in workbook.read_workbook(folder).entries if entry.item.id == name)


def test_a_fresh_copy_is_all_open(folder):
    book = workbook.read_workbook(folder)
    assert {e.state for e in book.entries} == {"open"} and all(ids == [] for ids in book.changed.values())
    assert [e.item for e in book.entries] == list(workbook.ITEMS)
    assert {e.state for e in book.exercises} == {"open"}
    assert "0 of 21 done" in workbook.summary(book)


def test_the_worked_notebooks_are_all_done():
    book = workbook.read_workbook(workbook.worked_folder())
    assert {e.item.id: e.remark for e in book.entries if not e.done} == {}
    assert {e.item.id: e.remark for e in book.exercises if not e.done} == {}
    summary = workbook.summary(book)
    assert "21 of 21 done; they carry 100 of 100 points" in summary
    assert all(entry.item.title in summary for entry in book.exercises)


def test_a_text_is_done_or_too_short(folder):
    edit(folder, set_source("answer-1", ANSWER))
    edit(folder, set_source("answer-2", f"{workbook.TEXT_STUB}\n\nIt is so."))
    edit(folder, set_source("answer-5", "Luck."))
    assert entry(folder, "answer-1").done and entry(folder, "answer-1").source == ANSWER
    assert entry(folder, "answer-2").state == "too short" and "3 words" in entry(folder, "answer-2").remark
    assert "1 word," in entry(folder, "answer-5").remark


@pytest.mark.parametrize(
    "text", ["Потому что дорог мало. " * 6, "道路以外が大半だから。" * 3, "weil’s so ist, größer als üblich " * 5]
)
def test_words_count_in_any_script(folder, text):
    edit(folder, set_source("answer-1", text))
    assert entry(folder, "answer-1").done


def test_a_pasted_image_comes_with_its_answer(folder):
    pasted = {"a.png": {"image/png": "aGk="}}
    edit(folder, lambda notebook: cell_of(notebook, "answer-1").update(source=[ANSWER], attachments=pasted))
    assert entry(folder, "answer-1").attachments == pasted


@pytest.mark.parametrize(
    "name, change",
    [
        ("answer-1", add_cell("markdown", ANSWER, "compare-1")),
        ("answer-1", add_cell("code", ANSWER, "compare-1")),
        ("answer-3", add_cell("code", "%matplotlib inline\nsteps_per_epoch = 68", "imports")),
    ],
)
def test_an_answer_in_the_wrong_cell_is_found(folder, name, change):
    edit(folder, change)
    found = entry(folder, name)
    assert found.state == "wrong cell" and "cell " in found.remark
    assert {e.item.id for e in workbook.read_workbook(folder).entries if e.state != "open"} == {name}


def test_a_text_written_into_the_question_is_found(folder):
    def change(notebook):
        next(c for c in notebook["cells"] if "## Question 5" in "".join(c["source"]))["source"] += ["\n" + ANSWER]

    edit(folder, change)
    assert entry(folder, "answer-5").state == "wrong cell"


def test_a_deleted_cell(folder):
    edit(folder, lambda notebook: notebook["cells"].remove(cell_of(notebook, "answer-1")))
    assert entry(folder, "answer-1").state == "deleted"


def answered(name, source, card):
    """An answer in code, and what its check said when the notebook was saved: whether it passed, and the cause."""

    def change(notebook):
        set_source(name, source)(notebook)
        data = card and {MIME: {"name": name, "passed": card[0], "cause": card[1]}}
        outputs = [{"output_type": "display_data", "metadata": {}, "data": data}] if card else []
        cell_of(notebook, f"check-{name}")["outputs"] = outputs

    return change


PASSED, UNWRITTEN = (True, None), (False, "not_written")


@pytest.mark.parametrize(
    "source, card, state",
    [
        ("steps_per_epoch = 68", None, "not checked"),
        (f"steps_per_epoch = 68\n{workbook.CODE_STUB}", PASSED, "done"),
        ("steps_per_epoch = 70", (False, "all_pictures"), "not right"),
        ("steps_per_epoch = 68", UNWRITTEN, "not checked"),
        ("steps_per_epoch = None", UNWRITTEN, "open"),
        (f"steps_per_epoch = None\n{workbook.CODE_STUB}", PASSED, "open"),  # given elsewhere
        ("steps_per_epoch == 68", None, "open"),
        ("steps_per_epoch = = 68", None, "not right"),
    ],
)
def test_the_states_of_a_number(folder, source, card, state):
    edit(folder, answered("answer-3", source, card))
    assert entry(folder, "answer-3").state == state


@pytest.mark.parametrize(
    "source",
    [
        "steps_per_epoch: int = 68",
        "if True:\n    steps_per_epoch = 68",
        "with open('/dev/null'):\n    steps_per_epoch = 68",
        "try:\n    steps_per_epoch = 272 // 4\nfinally:\n    pass",
        "print(steps_per_epoch := 68)",
        "from my_numbers import steps_per_epoch",
        "%%time\nsteps_per_epoch = 68",
        "%matplotlib inline\n!pip list\nsteps_per_epoch = 68",
        "counts = !ls\nsteps_per_epoch = 68\nsteps_per_epoch?",
    ],
)
def test_an_answer_counts_however_it_is_given(folder, source):
    edit(folder, answered("answer-3", source, None))
    assert entry(folder, "answer-3").state == "not checked"
    edit(folder, answered("answer-3", source, PASSED))
    assert entry(folder, "answer-3").state == "done"


@pytest.mark.parametrize(
    "name, notebook, source",
    [
        (
            "train_step",
            "01_simple_model",
            "%%time\ndef train_step(model, image, road, **options):\n    return model(image)",
        ),
        ("build_unet", "02_unet", "from my_unet import build_unet"),
        ("build_unet", "02_unet", "from my_unet import *"),
        ("build_unet", "02_unet", "import my_unet\nglobals().update(vars(my_unet))"),
    ],
)
def test_what_the_check_of_the_saved_notebook_saw_counts(folder, name, notebook, source):
    edit(folder, answered(name, source, PASSED), notebook)
    assert entry(folder, name).done
    edit(folder, answered(name, source, (False, "not_finite")), notebook)
    assert entry(folder, name).state == "not right" and "not finite" in entry(folder, name).remark


def test_a_function_with_a_body_is_an_attempt(folder):
    source = "def val_step(model, image, road, *, loss_fn, running_loss, running_accuracy):\n    return model(image)"
    edit(folder, set_source("val_step", source), "01_simple_model")
    assert entry(folder, "val_step").state == "not checked" and entry(folder, "train_step").state == "open"


def test_a_choice_and_its_text_are_two_answers(folder):
    data = {MIME: {"name": "answer-9", "passed": True, "cause": None}}
    edit(folder, set_source("choice-9", "same_in_both_modes = True"))
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    edit(folder, lambda notebook: cell_of(notebook, "check-choice-9").update(outputs=[output]))
    assert entry(folder, "choice-9").done and entry(folder, "choice-9").check["passed"]
    assert entry(folder, "answer-9").state == "open" and entry(folder, "answer-9").check is None


def test_a_changed_locked_cell_is_named(folder):
    edit(folder, set_source("check-answer-3", "print('right')"))
    book = workbook.read_workbook(folder)
    assert book.changed[NUMBERS] == ["check-answer-3"] and "check-answer-3" in workbook.summary(book)


def test_missing_and_foreign_notebooks(folder, tmp_path):
    (folder / "02_unet.ipynb").unlink()
    (folder / "01_simple_model-Copy1.ipynb").touch()
    (folder / "00_road_data.ipynb").write_bytes(b"{")
    (folder / "04_going_further.ipynb").write_bytes(b"")
    book = workbook.read_workbook(folder)
    assert set(book.damaged) == {"00_road_data", "04_going_further"}
    assert all(f"{name}.ipynb" in workbook.summary(book) for name in book.damaged)
    assert [path.stem for path in book.notebooks] == ["00_road_data", "01_simple_model", NUMBERS, "04_going_further"]
    assert entry(folder, "build_unet").state == "no notebook" and entry(folder, "train_step").state == "open"
    assert "01_simple_model-Copy1.ipynb" in workbook.summary(book)
    with pytest.raises(workbook.NotebookError, match="nowhere"):
        workbook.read_workbook(tmp_path / "nowhere")


def test_the_order_of_execution_is_kept(folder):
    def run(notebook):
        for count, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), start=1):
            cell["execution_count"] = count

    edit(folder, run, "00_road_data")
    counts = workbook.read_workbook(folder).counts
    assert counts["00_road_data"] == list(range(1, len(counts["00_road_data"]) + 1))
    assert set(counts["02_unet"]) == {None}
