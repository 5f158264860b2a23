"""The KITTI road benchmark's own view: scores from above, and the zip that its server takes for the 290 test images.

The benchmark scores in the bird's-eye view (`bird_view`): the probability is enlarged to the size of the image,
rounded to 8 bits, and looked at from above, as its label is. What the camera does not see does not count.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from roadseg import kitti, metrics, training
from roadseg.data import RoadData, resize
from roadseg.download.archive import published_digests
from roadseg.errors import DataError, explained
from roadseg.plots import draw_image, error_overlay, grid, legend, styled
from roadseg.runs import Run
from roadseg.storage import part_of
from roadseg.street import bird_view
from roadseg.street.photos import eight_bits, find_road, open_photo

if TYPE_CHECKING:
    import keras


def evaluate_bird_view(
    run: Run, data: RoadData, root: Path, *, images: str = "validation", tta: bool = False
) -> dict[str, dict[str, float]]:
    """Scores in the bird's-eye view, otherwise like `roadseg.training.evaluate`; root : the folder of the data.

    Raises DataError where a calibration file is missing or damaged.
    """
    chosen, probability = training.predict_chosen(run, data, images, tta=tta)
    frames = {frame.name: frame for frame in kitti.list_frames(root)}
    pairs = [look(root, frames[data.names[i]], values) for i, values in zip(chosen, probability)]
    above = [(seen.probability, seen.mask, seen.valid) for _, seen in pairs]
    return metrics.report(*(np.stack(part) for part in zip(*above)), data.categories[chosen])


@dataclass(frozen=True, eq=False)
class View:
    """A labeled image with a prediction, from the camera or from above: all arrays have the view's height and width."""

    image: np.ndarray  # uint8 (H, W, 3)
    mask: np.ndarray  # bool (H, W)
    valid: np.ndarray  # bool (H, W); from above, also False where the camera sees nothing
    probability: np.ndarray  # uint8 (H, W), 255 is 1.0


def look(root: Path, frame: kitti.Frame, probability: np.ndarray) -> tuple[View, View]:
    """The same prediction from the camera, in the image's own size, and from above, (800, 400).

    root : the folder of the data; frame : of `roadseg.kitti.list_frames`; probability : float, or uint8 whose 255 is
    1.0, (H, W), of any size.
    """
    image, label = kitti.read_frame(frame)
    probability = np.float32(probability) / (255 if probability.dtype == np.uint8 else 1)
    enlarged = eight_bits(resize(probability, label.shape[:2], Image.Resampling.BILINEAR))
    camera = np.dstack([image, label, enlarged])
    above = bird_view.from_above(camera, find_calibration(root, "training", frame.name))
    return tuple(View(view[..., :3], *kitti.decode_label(view[..., 3:6]), view[..., 6]) for view in (camera, above))


@styled
def draw_views(camera: View, above: View) -> Figure:
    """The errors of one prediction in both views, as `look` returns them: from above, the car drives to the right."""
    titles = []
    for name, view in (("from the camera", camera), ("from above", above)):
        titles.append(f"{name}: F1 {metrics.confusion_counts(view.probability, view.mask, view.valid).f1:.3f}")
    alt = f"Errors of one prediction (blue: TP, orange: FN, vermilion: FP). {'; '.join(titles)}."
    figure, axes = grid(1, 2, height=2.4, alt=alt)
    for cell, title, view in zip(axes[0], titles, (camera, above)):
        errors, mask = error_overlay(view.image, view.mask, view.valid, view.probability >= 128), view.mask
        if view is above:
            errors, mask = np.rot90(errors, -1), np.rot90(mask, -1)
        draw_image(cell, errors, title, outline=mask)
        cell.set_aspect(1)
    (near, far), (left, right) = bird_view.AHEAD, bird_view.ACROSS
    axes[0, 1].set(xlabel=f"{near} to {far} m ahead", ylabel=f"{right} m right to {-left} m left")
    legend(figure)
    return figure


def find_calibration(root: Path, part: str, name: str) -> np.ndarray:
    """The calibration of an image, from its file; part : training or testing; name : such as "um_000000".

    Raises DataError where there is none."""
    base = kitti.find_dataset(root)
    folder = kitti.find_path(base, part, "calib") or base / part / "calib"
    return bird_view.read_calibration(folder / f"{name}.txt")


def write_submission(model: keras.Model, root: Path, path: Path) -> None:
    """Write the zip for the benchmark's server: `um_road_000000.png` ..., 8 bits, (800, 400) pixels, from above.

    root : KITTI road, with `testing/image_2` and `testing/calib`; path : of the zip. A progress bar goes to the error
    output where that is a terminal. Raises DataError where a test image is missing or damaged, and for a zip that
    cannot be written or is not what the server expects.
    """
    base = kitti.find_dataset(root)
    images = kitti.find_path(base, "testing", "image_2") or base / "testing" / "image_2"
    names = test_names()
    if missing := [name for name in names if not (images / f"{name}.png").is_file()]:
        found = f"{len(missing)} missing ({kitti.a_few(missing)})"
        raise DataError(f"{images}: expected the {len(names)} test images, found {found}; unpack data_road.zip again")
    remedy = "choose another file with --out, or free space"
    with explained(DataError, path, remedy), part_of(path) as part:
        with zipfile.ZipFile(part, "w") as zipped:
            for name in tqdm(names, unit=" images", disable=None):
                probability = eight_bits(find_road(model, open_photo(images / f"{name}.png")))
                view = bird_view.from_above(probability, find_calibration(base, "testing", name))
                with zipped.open(_result(name), "w") as result:
                    Image.fromarray(view).save(result, "PNG")
        check_submission(part)


def check_submission(path: Path) -> None:
    """Raise DataError for a zip that is not what the server expects: 290 names, each gray, 8 bits, (800, 400)."""
    expected = [_result(name) for name in test_names()]
    with zipfile.ZipFile(path) as zipped:
        if differing := sorted(set(expected) ^ set(zipped.namelist())):
            raise DataError(f"{path}: expected {len(expected)} results, missing or too many: {kitti.a_few(differing)}")
        for name in expected:
            with zipped.open(name) as file, Image.open(file, formats=["PNG"]) as image:
                image.load()  # reads the whole file, and compares its checksums
            if (image.mode, image.size) != ("L", bird_view.SIZE[::-1]):
                raise DataError(f"{path}: expected {name} as 400 x 800 gray pixels, found {image.size}, {image.mode}")


def _result(name: str) -> str:
    """What the result of a test image is called in the zip."""
    return name.replace("_", "_road_") + ".png"


def test_names() -> list[str]:
    """The names of the 290 test images, such as "um_000000", sorted."""
    found = (re.fullmatch(r"testing/image_2/(\w+)\.png", path) for path in published_digests())
    return sorted(match[1] for match in found if match)
