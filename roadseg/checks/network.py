"""Task 4: is this the U-Net, and if not, which mistake explains it?

The student's function is called, and the model that it builds is traced: rows of plain data (see `trace`) that are
compared with those of the right network, and, where they differ, with those of the wrong networks in the catalog
(see `architecture`). What is said about each mistake is in `network.toml`.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np

from roadseg import models, training
from roadseg.backend import keras, tf
from roadseg.checks.architecture import advice, differences, facts, named, number, right_count, wrong_anywhere
from roadseg.checks.probe import SEED, Failure, aside, caught, failure
from roadseg.checks.result import NOT_WRITTEN, Aspect, Result, aspects_of
from roadseg.checks.trace import Recorder, Row, noise, randomized
from roadseg.runs import code_of

NAME, TITLE = "build_unet", "Task 4, the U-Net"
INPUT_SHAPE = inspect.signature(models.unet).parameters["input_shape"].default
OUTPUT_SHAPE = (*INPUT_SHAPE[:2], 1)
SHARES = {"shape": 2, "levels": 3, "filters": 2, "activations": 2, "skips": 3, "head": 2}  # in parts of the points
WHOLE = {  # the aspect of what is wrong with a network as a whole, where it is not its shape
    **dict.fromkeys(("batch_normalization", "normalization", "dropout", "random_layer"), "levels"),
    **dict.fromkeys(("frozen_weights", "constant_weights"), "filters"),
    **{"convolution_activation": "activations", "resized": "head", "second_call": "levels", "weights_kept": "filters"},
}
HEAVY = 2_500_000  # weights in its kernels: a network with more takes seconds for a whole image
LIGHT = 600_000  # of one with fewer, as the right one has, gradients take less than a second
RANDOM = re.compile("Dropout|Noise|Random")
MERGING = keras.layers.Concatenate.__base__  # of all layers that take several things


@dataclass(frozen=True)
class Seen:
    """What a student's network is, as plain data.

    cause, found : what is wrong with it as a whole, and what to say of it; failure : an error of the student's code;
    rows : what it computes, as far as it got; count : trainable parameters; output : the shape of what it gives,
    without the batch; unused : the classes of layers that were called in vain.
    """

    cause: str | None = None
    found: str = ""
    failure: Failure | None = None
    rows: tuple[Row, ...] = ()
    count: int = 0
    output: tuple[int, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Traced:
    """What a model did when it was called once, as plain data, of which `describe_network` makes what it is.

    names : of its layers; recorder : what these took and gave; shapes : of its trainable weights, in their order;
    outputs : what it gave; wrapped : whether in a list or a dict; weightless : whether it has neither weights nor a
    known beginning; frozen : how many weights are not trained; constant, trained : how its weights were before;
    training : what goes wrong in training mode; unused : the classes of layers that were called in vain; again : the id
    of what is wrong with the network that a second call builds.
    """

    names: tuple[str, ...]
    recorder: Recorder
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[np.ndarray, ...]
    wrapped: bool
    weightless: bool
    frozen: int
    constant: bool
    trained: bool
    training: str
    unused: tuple[str, ...] = ()
    again: str = ""


def unet(function_or_model: Callable | keras.Model) -> Result:
    """Check the student's function, which builds the U-Net when called without arguments, or the model that it
    built."""
    found, seen = network_aspects(function_or_model)
    passed = all(aspect.right for aspect in found)
    if passed:
        message = "This is the U-Net: every level has its convolutions, its filters and its skip."
        function = models.unet if isinstance(function_or_model, keras.Model) else function_or_model
        return Result(NAME, TITLE, True, None, message, aspects=found, function=function)
    cause, gaps = _cause(seen)
    words = advice()[cause]
    error = str(seen.failure) if seen.failure else ""
    message = " ".join([*_measured(seen), words["message"].format(error=error, **gaps), *_in_vain(seen)])
    line = seen.failure.line if seen.failure and cause == seen.cause else ""  # a known mistake may be further up
    look = f"the line `{line}`" if line else words["look"].format(**gaps)
    look += ", and what it is called with" if line and cause in ("layer_not_called", "list_needed") else ""
    return Result(NAME, TITLE, False, cause, message, look, tuple(words["hints"]), found, models.unet)


def own_network(task: Result) -> dict[str, Callable | None]:
    """The network for `training.train`: the student's own where its check passed, otherwise the reference. Says which.

    A right network is not used either where its layers are in another order than the package's, so that what later
    notebooks do with its weights would not fit."""
    own = task.function is not models.unet  # which stands in for a network that is not right, and for a given model
    why = "the check was given a model, not the function" if task.passed else task.verdict
    if own:
        with aside():
            _, error = caught(lambda: training.package_weights(task.function(), models.unet()))
        own, why = error is None, str(error)
    print(f"{task.name}: {'your own' if own else f'the reference solution ({why})'}")
    return {"network": task.function if own else None}


def network_aspects(candidate: Any, seed: int = SEED) -> tuple[tuple[Aspect, ...], Seen]:
    """The verdict on a network, aspect by aspect, and what was seen of it."""
    with aside():
        seen = describe_network(observe_network(candidate, seed))
    return judge_network(seen), seen


def judge_network(seen: Seen) -> tuple[Aspect, ...]:
    """The aspects of a network, from what `describe_network` gives."""
    if not seen.rows or seen.rows[-1].kind == "refused" or seen.failure:
        wrong = set(SHARES)
    else:
        wrong = {difference.aspect for difference in differences(seen.rows)}
        if seen.output != OUTPUT_SHAPE:
            wrong.add("shape")
        if seen.cause or (not wrong and seen.count != right_count()):
            wrong.add(WHOLE.get(seen.cause, "shape"))
    return aspects_of(SHARES, SHARES.keys() - wrong)


def _cause(seen: Seen) -> tuple[str, dict[str, str]]:
    """The id of the mistake, and what fills the gaps in its message."""
    raises = seen.cause in ("build_raises", "call_raises")
    if seen.cause and not (raises and len(seen.rows) > 1):
        found = seen.found or "a function without a gradient"
        return seen.cause, {"found": found, "where": "somewhere", "layer": "convolution"}
    found = differences(seen.rows)
    if not found:
        return ("unused_weights" if seen.output == OUTPUT_SHAPE else "output_shape"), {}
    if {each.kind[1] for each in found} <= {"output"} and len(seen.output) != 3:
        return "output_shape", {}
    if anywhere := wrong_anywhere(seen.rows):
        return anywhere[0], facts(*anywhere, seen.rows)
    if raises and [each.kind[:2] for each in found] == [("refused", 1)]:
        return seen.cause, {}  # a layer that refuses one thing has not been given a wrong skip
    cause = named(found, seen.rows)
    return (seen.cause if raises and cause == "order_differs" else cause), facts(cause, found, seen.rows)


def _measured(seen: Seen) -> Iterator[str]:
    """What is measured to be wrong, whatever the reason, a sentence each."""
    if seen.output and seen.output != OUTPUT_SHAPE:
        yield f"Its output has shape {(None, *seen.output)}, not {(None, *OUTPUT_SHAPE)}."
    if seen.output and seen.count != right_count():
        yield f"It has {seen.count:,} trainable parameters, too {'many' if seen.count > right_count() else 'few'}."


def _in_vain(seen: Seen) -> Iterator[str]:
    """What was called in vain, in a sentence."""
    if seen.unused:
        kinds = " and ".join(f"{number(count)} `{name}`" for name, count in Counter(seen.unused).items())
        yield f"Nothing uses the result of {kinds}: is it kept, as in `x = ...`?"


# --- observing -------------------------------------------------------------------------------------------------------


def observe_network(candidate: Any, seed: int = SEED) -> Seen | Traced:
    """Build the network and trace it: what it did, or how far it got."""
    tf.config.run_functions_eagerly(True)
    if candidate is None or candidate is ...:
        return Seen(NOT_WRITTEN)
    if isinstance(candidate, keras.Model):
        return _traced(candidate, seed, given=True)
    if not callable(candidate) or isinstance(candidate, keras.layers.Layer):
        return Seen("not_a_function", found=f"something of type `{type(candidate).__name__}`")
    if required := _required(candidate):
        return Seen("arguments_required", found=required)
    with _outer_calls() as called:
        built, error = caught(candidate)
    if error:
        return _failed(error, candidate, seed)
    if isinstance(built, keras.Model):
        functional = type(built).__name__ == "Functional"  # others call their layers later
        used = {id(layer) for layer in built.layers}
        unused = [type(layer).__name__ for layer in called if id(layer) not in used] if functional else []
        traced = replace(_traced(built, seed), unused=tuple(unused))
        return replace(traced, again=_again(candidate, built)) if isinstance(traced, Traced) else traced
    if built is ... or (built is None and _is_stub(candidate)):
        return Seen(NOT_WRITTEN)
    if built is None:
        return Seen("nothing_returned")
    return Seen("not_a_model", found=f"something of type `{type(built).__name__}`")


def _again(function: Callable, first: keras.Model) -> str:
    """The id of what is wrong with the network of a second call, as of lists or layers that outlive the first one."""
    second, error = caught(function)
    if error or not isinstance(second, keras.Model):
        return "second_call"
    one, two = first.weights, second.weights  # a subclass may make its weights later
    if {id(weight) for weight in one} & {id(weight) for weight in two}:
        return "weights_kept"
    whole = len(one) == len(two) or type(first).__name__ == type(second).__name__ == "Functional"
    return "second_call" if whole and [w.shape for w in one] != [w.shape for w in two] else ""


@contextmanager
def _outer_calls() -> Iterator[list[keras.Layer]]:
    """The layers that are called, but for those that are called by other layers."""
    plain_call, called, inside = keras.Layer.__call__, [], []

    def noted(layer, *arguments, **options):
        if not inside:
            called.append(layer)
        inside.append(layer)
        try:
            return plain_call(layer, *arguments, **options)
        finally:
            inside.pop()

    with patch.object(keras.Layer, "__call__", noted):
        yield called


def _required(function: Callable) -> str:
    """The parameters that have no default: `build_unet()` has to work, here as in grading."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # not every callable can tell
        return ""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ", ".join(f"`{p.name}`" for p in parameters if p.default is p.empty and p.kind not in variable)


