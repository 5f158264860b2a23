"""What a network computes, as rows of plain data: each layer with weights, and what it is given.

However a network is written (functional, subclassed or nested, with layers or with plain functions), it is called
once on random images, with random weights; what each layer with weights is given is then explained by what earlier
ones gave, such as "the ReLU of the one before, pooled". Arrays: images float32 (1, height, width, 3) in [0, 20].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from typing import Any
from unittest.mock import patch

import numpy as np

from roadseg.backend import keras

SIDE = 256  # pixels of an image, in height and width
IMAGE = -1  # stands for the image among the sources of a term
RELU, POOLED, UNKNOWN = "relu", "max 2 x 2", "something else"
CHANGED = "a sigmoid whose values are changed afterwards"
FUNCTIONS: dict[str, Callable[[np.ndarray], Any]] = {  # in this order they are tried
    "none": lambda z: z,
    RELU: lambda z: np.maximum(z, 0),
    **{name: getattr(keras.activations, name) for name in ("sigmoid", "tanh", "gelu", "silu", "elu", "selu", "relu6")},
    **{
        f"leaky_relu of {slope}": partial(keras.ops.leaky_relu, negative_slope=slope) for slope in (0.01, 0.1, 0.2, 0.3)
    },
    "gelu, approximated": partial(keras.activations.gelu, approximate=True),
    **{name: getattr(keras.activations, name) for name in ("softplus", "hard_sigmoid", "exponential", "softmax")},
    "sigmoid twice": lambda z: keras.ops.sigmoid(keras.ops.sigmoid(z)),
    "sigmoid after relu": lambda z: keras.ops.sigmoid(np.maximum(z, 0)),
    CHANGED: lambda z: np.round(keras.ops.sigmoid(z)),
}
MERGING = (  # what may be done with two feature maps, besides by a layer
    *(("add", np.add), ("merge", np.multiply), ("merge", np.subtract), ("merge", np.maximum)),
    ("merge", lambda one, two: (one + two) / 2),
)
LAYERS = keras.layers
ACTIVATIONS = (LAYERS.Activation, LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.PReLU, LAYERS.ELU, LAYERS.Softmax)
KINDS = {
    "transposed": LAYERS.Conv2DTranspose,
    "convolution": (LAYERS.Conv2D, LAYERS.Dense),
    "separable": (LAYERS.SeparableConv2D, LAYERS.DepthwiseConv2D),
}
PLAIN = (LAYERS.Conv2D, LAYERS.Dense, LAYERS.Conv2DTranspose)  # whose values before the activation are noted


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


def row_of(layer: Any, taken: tuple[int, ...], gave: tuple[int, ...], key: int) -> Row | None:
    """The row of a layer that makes an array of one shape of another, without its terms; None without a kernel."""
    kind = next((kind for kind, types in KINDS.items() if isinstance(layer, types)), None)
    return kind and Row(
        kind,
        window=tuple(getattr(layer, "kernel_size", (1, 1))),
        stride=tuple(getattr(layer, "strides", (1, 1))),
        channels=gave[-1],
        taken=taken[-1],
        bias=layer.use_bias,
        groups=getattr(layer, "groups", 1),
        dilated=any(rate != 1 for rate in getattr(layer, "dilation_rate", (1,))),
        channels_first=getattr(layer, "data_format", "") == "channels_first",
        size=tuple(gave[1:3]),
        given=tuple(taken[1:3]),
        key=key,
    )


@dataclass(frozen=True)
class Other:
    """A layer without a kernel. name : of its class; change : what it does to size or place, by its name;
    is_activation : whether it computes each value on its own."""

    name: str
    change: str
    is_activation: bool


def other_of(layer: Any) -> Other:
    """What there is to say of a layer without a kernel."""
    name = change = type(layer).__name__
    if "Pooling" in name and hasattr(layer, "pool_size"):
        sides = [" x ".join(map(str, pair)) for pair in (layer.pool_size, layer.strides)]
        change += f" of {sides[0]} in steps of {sides[1]}"
    if getattr(layer, "data_format", "") == "channels_first":
        change = f"Permute {change}"
    change = POOLED if change == "MaxPooling2D of 2 x 2 in steps of 2 x 2" else change
    return Other(name, change, isinstance(layer, ACTIVATIONS))


def pruned(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows on which the last one depends, numbered anew, the terms of each sorted."""
    used = {len(rows) - 1}
    for number in reversed(range(len(rows))):
        if number in used:
            used |= {term.source for term in rows[number].terms}
    used = sorted(used - {IMAGE})
    place = {old: new for new, old in enumerate(used)} | {IMAGE: IMAGE}

    def renumbered(row: Row) -> Row:
        terms = (replace(term, source=place[term.source]) for term in row.terms)
        return replace(row, terms=tuple(sorted(terms, key=lambda term: term.source)))

    return tuple(renumbered(rows[number]) for number in used)


