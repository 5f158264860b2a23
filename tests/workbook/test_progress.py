"""Reading what a student has done, in copies of the workbook's own notebooks."""

import shutil

import pytest
from students import QUESTIONS, cell_of, change, displayed, edit

from roadseg import workbook
from roadseg.checks.result import MIME

ANSWER = ("Most pixels are background. " * 6).strip()
PASSED, UNWRITTEN = (True, None), (False, "not_written")


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    workbook.start(folder := tmp_path_factory.mktemp("blank"))
    return folder


@pytest.fixture
def folder(blank, tmp_path):
    return shutil.copytree(blank, tmp_path, dirs_exist_ok=True)


def entry(folder, name):
    return next(entry for entry in workbook.read_workbook(folder).entries if entry.item.id == name)


def answer(folder, name, source, card, notebook=QUESTIONS):
    """Save an answer in code, and what its check said: whether it passed, and the cause."""
    change(folder, name, notebook, source=[source])
    data = card and {MIME: {"name": name.replace("choice", "answer"), "passed": card[0], "cause": card[1]}}
    change(folder, f"check-{name}", notebook, outputs=[displayed(**data)] if card else [])


def test_a_fresh_copy_is_all_open(folder):
    book = workbook.read_workbook(folder)
    assert {(e.state, e.remark, e.source) for e in (*book.entries, *book.exercises)} == {("open", "", "")}
    assert [e.item for e in book.entries] == list(workbook.ITEMS) and not any(book.changed.values())
    assert "0 of 21" in workbook.summary(book)


def test_the_worked_notebooks_are_all_done():
    book = workbook.read_workbook(workbook.worked_folder())
    assert {e.item.id: e.remark for e in (*book.entries, *book.exercises) if not e.done} == {}
    summary = workbook.summary(book)
    assert "21 of 21" in summary and "100 of 100" in summary
    assert all(entry.item.title in summary for entry in book.exercises)
    assert book.counts["00_road_data"] == list(range(1, len(book.counts["00_road_data"]) + 1))


@pytest.mark.parametrize(
    "text, state",
    [
        (ANSWER, "done"),
        ("Потому что дорог мало. " * 6, "done"),
        ("道路以外が大半だから。" * 3, "done"),
        ("weil’s so ist, größer als üblich " * 5, "done"),
        (f"{workbook.TEXT_STUB}\n\nIt is so.", "too short"),
    ],
)
def test_a_text_is_done_or_too_short_in_any_script(folder, text, state):
    pasted = {"a.png": {"image/png": "aGk="}}
    change(folder, "answer-1", source=[text], attachments=pasted)
    found = entry(folder, "answer-1")
    assert (found.state, found.source, found.attachments) == (state, text.strip(), pasted)
    assert ("3 words" in found.remark) == (state == "too short")


@pytest.mark.parametrize(
    "name, kind, source, after",
    [
        ("answer-1", "markdown", ANSWER, "compare-1"),
        ("answer-1", "markdown", f"## My answer\n\n{ANSWER}", "answer-1"),
        ("answer-1", "code", ANSWER, "compare-1"),
        ("answer-1", "code", f"answer = '{ANSWER}'\nprint('{ANSWER}')", "compare-1"),
        ("answer-1", "code", f'"""{ANSWER}"""', "compare-1"),
        ("answer-3", "code", "%matplotlib inline\nsteps_per_epoch = 68", "imports"),
    ],
)
def test_an_answer_in_the_wrong_cell_is_found(folder, name, kind, source, after):
    with edit(folder) as notebook:
        place = notebook["cells"].index(cell_of(notebook, after))
        cell = {"cell_type": kind, "id": "added", "metadata": {}, "source": [source]}
        notebook["cells"].insert(place + 1, cell)
    found = entry(folder, name)
    assert found.state == "wrong cell" and f"cell {place + 2} " in found.remark
    assert {e.item.id for e in workbook.read_workbook(folder).entries if e.state != "open"} == {name}


def test_the_last_card_counts(folder):
    """Not one of a cell above in which something was tried."""
    answer(folder, "answer-3", "steps_per_epoch = 68", PASSED)
    with edit(folder) as notebook:
        tried = displayed(**{MIME: {"name": "answer-3", "passed": False, "cause": "all_pictures"}})
        cell = {
            "cell_type": "code",
            "id": "added",
            "metadata": {},
            "source": "checks.answer(3, 70)",
            "outputs": [tried],
        }
        notebook["cells"].insert(0, cell)
    assert entry(folder, "answer-3").state == "done"


