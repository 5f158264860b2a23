"""Layers that compute nothing: a builder called with them gives its network's rows (see `trace`) in no time.

So a hundred wrong networks of the catalog are compared with a student's within a moment. Only what the catalog
uses is here; a layer that is not is written down by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

from roadseg.checks.trace import IMAGE, Row, Term, pruned

NAMES = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "selu": "SELU", "elu": "ELU", None: "none", "linear": "none"}


@dataclass(frozen=True)
class Maps:
    """Feature maps that nobody computes."""

    terms: tuple[Term, ...]
    size: tuple[int, int]
    channels: int
    merged: str = ""


class Refused(Exception):
    """Feature maps that do not fit together."""


def sketched(build: Callable) -> tuple[Row, ...]:
    """The rows of the network that a builder writes with `layers` and `keras` in its globals."""
    sketch = Sketch()
    build.__globals__.update(layers=sketch, keras=SimpleNamespace(Model=sketch.model, layers=sketch))
    try:
        return build()
    except Refused as refused:
        return sketch.ended(refused.args[0], "refused")


class Sketch:
    """Stands in for `keras.layers`."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.layers = 0

    def __getattr__(self, name: str) -> Callable:
        return lambda *arguments, **options: lambda maps: _changed(maps, name)

    def Input(self, shape):
        return Maps((Term(IMAGE),), tuple(shape[:2]), shape[2])

    def Conv2D(self, filters, kernel_size, strides=1, padding="valid", activation=None, **options):
        self.layers += 1
        key = self.layers

        def call(maps):
            same = padding == "same"
            size = tuple(-(-side // strides) if same else (side - kernel_size) // strides + 1 for side in maps.size)
            return self._row("convolution", maps, filters, kernel_size, strides, size, activation, key, options)

        return call

    def Conv2DTranspose(self, filters, kernel_size, strides=1, padding="valid", activation=None, **options):
        def call(maps):
            more = 0 if padding == "same" else max(kernel_size - strides, 0)
            size = tuple(side * strides + more for side in maps.size)
            return self._row(
                "transposed", maps, filters, kernel_size, strides, size, activation, -len(self.rows), options
            )

        return call

    def SeparableConv2D(self, filters, kernel_size, padding="valid", activation=None):
        return lambda maps: self._row(
            "separable", maps, filters, kernel_size, 1, maps.size, activation, -len(self.rows), {}
        )

    def _row(self, kind, maps, filters, kernel, strides, size, activation, key, options) -> Maps:
        self.rows.append(
            Row(
                kind,
                maps.terms,
                maps.merged,
                (kernel, kernel),
                (strides, strides),
                filters,
                maps.channels,
                options.get("use_bias", True),
                options.get("groups", 1),
                options.get("dilation_rate", 1) != 1,
                options.get("data_format") == "channels_first",
                size,
                maps.size,
                key,
            )
        )
        return Maps((Term(len(self.rows) - 1, NAMES.get(activation, activation)),), size, filters)

    def MaxPooling2D(self, pool_size, strides=None, padding="valid"):
        strides = strides or pool_size
        name = f"MaxPooling2D of {pool_size} x {pool_size} in steps of {strides} x {strides}"
        plain = pool_size == strides == 2

        def call(maps):
            size = tuple(
                -(-side // strides) if padding == "same" else (side - pool_size) // strides + 1 for side in maps.size
            )
            return replace(_changed(maps, "max 2 x 2" if plain else name), size=size)

        return call

    def AveragePooling2D(self, pool_size):
        name = f"AveragePooling2D of {pool_size} x {pool_size} in steps of {pool_size} x {pool_size}"
        return lambda maps: replace(_changed(maps, name), size=tuple(side // pool_size for side in maps.size))

    def UpSampling2D(self, **options):
        return lambda maps: replace(_changed(maps, "UpSampling2D"), size=tuple(2 * side for side in maps.size))

    def Activation(self, name):
        return lambda maps: replace(
            maps,
            terms=tuple(replace(term, function=_composed(term.function, NAMES.get(name, name))) for term in maps.terms),
        )

    def ReLU(self):
        return self.Activation("relu")

    def Concatenate(self, axis=-1):
        def call(parts):
            if len({part.size for part in parts}) > 1:
                raise Refused(parts)
            terms = tuple(term for part in parts for term in part.terms)
            if axis == 1:
                return Maps(
                    terms, (sum(p.size[0] for p in parts), parts[0].size[1]), parts[0].channels, "join other axis"
                )
            return Maps(terms, parts[0].size, sum(part.channels for part in parts), "join")

        return call

    def Add(self):
        return lambda parts: self._together(parts, "add")

    def Multiply(self):
        return lambda parts: self._together(parts, "merge")

    def _together(self, parts, how) -> Maps:
        if len({(part.size, part.channels) for part in parts}) > 1:
            raise Refused(parts)
        return Maps(tuple(term for part in parts for term in part.terms), parts[0].size, parts[0].channels, how)

    def model(self, inputs, outputs) -> tuple[Row, ...]:
        return self.ended([outputs], "output")

    def ended(self, parts, kind: str) -> tuple[Row, ...]:
        terms, last = tuple(term for part in parts for term in part.terms), parts[0]
        return pruned((*self.rows, Row(kind, terms, last.merged, channels=last.channels, size=last.size)))


def _changed(maps: Maps, change: str) -> Maps:
    return replace(maps, terms=tuple(replace(term, change=f"{term.change} {change}".strip()) for term in maps.terms))


def _composed(first: str, then: str) -> str:
    if first in ("none", then) and first != "sigmoid":
        return then
    return {("sigmoid", "sigmoid"): "sigmoid twice", ("ReLU", "sigmoid"): "sigmoid after ReLU"}.get((first, then), then)
