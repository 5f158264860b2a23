"""Upload a photo of any street and see the road that a network finds on it (notebook 04)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from roadseg import plots
from roadseg.errors import DataError
from roadseg.street import photos
from roadseg.widgets.panel import page, show_panel

if TYPE_CHECKING:
    import keras

LARGEST = 960  # pixels along the longer side of what is shown


def own_photo(model: keras.Model, example: np.ndarray) -> None:
    """A button to upload a photo; below it the road that the network finds, at first on `example`, uint8 (H, W, 3)."""
    import ipywidgets

    def view(photo: tuple) -> str:
        return uploaded_page(model, photo[0]) if photo else road_page(model, example)

    upload = ipywidgets.FileUpload(accept=",".join(photos.SUFFIXES), description="your photo")
    show_panel(view, _figure(model, example), "The network tints in blue what it takes for road.", photo=upload)


@plots.styled
def _figure(model: keras.Model, photo: np.ndarray) -> Figure:
    """The photo, and the same with its road."""
    road = photos.draw_road(photo, photos.find_road(model, photo))
    alt = "A photo, and the same with the road that was found tinted in blue."
    figure, axes = plots.grid(1, 2, height=1.6, alt=alt)
    for cell, image, title in zip(axes[0], (photo, road), ("photo", "road that is found")):
        plots.draw_image(cell, image, title)
        cell.set_aspect(1)
    return figure


def uploaded_page(model: keras.Model, file: Mapping) -> str:
    """The page for a file as ipywidgets gives it; for one that is no photo, a line that says so."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (Path(file["name"]).name or "photo")
        path.write_bytes(file["content"])
        try:
            return road_page(model, photos.open_photo(path))
        except DataError as error:
            return escape(str(error).replace(f"{path}: ", f"{path.name}: "))


def road_page(model: keras.Model, photo: np.ndarray) -> str:
    """The photo, uint8 (H, W, 3), with the road that is found on it."""
    probability = photos.find_road(model, photo)
    drawn, share = Image.fromarray(photos.draw_road(photo, probability)), (probability >= 0.5).mean()
    drawn.thumbnail((LARGEST, LARGEST))
    return page(f"{share:.0%} of the photo is predicted as road.", drawn, "The photo with its road tinted in blue.")
