"""What every panel of `explore` is made of: views, the controls above them, and a figure below without any.

A view is all that a panel shows in one state. Views are made by functions that know nothing of widgets.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from IPython.display import display
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from roadseg import plots

if TYPE_CHECKING:
    import ipywidgets

WIDTH, GAP = 1024, 8  # pixels: of all pictures side by side, and between them


@dataclass(frozen=True)
class View:
    """One state of a panel: words as HTML, a picture uint8 (H, W, 3 or 4), and the picture in words."""

    words: str
    picture: np.ndarray
    alt: str

    def _repr_html_(self) -> str:
        """All of it, the picture no wider than the page; decoded with the words, so that nothing flickers."""
        height, width, _ = self.picture.shape
        source = "data:image/png;base64," + b64encode(png(self.picture)).decode()
        return (
            f"{self.words}<img src='{source}' alt='{escape(self.alt)}' width='{width}' height='{height}' "
            "decoding='sync' style='max-width: 100%; height: auto'>"
        )


def panel(view: Callable[..., View], **controls: ipywidgets.Widget) -> ipywidgets.VBox:
    """Controls in a row, and below them what `view(name=value, ...)` gives, anew whenever one of them moves."""
    import ipywidgets

    page = ipywidgets.HTML()

    def show(_=None) -> None:
        page.value = view(**{name: control.value for name, control in controls.items()})._repr_html_()

    for name, control in controls.items():
        control.description, control.style.description_width = control.description or name, "initial"
        control.observe(show, "value")
    show()
    row = ipywidgets.Box(list(controls.values()), layout={"flex_flow": "row wrap"})
    return ipywidgets.VBox([row, page])


def choice(names: Iterable[str], value: str, **options) -> ipywidgets.SelectionSlider:
    """A slider over names. In a drop-down list JupyterLab takes the arrow keys for itself, to move between cells."""
    import ipywidgets

    return ipywidgets.SelectionSlider(options=list(names), value=value, **options)


def shown(made: ipywidgets.VBox, figure: Figure, caption: str) -> None:
    """Show a panel and below it a figure with the same content, for wherever there is no kernel.

    The panel's text form names its controls alone, so that two runs of a notebook compare equal.
    """
    names = ", ".join(control.description for control in made.children[0].children)
    text = f"In a running notebook this is a panel with sliders: {names}. The figure below shows the same without them."
    display({**made._repr_mimebundle_(), "text/plain": text}, raw=True)
    plots.show(figure, caption)


def png(picture: np.ndarray) -> bytes:
    """A uint8 picture (H, W, 3 or 4) as PNG, packed fast rather than small: it goes no further than the browser."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png", compress_level=1)
    return file.getvalue()


def drawn(figure: Figure) -> np.ndarray:
    """A figure as a picture, uint8 (H, W, 3)."""
    with rc_context(plots.STYLE):
        figure.set_dpi(plots.DOTS)
        figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def joined(figure: Figure, cells: np.ndarray) -> Axes:
    """One axes in the place of several that lie in a row or a column."""
    first, last = (cell.get_subplotspec() for cell in (cells[0], cells[-1]))
    place = cells[0].get_gridspec()[first.rowspan.start : last.rowspan.stop, first.colspan.start : last.colspan.stop]
    for cell in cells:
        cell.remove()
    return figure.add_subplot(place)


def side_by_side(*pictures: np.ndarray) -> np.ndarray:
    """Pictures of one size, uint8 (H, W, 3 or 4) or float in [0, 1], enlarged to one of uint8 (h, WIDTH, 4)."""
    width = (WIDTH - GAP * (len(pictures) - 1)) // len(pictures)
    rows, columns = pictures[0].shape[:2]
    size = width, round(width * rows / columns * plots.PIXEL_ASPECT)
    canvas = np.zeros((size[1], WIDTH, 4), np.uint8)
    for place, picture in enumerate(pictures):
        content = picture if picture.dtype == np.uint8 else np.rint(255 * picture).astype(np.uint8)
        enlarged = Image.fromarray(content).convert("RGBA").resize(size, Image.Resampling.NEAREST)
        canvas[:, place * (width + GAP) :][:, :width] = enlarged
    return canvas


def coloured(values: np.ndarray) -> np.ndarray:
    """Float (H, W) in [0, 1] in the colours of probabilities: uint8 (H, W, 4)."""
    return colormaps["cividis"](values, bytes=True)


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A float picture (H, W, 3) with the inner border of a mask, bool (H, W), drawn in the colour of road found."""
    inside = np.pad(mask, 1, mode="edge")
    inside = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return np.where((mask & ~inside)[..., None], to_rgb(plots.RIGHT), picture)


def table(rows: Mapping[str, Mapping[str, float]], *, corner: str = "", digits: int = 3) -> str:
    """Numbers as HTML in the colours of the reader's theme: a row for each name; NaN is a dash."""
    columns = list(next(iter(rows.values())))
    cell = "<td style='padding: 0 0 0 1.5em; text-align: right'>{}</td>"
    head = "".join(cell.format(escape(column)) for column in columns)
    body = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(cell.format("–" if row[c] != row[c] else f"{row[c]:.{digits}f}") for c in columns)
        + "</tr>"
        for name, row in rows.items()
    )
    return f"<table style='line-height: 1.5'><tr><td>{escape(corner)}</td>{head}</tr>{body}</table>"


def legend(left: str) -> str:
    """What the left picture shows, and the colours of errors in the right one."""
    square = "<span style='background: {}; display: inline-block; width: 0.9em; height: 0.9em'></span>&nbsp;{}"
    named = ((plots.RIGHT, "road found"), (plots.MISSED, "missed"), (plots.FALSE, "false"))
    squares = " ".join(square.format(colour, text) for colour, text in named)
    return paragraph(f"Left: {escape(left)}. Right: {squares}; the line is the true border.")


def paragraph(text: str) -> str:
    """Lines that wrap, at a height that can be read."""
    return f"<div style='line-height: 1.6'>{text}</div>"