def _is_stub(function: Callable) -> bool:
    """Whether its body uses no name but that of the error that marks an open task."""
    code = code_of(function)
    return code is None or set(code.co_names) <= {"NotImplementedError"}


def _traced(model: keras.Model, seed: int, *, given: bool = False) -> Seen | Traced:
    """Call a model on random images, with random weights, and note what its layers are given."""
    if wrong := _wrong_inputs(model):
        return wrong
    numbers = np.random.default_rng(seed)
    image = noise(numbers)
    recorder = Recorder(image)

    def called() -> tuple[Any, BaseException | None]:
        return caught(lambda: model(recorder.image, training=False))

    def listened() -> tuple[Any, BaseException | None]:
        with recorder.listening():
            return called()

    error = None if getattr(model, "inputs", None) else called()[1]  # the first call of a subclass builds its layers
    if error:
        return _failed(listened()[1] or error, type(model).call, seed, recorder)
    kernels = sum(np.prod(weight.shape) for weight in model.weights if len(weight.shape) == 4)
    if getattr(model, "inputs", None) and kernels > HEAVY:
        model, recorder.image = models.with_input_size(model, (64, 64)), image[:, :64, :64]
    before = model.get_weights()
    trained = bool(getattr(model, "history", None))  # which `fit` leaves behind
    constant = any(weight.ndim == 4 and weight.size > 1 and not np.ptp(weight) for weight in before)
    randomized(model, numbers)
    value, error = listened()
    if error:
        seen = _failed(error, type(model).call, seed, recorder)
    else:
        strided = any(row.kind == "convolution" and row.stride != (1, 1) for row, *_ in recorder.rows)
        quick = kernels < LIGHT and keras.ops.is_tensor(value) and not strided  # whose gradients oneDNN may crash in
        seen = Traced(
            tuple(layer.name for layer in model.layers),
            recorder,
            tuple(tuple(weight.shape) for weight in model.trainable_weights),
            tuple(np.asarray(part) for part in keras.tree.flatten(value) if hasattr(part, "shape")),
            wrapped=isinstance(value, list | tuple | dict),
            weightless=not model.weights and getattr(model, "inputs", None) is None,
            frozen=sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights),
            constant=constant,
            trained=trained,
            training=_in_training(model, recorder.image, value) if quick else "",
        )
    if given:
        model.set_weights(before)
    return seen