# --- listening to a network ------------------------------------------------------------------------------------------


@dataclass
class Recorder:
    """Notes the calls of layers, with the arrays that they take and give, and explains what they are made of.

    rows : layers with a kernel, each with what it takes and what it gives before its activation; weights : of each of
    these; others : layers without a kernel, like rows.
    """

    image: np.ndarray
    rows: list[tuple[Row, np.ndarray, np.ndarray]] = field(default_factory=list)
    weights: list[list[np.ndarray]] = field(default_factory=list)
    others: list[tuple[Other, list, np.ndarray]] = field(default_factory=list)
    values: dict[tuple[Term, bool], np.ndarray] = field(default_factory=dict)
    calls: int = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the calls of all layers that call no further ones."""
        plain_call = keras.Layer.__call__

        def noted(layer, *arguments, **options):
            self.calls += 1
            before, activation = self.calls, vars(layer).get("activation") if isinstance(layer, PLAIN) else None
            if activation:
                vars(layer)["activation"] = keras.activations.linear
            try:
                gave = plain_call(layer, *arguments, **options)
            finally:
                if activation:
                    vars(layer)["activation"] = activation
            if self.calls == before:
                self._note(layer, (arguments, options.get("inputs", ())), gave)
            return activation(gave) if activation else gave

        with patch.object(keras.Layer, "__call__", noted):
            yield

    def _note(self, layer: Any, given: Any, gave: Any) -> None:
        inputs = [np.asarray(part) for part in keras.tree.flatten(given) if hasattr(part, "shape")]
        gave = np.asarray(gave)
        row = row_of(layer, inputs[0].shape, gave.shape, id(layer)) if inputs else None
        if row:
            self.rows.append((row, inputs[0], gave))
            self.weights.append([np.asarray(weight) for weight in layer.weights])
        else:
            self.others.append((other_of(layer), inputs, gave))

    def explained(self, end: list[np.ndarray], kind: str) -> tuple[Row, ...]:
        """The rows of a network, each with its terms, and one more for what comes at its end; sizes are those for
        images of 256 x 256."""
        rows, side = [], self.image.shape[1]
        for number, (row, given, _) in enumerate(self.rows):
            terms, merged = self._explain(given, number)
            rows.append(replace(row, terms=terms, merged=merged))
        parts = [self._explain(array, len(rows)) for array in end]
        terms = tuple(term for part, _ in parts for term in part)
        shape = end[0].shape if end else (0,)
        rows.append(Row(kind, terms, parts[0][1] if parts else "", channels=shape[-1], size=shape[1:-1]))
        scaled = lambda size: tuple(int(each) * SIDE // side for each in size)  # noqa: E731
        return pruned(tuple(replace(row, size=scaled(row.size), given=scaled(row.given)) for row in rows))

    # --- what an array is made of; `known` is the number of rows that came before it ---

    def _explain(self, array: np.ndarray, known: int, earlier: int | None = None) -> tuple[tuple[Term, ...], str]:
        """The terms that an array is made of, the latest rows first, and how they are merged.

        earlier : so many layers without a kernel came before it; None: all may have."""
        if term := self._single(array, known):
            return (term,), ""
        if len(array) > 1:  # where there was one image
            return tuple(self._explain(part[None], known)[0][0] for part in array), "join other axis"
        if parts := self._joined(array, known):
            return parts, "join"
        for number, (_, inputs, gave) in reversed(list(enumerate(self.others[:earlier]))):  # known by their names
            if inputs and gave.shape == array.shape and (function := _function(gave, array)):
                terms, merged = self._explain_layer(number, known)
                return tuple(replace(t, function=t.function if function == "none" else function) for t in terms), merged
        plain = [term for term in self._candidates(array, known) if term.function in ("none", RELU)]
        for merged, together in MERGING:
            for pair in permutations(plain, 2):
                if _equal(together(*(self._value(term, corner=True) for term in pair)), _corner(array)):
                    return pair, merged
        return (self._nearest(array, known),), ""

    def _explain_layer(self, number: int, known: int) -> tuple[tuple[Term, ...], str]:
        """The terms that a layer without a kernel is given, with its own name as their change."""
        layer, inputs, gave = self.others[number]
        if len(inputs) > 1:
            terms = tuple(term for part in inputs for term in self._explain(part, known, number)[0])
            joined = "join" if gave.shape[-1] == sum(part.shape[-1] for part in inputs) else "join other axis"
            return terms, {"Add": "add", "Concatenate": joined}.get(layer.name, "merge")
        terms, merged = self._explain(inputs[0], known, number)
        if layer.is_activation:
            return tuple(replace(term, function=UNKNOWN) for term in terms), merged
        return tuple(replace(term, change=f"{term.change} {layer.change}".strip()) for term in terms), merged

    def _single(self, array: np.ndarray, known: int) -> Term | None:
        """The term that an array is, with zeros around it left aside."""
        for term in self._candidates(array, known):
            if _equal(self._value(term, corner=True), _corner(array)) and _equal(self._value(term), array):
                return term
        padded = array.ndim == 4 and min(array.shape[1:3]) > 4 and not array[:, 0].any() and not array[:, :, -1].any()
        return self._single(array[:, 1:-1, 1:-1], known) if padded and array.any() else None

    def _joined(self, array: np.ndarray, known: int) -> tuple[Term, ...]:
        """The terms that stand side by side as channels in an array; none where it is no such thing."""
        sizes = {value.shape[-1] for value in (self.image, *(gave for *_, gave in self.rows[:known]))}
        for count in sorted(size for size in sizes if array.ndim == 4 and size < array.shape[-1]):
            if first := self._single(array[..., :count], known):
                rest = self._single(array[..., count:], known)
                if others := (rest,) if rest else self._joined(array[..., count:], known):
                    return (first, *others)
        return ()

    def _candidates(self, array: np.ndarray, known: int) -> Iterator[Term]:
        """The terms of an array's shape, likely ones first."""
        if array.ndim != 4:
            return
        count, height, width, channels = array.shape
        sizes = {"": array.shape, POOLED: (count, 2 * height, 2 * width, channels)}
        for function in FUNCTIONS:
            for source in range(known - 1, IMAGE - 1, -1):
                for change, size in sizes.items():
                    if self._source(source).shape == size:
                        yield Term(source, function, change)

    def _source(self, source: int) -> np.ndarray:
        return self.image if source == IMAGE else self.rows[source][2]

    def _value(self, term: Term, *, corner: bool = False) -> np.ndarray:
        """The numbers of a term; those in a corner tell most terms apart."""
        if (term, corner) not in self.values:
            value, pooled = self._source(term.source), term.change == POOLED
            value = np.asarray(FUNCTIONS[term.function](_corner(value, 16 if pooled else 8) if corner else value))
            if pooled:
                value = np.max([value[:, i::2, j::2] for i in range(2) for j in range(2)], axis=0)
            self.values[term, corner] = value
        return self.values[term, corner]

    def _nearest(self, array: np.ndarray, known: int) -> Term:
        """For what cannot be explained: the row that it correlates with most, through any function, or the last one."""
        likely = [term for term in self._candidates(array, known) if term.function == RELU and not term.change]
        if not likely:
            return Term(known - 1, UNKNOWN, UNKNOWN)
        nearest = max(likely, key=lambda term: abs(np.corrcoef(self._value(term).ravel(), array.ravel())[0, 1]))
        probability = self._value(Term(nearest.source, "sigmoid"))
        slope, offset = np.polyfit(probability.ravel(), array.ravel(), 1)
        clipped = np.clip(probability, array.min(), array.max())
        changed = slope > 0 and (_equal(slope * probability + offset, array) or _equal(clipped, array))
        return Term(nearest.source, CHANGED if changed else UNKNOWN)


def noise(random: np.random.Generator) -> np.ndarray:
    """An image that is dark on the left and far too bright on the right: features are small here and large there, so
    that functions which differ only in one range are told apart."""
    brightness = np.linspace(0, 20, SIDE, dtype=np.float32)[:, None]
    return random.random((1, SIDE, SIDE, 3), dtype=np.float32) * brightness


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


def _corner(array: np.ndarray, side: int = 8) -> np.ndarray:
    return array[:, :side, :side] if array.ndim == 4 else array


def _function(before: np.ndarray, after: np.ndarray) -> str:
    """The function that makes one array of another; empty where none is known."""
    for name, function in FUNCTIONS.items():
        if all(_equal(np.asarray(function(part(before))), part(after)) for part in (_corner, np.asarray)):
            return name
    return ""


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two arrays are the same but for rounding, which is measured by the largest number."""
    return one.shape == two.shape and np.allclose(one, two, rtol=1e-4, atol=1e-5 * float(np.abs(two).max(initial=0)))
