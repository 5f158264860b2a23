"""What a network computes, as rows of plain data: each layer with weights, and what it is given.

However a network is written (functional, subclassed or nested, with layers or with plain functions), it is called
once on random images, with random weights; what each layer with weights is given is then explained by what earlier
ones gave, such as "the ReLU of the one before, pooled". Arrays: images float32 (1, height, width, 3) in [0, 20].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import numpy as np

from roadseg.backend import keras

SIDE = 256  # pixels of an image, in height and width
IMAGE = -1  # stands for the image among the sources of a term
LAYERS = keras.layers
ReLU, POOLED, UNKNOWN = "ReLU", "max 2 x 2", "something else"
CHANGED = "a sigmoid whose values are changed afterwards"
FUNCTIONS: dict[str, Callable[[np.ndarray], Any]] = {  # in this order they are tried
    "none": lambda z: z,
    ReLU: lambda z: np.maximum(z, 0),
    "sigmoid": keras.ops.sigmoid,
    "tanh": np.tanh,
    "leaky ReLU": lambda z: np.where(z > 0, z, 0.2 * z),
    "leaky ReLU of 0.01": lambda z: np.where(z > 0, z, 0.01 * z),
    "leaky ReLU of 0.1": lambda z: np.where(z > 0, z, 0.1 * z),
    "leaky ReLU of 0.3": lambda z: np.where(z > 0, z, 0.3 * z),
    "ReLU cut off at 6": lambda z: np.clip(z, 0, 6),
    "GELU": lambda z: keras.ops.gelu(z, approximate=False),
    "GELU, approximated": lambda z: keras.ops.gelu(z, approximate=True),
    "SiLU": keras.ops.silu,
    "ELU": keras.ops.elu,
    "SELU": keras.ops.selu,
    "softplus": keras.ops.softplus,
    "hard sigmoid": keras.ops.hard_sigmoid,
    "exponential": np.exp,
    "softmax": keras.ops.softmax,
    "sigmoid twice": lambda z: keras.ops.sigmoid(keras.ops.sigmoid(z)),
    "sigmoid after ReLU": lambda z: keras.ops.sigmoid(np.maximum(z, 0)),
    CHANGED: lambda z: np.round(keras.ops.sigmoid(z)),
}


@dataclass(frozen=True)
class Term:
    """What a layer is given of one source: the number of a row, or IMAGE; the function its values pass; and how their
    size or place changes, such as "max 2 x 2"."""

    source: int
    function: str = "none"
    change: str = ""


@dataclass(frozen=True)
class Row:
    """A layer with weights, as it is called once.

    kind : convolution, transposed, separable, or output (whatever comes out at last) or refused (which feature maps
    could not be brought together). terms : what it is given; merged : how several of them are brought together. key :
    a number for its weights. size : (height, width) of what it gives, given : of what it takes.
    """

    kind: str
    terms: tuple[Term, ...] = ()
    merged: str = ""
    window: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    channels: int = 0
    taken: int = 0
    bias: bool = True
    groups: int = 1
    dilated: bool = False
    channels_first: bool = False
    size: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    key: int = 0


@dataclass(frozen=True)
class Other:
    """A layer without a kernel. name : of its class; change : what it does to its input; is_activation : whether it
    computes each value on its own."""

    name: str
    change: str
    is_activation: bool


@dataclass
class Recorder:
    """Notes the calls of layers, with the arrays that they take and give, and the weights of those with a kernel."""

    image: np.ndarray
    rows: list[tuple[Row, np.ndarray, np.ndarray]] = field(default_factory=list)  # a row, what it takes, what it gives
    weights: list[list[np.ndarray]] = field(default_factory=list)  # of each row
    others: list[tuple[Other, list, np.ndarray]] = field(default_factory=list)  # a layer without a kernel, likewise
    values: dict[Term, np.ndarray] = field(default_factory=dict)

    def note(self, layer: Any, given: Any, gave: Any) -> None:
        """A layer was called; `gave` is what it gives before its activation."""
        inputs = [np.asarray(part) for part in keras.tree.flatten(given) if hasattr(part, "shape")]
        kind = next((kind for kind, types in KINDS.items() if isinstance(layer, types)), None)
        if kind is None or not inputs:
            self.others.append((_other(layer), inputs, np.asarray(gave)))
            return
        get = lambda name, default: getattr(layer, name, default)  # noqa: E731
        row = Row(
            kind,
            window=tuple(get("kernel_size", (1, 1))),
            stride=tuple(get("strides", (1, 1))),
            channels=gave.shape[-1],
            taken=inputs[0].shape[-1],
            bias=layer.use_bias,
            groups=get("groups", 1),
            dilated=any(rate != 1 for rate in get("dilation_rate", (1,))),
            channels_first=get("data_format", "") == "channels_first",
            size=tuple(gave.shape[1:3]),
            given=inputs[0].shape[1:3],
            key=id(layer),
        )
        self.rows.append((row, inputs[0], np.asarray(gave)))
        self.weights.append([np.asarray(weight) for weight in layer.weights])


ACTIVATIONS = (LAYERS.Activation, LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.PReLU, LAYERS.ELU, LAYERS.Softmax)
KINDS = {
    "transposed": LAYERS.Conv2DTranspose,
    "convolution": (LAYERS.Conv2D, LAYERS.Dense),
    "separable": (LAYERS.SeparableConv2D, LAYERS.DepthwiseConv2D),
}


def _other(layer: Any) -> Other:
    name = change = type(layer).__name__
    if "Pooling" in name and hasattr(layer, "pool_size"):
        sides = [" x ".join(map(str, pair)) for pair in (layer.pool_size, layer.strides)]
        change += f" of {sides[0]} in steps of {sides[1]}"
        change = POOLED if change == "MaxPooling2D of 2 x 2 in steps of 2 x 2" else change
    return Other(name, change, isinstance(layer, ACTIVATIONS))


@contextmanager
def listening(model: keras.Model, recorder: Recorder) -> Iterator[None]:
    """Note the calls of all layers of a model that hold no further layers; the layers are as before afterwards."""
    leaves = {id(layer): layer for layer in model._flatten_layers(include_self=False)}
    leaves = [layer for layer in leaves.values() if not any(True for _ in layer._flatten_layers(include_self=False))]
    own = [(layer, "activation" in vars(layer) and layer.activation) for layer in leaves]
    for layer, activation in own:
        _listen(layer, activation, recorder)
    try:
        yield
    finally:
        for layer, activation in own:
            del layer.call
            if activation and isinstance(layer, KINDS["convolution"] + (KINDS["transposed"],)):
                layer.activation = activation


def _listen(layer: Any, activation: Any, recorder: Recorder) -> None:
    call, before_activation = layer.call, []
    if activation and isinstance(layer, KINDS["convolution"] + (KINDS["transposed"],)):
        layer.activation = lambda values: before_activation.append(values) or activation(values)

    @wraps(call)
    def noted(*arguments, **options):
        before_activation.clear()
        gave = call(*arguments, **options)
        recorder.note(
            layer, (arguments, options.get("inputs", ())), before_activation[-1] if before_activation else gave
        )
        return gave

    layer.call = noted


def noise(height: int, width: int, depth: int, random: np.random.Generator) -> np.ndarray:
    """An image that is dark on the left and far too bright on the right: features are small here and large there, so
    that functions which differ only in one range are told apart."""
    brightness = np.linspace(0, 20, width, dtype=np.float32)[:, None]
    return random.random((1, height, width, depth), dtype=np.float32) * brightness


def randomized(model: keras.Model, random: np.random.Generator) -> None:
    """Give all trained weights random values, so that no two of them are alike."""
    weights = model.trainable_weights
    for weight, values in zip(weights, drawn_weights([tuple(weight.shape) for weight in weights], random)):
        weight.assign(values)


def drawn_weights(shapes: list[tuple[int, ...]], random: np.random.Generator) -> Iterator[np.ndarray]:
    """Random values, float32, for weights of these shapes."""
    for shape in shapes:
        fan_in = max(np.prod(shape[:-1]), 1)
        spread = np.sqrt(2 / fan_in) if len(shape) > 1 else 0.1
        spread *= 10 if shape[-1:] == (1,) else 1  # so that probabilities come close to 0 and to 1
        yield random.normal(scale=spread, size=shape).astype(np.float32)


def explained(recorder: Recorder, end: list[np.ndarray], kind: str) -> tuple[Row, ...]:
    """The rows of a network, each with its terms, and one more for what comes at its end."""
    rows, side = [], recorder.image.shape[1]
    for number, (row, given, _) in enumerate(recorder.rows):
        terms, merged = _explain(recorder, given, number)
        rows.append(
            replace(row, terms=terms, merged=merged, size=_scaled(row.size, side), given=_scaled(row.given, side))
        )
    known = len(rows)
    parts = [_explain(recorder, array, known) for array in end]
    terms = tuple(term for part, _ in parts for term in part)
    shape = end[0].shape if end else (0,)
    return pruned(
        (*rows, Row(kind, terms, parts[0][1] if parts else "", channels=shape[-1], size=_scaled(shape[1:-1], side)))
    )


def _scaled(size: tuple[int, ...], side: int) -> tuple[int, ...]:
    """A size as it would be for images of 256 x 256."""
    return tuple(int(each) * SIDE // side for each in size)


def pruned(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows on which the last one depends, numbered anew, the terms of each sorted."""
    used, waiting = set(), [len(rows) - 1]
    while waiting:
        number = waiting.pop()
        if number not in used and number != IMAGE:
            used.add(number)
            waiting += [term.source for term in rows[number].terms]
    place = {old: new for new, old in enumerate(sorted(used))} | {IMAGE: IMAGE}

    def renumbered(row: Row) -> Row:
        terms = (replace(term, source=place[term.source]) for term in row.terms)
        return replace(row, terms=tuple(sorted(terms, key=lambda term: term.source)))

    return tuple(renumbered(rows[number]) for number in sorted(used))


