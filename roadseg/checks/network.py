"""The check of task 4: is this the U-Net, and if not, what is the mistake?

The model is traced, and its steps are compared with those of `models.unet`, whichever way it was written. What each
mistake is called, and what to say about it, is in `network.toml`.
"""

from __future__ import annotations

import inspect
import os
import random
import re
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple
from unittest.mock import patch
from warnings import catch_warnings, simplefilter

import numpy as np

from roadseg import models
from roadseg.backend import keras, tf
from roadseg.checks import architecture as wiring
from roadseg.checks import graph
from roadseg.checks.architecture import Mistake
from roadseg.checks.graph import Network
from roadseg.checks.result import BUSY, NOT_WRITTEN, Attempt, Result, TimeUp, attempt

NAME, TITLE = "build_unet", "Task 4, the U-Net"
INPUT_SHAPE, FILTERS = [option.default for option in inspect.signature(models.unet).parameters.values()][:2]
LEVELS = len(FILTERS) - 1  # besides the bottom
SECONDS = 5.0  # by the clock, for all that the reader's code does; right code takes a tenth of it
CROWD = 4.0  # how many times as long at most, where other programs want the processors, too
WORKS = {
    wiring.check_levels: "it goes four times down and four times up",
    wiring.check_skips: "each level takes in its skip",
}


class Expected(NamedTuple):
    """The right network, and how many trainable parameters it has."""

    network: Network
    count: int


@dataclass
class Trial:
    """How far a check has come: the model, what it computes, and what is wrong."""

    model: keras.Model | None = None
    seen: Network | None = None
    mistake: Mistake | None = None


def unet(function_or_model: Callable | keras.Model) -> Result:
    """Check the reader's function, which builds the U-Net when called without arguments, or the model that it built."""
    with _all_else_left_alone():
        trial, expected = Trial(), _expected()
        try:
            _try(function_or_model, trial, expected)
        except Mistake as mistake:
            trial.mistake = mistake
        return _result(function_or_model, trial, expected)


def _try(candidate: Any, trial: Trial, expected: Expected) -> None:
    end = time.monotonic() + SECONDS * _crowd()
    model = _built(candidate, end)
    _check_input(model)
    seen = _traced(model, end)
    wiring.check_outputs(seen, expected.network)
    trial.model, trial.seen = model, seen
    _check_simple(seen)
    for check in wiring.CHECKS:
        check(seen, expected.network)
    _check_weights(model, expected)


def _crowd() -> float:
    """How many programs share a processor, as far as the system tells, from 1 to CROWD."""
    waiting = 0.0
    with suppress(AttributeError, OSError):  # not every system tells
        waiting = os.getloadavg()[0]
    return min(max(waiting / (os.cpu_count() or 1), 1.0), CROWD)


def _in_time(call: Callable[[], Any], end: float) -> Attempt:
    return attempt(call, seconds=end - time.monotonic(), busy=BUSY)


def _result(candidate: Any, trial: Trial, expected: Expected) -> Result:
    right = tuple(_what_works(trial, expected))
    if trial.mistake is None:
        message = "This is the U-Net: every level has its convolutions, its filters and its skip."
        return Result(NAME, TITLE, True, None, message, right, function=_builder(candidate))
    cause, details = trial.mistake.cause, trial.mistake.details
    advice = _advice()[cause]
    message = " ".join([*_facts(trial, expected), advice["message"].format(**details)])
    look = f"the line `{details['line']}`" if details.get("line") else advice["look"]
    return Result(NAME, TITLE, False, cause, message, right, look, tuple(advice["hints"]), models.unet)


def _builder(candidate: Any) -> Callable:
    """What builds the reader's U-Net without being given anything; for a model, the package's function."""
    if isinstance(candidate, keras.Model):
        return models.unet
    given = _missing(candidate)
    return partial(candidate, *given) if given else candidate


def _facts(trial: Trial, expected: Expected) -> Iterator[str]:
    """What is measured to be wrong, whatever the reason, a sentence each."""
    if trial.seen is None:
        return
    if trial.seen.shape[1:] != expected.network.shape[1:]:
        yield f"Its output has shape {_shape(trial.seen)}, not {_shape(expected.network)}."
    count = _count(trial.model)
    if count != expected.count:
        amount = f"{abs(count - expected.count):,} too {'many' if count > expected.count else 'few'}"
        yield f"It has {count:,} trainable parameters, {amount}."


