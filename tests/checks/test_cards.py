"""Cards: what they say and show."""

import html.parser

import pytest

from roadseg.checks.result import MIME, NOT_WRITTEN, OPEN, RIGHT, WRONG, Aspect, Result


def own_step():
    """Stands for the package's function."""


def result(**changes):
    fields = {
        "name": "train_step",
        "title": "Task 1, the training step",
        "passed": False,
        "cause": "not_applied",
        "message": "No weight moves: is `apply_gradients` called?",
        "look": "the line after the gradients",
        "hints": ("What moves the weights?", "The optimizer does.", "Call its method."),
        "aspects": (Aspect("loss", 0.75, True), Aspect("update", 0.25, False)),
        "function": own_step,
    }
    return Result(**{**fields, **changes})


class Reader(html.parser.HTMLParser):
    """Collects the text of HTML, and how deep each <details> lies."""

    def __init__(self, source):
        super().__init__()
        self.text, self.depth, self.depths, self.tags = "", 0, [], set()
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "details":
            self.depth += 1
            self.depths.append(self.depth)
            assert "open" not in dict(attributes)

    def handle_endtag(self, tag):
        self.depth -= tag == "details"

    def handle_data(self, data):
        self.text += data


def test_what_is_wrong_comes_first_and_what_is_right_last():
    card = result()
    for text in (repr(card), Reader(card._repr_mimebundle_()["text/html"]).text):
        parts = ("not right yet", "apply_gradients", "the line after", "train_step", "loss")
        assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


@pytest.mark.parametrize(
    ("changes", "verdict", "color"),
    [
        ({"passed": True, "cause": None}, "right", RIGHT),
        ({"cause": NOT_WRITTEN}, "not written yet", OPEN),
        ({}, "not right yet", WRONG),
    ],
)
def test_each_verdict_has_its_words_and_its_color(changes, verdict, color):
    card = result(**changes)
    assert (card.verdict, bool(card)) == (verdict, verdict == "right")
    assert f"border-left:4px solid {color}" in card._repr_mimebundle_()["text/html"]
    assert ("train_step" in repr(card)) == (verdict != "right")


def test_the_notebook_keeps_the_verdict_and_hints_open_one_at_a_time():
    bundle = result()._repr_mimebundle_()
    page = Reader(bundle["text/html"])
    assert "Hint 3 of 3" in page.text and page.depths == [1, 2, 3]  # each hint lies in the one before
    assert bundle["text/plain"] == repr(result())
    assert (bundle[MIME]["name"], bundle[MIME]["passed"], bundle[MIME]["cause"]) == ("train_step", False, "not_applied")
    assert bundle[MIME]["aspects"][1] == {"name": "update", "share": 0.25, "right": False}


def test_backticks_are_code_and_markup_is_text():
    page = Reader(result(message="<script>alert(1)</script> `a < b`")._repr_mimebundle_()["text/html"])
    assert "script" not in page.tags and "<script>alert(1)</script> a < b" in page.text and "code" in page.tags
