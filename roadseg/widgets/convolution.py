"""The transposed convolution in one dimension, as a panel: copies of the kernel laid down and added (question 7)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from PIL import Image

from roadseg import plots
from roadseg.widgets.panel import choice, mosaic, page, show_panel

SIGNALS = {
    "2 2 2 0 1": (2.0, 2.0, 2.0, 0.0, 1.0),  # an even stretch, then a single number
    "0 0 1 0 0": (0.0, 0.0, 1.0, 0.0, 0.0),  # gives the kernel itself
    "1 2 3 4 5": (1.0, 2.0, 3.0, 4.0, 5.0),  # shows which kernels interpolate
}
KERNELS = {
    "1 1": (1.0, 1.0),  # stride 2: nearest neighbor
    "½ 1 ½": (0.5, 1.0, 0.5),  # stride 2: linear interpolation
    "1 1 1": (1.0, 1.0, 1.0),  # stride 2: a checkerboard artifact
    "1 −1": (1.0, -1.0),
}
INPUTS = {f"{signal} and {kernel}": (signal, kernel) for signal in SIGNALS for kernel in KERNELS}
STRIDES = (1, 2, 3)
STEPS = {f"stride {stride}, {padding}": (stride, padding) for stride in STRIDES for padding in ("valid", "same")}


def scatter(
    signal: Sequence[float], kernel: Sequence[float], *, stride: int, padding: str
) -> tuple[np.ndarray, np.ndarray, slice]:
    """Keras's Conv1DTranspose without a bias, taken apart, for a signal of n numbers.

    Returns `shifted`, float64 (n, places), the kernel `stride` places further right in each row; `copies`, the same
    times each number of the signal; `kept`, the places that the padding keeps: "valid" all, "same" n * stride of them.
    So the output is `copies.sum(axis=0)[kept]`, and also `shifted[:, kept].T @ signal`.
    """
    count, size = len(signal), len(kernel)
    excess = max(size - stride, 0)
    shifted = np.zeros((count, count * stride + excess))
    for place, row in enumerate(shifted):
        row[place * stride : place * stride + size] = kernel
    kept = slice(excess // 2, excess // 2 + count * stride) if padding == "same" else slice(0, shifted.shape[1])
    return shifted, shifted * np.reshape(signal, (-1, 1)), kept


def transposed_convolution() -> None:
    """Choose signal, kernel, stride and padding: the copies, their sum, and the same as a matrix (question 7)."""
    inputs = choice(INPUTS, description="signal and kernel")
    step = choice(STEPS, value="stride 2, valid", description="stride and padding")
    caption = "Each number is multiplied by the kernel; where these copies overlap, they are added."
    figure = convolution_figure("2 2 2 0 1 and 1 1 1", "stride 2, valid")
    show_panel(cache(convolution_page), figure, caption, inputs=inputs, step=step)
    caption = "At stride 2 the kernel 1 1 repeats numbers, ½ 1 ½ interpolates, and 1 1 1 makes a checkerboard."
    plots.show(_all_kernels("2 2 2 0 1"), caption)


def convolution_page(inputs: str, step: str) -> str:
    """The page for one of INPUTS and one of STEPS."""
    (_, kernel), (stride, padding) = INPUTS[inputs], STEPS[step]
    call = f'Conv1DTranspose(1, {len(KERNELS[kernel])}, strides={stride}, padding="{padding}", use_bias=False)'
    figure, file = convolution_figure(inputs, step), io.BytesIO()
    figure.savefig(file, format="png", dpi=plots.DOTS)
    return page(f"In Keras: <code>{call}</code>", Image.open(file), figure.get_label())


@plots.styled
def convolution_figure(inputs: str, step: str) -> Figure:
    """Copies above their sum, beside them the matrix, for one of INPUTS and one of STEPS."""
    (signal, kernel), (stride, padding) = INPUTS[inputs], STEPS[step]
    shifted, copies, kept = scatter(SIGNALS[signal], KERNELS[kernel], stride=stride, padding=padding)
    total, overlaps = copies.sum(axis=0), (shifted[:, kept] != 0).sum(axis=0)
    alt = (
        f"The signal {signal}: each number times the kernel {_listed(KERNELS[kernel])}, placed with {step}, adds up to "
        f"{_listed(total[kept])}; the same as a matrix."
    )
    layout = [["copies", "matrix"], ["sum", "matrix"]]
    figure, axes = mosaic(layout, height=3.5, alt=alt, width_ratios=(2.2, 1))
    _draw_cells(axes["copies"], copies, shifted != 0, plots.ROWS[:, None])
    axes["copies"].set_yticks(np.arange(len(copies)) + 0.5, [f"{number} ×" for number in signal.split()])
    axes["copies"].tick_params(length=0)
    _draw_cut(axes["copies"], copies, kept)
    axes["copies"].set_title(f"copies: each number times the kernel {kernel}, {step}")
    _draw_sum(axes["sum"], copies, kept)
    for place, (value, top) in enumerate(zip(total, np.maximum(copies, 0).sum(axis=0))):
        above = {"textcoords": "offset points", "ha": "center", "fontsize": 8.5}
        axes["sum"].annotate(_number(value), (place + 0.5, top), (0, 4), **above)
    added = " to ".join(map(str, sorted({overlaps.min(), overlaps.max()})))
    axes["sum"].set_title(f"their sum: {len(copies)} numbers become {len(overlaps)}; copies at each place: {added}")
    _draw_cells(axes["matrix"], shifted[:, kept].T, shifted[:, kept].T != 0, plots.ROWS)
    axes["matrix"].set_title("as a matrix: sum = matrix × signal")
    return figure


@plots.styled
def _all_kernels(signal: str) -> Figure:
    """The sum of one of SIGNALS for every kernel and stride, a row for each stride."""
    _, uneven, _ = scatter(SIGNALS[signal], KERNELS["1 1 1"], stride=2, padding="valid")
    alt = (
        f"Sums of copies of the kernels {', '.join(KERNELS)} at strides 1, 2 and 3, a color for each copy. At stride "
        f"2 the kernel 1 1 1 turns {signal} into {_listed(uneven.sum(axis=0))}."
    )
    figure, axes = plots.grid(len(STRIDES), len(KERNELS), height=1.15, alt=alt)
    for row, stride in zip(axes, STRIDES):
        for cell, (name, kernel) in zip(row, KERNELS.items()):
            _, copies, kept = scatter(SIGNALS[signal], kernel, stride=stride, padding="valid")
            _draw_sum(cell, copies, kept)
            cell.set_title(f"{name}, stride {stride}", fontsize=9)
            cell.set(yticks=[])
    return figure


def _draw_cells(axes: Axes, values: np.ndarray, filled: np.ndarray, colors: np.ndarray) -> None:
    """Numbers (rows, columns) as a table, the filled ones on their color; colors broadcast to its shape."""
    tints = 0.45 * to_rgba_array(np.broadcast_to(colors, values.shape).ravel()).reshape(*values.shape, 4) + 0.55
    axes.pcolormesh(np.where(filled[..., None], tints, 0), edgecolors=plots.INK, linewidth=0.4)
    for row, column in np.argwhere(filled):
        place = {"ha": "center", "va": "center", "fontsize": 8.5}
        axes.text(column + 0.5, row + 0.5, _number(values[row, column]), color="black", **place)
    axes.invert_yaxis()
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=plots.INK, linewidth=0.6)


def _draw_sum(axes: Axes, copies: np.ndarray, kept: slice) -> None:
    """The copies added up, and what the padding cuts off."""
    plots.draw_copies(axes, copies)
    _draw_cut(axes, copies, kept)


def _draw_cut(axes: Axes, copies: np.ndarray, kept: slice) -> None:
    """Hatch the places that the padding cuts off."""
    for start, end in ((0, kept.start), (kept.stop, copies.shape[1])):
        if start < end:
            axes.axvspan(
                start, end, facecolor=(0.5, 0.5, 0.5, 0.6), edgecolor=plots.INK, hatch="///", linewidth=0, zorder=3
            )


def _listed(values: Sequence[float]) -> str:
    return " ".join(map(_number, values))


def _number(value: float) -> str:
    """As few digits as needed, with a true minus sign."""
    return f"{value + 0.0:g}".replace("-", "−")
