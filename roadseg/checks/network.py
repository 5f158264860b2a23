"""Task 4: is this the U-Net, and if not, which mistake explains it?

The student's function is called, and the model that it builds is traced: rows of plain data (see `trace`) that are
compared with those of the right network, and, where they differ, with those of the wrong networks in the catalog.
What is said about each mistake is in `network.toml`.
"""

from __future__ import annotations

import inspect
import random
import re
import tomllib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from roadseg import models
from roadseg.backend import keras, tf
from roadseg.checks.probe import SEED, Failure, aside, attempt
from roadseg.checks.result import NOT_WRITTEN, Aspect, Result
from roadseg.checks.trace import (
    CHANGED,
    IMAGE,
    POOLED,
    SIDE,
    UNKNOWN,
    Recorder,
    Row,
    Term,
    explained,
    listening,
    noise,
    randomized,
)
from roadseg.checks.unet_mistakes import catalog, right_rows
from roadseg.runs import code_of

NAME, TITLE = "build_unet", "Task 4, the U-Net"
INPUT_SHAPE, FILTERS = [option.default for option in inspect.signature(models.unet).parameters.values()][:2]
HALVES = DOWN, BOTTOM, UP = "on the way down", "at the bottleneck", "on the way up"
NUMBERS = ("none", "one", "two", "three", "four", "five", "six")
SHARES = {"shape": 2, "levels": 3, "filters": 2, "activations": 2, "skips": 3, "head": 2}  # in parts of the points
RANDOM = re.compile("Dropout|Noise|Random")