@cache
def _package_names() -> list[str]:
    return [layer.name for layer in models.unet().layers]


def _in_training(model: keras.Model, image: np.ndarray, value: tf.Tensor) -> str:
    """What goes wrong in training mode: another output, as with layers that draw random numbers; weights that do not
    learn."""
    with tf.GradientTape() as tape:
        again, error = caught(lambda: model(image, training=True))
    if error or getattr(again, "shape", ()) != value.shape or np.abs(again - value).mean() > 1e-3:
        return "random_layer"
    gradients = tape.gradient(again, model.trainable_weights)
    return "convolution_activation" if any(gradient is None for gradient in gradients) else ""


def _wrong_inputs(model: keras.Model) -> Seen | None:
    """What is wrong with where a model begins; one that has not been called yet may not know."""
    parts = keras.tree.flatten(getattr(model, "inputs", None))
    inputs = [part for part in parts if isinstance(part, keras.KerasTensor)]
    if len(inputs) > 1:
        return Seen("several_inputs", found=number(len(inputs)))
    for tensor in inputs:
        batch, *shape = tensor.shape
        if batch is not None:
            return Seen("fixed_batch", found=str(batch))
        if tensor.name.endswith("CLONE"):  # so Keras calls where a model begins at feature maps of another one
            return Seen("begins_late", found=str(tuple(shape)))
        if len(shape) != 3 or any(side not in (None, wanted) for side, wanted in zip(shape, INPUT_SHAPE)):
            return Seen("gray_input" if shape[2:] == [1] else "input_shape", found=str(tuple(shape)))
    return None