def _what_works(trial: Trial, expected: Expected) -> Iterator[str]:
    if trial.seen is None:
        return
    yield "it is built, and takes pictures of 256 x 256 with three channels"
    if trial.seen.shape[1:] == expected.network.shape[1:]:
        yield f"its output has shape {_shape(expected.network)}"
    if _count(trial.model) == expected.count:
        yield f"it has {expected.count:,} trainable parameters"
    for check, phrase in WORKS.items():
        try:
            check(trial.seen, expected.network)
        except Mistake:
            return  # the next one builds on it
        yield phrase


def _shape(seen: Network) -> str:
    return str((None, *seen.shape[1:]))


@cache
def _advice() -> dict[str, dict]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def _expected() -> Expected:
    model = models.unet()
    return Expected(graph.read(model), _count(model))


@contextmanager
def _all_else_left_alone() -> Iterator[None]:
    """Building draws random numbers and may warn; and the frames that errors are read from are usually cut out."""
    drawn = random.getstate()
    cutters = [owner for owner in (keras.config, tf.debugging) if owner.is_traceback_filtering_enabled()]
    for owner in cutters:
        owner.disable_traceback_filtering()
    try:
        with catch_warnings():
            simplefilter("ignore")
            yield
    finally:
        random.setstate(drawn)
        for owner in cutters:
            owner.enable_traceback_filtering()


# --- the model as a whole --------------------------------------------------------------------------------------------


def _check_input(model: keras.Model) -> None:
    """One picture of the right size, or of any; a model that has not been called yet may not know."""
    parts = keras.tree.flatten(getattr(model, "inputs", None))
    inputs = [part for part in parts if isinstance(part, keras.KerasTensor)]
    if len(inputs) > 1:
        raise Mistake("several_inputs", found=wiring.number(len(inputs)))
    for tensor in inputs:
        batch, *shape = tensor.shape
        fits = len(shape) == 3 and all(side in (None, wanted) for side, wanted in zip(shape, INPUT_SHAPE))
        if not fits:
            raise Mistake(_input_cause(shape, tensor), found=tuple(shape))
        if batch is not None:
            raise Mistake("fixed_batch", found=batch)


def _input_cause(shape: list[int | None], tensor: keras.KerasTensor) -> str:
    """What is wrong with an input; Keras calls it a clone where a model begins at feature maps of another one."""
    if tensor.name.endswith("CLONE"):
        return "begins_late"
    return "grey_input" if shape[2:] == [1] else "input_shape"


def _traced(model: keras.Model, end: float) -> Network:
    traced = _in_time(lambda: graph.read(model), end)
    if traced.error is not None:
        _explain(traced, type(model).call, "call_raises")
    return traced.value


def _check_simple(seen: Network) -> None:
    """The simple model in place of the U-Net."""
    if seen.spine[-1].step.kind == "resize" and _kinds_and_channels(seen) == _simple():
        raise Mistake("simple_model")


@cache
def _simple() -> list[tuple[str, int]]:
    return _kinds_and_channels(graph.read(models.simple_model()))


def _kinds_and_channels(seen: Network) -> list[tuple[str, int]]:
    return [(use.step.kind, use.step.channels) for use in seen.spine]


def _check_weights(model: keras.Model, expected: Expected) -> None:
    """All that can be wrong where every step is right."""
    if model.non_trainable_weights:
        raise Mistake("frozen_weights", found=f"{sum(map(_size, model.non_trainable_weights)):,}")
    if any(len(weight.shape) == 4 and np.ptp(weight) == 0 for weight in model.trainable_weights):
        raise Mistake("constant_weights")
    if _count(model) != expected.count:
        raise Mistake("unused_weights")


def _count(model: keras.Model) -> int:
    return sum(map(_size, model.trainable_weights))


def _size(weight: keras.Variable) -> int:
    return int(np.prod(weight.shape))


# --- building --------------------------------------------------------------------------------------------------------