@dataclass(frozen=True)
class Seen:
    """What a student's network is, as plain data.

    cause, found : what is wrong with it as a whole, and what to say of it; failure : an error of the student's code;
    rows : what it computes, as far as it got; others : the classes of its layers without kernels; count : trainable
    parameters; output : the shape of what it gives, without the batch.
    """

    cause: str | None = None
    found: str = ""
    failure: Failure | None = None
    rows: tuple[Row, ...] = ()
    others: tuple[str, ...] = ()
    count: int = 0
    output: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Traced:
    """What a model did when it was called once, as plain data, of which `described` makes what it is.

    names : of its layers; recorder : what these took and gave; shapes : of its trainable weights, in their order;
    outputs : what it gave; wrapped : whether in a list or a dict; weightless : whether it has neither weights nor a
    known beginning; frozen : how many weights are not trained; constant, trained : how its weights were before;
    training : what goes wrong in training mode.
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


def unet(function_or_model: Callable | keras.Model) -> Result:
    """Check the student's function, which builds the U-Net when called without arguments, or the model that it
    built."""
    found, seen = aspects(function_or_model)
    passed = all(aspect.right for aspect in found)
    own = function_or_model if callable(function_or_model) and not isinstance(function_or_model, keras.Model) else None
    if passed:
        message = "This is the U-Net: every level has its convolutions, its filters and its skip."
        return Result(NAME, TITLE, True, None, message, aspects=found, function=own or models.unet)
    cause, facts = _cause(seen)
    words = _words()[cause]
    error = str(seen.failure) if seen.failure else ""
    message = " ".join([*_measured(seen), words["message"].format(error=error, **facts)])
    line = seen.failure.line if seen.failure else ""
    look = f"the line `{line}`" if line else words.get("look", "")
    return Result(NAME, TITLE, False, cause, message, look, tuple(words["hints"]), found, models.unet)


def aspects(candidate: Any, seed: int = SEED) -> tuple[tuple[Aspect, ...], Seen]:
    """The verdict on a network, aspect by aspect, and what was seen of it."""
    drawn = random.getstate()  # building draws random numbers
    filtered = [owner for owner in (keras.config, tf.debugging) if owner.is_traceback_filtering_enabled()]
    for owner in filtered:  # the frames that an error is read from are usually cut out
        owner.disable_traceback_filtering()
    try:
        with aside():
            tf.config.run_functions_eagerly(True)
            seen = described(observe(candidate, seed))
    finally:
        random.setstate(drawn)
        for owner in filtered:
            owner.enable_traceback_filtering()
    return judge(seen), seen


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _measured(seen: Seen) -> Iterator[str]:
    """What is measured to be wrong, whatever the reason, a sentence each."""
    if seen.output and seen.output != (*INPUT_SHAPE[:2], 1):
        yield f"Its output has shape {(None, *seen.output)}, not {(None, *INPUT_SHAPE[:2], 1)}."
    wanted = _right_count()
    if seen.output and seen.count != wanted:
        amount = f"{abs(seen.count - wanted):,} too {'many' if seen.count > wanted else 'few'}"
        yield f"It has {seen.count:,} trainable parameters, {amount}."


def _right_count() -> int:
    """The parameters of the right network."""
    layers = right_rows()[:-1]
    return sum(np.prod(row.window) * row.taken * row.channels + row.channels for row in layers)


# --- observing -------------------------------------------------------------------------------------------------------


def observe(candidate: Any, seed: int = SEED) -> Seen | Traced:
    """Build the network and trace it: what it did, or how far it got."""
    if candidate is None or candidate is ...:
        return Seen(NOT_WRITTEN)
    if isinstance(candidate, keras.Model):
        return _traced(candidate, seed, given=True)
    if not callable(candidate) or isinstance(candidate, keras.layers.Layer):
        return Seen("not_a_function", found=f"something of type `{type(candidate).__name__}`")
    if required := _required(candidate):
        return Seen("arguments_required", found=required)
    error: list[BaseException] = []
    built, failure = attempt(partial(_kept, candidate, error), code_of(candidate))
    if failure:
        return _failed(failure, error[0], candidate, seed)
    if isinstance(built, keras.Model):
        return _traced(built, seed)
    if built is ... or (built is None and _is_stub(candidate)):
        return Seen(NOT_WRITTEN)
    if built is None:
        return Seen("nothing_returned")
    tensor = isinstance(built, keras.KerasTensor) or keras.ops.is_tensor(built)
    return Seen("tensor_returned" if tensor else "not_a_model", found=f"something of type `{type(built).__name__}`")


def _kept(call: Callable, error: list[BaseException]) -> Any:
    """Call something, and keep its error, whose frames tell more than its words."""
    try:
        return call()
    except (Exception, SystemExit) as raised:
        error.append(raised)
        raise


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
    height, width, depth = (
        a or b for a, b in zip((getattr(model, "input_shape", None) or INPUT_SHAPE)[-3:], INPUT_SHAPE)
    )
    image = noise(height, width, depth, numbers)
    error: list[BaseException] = []
    if _is_heavy(model):
        model, image = models.with_input_size(model, (64, 64)), image[:, :64, :64]
    if not model.built:
        call = partial(_kept, partial(model, image, training=False), error)
        _, failure = attempt(call, code_of(type(model).call))
        if failure:
            recorder = Recorder(image)
            with listening(model, recorder):
                attempt(call)
            return _failed(failure, error[-1], type(model).call, seed, recorder, otherwise="call_raises")
    before = model.get_weights()
    trained = bool(getattr(model, "history", None))  # which `fit` leaves behind
    constant = any(weight.ndim == 4 and not np.ptp(weight) for weight in before)
    randomized(model, numbers)
    recorder = Recorder(image)
    with listening(model, recorder):
        value, failure = attempt(
            partial(_kept, partial(model, image, training=False), error), code_of(type(model).call)
        )
    if failure:
        seen = _failed(failure, error[0], type(model).call, seed, recorder, otherwise="call_raises")
    else:
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
            training=_in_training(model, image, value) if keras.ops.is_tensor(value) else "",
        )
    if given:
        model.set_weights(before)
    return seen


def _is_heavy(model: keras.Model) -> bool:
    """Whether a functional model has so many filters that it takes seconds on a whole image."""
    nodes = model.layers if getattr(model, "inputs", None) and not isinstance(model, keras.Sequential) else []
    sizes = [layer.output.shape for layer in nodes if isinstance(layer, keras.layers.Conv2D)]
    return any(len(size) == 4 and None not in size[1:] and np.prod(size[1:]) > 32 * SIDE**2 for size in sizes)


@cache
def _package_names() -> list[str]:
    return [layer.name for layer in models.unet().layers]


def _in_training(model: keras.Model, image: np.ndarray, value: Any) -> str:
    """What goes wrong in training mode: another output, as with layers that draw random numbers; weights that do not
    learn."""
    with tf.GradientTape() as tape:
        again, failure = attempt(lambda: model(image, training=True))
        outputs = [part for part in keras.tree.flatten(again) if keras.ops.is_tensor(part)]
        total = sum(tf.reduce_mean(part) for part in outputs)
    pairs = zip(keras.tree.flatten(value), outputs)
    if failure or any(np.abs(one - other).mean() > 1e-3 for one, other in pairs):
        return "random_layer"
    gradients = tape.gradient(total, model.trainable_weights) if outputs else []
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
            return Seen("grey_input" if shape[2:] == [1] else "input_shape", found=str(tuple(shape)))
    return None


def described(traced: Traced | Seen) -> Seen:
    """What a traced model is, with what is wrong with it as a whole."""
    if isinstance(traced, Seen):
        return traced
    if list(traced.names) == _package_names():
        return Seen("package_model")
    recorder, outputs = traced.recorder, traced.outputs
    rows = explained(recorder, [outputs[0]], "output") if outputs else ()
    others = tuple(other.name for other, *_ in recorder.others)
    right = bool(rows) and not differences(rows)
    count = sum(int(np.prod(shape)) for shape in traced.shapes)
    causes = {
        "disconnected": not outputs or (len(rows) < 2 and bool(recorder.rows)),
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
        "resized": bool({"Resizing", "Cropping2D"} & {*others}) and right,
        "frozen_weights": traced.frozen > 0,
        "constant_weights": traced.constant,
        "convolution_activation": right and traced.training == "convolution_activation" and count == _right_count(),
    }
    cause = next((cause for cause, holds in causes.items() if holds), None)
    found = {"several_outputs": number(len(outputs)), "frozen_weights": f"{traced.frozen:,}"}.get(cause, "")
    return Seen(cause, found, None, rows, others, count, outputs[0].shape[1:] if outputs else ())


# --- errors ----------------------------------------------------------------------------------------------------------


def _failed(
    failure: Failure,
    error: BaseException,
    function: Callable,
    seed: int,
    recorder: Recorder | None = None,
    otherwise: str = "build_raises",
) -> Seen:
    """What an error of the student's code comes from: by its words, or by the feature maps that did not fit
    together."""
    if failure.kind == "NotImplementedError" and failure.own:
        return Seen(NOT_WRITTEN if _is_stub(function) else "stub_left", failure=failure)
    if failure.kind == "NameError":
        return Seen("name_missing", failure=failure)
    if "'NoneType'" in failure.text:
        return Seen("none_used" if failure.own else "none_handed_on", failure=failure)
    if cause := _misused(error):
        return Seen(cause, failure=failure)
    for reason in _words()["reasons"]:
        if re.search(reason["error"], str(failure)):
            return Seen(reason["cause"], failure=failure)
    before = _before(error, recorder, seed)
    return replace(before, cause=before.cause or otherwise, failure=failure)


def _operations(error: BaseException) -> Iterator[tuple[Any, Any, dict]]:
    """The layers and operations that an error passed, the innermost first, with what each was given."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        operation = frame.f_locals.get("self")
        if isinstance(operation, keras.Operation) or (frame.f_code.co_name == "concat" and "values" in frame.f_locals):
            yield operation, frame.f_locals.get("args", ()) or frame.f_locals.get("values", ()), frame.f_locals


