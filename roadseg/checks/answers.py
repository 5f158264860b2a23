"""The checks of the answers that are numbers or choices: questions 3, 4, 8, 9 and 10.

A wrong number is looked up in a table of the numbers that likely mistakes lead to, with what is said about each:
`answers.toml`.
"""

from __future__ import annotations

import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
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


@dataclass(frozen=True)
class Said:
    """What there is to say about an answer.

    cause : the id of the mistake; None where the answer is right. details : what fills the gaps in its text. text : the
    text to take where that is another than that of the cause.
    """

    cause: str | None
    details: dict[str, Any] = field(default_factory=dict)
    text: str = ""


class Wrong(NamedTuple):
    """A number that a mistake leads to, and what there is to say about it."""

    number: float
    said: Said


def answer(question: int, value: Any) -> Result:
    """Check an answer: a number for questions 3, 4 and 8, True or False for 9, (activation, channels) for 10.

    Raises OptionError for a question that asks for a text, or that there is not.
    """
    asked = _number(question)
    if asked not in list(CHECKS):
        known = ", ".join(map(str, CHECKS))
        raise OptionError(f"question {_told(question)} has no number or choice to check: choose one of {known}.")
    question = int(asked)
    said, texts = CHECKS[question](value), _texts()[f"question-{question}"]
    right = said.cause is None
    message = texts["right"].format(**FACTS) if right else _message(question, said, said.details)
    look, hints = ("", ()) if right else (texts["look"], tuple(texts["hints"]))
    aspects = (Aspect("answer", 1.0, right),)
    return Result(f"answer-{question}", f"Question {question}", right, said.cause, message, look, hints, aspects)


def _message(question: int, said: Said, details: dict[str, Any]) -> str:
    texts = {**_texts()["values"], **_texts()[f"question-{question}"]["mistakes"]}
    text = texts[said.text or said.cause]
    return (text if isinstance(text, str) else text["text"]).format(**{**FACTS, **details})


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


# --- numbers ---------------------------------------------------------------------------------------------------------


def _check_number(value: Any, right: int, mistakes: Iterable[Wrong]) -> Said:
    """Compare a number with the right one, then with those that mistakes lead to; the first counts."""
    number = _number(value)
    if isinstance(number, Said):
        return number
    if math.isclose(number, right):
        return Said(None)
    details = {"found": _shown(number), "distance": _distance(number, right)}
    for other, said in mistakes:
        if other != right and math.isclose(number, other, rel_tol=0, abs_tol=0.006):
            return replace(said, details={**details, **said.details})
    if number != round(number):
        return Said("not_whole", details)
    return Said("digits_swapped" if sorted(str(right)) == sorted(f"{number:.0f}") else "other", details)


def _number(value: Any) -> float | Said:
    """A positive number, or what is wrong with a value that is none."""
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
    for cause, holds in causes.items():
        if holds:
            return Said(cause, {"found": _told(value)})
    return _positive(value)


def _positive(value: Any) -> float | Said:
    number, failure = attempt(lambda: float(value))  # decimals and fractions, too
    if failure and failure.kind == "OverflowError":
        number = sys.float_info.max
    if number is None:
        return Said("no_number", {"found": _told(value)})
    if not 0 < number < math.inf:
        return Said("not_positive" if -math.inf < number <= 0 else "not_finite", {"found": _shown(number)})
    return number


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


def _table(question: int) -> Iterator[Wrong]:
    """The numbers of a question's table, those of each mistake."""
    for cause, entry in _texts()[f"question-{question}"]["mistakes"].items():
        if not isinstance(entry, str):
            yield from (Wrong(number, Said(cause)) for number in entry["numbers"])


def _wrong_steps() -> Iterator[Wrong]:
    """Mistakes of one epoch; then wrong totals, as far as they are not far too high."""
    yield from _table(3)
    for number, said in _in_all():
        if 2 * STEPS < number < 100 * STEPS:
            yield Wrong(number, Said("all_epochs", {"why": _why(4, number, said)}, "all_epochs_and_more"))


def _wrong_totals() -> Iterator[Wrong]:
    """Mistakes with the epochs; then those of question 3, for one epoch alone and once for each."""
    yield from _table(4)
    for number, said in _table(3):
        if number < STEPS * EPOCHS:
            yield Wrong(number, Said("one_epoch", {"why": _why(3, number, said)}, "one_epoch_and_more"))
    yield from _in_all()


