"""The checks of the answers that are numbers or choices: questions 3, 4, 8, 9 and 10.

A wrong number is looked up in a table of the numbers that likely mistakes lead to, with what is said about each:
`answers.toml`.
"""

from __future__ import annotations

import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import numpy as np

from roadseg.backend import keras
from roadseg.checks.probe import attempt
from roadseg.checks.result import NOT_WRITTEN, Aspect, Result
from roadseg.data import course_split
from roadseg.errors import OptionError
from roadseg.recipes import RECIPES
from roadseg.training import VALIDATION_BATCH

IMAGES = 289  # of KITTI's training part
TRAIN, VALIDATION = map(len, course_split(IMAGES))
BATCH, EPOCHS = RECIPES["assigned"].batch_size, RECIPES["assigned"].epochs
STEPS = math.ceil(TRAIN / BATCH)
PARAMETERS = 485_817  # of `models.unet()`; a test counts them
CLASSES = 4
RIGHT = {3: STEPS, 4: STEPS * EPOCHS, 8: PARAMETERS}
FACTS = {
    **{"images": IMAGES, "used": TRAIN + VALIDATION, "train": TRAIN, "batch": BATCH, "classes": CLASSES},
    **{"validation_batch": VALIDATION_BATCH, "epochs": EPOCHS, "steps": STEPS, "total": STEPS * EPOCHS},
    "parameters": f"{PARAMETERS:,}",
}


class Said(NamedTuple):
    """What there is to say about an answer: the id of the mistake, None where it is right, and the message."""

    cause: str | None
    message: str


def answer(question: int, value: Any) -> Result:
    """Check an answer: a number for questions 3, 4 and 8, True or False for 9, (activation, channels) for 10.

    Raises OptionError for a question that asks for a text, or that there is not.
    """
    asked, _ = _number(question)
    if asked not in CHECKS:
        known = ", ".join(map(str, CHECKS))
        raise OptionError(f"question {_told(question)} has no number or choice to check: choose one of {known}.")
    question = int(asked)
    said, texts = CHECKS[question](value), _texts()[f"question-{question}"]
    right = said.cause is None
    look, hints = ("", ()) if right else (texts["look"], tuple(texts["hints"]))
    aspects = (Aspect("answer", 1.0, right),)
    return Result(f"answer-{question}", f"Question {question}", right, said.cause, said.message, look, hints, aspects)


def _right(question: int) -> Said:
    return Said(None, _texts()[f"question-{question}"]["right"].format(**FACTS))


def _wrong(question: int, cause: str, text: str = "", **details: Any) -> Said:
    """A mistake, with the text of that name, which is usually its own."""
    entry = {**_texts()["values"], **_texts()[f"question-{question}"]["mistakes"]}[text or cause]
    return Said(cause, (entry if isinstance(entry, str) else entry["text"]).format(**FACTS, **details))


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


# --- numbers ---------------------------------------------------------------------------------------------------------


def _check_number(question: int, value: Any) -> Said:
    """Compare a number with the right one, then with those that mistakes lead to; the first counts."""
    (number, cause), right = _number(value), RIGHT[question]
    if cause:
        return _wrong(question, cause, found=_told(value) if number is None else _shown(number))
    if math.isclose(number, right):
        return _right(question)
    found = _shown(number)
    for other, said in _wrong_numbers(question, found):
        if other != right and math.isclose(number, other, rel_tol=0, abs_tol=0.006):
            return said
    swapped = "digits_swapped" if sorted(str(right)) == sorted(f"{number:.0f}") else "other"
    cause = swapped if number == round(number) else "not_whole"
    return _wrong(question, cause, found=found, distance=_distance(number, right))


def _wrong_numbers(question: int, found: str) -> Iterator[tuple[float, Said]]:
    """The numbers that mistakes lead to: of one epoch (question 3) or all (4), and where the two are mixed up."""
    yield from _table(question, found)
    if question == 3:
        for number, said in _totals(found):
            if 2 * STEPS < number < 100 * STEPS:
                yield number, _wrong(3, "all_epochs", "all_epochs_and_more", found=found, why=said.message)
    if question == 4:
        for number, said in _table(3, found):
            if number < STEPS * EPOCHS:
                yield number, _wrong(4, "one_epoch", "one_epoch_and_more", found=found, why=said.message)
        yield from _totals(found)


def _totals(found: str) -> Iterator[tuple[float, Said]]:
    """Wrong numbers of steps in all epochs together."""
    yield from ((number, said) for number, said in _table(4, found) if said.cause == "slip")
    for number, (cause, why) in _table(3):
        yield EPOCHS * number, _wrong(4, cause, "each_epoch", found=found, once=_shown(number), why=why)
    for epochs in range(2, 101):
        yield STEPS * epochs, _wrong(4, "other_epochs", found=found, count=epochs)


def _table(question: int, found: str = "") -> Iterator[tuple[float, Said]]:
    """The numbers, and names, of a question's own mistakes."""
    for cause, entry in _texts()[f"question-{question}"]["mistakes"].items():
        for value in () if isinstance(entry, str) else entry["numbers"]:
            yield value, _wrong(question, cause, found=found or (value if isinstance(value, str) else _shown(value)))


