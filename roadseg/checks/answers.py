"""The checks of the answers that are numbers or choices: questions 3, 4, 8, 9 and 10.

A wrong number is looked up among those that likely mistakes lead to, all of them computed here. What is said about each
mistake is in `check_answers.toml`.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import numpy as np

from roadseg import models
from roadseg.backend import keras
from roadseg.checks.result import NOT_WRITTEN, Result, attempt
from roadseg.data import course_split
from roadseg.errors import OptionError
from roadseg.recipes import RECIPES
from roadseg.scenes import rendering as scenes
from roadseg.training import VALIDATION_BATCH


@dataclass(frozen=True)
class Said:
    """What there is to say about an answer.

    cause : the name of the mistake; None where the answer is right.
    details : what fills the gaps in its text.
    text : the text to take where that is another than that of the cause.
    right : what works, a phrase each.
    """

    cause: str | None
    details: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    right: tuple[str, ...] = ()


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
    name, title, details = f"answer-{question}", f"Question {question}", {**FACTS, **said.details}
    if said.cause is None:
        return Result(name, title, True, None, texts["right"].format(**details))
    message = _message(question, said, details)
    return Result(name, title, False, said.cause, message, said.right, texts["look"], tuple(texts["hints"]))


def _message(question: int, said: Said, details: dict[str, Any]) -> str:
    texts = {**_texts()["values"], **_texts()[f"question-{question}"]["mistakes"]}
    return texts[said.text or said.cause].format(**details)


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
    read = attempt(lambda: float(value))  # decimals and fractions, too
    number = sys.float_info.max if isinstance(read.error, OverflowError) else read.value
    if number is None:
        return Said("no_number", {"found": _told(value)})
    if not 0 < number < math.inf:
        return Said("not_positive" if -math.inf < number <= 0 else "not_finite", {"found": _shown(number)})
    return number


def _array(value: Any) -> np.ndarray | None:
    """Numbers of any kind, tensors too; None where a value cannot be read."""
    with catch_warnings():
        simplefilter("ignore")
        return attempt(lambda: np.asarray(value)).value


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


def _near(quotient: float) -> tuple[float, ...]:
    """A quotient, and what rounding makes of it."""
    return quotient, math.floor(quotient), math.ceil(quotient)


# --- steps, questions 3 and 4 ----------------------------------------------------------------------------------------

PICTURES = sum(scenes.COUNTS.values())  # as many as in KITTI's training part
TRAIN, VALIDATION = map(len, course_split(PICTURES))
USED = TRAIN + VALIDATION
BATCH, EPOCHS = RECIPES["assigned"].batch_size, RECIPES["assigned"].epochs
STEPS = math.ceil(TRAIN / BATCH)
SHARES = (0.7, 0.75, 0.8, 0.85, 0.9)  # of pictures that are often kept for training

STEP_MISTAKES: dict[str, tuple[float, ...]] = {
    "all_epochs": (STEPS * EPOCHS,),
    "pictures": (TRAIN, USED, PICTURES),
    "rounded_pictures": (USED // 10 * 10 / BATCH, STEPS + math.ceil(VALIDATION / VALIDATION_BATCH)),
    "all_pictures": _near(PICTURES / BATCH),
    "with_validation": _near(USED / BATCH),
    "two_too_many": _near((PICTURES - VALIDATION) / BATCH),
    "batch_size": (BATCH, VALIDATION_BATCH),
    "validation_batch": (*_near(TRAIN / VALIDATION_BATCH), *_near(USED / VALIDATION_BATCH)),
    "validation_steps": (*_near(VALIDATION / VALIDATION_BATCH), *_near(VALIDATION / BATCH)),
    "validation_pictures": (VALIDATION,),
    "epochs": (EPOCHS,),
    "other_batch": tuple(steps for size in (2, 16, 32, 64) for steps in _near(TRAIN / size)),
    "divided_by_epochs": (*_near(TRAIN / EPOCHS), *_near(STEPS / EPOCHS)),
    "multiplied": (TRAIN * BATCH, USED * BATCH, PICTURES * BATCH),
    "counted_from_0": (STEPS - 1,),
    "split_by_share": tuple(n for share in SHARES for all_ in (USED, PICTURES) for n in _near(share * all_ / BATCH)),
}


def _wrong_steps() -> Iterator[Wrong]:
    """Mistakes of one epoch; then wrong totals, as far as they are not far too high."""
    yield from _once()
    for number, said in _in_all():
        if 2 * STEPS < number < 100 * STEPS:
            yield Wrong(number, Said("all_epochs", {"why": _why(4, number, said)}, "all_epochs_and_more"))


def _wrong_totals() -> Iterator[Wrong]:
    """Mistakes with the epochs; then those of question 3, for one epoch alone and once for each."""
    yield Wrong(STEPS, Said("one_epoch"))
    yield Wrong(STEPS + EPOCHS, Said("added"))
    yield Wrong(EPOCHS, Said("epochs"))
    yield from (Wrong(times * n, Said("pictures")) for n in STEP_MISTAKES["pictures"] for times in (1, EPOCHS))
    yield from (Wrong(STEPS * EPOCHS + more, Said("one_off")) for more in (-1, 1))
    for number, said in _once():
        if number < STEPS * EPOCHS:
            yield Wrong(number, Said("one_epoch", {"why": _why(3, number, said)}, "one_epoch_and_more"))
    yield from _in_all()


def _once() -> Iterator[Wrong]:
    """Wrong numbers of steps in one epoch."""
    return (Wrong(number, Said(cause)) for cause, numbers in STEP_MISTAKES.items() for number in numbers)


def _in_all() -> Iterator[Wrong]:
    """Wrong numbers of steps in all epochs together."""
    yield Wrong(round(TRAIN, -1) / BATCH * EPOCHS, Said("slip"))
    for number, said in _once():
        details, right = {"once": _shown(number), "why": _why(3, number, said)}, (f"{EPOCHS} epochs are counted",)
        yield Wrong(EPOCHS * number, Said(said.cause, details, "each_epoch", right))
    yield from (Wrong(STEPS * epochs, Said("other_epochs", {"count": epochs})) for epochs in range(2, 101))


def _why(question: int, number: float, said: Said) -> str:
    """What a question says about a wrong number."""
    return _message(question, said, {**FACTS, "found": _shown(number), **said.details})


# --- parameters, question 8 ------------------------------------------------------------------------------------------

FILTERS = inspect.signature(models.unet).parameters["filters"].default
SIMPLE_FILTERS = inspect.signature(models.simple_model).parameters["filters"].default


class Parts(NamedTuple):
    """Numbers of parameters; the bottom is a part of the way down."""

    down: int
    bottom: int
    up: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.down + self.up + self.head


def _parameters(
    filters: tuple[int, ...] = FILTERS,
    *,
    channels: int = 3,
    outputs: int = 1,
    kernel: int = 3,
    repeated: int = 2,
    joined: bool = True,
    keeps: bool = False,
    doubling: int = 2,
    head: int = 1,
    biases: int = 1,
    more: int = 0,
) -> Parts:
    """The parameters of the U-Net, or of one built wrongly.

    Parameters
    ----------
    kernel, doubling, head : sides of the kernels of convolutions, transposed convolutions and the last one; 0: none.
    repeated : convolutions at each level.
    joined : whether skips add their channels; keeps : whether transposed convolutions keep their number of channels.
    biases : of each filter; more : further parameters of each filter of the convolutions, of a normalisation.
    """

    def layer(side: int, inputs: int, count: int) -> int:
        return (side * side * inputs + biases) * count if side else 0

    def level(inputs: int, count: int) -> int:
        return layer(kernel, inputs, count) + (repeated - 1) * layer(kernel, count, count) + repeated * more * count

    down = [level(above, count) for above, count in pairwise((channels, *filters))]
    up = 0
    for below, count in pairwise(filters[::-1]):
        raised = below if keeps else count
        up += layer(doubling, below, raised) + level(raised + joined * count, count)
    return Parts(sum(down), down[-1], up, layer(head, filters[0], outputs))


RIGHT = _parameters()
PARAMETERS = RIGHT.total
VARIANTS: dict[str, dict[str, Any]] = {
    "no_skips": {"joined": False, "keeps": True},
    "skips_not_joined": {"joined": False},
    "one_convolution": {"repeated": 1},
    "three_convolutions": {"repeated": 3},
    "filters_not_divided": {"filters": tuple(8 * count for count in FILTERS)},
    "filters_doubled": {"filters": tuple(2 * count for count in FILTERS)},
    "filters_halved": {"filters": tuple(count // 2 for count in FILTERS)},
    "one_level_less": {"filters": FILTERS[:-1]},
    "one_level_more": {"filters": (*FILTERS, 2 * FILTERS[-1])},
    "bottom_too_narrow": {"filters": (*FILTERS[:-1], FILTERS[-2])},
    "grey_input": {"channels": 1},
    "two_outputs": {"outputs": 2},
    "four_outputs": {"outputs": 4},
    "kernel_of_5": {"kernel": 5},
    "kernel_of_2": {"kernel": 2},
    "kernel_of_1": {"kernel": 1},
    "transposed_kernel_of_3": {"doubling": 3},
    "transposed_without_weights": {"doubling": 0, "keeps": True},
    "transposed_left_out": {"doubling": 0},
    "transposed_keeps_channels": {"keeps": True},
    "head_kernel_of_3": {"head": 3},
    "head_left_out": {"head": 0},
    "without_biases": {"biases": 0},
    "batch_normalization": {"more": 2},  # those that are trained
}
ADAM = 2  # numbers that it keeps for each parameter, besides its learning rate and the steps that it has taken
BYTES = 4 * PARAMETERS


def _wrong_counts() -> Iterator[Wrong]:
    """Networks built wrongly first, then other things counted, then the right count told wrongly."""
    counts = {
        **{cause: [_parameters(**options).total] for cause, options in VARIANTS.items()},
        "kept_for_test_mode": [_parameters(more=4).total],
        "simple_model": [_simple_parameters()],
        "way_down_only": [RIGHT.down, RIGHT.down - RIGHT.bottom],
        "way_up_only": [RIGHT.up, RIGHT.up + RIGHT.head],
        "bottom_only": [RIGHT.bottom],
        "one_bias_missing": [PARAMETERS - 1],
        "one_too_many": [PARAMETERS + 1],
        "optimizer_included": [times * PARAMETERS + more for times in (ADAM, ADAM + 1) for more in range(3)],
        "bytes": [BYTES],
        "size": [*_rounded(BYTES / 2**10, 0, 1, 2), *_rounded(BYTES / 2**20, 1, 2), *_rounded(BYTES / 1e6, 1, 2)],
        "thousands": [*_rounded(PARAMETERS / 1e3, 0, 1, 2, 3), *_rounded(PARAMETERS / 1e6, 1, 2, 3)],
        "rounded": _rounded(PARAMETERS, -1, -2, -3, -4, -5),
    }
    return (Wrong(number, Said(cause)) for cause, numbers in counts.items() for number in numbers)


def _simple_parameters() -> int:
    """Two 5 x 5 convolutions and a 1 x 1 convolution with one filter."""
    return (
        sum((5 * 5 * inputs + 1) * count for inputs, count in pairwise((3, *SIMPLE_FILTERS))) + SIMPLE_FILTERS[-1] + 1
    )


def _rounded(number: float, *places: int) -> Iterator[float]:
    """A number rounded, down and up as well, to so many places behind the point; below 0 those in front of it."""
    return (way(number * 10.0**place) / 10.0**place for place in places for way in (round, math.floor, math.ceil))


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
    "pictures": PICTURES,
    "used": USED,
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
    8: lambda value: _check_number(value, PARAMETERS, _wrong_counts()),
    9: _check_modes,
    10: _check_classes,
}
