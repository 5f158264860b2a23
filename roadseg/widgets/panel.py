"""What a panel is made of: sliders, a page of HTML for each of their states, and a figure for readers without a kernel.

A page is a function of the sliders' values alone: arrays in, HTML out, no widgets.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from roadseg import plots

if TYPE_CHECKING:
    import ipywidgets


def show_panel(view: Callable[..., str], figure: Figure, caption: str, **controls: ipywidgets.Widget) -> None:
    """Show controls in a row, below them the page `view(name=value, ...)`, made again whenever one of them changes, and
    a caption; where no kernel runs, a figure with the same content takes the panel's place."""
    import ipywidgets

    content = ipywidgets.HTML()

    def update(_=None) -> None:
        content.value = view(**{name: control.value for name, control in controls.items()})

    for name, control in controls.items():
        control.description, control.style.description_width = control.description or name, "initial"
        control.observe(update, "value")
    update()
    row = ipywidgets.Box(list(controls.values()), layout={"flex_flow": "row wrap", "grid_gap": "0 1.5em"})
    alive = ipywidgets.VBox([row, content])._repr_mimebundle_()
    plots.show(figure, f"{caption} No controls here? Run this cell.", alive=alive)


def choice(names: Iterable[str], **options) -> ipywidgets.SelectionSlider:
    """A slider over names, wide enough to read them. JupyterLab takes the arrow keys away from drop-down lists."""
    import ipywidgets

    return ipywidgets.SelectionSlider(options=list(names), layout={"width": "420px"}, **options)


def page(words: str, image: Image.Image, alt: str, *, size: tuple[int, int] | None = None) -> str:
    """HTML above an image with its alternative text.

    size : (width, height) on the screen, to which the browser enlarges every pixel; None: the image's own.
    The image is decoded together with the words, so that nothing flickers.
    """
    file = io.BytesIO()
    image.save(file, "png", compress_level=1)  # fast: it goes no further than the browser
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    width, height = size or image.size
    style = f"width: {width}px; max-width: 100%; aspect-ratio: {width} / {height}"
    style += "; image-rendering: pixelated" if size else ""
    shown = f"<img src='{source}' alt='{escape(alt)}' decoding='sync' style='{style}'>"
    return f"<div style='line-height: 1.6'>{words}</div>{shown}"


def html_table(rows: Mapping[str, Mapping[str, float]], *, corner: str) -> str:
    """Numbers as HTML in the colors of the reader's theme: a row for each name; NaN is a dash."""

    def line(name: str, cells: Iterable[str]) -> str:
        cells = "".join(f"<td style='padding-left: 1.5em; text-align: right'>{cell}</td>" for cell in cells)
        return f"<tr><td>{escape(name)}</td>{cells}</tr>"

    head = line(corner, next(iter(rows.values())))
    body = [line(name, ("–" if n != n else f"{n:.3f}" for n in row.values())) for name, row in rows.items()]
    return f"<table>{head}{''.join(body)}</table>"


def mosaic(layout: list[list[str]], *, height: float, alt: str, **options) -> tuple[Figure, dict[str, Axes]]:
    """An empty figure `height` inches high whose axes are laid out by name, as matplotlib's `subplot_mosaic` does."""
    figure = Figure(figsize=(plots.WIDTH, height), layout="constrained")
    figure.set_label(alt)
    return figure, figure.subplot_mosaic(layout, **options)
