"""Networks that compute nothing: a builder called with them gives its network's rows (see `trace`) in no time.

So the wrong networks of the catalog are compared with a student's within a moment. The layers are Keras's own;
only their settings and the shapes that they give are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from roadseg.backend import keras
from roadseg.checks.trace import FUNCTIONS, IMAGE, UNKNOWN, Row, Term, other_of, pruned, row_of


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
    build.__globals__.update(layers=sketch, keras=sketch)
    try:
        return build()
    except Refused as refused:
        return sketch.ended(refused.args[0], "refused")


class Sketch:
    """Stands in for `keras.layers`, and for `keras` with its Model."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __getattr__(self, name: str) -> Callable:
        def make(*arguments, **options):
            layer = getattr(keras.layers, name)(*arguments, **options)
            return lambda given: self._called(layer, given)

        return make

    def Input(self, shape):
        return Maps((Term(IMAGE),), (1, *shape))

    def Model(self, inputs, outputs):
        return self.ended([outputs], "output")

    def _called(self, layer: keras.Layer, given: Any) -> Maps:
        if isinstance(layer, keras.layers.Concatenate):
            return _concatenated(layer, given)
        shape = tuple(layer.compute_output_shape(given.shape))
        if row := row_of(layer, given.shape, shape, key=1 + len(self.rows)):
            self.rows.append(replace(row, terms=given.terms, merged=given.merged))
            return Maps((Term(len(self.rows) - 1, layer.activation.__name__),), shape)
        if isinstance(layer, keras.layers.Activation):
            terms = tuple(replace(term, function=_composed(term.function, layer)) for term in given.terms)
        else:
            change = other_of(layer).change
            terms = tuple(replace(term, change=f"{term.change} {change}".strip()) for term in given.terms)
        return Maps(terms, shape, given.merged)

    def ended(self, parts: list[Maps], kind: str) -> tuple[Row, ...]:
        """The rows so far, and one more for what comes at the end."""
        terms, last = tuple(term for part in parts for term in part.terms), parts[0]
        end = Row(kind, terms, last.merged, channels=last.shape[-1], size=last.shape[1:3])
        return pruned((*self.rows, end))


def _concatenated(layer: keras.Layer, parts: list[Maps]) -> Maps:
    if len({part.shape[:3] for part in parts}) > 1:
        raise Refused(parts)
    shape = tuple(layer.compute_output_shape([part.shape for part in parts]))
    return Maps(tuple(term for part in parts for term in part.terms), shape, "join")


def _composed(first: str, layer: keras.Layer) -> str:
    """The function that values have passed after a layer's activation, too."""
    both = f"{layer.activation.__name__} after {first}"
    return both if both in FUNCTIONS else UNKNOWN