def _in_all() -> Iterator[Wrong]:
    """Wrong numbers of steps in all epochs together."""
    yield from (wrong for wrong in _table(4) if wrong.said.cause == "slip")
    for number, said in _table(3):
        details = {"once": _shown(number), "why": _why(3, number, said)}
        yield Wrong(EPOCHS * number, Said(said.cause, details, "each_epoch"))
    yield from (Wrong(STEPS * epochs, Said("other_epochs", {"count": epochs})) for epochs in range(2, 101))


def _why(question: int, number: float, said: Said) -> str:
    """What a question says about a wrong number."""
    return _message(question, said, {"found": _shown(number), **said.details})


# --- choices, questions 9 and 10 -------------------------------------------------------------------------------------

YES = ("true", "yes", "same", "the same", "equal", "identical")
NO = ("false", "no", "different", "not the same")
CLASSES = 4
ACTIVATIONS = {
    "sigmoid": "sigmoid",
    "logsoftmax": "log_softmax",
    "sparsemax": "sparsemax",
    "linear": "no_activation",
    "none": "no_activation",
}
CHANNELS = {
    1: "one_channel",
    2: "two_channels",
    CLASSES - 1: "three_channels",
    CLASSES + 1: "background_added",
    2 * CLASSES: "twice_as_many",
}


def _check_modes(value: Any) -> Said:
    """Question 9, whether the output is the same in training and in test mode: True."""
    if value is None or value is ...:
        return Said(NOT_WRITTEN)
    array = _array(value)
    plain = array is not None and array.ndim == 0 and array.dtype.kind in "bU"
    word = str(array).strip(" .").lower() if plain else ""
    if word in YES:
        return Said(None)
    return Said("said_no") if word in NO else Said("no_choice", {"found": _told(value)})


def _check_classes(value: Any) -> Said:
    """Question 10, activation and number of output channels for four classes: ("softmax", 4)."""
    pair = list(value) if isinstance(value, tuple | list) else [value]
    if all(part is None or part is ... for part in pair):
        return Said(NOT_WRITTEN)
    if len(pair) != 2:
        return Said("no_pair", {"found": _told(value)})
    name, number = _activation_name(pair[0]), _number(pair[1])
    if not name or isinstance(number, Said):
        swapped = _activation_name(pair[1]) and not isinstance(_number(pair[0]), Said)
        cause, part = ("no_channels", pair[1]) if name else ("no_name", pair[0])
        text = "channels_below_one" if name and number.cause in ("not_positive", "not_finite") else cause
        return Said("swapped") if swapped else Said(cause, {"found": _told(part)}, text)
    return _compare_classes(name, number)


def _compare_classes(name: str, number: float) -> Said:
    if name == "sigmoid" and number == 1:
        return Said("left_as_it_was")
    if not name.startswith("softmax"):
        return Said(_activation_cause(name), {"found": name})
    if number != CLASSES:
        return Said(CHANNELS.get(number, "channels"), {"found": _shown(number)})
    return Said(None)


def _activation_cause(name: str) -> str:
    """What is wrong with an activation that is not the softmax, or with what is no activation."""
    known, losses = (set(map(_letters, dir(module))) for module in (keras.activations, keras.losses))
    causes = {
        ACTIVATIONS.get(name): name in ACTIVATIONS,
        "loss_given": name in losses or name.endswith(("entropy", "loss")),
        "other_activation": name in known,
        "misspelt": get_close_matches(name, known, cutoff=0.75),
    }
    return next((cause for cause, holds in causes.items() if holds), "unknown_activation")


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


FACTS = {
    "images": IMAGES,
    "used": TRAIN + VALIDATION,
    "train": TRAIN,
    "batch": BATCH,
    "validation_batch": VALIDATION_BATCH,
    "epochs": EPOCHS,
    "steps": STEPS,
    "total": STEPS * EPOCHS,
    "parameters": f"{PARAMETERS:,}",
    "classes": CLASSES,
}
CHECKS: dict[int, Callable[[Any], Said]] = {
    3: lambda value: _check_number(value, STEPS, _wrong_steps()),
    4: lambda value: _check_number(value, STEPS * EPOCHS, _wrong_totals()),
    8: lambda value: _check_number(value, PARAMETERS, _table(8)),
    9: _check_modes,
    10: _check_classes,
}