def _built(candidate: Any, end: float) -> keras.Model:
    """The model that the reader's function builds, or that was given in its place."""
    if candidate is None or candidate is Ellipsis:
        raise Mistake(NOT_WRITTEN)
    if isinstance(candidate, keras.Model):
        return candidate
    if not callable(candidate) or isinstance(candidate, keras.layers.Layer):
        raise Mistake("not_a_function", found=_kind(candidate))
    given = _missing(candidate)
    with patch.object(keras.Model, "fit", _refuse_to_train):
        built = _in_time(lambda: candidate(*given), end)
    if built.error is not None:
        _explain(built, candidate, "build_raises")
    if not isinstance(built.value, keras.Model):
        _explain_value(built.value, candidate)
    return built.value


class Trained(Exception):
    """The reader's function was to train what it builds."""


def _refuse_to_train(*given: Any, **options: Any) -> None:
    """Stand in for `fit`: a training would take too long, and to stop one may leave TensorFlow in disorder."""
    raise Trained


def _missing(function: Callable) -> tuple:
    """The assignment's values for parameters that have no default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # not every callable can tell
        return ()
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 2 or any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed):
        raise Mistake("arguments_required", found=", ".join(f"`{parameter.name}`" for parameter in needed))
    return (INPUT_SHAPE, FILTERS)[: len(needed)]


def _explain_value(value: Any, function: Callable) -> None:
    """Raise the mistake behind what the reader's function gives in place of a model."""
    if value is Ellipsis or (value is None and _is_stub(function)):
        raise Mistake(NOT_WRITTEN)
    if value is None:
        raise Mistake("nothing_returned")
    raise Mistake("tensor_returned" if _is_tensor(value) else "not_a_model", found=_kind(value))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor) or keras.ops.is_tensor(value)


def _kind(value: Any) -> str:
    return "a tensor" if _is_tensor(value) else f"something of type `{type(value).__name__}`"


def _is_stub(function: Callable) -> bool:
    """Whether its body uses no name but that of the error that marks an open task."""
    code = getattr(function, "__code__", None)
    return code is None or set(code.co_names) <= {"NotImplementedError"}


# --- errors ----------------------------------------------------------------------------------------------------------

ERRORS = {  # words in an error, and what is behind them
    "invalid value None": "none_handed_on",
    "KerasTensor cannot be used as input to a TensorFlow function": "tensorflow_function",
    "Only input tensors may be passed as positional arguments": "layer_not_called",
    "`outputs` values must be KerasTensors": "layer_not_called",
    "Iterating over a symbolic KerasTensor": "first_brackets",
    "A symbolic KerasTensor cannot be used as a boolean": "first_brackets",
    "function identifier: <KerasTensor": "first_brackets",
    "'KerasTensor' object is not callable": "called_twice",
    "Got 'None'": "none_handed_on",
    "layer should be called on a list": "list_needed",
    "Concatenate.__init__() takes": "list_needed",
    "Merge.__init__() takes": "list_needed",
    "too many positional arguments": "list_needed",
    "is incompatible with the layer: expected axis -1": "layer_reused",
    "only supports singleton tf.Variables": "layer_made_in_call",
    "Graph disconnected": "disconnected",
    "is not connected to `inputs`": "disconnected",
}


def _explain(failed: Attempt, code: Callable, otherwise: str) -> None:
    """Raise the mistake behind an error of the reader's code."""
    error, frames = failed.error, traceback.extract_tb(failed.error.__traceback__)
    own = [frame for frame in frames if frame.filename == _file(code)]
    if isinstance(error, NotImplementedError) and own[-1:] == frames[-1:]:
        raise Mistake(NOT_WRITTEN if _is_stub(code) else "stub_left")
    if isinstance(error, TimeUp):
        raise Mistake("endless")
    details = {"line": own[-1].line if own else "", "error": _steady(failed.line)}
    if isinstance(error, Trained):
        raise Mistake("trained_inside", **details)
    if isinstance(error, NameError):
        raise Mistake("name_missing", **details)
    if "'NoneType'" in failed.line:
        raise Mistake("none_used" if own[-1:] == frames[-1:] else "none_handed_on", **details)
    _check_use(error, details)
    for words, cause in ERRORS.items():
        if words in failed.line:
            raise Mistake(cause, **details)
    _explain_refusal(error)
    raise Mistake(otherwise, **details)


def _file(code: Callable) -> str | None:
    """Where the reader's code is; None for code of Keras."""
    from_keras = (getattr(code, "__module__", None) or "").startswith("keras")
    return None if from_keras else getattr(getattr(code, "__code__", None), "co_filename", None)


