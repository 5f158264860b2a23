"""Networks that compute nothing: a builder called with them gives its network's rows (see `trace`) in no time.

So a hundred wrong networks of the catalog are compared with a student's within a moment. The layers are Keras's own;
only their settings and the shapes that they give are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

from roadseg.backend import keras
from roadseg.checks.trace import ACTIVATIONS, IMAGE, UNKNOWN, Row, Term, changing, merging, pruned, row_of

MERGES = (keras.layers.Concatenate, keras.layers.Add, keras.layers.Multiply)


@dataclass(frozen=True)
class Maps:
    """Feature maps that nobody computes: what they are made of, and their shape."""

    terms: tuple[Term, ...]
    shape: tuple[int, ...]
    merged: str = ""


class Refused(Exception):
    """Feature maps that do not fit together."""


def sketched(build: Callable) -> tuple[Row, ...]:
    """The rows of the network that a builder writes with `layers` and `keras` in its globals."""
    sketch = Sketch()
    build.__globals__.update(layers=sketch, keras=SimpleNamespace(Model=sketch.model))
    try:
        return build()
    except Refused as refused:
        return sketch.ended(refused.args[0], "refused")


@cache
def _layer(name: str, arguments: tuple, options: tuple) -> keras.Layer:
    return getattr(keras.layers, name)(*arguments, **dict(options))


class Sketch:
    """Stands in for `keras.layers`."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.layers = 0

    def __getattr__(self, name: str) -> Callable:
        def make(*arguments, **options):
            self.layers += 1
            layer, key = _layer(name, arguments, tuple(options.items())), self.layers
            return lambda given: self._called(layer, given, key)

        return make

    def Input(self, shape):
        return Maps((Term(IMAGE),), (1, *shape))

    def _called(self, layer: keras.Layer, given: Any, key: int) -> Maps:
        if isinstance(layer, MERGES):
            return _merged(layer, given)
        shape = tuple(layer.compute_output_shape(given.shape))
        if row := row_of(layer, given.shape, shape, key):
            self.rows.append(replace(row, terms=given.terms, merged=given.merged))
            return Maps((Term(len(self.rows) - 1, _composed("none", layer)),), shape)
        if isinstance(layer, ACTIVATIONS):
            terms = tuple(replace(term, function=_composed(term.function, layer)) for term in given.terms)
        else:
            terms = tuple(replace(term, change=f"{term.change} {changing(layer)}".strip()) for term in given.terms)
        return Maps(terms, shape, given.merged)

    def model(self, inputs: Maps, outputs: Maps) -> tuple[Row, ...]:
        return self.ended([outputs], "output")

    def ended(self, parts: list[Maps], kind: str) -> tuple[Row, ...]:
        """The rows so far, and one more for what comes at the end."""
        terms, last = tuple(term for part in parts for term in part.terms), parts[0]
        end = Row(kind, terms, last.merged, channels=last.shape[-1], size=last.shape[1:3])
        return pruned((*self.rows, end))


def _merged(layer: keras.Layer, parts: list[Maps]) -> Maps:
    shapes = [part.shape for part in parts]
    if len({shape[:3] if isinstance(layer, MERGES[0]) else shape for shape in shapes}) > 1:
        raise Refused(parts)
    shape = tuple(layer.compute_output_shape(shapes))
    terms = tuple(term for part in parts for term in part.terms)
    return Maps(terms, shape, merging(layer, [shape[-1] for shape in shapes], shape[-1]))


def _composed(first: str, layer: keras.Layer) -> str:
    """The function that values have passed after a layer's activation, too."""
    activation = getattr(layer, "activation", None)
    then = activation.__name__ if activation else type(layer).__name__.lower()
    then = "none" if then == "linear" else then
    if first == "none" or (first == then and first != "sigmoid"):
        return then
    return {("sigmoid", "sigmoid"): "sigmoid twice", ("relu", "sigmoid"): "sigmoid after relu"}.get(
        (first, then), UNKNOWN
    )