def _explain(recorder: Recorder, array: np.ndarray, known: int) -> tuple[tuple[Term, ...], str]:
    """The terms that an array is made of, the latest rows first, and how they are merged."""
    term = _single(recorder, array, known)
    if term:
        return (term,), ""
    parts = _joined(recorder, array, known)
    if parts:
        return parts, "join"
    for layer, inputs, gave in reversed(recorder.others):  # some layer without a kernel, known by its name
        if gave.shape == array.shape and (function := _function(gave, array)):
            terms, merged = _explain_layer(recorder, layer, inputs, gave, known)
            return tuple(replace(t, function=function if function != "none" else t.function) for t in terms), merged
    corner = array[:, :8, :8] if array.ndim == 4 else array
    plain = [term for term in _alike(recorder, array, known) if term.function in ("none", ReLU)]
    values = [_value(recorder, term, corner=True) for term in plain]
    for merged, together in (("add", np.add), ("merge", np.multiply)):
        for number, one in enumerate(values):
            for other in range(number):
                if _equal(together(one, values[other]), corner):
                    return (plain[number], plain[other]), merged
    return (_nearest(recorder, array, known),), ""


def _explain_layer(
    recorder: Recorder, layer: Other, inputs: list, gave: np.ndarray, known: int
) -> tuple[tuple[Term, ...], str]:
    """The terms that a layer without a kernel is given, with its own name as their change."""
    if len(inputs) > 1:
        deep = gave.shape[-1] == sum(part.shape[-1] for part in inputs)
        merged = {"Add": "add", "Concatenate": "join" if deep else "join other axis"}.get(layer.name, "merge")
        return tuple(t for part in inputs for t in _explain(recorder, part, known)[0]), merged
    terms, merged = _explain(recorder, inputs[0], known)
    if layer.is_activation:
        return tuple(replace(term, function=UNKNOWN) for term in terms), merged
    return tuple(replace(term, change=(term.change + " " + layer.change).strip()) for term in terms), merged