def describe_network(traced: Traced | Seen) -> Seen:
    """What a traced model is, with what is wrong with it as a whole."""
    if isinstance(traced, Seen):
        return traced
    if list(traced.names) == _package_names():
        return Seen("package_model")
    recorder, outputs = traced.recorder, traced.outputs
    rows = recorder.explained([outputs[0]], "output") if outputs else ()
    others = [other.name for other, *_ in recorder.others]
    right = bool(rows) and not differences(rows)
    count = sum(int(np.prod(shape)) for shape in traced.shapes)
    causes = {
        "output_missing": not outputs,
        "disconnected": len(rows) < 2 and bool(recorder.rows),
        "several_outputs": len(outputs) > 1,
        "output_wrapped": traced.wrapped,
        "layer_made_in_call": traced.weightless,
        "no_layers": not recorder.rows,
        "trained_inside": traced.trained,
        "batch_normalization": "BatchNormalization" in others,
        "normalization": any("Normalization" in name for name in others),
        "dropout": any("Dropout" in name and name not in ("AlphaDropout", "GaussianDropout") for name in others),
        "random_layer": any(map(RANDOM.search, others)) or (right and traced.training == "random_layer"),
        "whole_image": bool(outputs) and outputs[0].ndim < 3,
        "simple_model": [row.stride for row in rows[:2]] == [(2, 2), (2, 2)] and len(rows) == 4,
        "resized": bool({"Resizing", "Cropping2D"} & set(others)) and right,
        "frozen_weights": traced.frozen > 0,
        "constant_weights": traced.constant,
        "convolution_activation": right and traced.training == "convolution_activation" and count == right_count(),
        traced.again: right and traced.again,
    }
    cause = next((cause for cause, holds in causes.items() if holds), None)
    found = {"several_outputs": number(len(outputs)), "frozen_weights": f"{traced.frozen:,}"}.get(cause, "")
    scale = INPUT_SHAPE[0] // recorder.image.shape[1]  # a heavy network was tried on a smaller image
    output = tuple(n * scale if axis < 2 else n for axis, n in enumerate(outputs[0].shape[1:])) if outputs else ()
    return Seen(cause, found, None, rows, count, output, traced.unused)