def _number(value: Any) -> tuple[float | None, str | None]:
    """The positive number that a value is, and what is wrong with one that is none."""
    array = _array(value)
    causes = {
        NOT_WRITTEN: value is None or value is ...,
        "text_given": isinstance(value, str),
        "model_given": hasattr(value, "count_params"),
        "not_called": callable(value),
        "no_number": array is None or array.dtype.kind not in "biufO",
        "list_given": array is not None and array.ndim > 0,
        "truth_given": array is not None and array.dtype.kind == "b",
    }
    if cause := next((cause for cause, holds in causes.items() if holds), None):
        return None, cause
    number, failure = attempt(lambda: float(value))  # decimals and fractions, too
    if failure and failure.kind == "OverflowError":
        number = sys.float_info.max
    if number is None:
        return None, "no_number"
    if 0 < number < math.inf:
        return number, None
    return number, "not_positive" if -math.inf < number <= 0 else "not_finite"


def _array(value: Any) -> np.ndarray | None:
    """Numbers of any kind, tensors too; None where a value cannot be read."""
    with catch_warnings():
        simplefilter("ignore")
        return attempt(lambda: np.asarray(value))[0]


def _shown(number: float) -> str:
    """Such as 1,234 or 71.75."""
    if not 1e-3 < abs(number) < 1e12:
        return f"{number:.3g}"
    if number == round(number):
        return f"{number:,.0f}"
    places = next((count for count in range(3, 16) if round(number, count) != round(number)), 16)
    return f"{number:,.{places}f}".rstrip("0")


def _distance(number: float, right: int) -> str:
    """Such as "about 2.5 times too high"."""
    way, ratio = ("high", number / right) if number > right else ("low", right / number)
    if ratio < 1.1:
        return f"a little too {way}"
    return f"about {ratio:.2g} times too {way}" if ratio < 100 else f"far too {way}"


# --- choices, questions 9 and 10 -------------------------------------------------------------------------------------

YES = ("true", "yes", "same", "the same", "equal", "identical")
NO = ("false", "no", "different", "not the same")


def _check_modes(value: Any) -> Said:
    """Question 9, whether the output is the same in training and in test mode: True."""
    if value is None or value is ...:
        return _wrong(9, NOT_WRITTEN)
    array = _array(value)
    plain = array is not None and array.ndim == 0 and array.dtype.kind in "bU"
    word = str(array).strip(" .").lower() if plain else ""
    if word in YES:
        return _right(9)
    return _wrong(9, "said_no" if word in NO else "no_choice", found=_told(value))


def _check_classes(value: Any) -> Said:
    """Question 10, activation and number of output channels for four classes: ("softmax", 4)."""
    pair = list(value) if isinstance(value, tuple | list) else [value]
    if all(part is None or part is ... for part in pair):
        return _wrong(10, NOT_WRITTEN)
    if len(pair) != 2:
        return _wrong(10, "no_pair", found=_told(value))
    name, (number, cause) = _activation_name(pair[0]), _number(pair[1])
    if _activation_name(pair[1]) and not _number(pair[0])[1]:
        return _wrong(10, "swapped")
    if not name:
        return _wrong(10, "no_name", found=_told(pair[0]))
    if cause:
        return _wrong(10, "no_channels", "" if number is None else "channels_below_one", found=_told(pair[1]))
    if name == "sigmoid" and number == 1:
        return _wrong(10, "left_as_it_was")
    otherwise = _activation_cause(name)
    if not name.startswith("softmax") or otherwise == "loss_given":
        return dict(_table(10)).get(name) or _wrong(10, otherwise, found=name)
    if number != CLASSES:
        return dict(_table(10)).get(number, _wrong(10, "channels", found=_shown(number)))
    return _right(10)


def _activation_cause(name: str) -> str:
    """What is wrong with an activation that is not the softmax, or with what is no activation."""
    known, losses = (set(map(_letters, dir(module))) for module in (keras.activations, keras.losses))
    if name in losses or "entropy" in name or name.endswith("loss"):
        return "loss_given"
    if name in known:
        return "other_activation"
    return "misspelt" if get_close_matches(name, known, cutoff=0.75) else "unknown_activation"


def _activation_name(value: Any) -> str:
    """Small letters alone; also of a function, a layer or its class; empty for what has no name."""
    function = getattr(value, "activation", value)
    text = getattr(function, "__name__", type(function).__name__) if callable(function) else value
    return _letters(text.split(".")[-1]) if isinstance(text, str) else ""


def _letters(name: str) -> str:
    """The small letters of a name, without the number of a version."""
    return re.sub(r"_v\d+$|[^a-z]", "", name.lower())


def _told(value: Any) -> str:
    """A plain value as it is written, anything else by its type."""
    plain = isinstance(value, str | bool | int | float | None) and len(repr(value)) < 40
    return f"`{value!r}`" if plain else f"something of type `{type(value).__name__}`"


CHECKS: dict[int, Callable[[Any], Said]] = {
    **{question: partial(_check_number, question) for question in RIGHT},
    9: _check_modes,
    10: _check_classes,
}