def _single(recorder: Recorder, array: np.ndarray, known: int) -> Term | None:
    """The term that an array is, with zeros around it left aside."""
    for candidate in _alike(recorder, array, known):
        if _equal(_value(recorder, candidate, corner=True), array[:, :8, :8]) and _equal(
            _value(recorder, candidate), array
        ):
            return candidate
    if array.ndim == 4 and min(array.shape[1:3]) > 4:
        inner = array[:, 1:-1, 1:-1]
        if not array[:, 0].any() and not array[:, :, -1].any() and inner.any():
            return _single(recorder, inner, known)
    return None


def _alike(recorder: Recorder, array: np.ndarray, known: int) -> Iterator[Term]:
    """The terms of an array's shape, likely ones first."""
    for function in FUNCTIONS if array.ndim == 4 else ():
        for source in range(known - 1, IMAGE - 1, -1):
            shape = _source(recorder, source).shape
            for factor, change in ((1, ""), (2, POOLED)):
                if shape == (array.shape[0], factor * array.shape[1], factor * array.shape[2], array.shape[3]):
                    yield Term(source, function, change)


def _source(recorder: Recorder, source: int) -> np.ndarray:
    return recorder.image if source == IMAGE else recorder.rows[source][2]


def _value(recorder: Recorder, term: Term, *, corner: bool = False) -> np.ndarray:
    """The numbers of a term; those in a corner tell most terms apart."""
    pooled = term.change == POOLED
    if corner:
        value = _source(recorder, term.source)[:, : 16 if pooled else 8, : 16 if pooled else 8]
        return _applied(term, value)
    if term not in recorder.values:
        recorder.values[term] = _applied(term, _source(recorder, term.source))
    return recorder.values[term]


