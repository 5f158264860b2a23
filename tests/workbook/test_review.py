"""The reference beside one's own answer, and the overview, in a notebook that is a file on the disk."""

import json

import pytest
from students import QUESTIONS, change, displayed, panel_of

from roadseg import workbook
from roadseg.errors import OptionError
from roadseg.workbook import review

ANSWER = "word " * 30


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in order: [object, options], changed in place by updates."""
    things = []

    class Handle:
        def __init__(self, place):
            self.place = place

        def update(self, thing, **options):
            things[self.place] = thing

    def display(thing, display_id=False, **options):
        things.append(thing)
        return Handle(len(things) - 1) if display_id else None

    monkeypatch.setattr(review, "display", display)
    return things


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """The path of a student's notebook 03, which Jupyter says is this one."""
    workbook.start(tmp_path)
    path = tmp_path / f"{QUESTIONS}.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    return path


def test_among_the_worked_notebooks_the_cells_say_what_they_are_for(shown, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(workbook.worked_folder())
    workbook.compare(1)
    workbook.overview()
    assert len(shown) == 2 and "3 ideas" in shown[0].data and "lists what is done" in shown[1].data


@pytest.mark.parametrize("told", [None, "elsewhere/one.ipynb"])
def test_where_jupyter_names_no_notebook_the_kernels_folder_counts(shown, notebook, monkeypatch, told):
    monkeypatch.delenv("JPY_SESSION_NAME")
    if told:
        monkeypatch.setenv("JPY_SESSION_NAME", str(notebook.parent / told))
    monkeypatch.chdir(notebook.parent)
    workbook.overview()
    assert "Task 1" in shown[0].data


def test_before_an_attempt_the_reference_stays_closed(shown, notebook):
    workbook.compare(1)
    reference, bundle, _ = shown
    panel = panel_of(bundle)
    panel.children[0].click()
    assert shown[0] is reference and reference.data == ""
    assert "save" in panel.children[1].value and "open" in panel.children[1].value


def test_ticks_become_an_output_and_are_found_again_in_the_file(shown, notebook):
    change(notebook.parent, "answer-1", source=[ANSWER])
    workbook.compare(1)
    panel = panel_of(shown[1])
    panel.children[0].click()
    reference = workbook.reference_answer("answer-1").removeprefix("**Answer.** ")
    assert shown[0].data.endswith(reference) and "**Answer.**" not in shown[0].data
    ideas = [box.description for box in panel.children[1:-1]]
    assert tuple(ideas) == workbook.rubrics()["answer-1"].ideas
    panel.children[2].value = True
    bundle = shown[2]
    assert bundle[review.MIME] == {"name": "answer-1", "ticked": [1]} and bundle["text/plain"] == "1 of 3 ideas ticked"
    change(notebook.parent, "compare-1", outputs=[displayed(**json.loads(json.dumps(bundle)))])
    shown.clear()
    workbook.compare(1)
    panel = panel_of(shown[1])
    assert [box.value for box in panel.children[1:-1]] == [False, True, False]
    panel.children[2].value = False
    assert shown[2][review.MIME]["ticked"] == []


def test_a_notebook_of_another_name_is_told_and_stops_nothing(shown, notebook):
    notebook.rename(notebook.with_name(f"{QUESTIONS}_Ada.ipynb"))
    workbook.compare(1)
    assert notebook.name in shown[0].data
    for path in notebook.parent.glob("*.ipynb"):
        path.rename(path.with_name(f"my {path.name}"))
    with pytest.raises(workbook.NotebookError, match="Ada"):
        workbook.read_workbook(notebook.parent)


def test_a_copy_without_rubrics_or_worked_notebooks_says_so(shown, notebook, monkeypatch):
    monkeypatch.setattr(review, "worked_folder", lambda: notebook.parent)
    assert "feedback" in workbook.reference_answer("answer-1")
    monkeypatch.setattr(review, "rubrics", dict)
    workbook.compare(1)
    assert "feedback" in shown[0].data


def test_the_overview_lists_all_as_saved(shown, notebook):
    change(notebook.parent, "answer-1", source=[ANSWER])
    workbook.overview()
    rows = shown[0].data.splitlines()
    assert len(rows) == 2 + len(workbook.ITEMS)
    assert "| Question 1, text | 4 | done |  |" in rows and "| Task 1 | 12 | open |  |" in rows


@pytest.mark.parametrize("question", [3, 15, "one"])
def test_a_question_without_text_is_refused(question):
    with pytest.raises(OptionError, match=str(question)):
        workbook.compare(question)
