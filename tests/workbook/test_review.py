"""The reference beside one's own answer, and the overview, in a notebook that is a file on the disk."""

import json

import pytest

from roadseg.errors import OptionError
from roadseg.workbook import notebooks as workbook
from roadseg.workbook import questions, review

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
    path = tmp_path / "03_written_questions.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    return path


def change(path, name, **fields):
    content = workbook.read_notebook(path)
    next(cell for cell in content["cells"] if cell["id"] == name).update(fields)
    workbook.write_notebook(path, content)


def press(panel):
    panel.children[0].click()


def test_outside_a_notebook_the_cells_say_what_they_are_for(shown, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    review.compare(1)
    review.overview()
    assert "3 ideas to tick" in shown[0].data and "lists what is done" in shown[1].data


def test_before_an_attempt_the_reference_stays_closed(shown, notebook):
    review.compare(1)
    reference, panel, _ = shown
    press(panel)
    assert shown[0] is reference and reference.data == ""
    assert "First write your answer, and save" in panel.children[1].value


def test_after_an_attempt_it_opens_with_the_ideas(shown, notebook):
    change(notebook, "answer-1", source=[ANSWER])
    review.compare(1)
    press(shown[1])
    assert "out of balance" in shown[0].data and "**Answer.**" not in shown[0].data
    ideas = [box.description for box in shown[1].children[1:]]
    assert tuple(ideas) == questions.rubrics()["answer-1"].ideas


def test_ticks_become_an_output_and_are_found_again_in_the_file(shown, notebook):
    change(notebook, "answer-1", source=[ANSWER])
    review.compare(1)
    press(shown[1])
    shown[1].children[2].value = True
    told = shown[2]
    assert told[review.MIME] == {"name": "answer-1", "ticked": [1]} and told["text/plain"] == "1 of 3 ideas ticked"
    output = {"output_type": "display_data", "data": json.loads(json.dumps(told)), "metadata": {}}
    change(notebook, "compare-1", outputs=[output])
    shown.clear()
    review.compare(1)
    assert [box.value for box in shown[1].children[1:]] == [False, True, False]
    shown[1].children[2].value = False
    assert shown[2][review.MIME]["ticked"] == [] and shown[2]["text/plain"] == "No idea ticked yet"


def test_a_copy_without_rubrics_or_worked_notebooks_says_so(shown, notebook, monkeypatch):
    monkeypatch.setattr(workbook, "worked_folder", lambda: notebook.parent)
    assert "feedback" in review.reference_answer("answer-1")
    monkeypatch.setattr(questions, "rubrics", dict)
    review.compare(1)
    assert "feedback" in shown[0].data


def test_the_overview_lists_all_as_saved(shown, notebook):
    change(notebook, "answer-1", source=[ANSWER])
    review.overview()
    rows = shown[0].data.splitlines()
    assert len(rows) == 2 + len(questions.ITEMS)
    assert "| Question 1, text | 4 | done |  |" in rows and "| Task 1 | 12 | open |  |" in rows


@pytest.mark.parametrize("question", [3, 15, "1"])
def test_a_question_without_text_is_told(question):
    with pytest.raises(OptionError, match="no text to compare"):
        review.compare(question) if question != "1" else review.compare("one")