def _check_use(error: Exception, details: dict[str, str]) -> None:
    """Look at how the layers and models were made, called and written that an error passed."""
    for operation, given in _operations(error):
        if type(operation) is keras.Model:  # with a beginning and an end it would be a functional one
            raise Mistake("model_arguments", **details)
        if _takes_nothing(operation):
            raise Mistake("self_missing")
        if any(map(_holds_feature_maps, keras.tree.flatten(given))):
            raise Mistake("list_needed", **details)


def _takes_nothing(operation: keras.Operation) -> bool:
    """Whether `call` of the reader's own layer or model leaves no place for what it is to work on."""
    own = not type(operation).__module__.startswith("keras")
    return own and not inspect.signature(operation.call).parameters


def _holds_feature_maps(given: Any) -> bool:
    """Whether it is a layer that was made of a list of feature maps, as if it were called on them."""
    is_layer = isinstance(given, keras.Layer) and not isinstance(given, keras.Model)
    held = [value for value in vars(given).values() if isinstance(value, list | tuple)] if is_layer else []
    return any(_is_tensor(part) for value in held for part in value)


def _operations(error: Exception) -> Iterator[tuple[Any, Any]]:
    """The layers and other operations that an error passed, the innermost first, with what each was given."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        operation = frame.f_locals.get("self")
        if isinstance(operation, keras.Operation):
            yield operation, frame.f_locals.get("args", ())


def _steady(text: str) -> str:
    """The beginning of an error, without the numbers in Keras's names, which differ from one time to the next."""
    return shorten(re.sub(r"([a-z])(?:_\d+)+(?![a-z\d])", r"\1", text), 160, placeholder=" ...")


def _explain_refusal(error: Exception) -> None:
    """Look at what was there when an operation refused its feature maps: often two sizes that should have been one."""
    tensors, joining = _refused(error)
    if not tensors:
        return
    if isinstance(tensors[0], keras.KerasTensor):
        begun = keras.Model(keras.utils.get_source_inputs(tensors[0]), tensors)
        _check_input(begun)
        seen = graph.read(begun)
    else:
        seen = graph.network(tensors[0].graph, tensors)
    if seen.outputs:
        wiring.check_operations(seen, seen)
        wiring.check_steps(seen, seen)
        _check_meeting(seen, joining)


def _refused(error: Exception) -> tuple[list, bool]:
    """The feature maps given to the innermost operation that an error stopped, and whether it was to join them."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        operation, given = frame.f_locals.get("self"), frame.f_locals.get("args", ())
        of_tensorflow = frame.f_code.co_name == "concat" and "values" in frame.f_locals
        if of_tensorflow or isinstance(operation, keras.Operation):
            parts = keras.tree.flatten(frame.f_locals["values"] if of_tensorflow else given)
            tensors = [part for part in parts if isinstance(part, keras.KerasTensor) or tf.is_symbolic_tensor(part)]
            if tensors:
                return tensors, of_tensorflow or type(operation).__name__ == "Concatenate"
    return [], False


def _check_meeting(seen: Network, joining: bool) -> None:
    """Feature maps that could not be brought together: of unlike sizes, or not as channels."""
    below = max(seen.outputs, key=lambda use: use.step.depth).step
    if joining and len(seen.outputs) > 2:
        raise Mistake("joined_several", where=wiring.where([below], seen))
    if below.kind == "transposed" and below.inputs[0].step in [use.step for use in seen.outputs]:
        raise Mistake("transposed_skip", found=wiring.sides(below.inputs[0].step.size))
    for step in (use.step for use in seen.outputs if use.step is not below):
        where, half = wiring.where([below], seen), wiring.half(below, seen)
        if step.size == below.size:
            raise Mistake("joined_axis" if joining else "skips_added", where=where)
        halved = wiring.changes(seen)[0]
        if half == wiring.UP and halved != LEVELS:
            raise Mistake("pooling_missing" if halved < LEVELS else "pooling_extra", found=wiring.times(halved))
        if half == wiring.BOTTOM:
            raise Mistake("not_doubled", found=wiring.sides(below.size), wanted=wiring.sides(step.size))
        cause = "skip_after_pooling" if step.kind == "max_pool" else "skip_wrong_level"
        raise Mistake(cause, where=where, found=wiring.sides(step.size))