def _applied(term: Term, value: np.ndarray) -> np.ndarray:
    value = np.asarray(FUNCTIONS[term.function](value))
    if term.change != POOLED:
        return value
    return np.max([value[:, i::2, j::2] for i in range(2) for j in range(2)], axis=0)


def _joined(recorder: Recorder, array: np.ndarray, known: int) -> tuple[Term, ...]:
    """The terms that stand side by side as channels in an array; none where it is no such thing."""
    if array.ndim != 4:
        return ()
    sizes = {value.shape[-1] for value in (recorder.image, *(gave for *_, gave in recorder.rows[:known]))}
    for count in sorted(size for size in sizes if size < array.shape[-1]):
        first = _single(recorder, array[..., :count], known)
        if not first:
            continue
        rest = _single(recorder, array[..., count:], known)
        rest = (rest,) if rest else _joined(recorder, array[..., count:], known)
        if rest:
            return (first, *rest)
    return ()


def _function(before: np.ndarray, after: np.ndarray) -> str:
    """The function that makes one array of another; empty where none is known."""
    corner = (slice(None), slice(8), slice(8))[: before.ndim]
    likely = [f for f, apply in FUNCTIONS.items() if _equal(np.asarray(apply(before[corner])), after[corner])]
    return next((f for f in likely if _equal(np.asarray(FUNCTIONS[f](before)), after)), "")


def _nearest(recorder: Recorder, array: np.ndarray, known: int) -> Term:
    """For what cannot be explained: the row that it goes with most closely, through some function; else the last
    one."""
    likely = [term for term in _alike(recorder, array, known) if term.function == ReLU and not term.change]
    if not likely:
        return Term(known - 1, UNKNOWN, UNKNOWN)
    nearest = max(likely, key=lambda term: abs(np.corrcoef(_value(recorder, term).ravel(), array.ravel())[0, 1]))
    probability = np.asarray(FUNCTIONS["sigmoid"](_source(recorder, nearest.source)))
    slope, offset = np.polyfit(probability.ravel(), array.ravel(), 1)
    changed = _equal(slope * probability + offset, array) or _equal(
        np.clip(probability, array.min(), array.max()), array
    )
    return Term(nearest.source, CHANGED if changed and slope > 0 else UNKNOWN)


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two arrays are the same but for rounding, which is measured by the largest number."""
    return one.shape == two.shape and np.allclose(one, two, rtol=1e-4, atol=1e-5 * float(np.abs(two).max(initial=0)))