def _misused(error: BaseException) -> str | None:
    """How a layer or a model was made, called or written that an error passed."""
    for operation, given, _ in _operations(error):
        if type(operation) is keras.Model:  # with a beginning and an end it would be a functional one
            return "model_arguments"
        own = isinstance(operation, keras.Operation) and not type(operation).__module__.startswith("keras")
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
    for _, given, _ in _operations(error):
        tensors = [part for part in keras.tree.flatten(given) if _is_tensor(part)]
        if tensors and all(isinstance(part, keras.KerasTensor) for part in tensors):
            return _begun(keras.Model(keras.utils.get_source_inputs(tensors[0]), tensors), seed)
        if tensors and recorder and len(tensors) > 1:
            return Seen(rows=explained(recorder, [np.asarray(tensor) for tensor in tensors], "refused"))
    return Seen()


def _begun(model: keras.Model, seed: int) -> Seen:
    """A model that was not finished, with all that it gives as its last row."""
    if wrong := _wrong_inputs(model):
        return wrong
    numbers = np.random.default_rng(seed)
    randomized(model, numbers)
    recorder = Recorder(noise(*INPUT_SHAPE, numbers))
    with listening(model, recorder):
        values, failure = attempt(partial(model, recorder.image, training=False))
    ends = [np.asarray(value) for value in keras.tree.flatten(values)]
    return Seen() if failure else Seen(rows=explained(recorder, ends, "refused"))


