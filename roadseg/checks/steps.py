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

from roadseg import training
from roadseg.checks.catalogue import (
    ACCURACY,
    LOSS,
    OPTIONS,
    Seen,
    cause,
    changed_images,
    changed_predictions,
    code,
    has_right_gradients,
    left_out,
    said,
    scale,
    targets,
)
from roadseg.checks.probe import METRICS, NOISE, NUMBERS, SETTINGS, close, same, shape, size
from roadseg.checks.result import Result

# What a batch may have become on its way, each with how it is made; in this order they are tried.
ALTERED: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("inverted, as `1 - {name}`", lambda batch: 1 - batch),
    ("negative, as `-{name}`", lambda batch: -batch),
    ("mirrored, left to right", lambda batch: batch[:, :, ::-1]),
    ("upside down", lambda batch: batch[:, ::-1]),
    ("with height and width exchanged", lambda batch: batch.transpose(0, 2, 1, 3)),
    ("with the colours in reverse order", lambda batch: batch[..., ::-1]),
    ("with the pictures in reverse order", lambda batch: batch[::-1]),
    ("rounded to 0 and 1", np.round),
    ("through a sigmoid", lambda batch: 1 / (1 + np.exp(-batch))),
)


def train_step(function: Callable) -> Result:
    """Check task 1: one step of training, beside Keras's `train_on_batch`. Takes a second or two and never raises."""
    return _checked(function, "train_step")


def val_step(function: Callable) -> Result:
    """Check task 2: measuring one batch, beside Keras's `test_on_batch`. Takes about a second and never raises."""
    return _checked(function, "val_step")


@np.errstate(all="ignore")  # what a step leaves behind may be infinite
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
    return tomllib.loads((Path(__file__).parent / "steps.toml").read_text(encoding="utf-8"))


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
        step = self.seen.at
        value, given = step.returned, step.outcome.value
        if isinstance(given, list | tuple | dict):
            return f"a `{type(given).__name__}` of {len(given)} " + ("thing" if len(given) == 1 else "things")
        accuracy = np.divide(*step.after.totals[ACCURACY])
        known = {"`road`": step.road, "`image`": step.image, "the result of `running_accuracy`": accuracy}
        alike = [words for words, thing in known.items() if same(value, thing)]
        if alike:
            return alike[0]
        if not isinstance(value, np.ndarray):
            return f"something of the type `{type(given).__name__}`"
        if value.shape == step.keras.probability.shape:
            return "the probabilities " + _altered(value, step.keras.probability, "probability")
        return f"an array of shape {value.shape}" if value.shape else "a single number"

    @property
    def labels(self) -> str:
        """Which of 0 and 1 come back."""
        labels = [str(int(label)) for label in np.unique(self.seen.at.returned)]
        return " and ".join(labels) if len(labels) > 1 else f"{labels[0]} everywhere"

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
        """What became of the first image that arrives in the model as another."""
        given, image = changed_images(self.seen.at)[0], self.seen.at.image
        if shape(given) is None:
            return f"In its place comes something of the type `{type(given).__name__}`."
        if given.shape != image.shape:
            return f"It arrives with the shape {given.shape}, not {('batch', *image.shape[1:])}.".replace("'", "")
        moved = same(np.sort(given, axis=None), np.sort(image, axis=None))
        known = "" if moved else " The pictures are in the range from 0 to 1 already."
        return f"It arrives {_altered(given, image, 'image')}.{known}"

    @property
    def prediction_change(self) -> str:
        """What became of the first prediction that arrives in the loss as another."""
        step = self.seen.at
        given = changed_predictions(step)[0]
        known = {"`road`": step.road, "`image`": step.image}
        alike = [words for words, thing in known.items() if same(given, thing)]
        if alike:
            return f"In the place of the prediction comes {alike[0]}, which does not depend on the model."
        if size(given) == step.road.size and _is_constant(given):
            always = _altered(given, given, "prediction")
            return f"They arrive {always}, whatever they were: over one channel a softmax gives 1, and an argmax 0."
        like = [each for each in step.predictions if shape(each) == shape(given)]
        return f"They arrive {_altered(given, like[0], 'prediction')}." if like else ""

    @property
    def target(self) -> str:
        """What the tape was asked for the gradients of, where that is no tensor."""
        target = next(each for each in targets(self.seen.at) if not isinstance(each, np.ndarray))
        if target is None:
            return "nothing: it is given `None`, which is what a method without a result, such as `update_state`, gives"
        if hasattr(target, "update_state"):
            return "a metric, which holds numbers without a history, not of the loss"
        if callable(target):
            return "a function or a model, not of what it gives"
        return f"something of the type `{type(target).__name__}`"

    @property
    def trainable_change(self) -> str:
        """Which layers are trained afterwards that were not before, or the other way round."""
        step = next(step for step in self.seen.steps if step.before.trainable != step.after.trainable)
        before, after = ({name.split("/")[0]: None for name in state.trainable} for state in (step.before, step.after))
        changes = {
            "a layer that was frozen is trainable now": [name for name in after if name not in before],
            "no longer trained": [name for name in before if name not in after],
        }
        return "; ".join(f"{words}: `{'`, `'.join(names)}`" for words, names in changes.items() if names)

    @property
    def settings(self) -> str:
        """What is set in the optimiser."""
        pairs = [(step.before.settings, step.after.settings) for step in self.seen.steps]
        names = [name for name in SETTINGS if any(before[name] != after[name] for before, after in pairs)]
        return ", ".join(f"`{name}`" for name in names)

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
    ratio = abs(factor)
    if not ratio:
        return "0 times"
    number = ratio if ratio >= 1 else 1 / ratio
    text = f"{number:.0f}" if number >= 10 else f"{number:.2g}"
    return f"{text} times" if ratio >= 1 else f"1/{text} of"


def _altered(found: np.ndarray, given: np.ndarray, name: str) -> str:
    """What became of a batch, such as "inverted, as `1 - image`"; where that cannot be told, which numbers it holds."""
    if found.dtype.kind not in NUMBERS:
        return f"as something of the type `{found.dtype}`"
    if not np.isfinite(found).all():
        return "with numbers that are infinite or none at all (NaN), as after a division by zero"
    if _is_constant(found):
        value = float(found.flat[0])
        return f"as {value:.3g} everywhere" if value else "as all zeros"
    factor = float(np.vdot(given, found) / max(np.vdot(given, given), NOISE))
    lowest, highest = found.min(), found.max()
    if found.shape == given.shape:
        likely = [words for words, change in ALTERED if same(found, change(given))]
        if likely:
            return likely[0].format(name=name)
        if close(found, factor * given):
            return f"with numbers that are {_times(factor)} what they were"
        if same(found, np.clip(given, lowest, highest)):
            return f"cut off: from {lowest:.3g} to {highest:.3g}"
    return f"as other numbers, from {lowest:.3g} to {highest:.3g}"


def _is_constant(array: np.ndarray) -> bool:
    return bool((array == array.flat[0]).all())
