"""The transposed convolution in one dimension, as a panel: copies of the kernel laid down and added (question 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

from roadseg import plots
from roadseg.errors import OptionError
from roadseg.widgets.panel import View, choice, drawn, joined, panel, paragraph, shown

SIGNALS = {
    "2 2 2 0 1": (2.0, 2.0, 2.0, 0.0, 1.0),  # a stretch that is even, then one number alone
    "0 0 1 0 0": (0.0, 0.0, 1.0, 0.0, 0.0),  # leaves the kernel as it is
    "1 2 3 4 5": (1.0, 2.0, 3.0, 4.0, 5.0),  # shows what interpolates
}
KERNELS = {
    "1 1": (1.0, 1.0),  # stride 2: nearest neighbour
    "½ 1 ½": (0.5, 1.0, 0.5),  # stride 2: linear interpolation
    "1 1 1": (1.0, 1.0, 1.0),  # stride 2: the chequerboard
    "1 −1": (1.0, -1.0),
}
INPUTS = {f"{signal}, kernel {kernel}": (signal, kernel) for signal in SIGNALS for kernel in KERNELS}
STRIDES, PADDINGS = (1, 2, 3), ("valid", "same")
STEPS = {f"stride {stride}, {padding}": (stride, padding) for stride in STRIDES for padding in PADDINGS}
COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#4D4D4D")  # of the signal's numbers; no red beside green


@dataclass(frozen=True, eq=False)
class Scatter:
    """A transposed convolution taken apart: float64 throughout.

    signal : (n,). laid : (n, full), the kernel `stride` places further on in each row. kept : what padding leaves of
        the full length.
    """

    signal: np.ndarray
    laid: np.ndarray
    kept: slice

    @property
    def copies(self) -> np.ndarray:
        """(n, full): each number times the kernel, in its place."""
        return self.signal[:, None] * self.laid

    @property
    def matrix(self) -> np.ndarray:
        """(length, n): times the signal it gives the output."""
        return self.laid[:, self.kept].T

    @property
    def output(self) -> np.ndarray:
        """(length,): the copies added up."""
        return self.copies.sum(axis=0)[self.kept]


def scatter(signal: Sequence[float], kernel: Sequence[float], *, stride: int, padding: str) -> Scatter:
    """What Keras's Conv1DTranspose without a bias does to n numbers: "valid" keeps all places, "same" n * stride.

    Raises OptionError for another padding, a stride below 1, or nothing to work on.
    """
    count, size = len(signal), len(kernel)
    if padding not in PADDINGS or stride < 1 or not count or not size:
        raise OptionError(
            "expected a signal, a kernel, a stride of at least 1 and the padding valid or same; "
            f"found {count} and {size} numbers, stride {stride} and padding {padding!r}."
        )
    excess = max(size - stride, 0)
    laid = np.zeros((count, count * stride + excess))
    for place, row in enumerate(laid):
        row[place * stride : place * stride + size] = kernel
    first, length = (excess // 2, count * stride) if padding == "same" else (0, laid.shape[1])
    return Scatter(np.asarray(signal, float), laid, slice(first, first + length))


def transposed_convolution() -> None:
    """Choose signal, kernel, stride and padding: the copies, their sum, and the same as a matrix (question 7)."""
    layout = {"width": "400px"}
    inputs = choice(INPUTS, "2 2 2 0 1, kernel 1 1", description="signal and kernel", layout=layout)
    step = choice(STEPS, "stride 2, valid", description="stride and padding", layout=layout)
    made = panel(cache(convolution_view), inputs=inputs, step=step)
    caption = "Each number lays down its copy of the kernel; where copies overlap they are added."
    shown(made, convolution_figure("2 2 2 0 1, kernel 1 1 1", "stride 2, valid"), caption)
    caption = "At stride 2 the kernel 1 1 repeats numbers, ½ 1 ½ interpolates, and 1 1 1 makes a chequerboard."
    plots.show(_all_kernels("2 2 2 0 1"), caption)


def convolution_view(inputs: str, step: str) -> View:
    """The panel with one of INPUTS and one of STEPS."""
    (_, kernel), (stride, padding), parts = INPUTS[inputs], STEPS[step], _scattered(inputs, step)
    overlaps = (parts.matrix != 0).sum(axis=1)
    words = (
        f"{len(parts.signal)} numbers become {len(parts.output)}, as in "
        f'<code>Conv1DTranspose(1, {len(KERNELS[kernel])}, strides={stride}, padding="{padding}")</code>; '
        f"copies that meet at a place: {_range(overlaps)}."
    )
    figure = convolution_figure(inputs, step)
    return View(paragraph(words), drawn(figure), figure.get_label())


def _scattered(inputs: str, step: str) -> Scatter:
    (signal, kernel), (stride, padding) = INPUTS[inputs], STEPS[step]
    return scatter(SIGNALS[signal], KERNELS[kernel], stride=stride, padding=padding)


def _range(counts: np.ndarray) -> str:
    lowest, highest = counts.min(), counts.max()
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


@plots.styled
def convolution_figure(inputs: str, step: str) -> Figure:
    """Copies above their sum; beside them the matrix; with one of INPUTS and one of STEPS."""
    (signal, kernel), parts = INPUTS[inputs], _scattered(inputs, step)
    alt = (
        f"The signal {signal}, each number times the kernel {_listed(KERNELS[kernel])}, laid down with "
        f"{step}, adds up to {_listed(parts.output)}; the same as a matrix."
    )
    figure, axes = plots.grid(2, 2, height=1.75, alt=alt)
    axes[0, 0].get_gridspec().set_width_ratios((2.2, 1))
    _draw_copies(axes[0, 0], parts)
    axes[0, 0].set_title(f"copies: each number times the kernel {kernel}, {step}")
    _draw_sum(axes[1, 0], parts, numbers=True)
    axes[1, 0].set_title(f"their sum, {len(parts.output)} numbers")
    matrix = joined(figure, axes[:, 1])
    _draw_cells(matrix, parts.matrix, parts.matrix != 0, np.array(COLOURS))
    matrix.set_title("as a matrix: sum = matrix × signal")
    return figure


@plots.styled
def _all_kernels(signal: str) -> Figure:
    """The sum of one of SIGNALS for every kernel and stride, a row for each stride."""
    figure, axes = plots.grid(len(STRIDES), len(KERNELS), height=1.15, alt="")
    for row, stride in zip(axes, STRIDES):
        for cell, (name, kernel) in zip(row, KERNELS.items()):
            _draw_sum(cell, scatter(SIGNALS[signal], kernel, stride=stride, padding="valid"))
            cell.set_title(f"{name}, stride {stride}", fontsize=9)
            cell.set(xticks=[], yticks=[])
    even = _listed(scatter(SIGNALS[signal], KERNELS["1 1 1"], stride=2, padding="valid").output)
    figure.set_label(
        f"Sums of copies of the kernels {', '.join(KERNELS)} at strides 1, 2 and 3, a colour for each copy. At stride "
        f"2 the kernel 1 1 1 turns {signal} into {even}."
    )
    return figure


def _draw_copies(axes: Axes, parts: Scatter) -> None:
    """A row for each copy, in the colour of its number; what padding cuts is hatched."""
    _draw_cells(axes, parts.copies, parts.laid != 0, np.array(COLOURS)[:, None])
    axes.set_yticks(np.arange(len(parts.signal)) + 0.5, [f"{_number(value)} ×" for value in parts.signal])
    axes.tick_params(length=0)
    _draw_cut(axes, parts)


def _draw_cells(axes: Axes, values: np.ndarray, filled: np.ndarray, colours: np.ndarray) -> None:
    """Numbers (rows, columns) as a table, the filled ones on their colour; colours broadcast to its shape."""
    tints = to_rgba_array(np.broadcast_to(colours, values.shape).ravel(), alpha=0.45).reshape(*values.shape, 4)
    axes.pcolormesh(np.where(filled[..., None], tints, 0), edgecolors="white")
    for row, column in np.argwhere(filled):
        words = _number(values[row, column])
        axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=8.5)
    axes.invert_yaxis()
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="0.7", linewidth=0.6)


def _draw_sum(axes: Axes, parts: Scatter, *, numbers: bool = False) -> None:
    """The copies stacked, negative ones downwards, and a black dot at their sum."""
    up, down = np.maximum(parts.copies, 0), np.minimum(parts.copies, 0)
    for bars in (up, down):
        row, place = np.nonzero(bars)
        base = (bars.cumsum(axis=0) - bars)[row, place]
        axes.bar(place + 0.5, bars[row, place], 0.85, base, color=np.array(COLOURS)[row], alpha=0.75)
    total, tops = parts.copies.sum(axis=0), up.sum(axis=0)
    places = np.arange(len(total)) + 0.5
    axes.plot(places, total, "o", color="black", markersize=3)
    for x, value, top in zip(places, total, tops if numbers else ()):
        axes.annotate(_number(value), (x, top), (0, 4), textcoords="offset points", ha="center", fontsize=8.5)
    low, high = down.sum(axis=0).min(), tops.max()
    axes.set(xlim=(0, len(total)), ylim=(low - 0.1 * (high - low), high + 0.25 * (high - low)), xticks=[])
    _draw_cut(axes, parts)


def _draw_cut(axes: Axes, parts: Scatter) -> None:
    """Hatch the places that padding cuts off."""
    full = parts.laid.shape[1]
    for start, end in ((0, parts.kept.start), (parts.kept.stop, full)):
        if start < end:
            axes.axvspan(start, end, facecolor=(1, 1, 1, 0.75), edgecolor="0.5", hatch="///", linewidth=0, zorder=3)


def _listed(values: Sequence[float]) -> str:
    return " ".join(map(_number, values))


def _number(value: float) -> str:
    """As few digits as will do, with a true minus sign."""
    return f"{value + 0.0:g}".replace("-", "−")