# --- differences -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """One thing that is otherwise than in the right network.

    aspect : to which it belongs; kind : what sort of thing, the same for all its like; found, wanted : as they are;
    row : the number of the student's row, for its place; None where a row is missing.
    """

    aspect: str
    kind: tuple
    found: Any
    wanted: Any
    row: int
    place: int


def _keys(rows: tuple[Row, ...]) -> list[tuple]:
    """What rows are aligned by: their kind and size, whether they make the output, and whether they lie aside of the
    longest way from the image to the end."""
    depth = {IMAGE: 0}
    for number, row in enumerate(rows):
        depth[number] = 1 + max((depth[term.source] for term in row.terms), default=0)
    spine, number = set(), len(rows) - 1
    while number != IMAGE:
        spine.add(number)
        number = max((term.source for term in rows[number].terms), key=depth.get, default=IMAGE)
    kinds = {_head(rows): "head"} | {number: "aside" for number in range(len(rows)) if number not in spine}
    return [(kinds.get(number, row.kind), *row.size) for number, row in enumerate(rows)]


def _head(rows: tuple[Row, ...]) -> int | None:
    """The number of the row that makes the channels of the output."""
    end = rows[-1]
    if end.kind != "output" or not end.terms or end.terms[0].source == IMAGE:
        return None
    last = rows[end.terms[0].source]
    convolves = last.kind == "convolution" and (last.window == (1, 1) or last.channels < last.taken)
    return end.terms[0].source if convolves and not end.merged else None


def differences(rows: tuple[Row, ...]) -> list[Difference]:
    """All that is otherwise than in the right network, in the order of the layers."""
    right = right_rows()
    if rows[-1].kind == "refused":
        right = right[: max(len(rows) - 1, 1)] if len(rows) < len(right) else right[:-1]
        rows, refused = rows[:-1], rows[-1]
    else:
        refused = None
    ours, theirs = _keys(rows), _keys(right)
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    place = {block.a + i: block.b + i for block in blocks for i in range(block.size)} | {IMAGE: IMAGE}
    found = []
    for row in range(len(rows)):
        if row not in place:
            found.append(Difference(_aspect_of(ours[row]), ("extra", *ours[row]), rows[row], None, row, row))
        else:
            found += _row_differences(rows, row, right[place[row]], place)
    for index in sorted(set(range(len(right))) - set(place.values())):
        found.append(Difference(_aspect_of(theirs[index]), ("missing", *theirs[index]), None, right[index], -1, index))
    if refused:
        roles = tuple(_role(term, rows, place, len(rows)) for term in refused.terms)
        found.append(Difference("skips", ("refused", roles), refused, None, len(rows), len(rows)))
    return found


def _aspect_of(key: tuple) -> str:
    return "head" if key[0] in ("head", "output") else "levels"


FIELDS = {
    **{"channels": "filters", "window": "filters", "bias": "filters", "groups": "filters", "dilated": "filters"},
    **{"channels_first": "filters", "stride": "levels"},
}


def _row_differences(rows: tuple[Row, ...], number: int, right: Row, place: dict[int, int]) -> Iterator[Difference]:
    """What is otherwise in one row than in the right one beside it."""
    row, head = rows[number], number == _head(rows) or rows[number].kind == "output"
    kind = "head" if number == _head(rows) else row.kind

    def differing(aspect: str, what: tuple, found: Any, wanted: Any) -> Difference:
        return Difference("head" if head else aspect, (kind, *what), found, wanted, number, place[number])

    for name, aspect in FIELDS.items():
        ratio = (str(Fraction(row.channels, right.channels)),) if name == "channels" else ()
        if kind != "output" and getattr(row, name) != getattr(right, name):
            yield differing(aspect, (name, *ratio), getattr(row, name), getattr(right, name))
    if any(row.key == other.key for other in rows[:number]) and kind not in ("output",):
        yield differing("filters", ("shared",), row.key, None)
    if row.taken != right.taken and place[number] == 0:
        yield differing("shape", ("taken",), row.taken, right.taken)
    ours, theirs = list(row.terms), list(right.terms)
    if (row.merged, len(ours)) != (right.merged, len(theirs)):
        some = any(other.merged == "join" for other in rows)  # so that one missing skip is not all of them
        what = ("merged", row.merged, min(len(ours), 3), some)
        yield differing("skips", what, tuple(_role(t, rows, place, number) for t in ours), right.merged)
    for term in ours:
        wanted = min(theirs, key=lambda t: abs(t.source - place.get(term.source, 99)), default=None)
        if wanted is None or (row.merged != right.merged and term.source != ours[-1].source):
            continue
        theirs.remove(wanted) if len(theirs) > 1 else None
        if place.get(term.source) != wanted.source:
            yield differing(
                "skips" if right.merged else "levels", ("source", _role(term, rows, place, number)), term, wanted
            )
        if term.function != wanted.function:
            yield _other_function(rows, number, term, wanted, place)
        if term.change != wanted.change:
            yield differing("levels", ("change", term.change), term.change, wanted.change)


def _other_function(rows: tuple[Row, ...], number: int, term: Term, wanted: Term, place: dict[int, int]) -> Difference:
    """A function that values pass between two layers: it belongs to the layer that gives them."""
    skip = len(rows[number].terms) > 1 and term.source != rows[number].terms[-1].source
    kind = "image" if term.source == IMAGE else "skip" if skip else rows[term.source].kind
    aspect = "activations"
    if rows[number].kind == "output" and term.source == _head(rows):
        kind = aspect = "head"
    row = number if term.source == IMAGE else term.source
    return Difference(aspect, (kind, "function", term.function), term.function, wanted.function, row, place[number])


def _role(term: Term, rows: tuple[Row, ...], place: dict[int, int], number: int) -> str:
    """Where a term comes from, seen from the row that is given it: image, the row before, another one of its size
    ..."""
    if term.source == IMAGE:
        return "image"
    right, source = right_rows(), place.get(term.source)
    if term.source == number - 1:
        role = "before"
    elif source is None:
        role = "extra"
    else:
        deepest = min(range(len(right)), key=lambda i: right[i].size)
        half = "down" if source <= deepest + 1 else "up"
        last = source + 1 == len(right) or right[source + 1].size != right[source].size
        same = rows[term.source].size == rows[min(number, len(rows) - 1)].given
        role = f"{half}, {'last' if last else 'first'} of {'this' if same else 'another'} level"
    return role + (f", {term.change}" if term.change else "")


def judge(seen: Seen) -> tuple[Aspect, ...]:
    """The aspects of a network, from what `observe` gives."""
    wrong: set[str] = set()
    if not seen.rows or seen.rows[-1].kind == "refused" or seen.failure:
        wrong = set(SHARES)
    else:
        found = differences(seen.rows)
        wrong = {difference.aspect for difference in found}
        if seen.output != (*INPUT_SHAPE[:2], 1):
            wrong.add("shape")
        if seen.cause or (not wrong and seen.count != _right_count()):
            wrong.add(WHOLE.get(seen.cause, "shape"))
    total = sum(SHARES.values())
    return tuple(Aspect(name, share / total, name not in wrong) for name, share in SHARES.items())


WHOLE = {  # the aspect of what is wrong with a network as a whole, where it is not its shape
    **dict.fromkeys(("batch_normalization", "normalization", "dropout", "random_layer"), "levels"),
    **dict.fromkeys(("frozen_weights", "constant_weights"), "filters"),
    **{"trained_inside": "shape", "convolution_activation": "activations", "resized": "head"},
}


# --- naming ----------------------------------------------------------------------------------------------------------


def _cause(seen: Seen) -> tuple[str, dict[str, str]]:
    """The id of the mistake, and what fills the gaps in its message."""
    raises = seen.cause in ("build_raises", "call_raises")
    if seen.cause and not (raises and seen.rows):
        return seen.cause, {"found": seen.found or "a function without a gradient", "where": "somewhere"}
    found = differences(seen.rows)
    if not found:
        output = seen.output != (*INPUT_SHAPE[:2], 1)
        return ("output_shape" if output else "unused_weights"), {}
    if {each.kind[1] for each in found} <= {"output"} and len(seen.output) != 3:
        return "output_shape", {}
    anywhere = _wrong_anywhere(seen.rows)
    if anywhere:
        cause, row = anywhere
        return cause, _facts(cause, [Difference("", (seen.rows[row].kind, ""), None, None, row, row)], seen.rows)
    cause = _imitated(found) or _first_difference(found, seen.rows)
    return (seen.cause if raises and cause == "order_differs" else cause), _facts(cause, found, seen.rows)


def _wrong_anywhere(rows: tuple[Row, ...]) -> tuple[str, int] | None:
    """The id and the row of what would be wrong at any place, in the order of the layers."""
    keys, begun = set(), False
    for number, row in enumerate(rows):
        if begun and [term.source for term in row.terms] == [IMAGE]:
            return "begins_again", number
        begun = True
        for term in row.terms:
            skip = len(row.terms) > 1 and term.source != row.terms[-1].source
            if term.change not in ("", POOLED) and term.change != UNKNOWN:
                if skip and "Resizing" in term.change:
                    return "skip_wrong_level", number
                if term.source == IMAGE and POOLED not in term.change:
                    return "input_changed", number
                return next(cause for pattern, cause in BY_CHANGE[1:] if re.search(pattern, term.change)), number
        if row.kind not in ("output", "refused"):
            sources = [SIDE if term.source == IMAGE else rows[term.source].size[0] for term in row.terms]
            side = min((s // 2 if term.change == POOLED else s for s, term in zip(sources, row.terms)), default=0)
            plain = (
                row.kind == "convolution"
                and row.merged in ("", "join", "add")
                and UNKNOWN not in [t.change for t in row.terms]
            )
            causes = {
                "channels_first": row.channels_first,
                "joined_axis": row.merged == "join other axis",
                "shared_layer": row.key in keys,
                "separable_convolution": row.kind == "separable",
                "grouped_convolution": row.groups != 1,
                "dilated_convolution": row.dilated,
                "padded_twice": plain and row.stride == (1, 1) and row.size[0] > side,
                "padding_valid": plain and row.size[0] < -(-side // row.stride[0]),
                "strided_convolution": row.kind == "convolution" and row.stride != (1, 1),
                "head_transposed": row.kind == "transposed" and row.channels == 1,
                "transposed_stride": row.kind == "transposed" and row.stride != (2, 2),
                "transposed_kernel": row.kind == "transposed" and row.window != (2, 2),
            }
            keys.add(row.key)
            if cause := next((cause for cause, holds in causes.items() if holds), None):
                return cause, number
    return None


def _imitated(found: list[Difference]) -> str | None:
    """The id of the wrong network that differs from the right one as the student's does: in the same things, failing
    that, in things of the same kind."""
    exact, kinds = _summary(found)
    alike = []
    for number, (name, rows) in enumerate(catalog()):
        other_exact, other_kinds = _summary(differences(rows))
        if exact == other_exact or kinds == other_kinds:
            alike.append((exact != other_exact, number, name))
    return min(alike)[2] if alike else None


def _summary(found: list[Difference]) -> tuple[frozenset, frozenset]:
    exact = frozenset(
        (
            each.place,
            each.kind,
            str(each.found) if each.kind[0] not in ("extra", "refused") and "shared" not in each.kind else "",
        )
        for each in found
    )
    return exact, frozenset(each.kind for each in found)


BY_FIELD = {  # the id of what is otherwise in a row, by the kind of layer and the name of the field
    ("convolution", "channels"): "filters",
    ("transposed", "channels"): "transposed_filters",
    ("head", "channels"): "head_channels",
    ("convolution", "window"): "convolution_kernel",
    ("transposed", "window"): "transposed_kernel",
    ("head", "window"): "head_kernel",
    ("convolution", "stride"): "strided_convolution",
    ("transposed", "stride"): "transposed_stride",
    **{(kind, "bias"): "without_bias" for kind in ("convolution", "transposed", "head")},
    **{(kind, "groups"): "grouped_convolution" for kind in ("convolution", "head")},
    **{(kind, "dilated"): "dilated_convolution" for kind in ("convolution", "transposed", "head")},
    **{(kind, "channels_first"): "channels_first" for kind in ("convolution", "transposed", "head")},
    **{(kind, "shared"): "shared_layer" for kind in ("convolution", "transposed")},
    ("image", "function"): "input_changed",
    ("image", "change"): "input_changed",
    ("skip", "function"): "skip_changed",
    ("head", "function"): "head_activation",
    ("extra", "convolution"): "convolutions_extra",
    ("missing", "convolution"): "convolutions_missing",
    ("extra", "aside"): "skip_processed",
    ("missing", "head"): "head_missing",
    ("extra", "head"): "head_transposed",
}
BY_CHANGE = (  # by the name of the layer, or how sizes change
    ("^$", "pooling_missing"),
    ("UpSampling", "upsampling"),
    ("Global", "shrunk_otherwise"),
    ("Average", "average_pooling"),
    ("MaxPooling2D of", "pooling_window"),
    ("Resizing|Crop", "resized"),
    ("Permute", "axes_swapped"),
    (POOLED, "pooled_again"),
    ("", "function_between"),
)


def _first_difference(found: list[Difference], rows: tuple[Row, ...]) -> str:
    """The id for what no network of the catalog does: that of the first thing that differs, sizes before all else."""
    levels = [each for each in found if each.kind[0] in ("extra", "missing") and each.aspect == "levels"]
    first = (levels or found)[0]
    kind, what, *more = *first.kind, ""
    if levels and (cause := _wrong_levels(rows)):
        return cause
    if what == "channels" and kind in ("convolution", "transposed"):
        return _wrong_filters(found, rows)
    if what == "function" and kind in ("convolution", "transposed"):
        return f"{kind}_without_relu" if first.found == "none" else f"{kind}_activation"
    if what == "function" and kind == "skip" and first.found == "none":
        return "skip_before_activation"
    if what == "function" and kind == "head":
        named = {"none": "no_sigmoid", "softmax": "softmax_over_one", CHANGED: "changed_after_sigmoid"}
        return named.get(first.found, "head_activation")
    if what == "change":
        return next(cause for pattern, cause in BY_CHANGE if re.search(pattern, first.found))
    if what == "merged":
        if first.wanted == "join":
            return {
                "": "skip_missing",
                "add": "skips_added",
                "join": "joined_several",
                "join other axis": "joined_axis",
            }.get(more[0], "merged_otherwise")
        return {"add": "residual", "merge": "merged_otherwise"}.get(more[0], "order_differs")
    if what == "source":
        return _wrong_source(more[0])
    if kind == "refused":
        return _wrong_meeting(first.found, what)
    if what == "taken":
        return "grey_input" if first.found == 1 else "input_changed"
    return BY_FIELD.get((kind, what), "order_differs")


def _wrong_levels(rows: tuple[Row, ...]) -> str | None:
    """The id of a network that does not go down and up four times; None for one that does."""
    (down, up), levels, refused = _changes(rows), len(FILTERS) - 1, rows[-1].kind == "refused"
    if not down:
        return "no_way_down"
    if not up:
        return None if refused else "no_way_up"
    if refused:
        return "pooling_missing" if down < levels else "pooling_extra" if down > levels else None
    if down == up:
        return "levels_too_few" if down < levels else "levels_too_many" if down > levels else None
    return "levels_uneven"


def _wrong_filters(found: list[Difference], rows: tuple[Row, ...]) -> str:
    """The id of wrong numbers of filters: by the same factor everywhere, all the same, at one place ..."""
    wrong = [each for each in found if each.kind[1] == "channels" and each.kind[0] == "convolution"]
    if not wrong:
        raised = [each for each in found if each.kind[:2] == ("transposed", "channels")]
        keeps = all(each.found == rows[each.row].taken for each in raised)
        return "transposed_keeps_channels" if keeps else "transposed_filters"
    convolutions = [row for number, row in enumerate(rows) if row.kind == "convolution" and number != _head(rows)]
    if len({each.kind[2] for each in wrong}) == 1 and len(wrong) == len(convolutions):
        return "filters_scaled"
    if len({row.channels for row in convolutions}) == 1:
        return "filters_constant"
    only = all(_half(rows[each.row], each.row, rows) == BOTTOM for each in wrong)
    return "bottleneck_filters" if only else "filters"


def _wrong_source(role: str) -> str:
    """The id of a skip, or another layer's input, that comes from the wrong place."""
    causes = (
        (POOLED, "skip_after_pooling"),
        ("image", "skip_from_input"),
        ("extra", "skip_processed"),
        ("another level", "skip_wrong_level"),
        ("^down, first", "skip_after_first_convolution"),
        ("^up", "joined_with_decoder"),
    )
    return next((cause for pattern, cause in causes if re.search(pattern, role)), "order_differs")


