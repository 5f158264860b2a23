"""Tasks 1 and 2: does a step do what Keras's own step does, and if not, which mistake explains what it does?

Whether a step is right is decided by what it leaves behind, with several losses and compiled: the weights, the running
metrics and the probabilities returned, beside those of Keras's `train_on_batch` or `test_on_batch` (see `trials`). Only
where these differ is a cause looked for (see `mistakes`, which has a rule for each). What is said about each cause is
in check_steps.toml.
"""

from __future__ import annotations

import inspect
import re
import tomllib
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from . import training
from .cards import Result
from .mistakes import ACCURACY, LOSS, OPTIONS, Seen, cause, code, has_right_gradients, left_out, said, scale
from .trials import METRICS, close, same, shape


def train_step(function: Callable) -> Result:
    """Check task 1: one step of training, beside Keras's `train_on_batch`. Takes a second or two and never raises."""
    return _checked(function, "train_step")


def val_step(function: Callable) -> Result:
    """Check task 2: measuring one batch, beside Keras's `test_on_batch`. Takes about a second and never raises."""
    return _checked(function, "val_step")


def _checked(function: Any, name: str) -> Result:
    seen = Seen(function, name)
    found = cause(seen)
    words, facts = _words()[found or name], Facts(seen)
    return Result(
        name=name,
        title=_words()[name]["title"],
        passed=found is None,
        cause=found,
        message=words["message"].format(its=facts).strip(),
        right=facts.right,
        look=words.get("look", "").format(its=facts),
        hints=tuple(hint.format(its=facts) for hint in words.get("hints", ())),
        function=getattr(training, name) if found else function,
    )


@cache
def _words() -> dict[str, Any]:
    """What is said about each task and each cause, and `reasons`, which explain errors by what they say."""
    return tomllib.loads((Path(__file__).parent / "check_steps.toml").read_text(encoding="utf-8"))


class Facts:
    """What check_steps.toml puts into its words, as text. A fact is asked for only where it applies."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    @property
    def right(self) -> tuple[str, ...]:
        """What works already, a phrase each."""
        seen = self.seen
        works = {
            "the model predicts in training mode": seen.training and seen.predicts,
            "the model predicts in inference mode": not seen.training and seen.predicts,
            "nothing in the model changes": not seen.training and seen.predicts and seen.leaves_the_right_state,
            "the gradients are right": seen.training and all(map(has_right_gradients, seen.steps)),
            "each weight moves as in Keras's own step": seen.training and seen.leaves_the_right_state,
            "the running loss is right": seen.measures(LOSS),
            "the running accuracy is right": seen.measures(ACCURACY),
            "the probabilities are returned": seen.returns_probabilities,
        }
        return tuple(phrase for phrase, holds in works.items() if holds)

    @property
    def name(self) -> str:
        return self.seen.name

    @property
    def call(self) -> str:
        """How the step is called."""
        options = ", ".join(f"{name}=..." for name in OPTIONS[self.name])
        return f"{self.name}(model, image, road, {options})"

    @property
    def parameters(self) -> str:
        """What the function takes."""
        return ", ".join(f"`{name}`" for name in inspect.signature(self.seen.function).parameters) or "nothing"

    @property
    def kind(self) -> str:
        """What was passed in place of a function."""
        return type(self.seen.function).__name__

    @property
    def returned(self) -> str:
        """What comes back in place of probabilities."""
        value = self.seen.at.returned
        return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"`{type(value).__name__}`"

    @property
    def metric(self) -> str:
        """The first running metric that is wrong."""
        return METRICS[ACCURACY if self.seen.measures(LOSS) else LOSS]

    @property
    def loss_times(self) -> str:
        return _times(self.seen.loss_scales[0])

    @property
    def times(self) -> str:
        return _times(scale(self.seen.at))

    @property
    def image_change(self) -> str:
        """What became of the image on its way into the model, where that can be told."""
        given, image = self.seen.at.images[0], self.seen.at.image
        if shape(given) is None:
            return f"In its place comes something of the type `{type(given).__name__}`."
        if shape(given) != image.shape:
            return f"It arrives with the shape {shape(given)}, not (batch, height, width, 3)."
        if same(given, 1 - image):
            return "It arrives inverted, as `1 - image`."
        factor = float(np.sum(given * image) / np.sum(image * image))
        return f"Its numbers arrive {_times(factor)} what they were." if close(given, factor * image) else ""

    @property
    def left_out(self) -> str:
        """Such as "5 of 8 weights, such as `edges/kernel`"."""
        missing = left_out(self.seen.at)
        return f"{len(missing)} of {len(self.seen.at.before.trainable)} weights, such as `{missing[0]}`"

    @property
    def predictions(self) -> int:
        return len(self.seen.at.predictions)

    @property
    def loop(self) -> str:
        """The loop of Keras's that was called."""
        return str(self.seen.error)

    @property
    def failure(self) -> str:
        """The error, and the place in the function where it arose."""
        return f"`{said(self._error)}`{_place(self._error, code(self.seen))}"

    @property
    def reason(self) -> str:
        """What an error that says this usually comes from; empty for most."""
        line = said(self._error)
        return next((reason["text"] for reason in _words()["reasons"] if re.search(reason["error"], line)), "")

    @property
    def _error(self) -> BaseException:
        return self.seen.error or self.seen.compiled[-1].error


def _place(error: BaseException, code: CodeType | None) -> str:
    """Such as ", in its line 3, `loss = los_fn(road, probability)`"; empty where it arose elsewhere."""
    found = [
        (frame.lineno, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
        if code and (frame.filename, frame.name) == (code.co_filename, code.co_name)
    ]
    if not found and code:  # compiled: the places are in the text of the error
        told = re.findall(rf"line (\d+), in {re.escape(code.co_name)} .*\n\s+(.+)", str(error))
        found = [(int(number), line) for number, line in told]
    if not found:
        return ""
    number, line = found[-1][0] - code.co_firstlineno + 1, (found[-1][1] or "").replace("`", "'")
    return f", in its line {number}" + (f", `{line}`" if line else "")


def _times(factor: float) -> str:
    """Such as "4 times" and "1/255 of"; what a sign means is left to the words around it."""
    size = abs(factor)
    number = size if size >= 1 else 1 / size
    text = f"{number:.0f}" if number >= 10 else f"{number:.2g}"
    return f"{text} times" if size >= 1 else f"1/{text} of"