def test_swapped_answers_are_found(folder):
    change(folder, "answer-3", source=["steps_in_all = 816"])
    change(folder, "answer-4", source=["steps_per_epoch = 68"])
    assert [entry(folder, name).state for name in ("answer-3", "answer-4")] == ["wrong cell"] * 2


def test_a_text_written_into_the_question_is_found_and_a_deleted_cell_is_named(folder):
    with edit(folder) as notebook:
        next(c for c in notebook["cells"] if "## Question 5" in "".join(c["source"]))["source"] += ["\n" + ANSWER]
        notebook["cells"].remove(cell_of(notebook, "answer-1"))
    assert entry(folder, "answer-5").state == "wrong cell" and entry(folder, "answer-1").state == "deleted"


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
        ("def f():\n    steps_per_epoch = 68", None, "open"),
        ("steps_per_epoch = = 68", None, "not right"),
        ("steps_per_epoch = 68\nreturn 68", None, "not right"),
        (f"raise NotImplementedError({'-' * 900}1)", None, "not right"),  # nested too deeply
    ],
)
def test_the_states_of_a_number(folder, source, card, state):
    answer(folder, "answer-3", source, card)
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
        "%%time\n%matplotlib inline\n!pip list\nsteps_per_epoch = 68",
        "counts = !ls\nsteps_per_epoch = 68\nsteps_per_epoch?",
    ],
)
def test_an_answer_counts_however_it_is_given(folder, source):
    answer(folder, "answer-3", source, None)
    assert entry(folder, "answer-3").state == "not checked"
    answer(folder, "answer-3", source, PASSED)
    assert entry(folder, "answer-3").state == "done"


@pytest.mark.parametrize(
    "name, notebook, source",
    [
        (
            "train_step",
            "01_simple_model",
            "%%time\ndef train_step(model, image, mask, **options):\n    return model(image)",
        ),
        ("build_unet", "02_unet", "from my_unet import *"),
        ("build_unet", "02_unet", "import my_unet\nglobals().update(vars(my_unet))"),
    ],
)
def test_what_the_check_of_the_saved_notebook_saw_counts(folder, name, notebook, source):
    answer(folder, name, source, PASSED, notebook)
    assert entry(folder, name).done
    answer(folder, name, source, (False, "not_finite"), notebook)
    assert entry(folder, name).state == "not right" and "not finite" in entry(folder, name).remark


def test_a_choice_and_its_text_are_two_answers(folder):
    answer(folder, "choice-9", "same_in_both_modes = True", PASSED)
    assert entry(folder, "choice-9").done and entry(folder, "choice-9").check["passed"]
    assert entry(folder, "answer-9").state == "open" and entry(folder, "answer-9").check is None


def test_a_changed_locked_cell_is_named(folder):
    change(folder, "check-answer-3", source=["print('right')"])
    book = workbook.read_workbook(folder)
    assert book.changed[QUESTIONS] == ["check-answer-3"] and "check-answer-3" in workbook.summary(book)


def test_missing_and_foreign_notebooks(folder, tmp_path):
    (folder / "02_unet.ipynb").unlink()
    others = ("01_simple_model-Copy1.ipynb", "02_unet.ipynb.txt", "02_unet.json")
    for name in others:
        (folder / name).touch()
    (folder / "00_road_data.ipynb").write_bytes(b"{")
    (folder / "04_going_further.ipynb").write_bytes(b"")
    book = workbook.read_workbook(folder)
    assert set(book.damaged) == {"00_road_data", "04_going_further"}
    assert all(f"{name}.ipynb" in workbook.summary(book) for name in book.damaged)
    assert all(name in workbook.summary(book) for name in others)
    assert [path.stem for path in book.notebooks] == ["00_road_data", "01_simple_model", QUESTIONS, "04_going_further"]
    assert entry(folder, "build_unet").state == "no notebook" and entry(folder, "train_step").state == "open"
    for path, said in {"nowhere": "exist", "02_unet.json": "is a file"}.items():
        with pytest.raises(workbook.NotebookError, match=f"{path} .*{said}"):
            workbook.read_workbook(tmp_path / path)