def _wrong_meeting(refused: Row, roles: tuple[str, ...]) -> str:
    """The id of feature maps that could not be brought together."""
    if len(refused.terms) > 2:
        return "joined_several"
    return next((cause for role in roles if (cause := _wrong_source(role)) != "order_differs"), "skip_wrong_level")


# --- words -----------------------------------------------------------------------------------------------------------


def number(count: int) -> str:
    """Such as three; digits for the large ones."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def times(count: int) -> str:
    """Such as three times."""
    return {0: "not once", 1: "once", 2: "twice"}.get(count, f"{number(count)} times")


def sides(size: tuple[int, ...]) -> str:
    """Such as 128 x 128."""
    return " x ".join(map(str, size))


def _facts(cause: str, found: list[Difference], rows: tuple[Row, ...]) -> dict[str, str]:
    """What fills the gaps in a message: the first difference of its kind, and all the places that are like it."""
    main = next((each for each in found if BY_FIELD.get(each.kind[:2]) == cause), found[0])
    alike = [_row(each, rows) for each in found if each.kind[:2] == main.kind[:2]]
    row, (down, up) = _row(main, rows), _changes(rows)
    halvings = cause in ("levels_too_few", "levels_too_many", "pooling_missing", "pooling_extra", "no_way_up")
    return {
        "found": times(down) if halvings else _amount(cause, main, rows) or _shown(main.found, rows),
        "wanted": _shown(main.wanted, rows),
        "where": _where(alike, rows, row.kind),
        "window": _shown(row.window, rows),
        "stride": _shown(row.stride, rows),
        "size": sides(row.size),
        "layer": {"transposed": "transposed convolution"}.get(row.kind, "convolution"),
        "down": times(down),
        "up": times(up),
    }


def _row(difference: Difference, rows: tuple[Row, ...]) -> Row:
    """The row that a difference is about; where feature maps were refused, the one that comes from below."""
    if difference.row < 0:
        return right_rows()[difference.place]
    row = rows[difference.row]
    return rows[row.terms[-1].source] if row.kind == "refused" and row.terms[-1].source != IMAGE else row


def _shown(value: Any, rows: tuple[Row, ...]) -> str:
    """A value in few words; of feature maps their size."""
    if isinstance(value, Term):
        return "256 x 256" if value.source == IMAGE else sides(rows[value.source].size)
    if isinstance(value, Row):
        return _shown(value.terms[0], rows) if value.terms else sides(value.size)
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        return sides(value)
    return str(value)


def _amount(cause: str, main: Difference, rows: tuple[Row, ...]) -> str:
    """How many convolutions there are at a level, or where a skip comes from."""
    if cause in ("convolutions_missing", "convolutions_extra"):
        row = rows[main.row] if main.found else right_rows()[main.place]
        half = _half(row, main.row if main.found else main.place, rows if main.found else right_rows())
        return number(
            sum(
                r.kind == "convolution" and r.size == row.size and _half(r, i, rows) == half and i != _head(rows)
                for i, r in enumerate(rows)
            )
        )
    return ""


def _changes(rows: tuple[Row, ...]) -> tuple[int, int]:
    """How many times the size falls and rises along the rows."""
    heights = [row.size[0] for row in rows if row.kind in ("convolution", "transposed") and row.size]
    falls = sum(after < before for before, after in pairwise(heights))
    return falls, sum(after > before for before, after in pairwise(heights))


def _half(row: Row, place: int, rows: tuple[Row, ...]) -> str:
    """DOWN, BOTTOM or UP: where a row stands, seen from the smallest size."""
    sizes = [each.size for each in rows if each.size]
    if row.size == min(sizes):
        return BOTTOM
    return UP if place > sizes.index(min(sizes)) else DOWN


def _where(wrong: list[Row], rows: tuple[Row, ...], kind: str) -> str:
    """The places of rows in few words, such as "at 32 x 32 and 64 x 64 on the way up"."""
    all_rows = [row for i, row in enumerate(rows) if row.kind == kind and i != _head(rows)]
    if len(wrong) > 1 and len(wrong) >= len(all_rows):
        return "everywhere"
    place = {id(row): i for i, row in enumerate(rows)} | {id(row): i for i, row in enumerate(right_rows())}
    phrases = []
    for half in HALVES:
        sizes = [
            sides(row.size)
            for row in wrong
            if _half(row, place[id(row)], rows if any(row is r for r in rows) else right_rows()) == half
        ]
        every = [sides(row.size) for row in all_rows if _half(row, place[id(row)], rows) == half]
        if sizes:
            *names, last = dict.fromkeys(sizes)
            listed = (
                "everywhere"
                if len(set(sizes)) > 1 and sizes == every
                else "at " + (f"{', '.join(names)} and {last}" if names else last)
            )
            phrases.append(half if half == BOTTOM else f"{listed} {half}")
    return " and ".join(phrases) or "at the output"
