"""What students have on their disks, made by hand: notebooks that they have changed, and finished runs."""

import itertools
import linecache
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ipywidgets
import numpy as np

from roadseg import data, runs, workbook
from roadseg.backend import keras, tf

QUESTIONS = "03_written_questions"
cells = itertools.count()


def worked(name: str) -> dict:
    return workbook.read_notebook(workbook.worked_folder() / f"{name}.ipynb")


def cell_of(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def filled(name: str) -> dict:
    """A blank copy with the worked notebook's solutions, answers and hidden tests put back: its sources again."""
    original = worked(name)
    made, originals = workbook.blank(original), {cell["id"]: cell["source"] for cell in original["cells"]}
    made["cells"] = [cell for cell in made["cells"] if cell["id"] in originals]
    for cell in made["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["source"] = originals[cell["id"]]
    return made


@contextmanager
def edit(folder: Path, notebook: str = QUESTIONS) -> Iterator[dict]:
    """A saved notebook, to be changed as in JupyterLab."""
    content = workbook.read_notebook(folder / f"{notebook}.ipynb")
    yield content
    workbook.write_notebook(folder / f"{notebook}.ipynb", content)


def change(folder: Path, name: str, notebook: str = QUESTIONS, **fields) -> None:
    """Change fields of a saved cell, such as its source."""
    with edit(folder, notebook) as content:
        cell_of(content, name).update(fields)


def written(source: str, name: str) -> Callable:
    """The function of a notebook's cell with this source, which Python can quote as it can a notebook's."""
    place = f"<cell {next(cells)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    names = {"tf": tf, "keras": keras, "np": np}
    exec(compile(source, place, "exec"), names)
    return names[name]


def displayed(**data) -> dict:
    """An output of a cell."""
    return {"output_type": "display_data", "metadata": {}, "data": data}


def panel_of(bundle: dict):
    """The widget that an output shows."""
    model = bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    return ipywidgets.widget_serialization["from_json"](f"IPY_MODEL_{model}", None)


def write_run(
    path: Path,
    roads: data.RoadData,
    predictions: Sequence[np.ndarray],
    *,
    columns: dict | None = None,
    finished: dict | None = None,
    **settings,
) -> runs.Run:
    """A finished run. predictions : by epoch, uint8 (n, H, W), of the last n images, or of `validation_names`.

    columns : of its curves, where they are not 0. finished, settings : what is not as empty as it can be.
    """
    epochs = len(predictions)
    (path / "predictions").mkdir(parents=True)
    common = {"validation_names": list(roads.names[-len(predictions[0]) :]), "epochs": epochs, "size": list(roads.size)}
    common |= {"data": roads.fingerprint, "recipe": {"name": "own"}}
    empty = {name: kind() for name, kind in runs.SETTINGS.items()}
    runs.write_json(path / "settings.json", empty | common | settings)
    for which in runs.WEIGHTS:
        (path / f"{which}.weights.h5").write_bytes(b"weights")
    weights = {which: runs.digest(path / f"{which}.weights.h5") for which in runs.WEIGHTS}
    empty = {name: kind() for name, kind in runs.FINISHED.items()}
    runs.write_json(path / "finished.json", empty | {"epochs": epochs, "weights": weights} | (finished or {}))
    table = dict.fromkeys(runs.CURVES, np.zeros(epochs)) | {"epoch": np.arange(1, epochs + 1)} | (columns or {})
    runs.write_csv(path / "curves.csv", runs.CURVES, np.column_stack([table[name] for name in runs.CURVES]))
    runs.write_csv(path / "steps.csv", runs.STEPS, np.array([[1, 0.5, 0.5]]))
    for epoch, probability in enumerate(predictions, start=1):
        file = path / "predictions" / runs.prediction_name(epoch)
        runs.write_arrays(file, compress=True, probability=probability)
    return runs.Run(path)