# --- errors ----------------------------------------------------------------------------------------------------------


def _failed(error: BaseException, function: Any, seed: int, recorder: Recorder | None = None) -> Seen:
    """What an error of the student's code comes from: by its words, or by the feature maps that did not fit
    together."""
    told = failure(error, code_of(function))
    if told.kind == "NotImplementedError" and told.own:
        return Seen(NOT_WRITTEN if _is_stub(function) else "stub_left", failure=told)
    if "'NoneType'" in told.text:
        return Seen("none_used" if told.own else "none_handed_on", failure=told)
    said = f"{told} in {told.line}"
    by_words = (reason["cause"] for reason in advice()["reasons"] if re.search(reason["error"], said))
    if cause := _misused(error) or next(by_words, None):
        further_up = cause == "list_needed" and "Only input tensors" in told.text
        return Seen(cause, failure=replace(told, line="") if further_up else told)
    before = caught(lambda: _before(error, recorder, seed))[0] or Seen()  # feature maps may be of another function
    told = replace(told, line="") if before.cause else told  # the mistake is further up than where it stops
    raises = "call_raises" if recorder else "build_raises"
    return replace(before, cause=before.cause or raises, failure=told)


def _operations(error: BaseException) -> Iterator[tuple[Any, Any]]:
    """The layers and operations that an error passed, the innermost first, with what each was given."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        operation = frame.f_locals.get("self")
        if isinstance(operation, keras.Operation) or (frame.f_code.co_name == "concat" and "values" in frame.f_locals):
            yield operation, frame.f_locals.get("args", ()) or frame.f_locals.get("values", ())


def _misused(error: BaseException) -> str | None:
    """How a layer or a model was made, called or written that an error passed."""
    for operation, given in _operations(error):
        if type(operation) is keras.Model:  # with a beginning and an end it would be a functional one
            return "model_arguments"
        symbols = [part for part in keras.tree.flatten(given) if isinstance(part, keras.KerasTensor)]
        if len({id(begin) for symbol in symbols for begin in keras.utils.get_source_inputs(symbol)}) > 1:
            return "begins_twice"
        own = isinstance(operation, keras.Operation) and not type(operation).__module__.startswith("keras")
        merges = own or isinstance(operation, MERGING) or not _is_layer(operation)
        if not merges and symbols and isinstance(given[0], tuple | list):
            return "several_given"
        if own and not inspect.signature(operation.call).parameters:
            return "self_missing"
        held = [v for part in keras.tree.flatten(given) if _is_layer(part) for v in vars(part).values()]
        if any(isinstance(v, list | tuple) and any(map(_is_tensor, v)) for v in held):
            return "list_needed"
    return None


def _is_layer(thing: Any) -> bool:
    return isinstance(thing, keras.Layer) and not isinstance(thing, keras.Model)


def _is_tensor(thing: Any) -> bool:
    return isinstance(thing, keras.KerasTensor) or keras.ops.is_tensor(thing)


def _before(error: BaseException, recorder: Recorder | None, seed: int) -> Seen:
    """The network up to an operation that refused its feature maps; those are its last row."""
    for _, given in _operations(error):
        tensors = [part for part in keras.tree.flatten(given) if _is_tensor(part)]
        if tensors and all(isinstance(part, keras.KerasTensor) for part in tensors):
            return _begun(keras.Model(keras.utils.get_source_inputs(tensors[0]), tensors), seed)
        if recorder and len(tensors) > 1:
            return Seen(rows=recorder.explained([np.asarray(tensor) for tensor in tensors], "refused"))
    return Seen()


def _begun(model: keras.Model, seed: int) -> Seen:
    """A model that was not finished, with all that it gives as its last row."""
    if wrong := _wrong_inputs(model):
        return wrong
    numbers = np.random.default_rng(seed)
    randomized(model, numbers)
    recorder = Recorder(noise(numbers))
    with recorder.listening():
        values, error = caught(lambda: model(recorder.image, training=False))
    ends = [np.asarray(value) for value in keras.tree.flatten(values)]
    return Seen() if error else Seen(rows=recorder.explained(ends, "refused"))
