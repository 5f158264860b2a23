"""What a training leaves on disk, and reading it back. NumPy and JSON only: nothing in a run is ever executed.

A run is a folder, `runs/MODEL-RECIPE-seedN-DIGEST/`:

    settings.json        what made it: model, recipe, seed, split, data, step, versions, machine
    state.npz            weights, optimiser and curves after the last whole epoch: what a resumed run starts from
    curves.csv           one row an epoch: loss, accuracy, val_loss, val_accuracy, learning_rate, seconds
    steps.csv            one row a training step: loss and accuracy of its batch
    predictions/         epoch-01.npz ...: road probabilities of the validation pictures, uint8 (n, H, W), 255 is 1.0
    best.weights.h5      after the epoch of the lowest validation loss; last.weights.h5 after the last
    tensorboard/         the curves and pictures of predicted road, for TensorBoard
    finished.json        written last, with a digest of each weights file: a folder without it is no finished run
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roadseg import kitti
from roadseg.errors import RunError
from roadseg.files import DAMAGED_ARRAYS, written_whole

if TYPE_CHECKING:
    import keras

CURVES = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
STEPS = ("step", "loss", "accuracy")
WEIGHTS = ("best", "last")
KEY = ("model", "recipe", "seed", "split", "epochs", "size", "data", "step")  # the settings that make a run this run

SETTINGS = (*KEY, "validation_names")  # what reading a run relies on
FINISHED = ("epochs", "best_epoch", "seconds", "weights", "ended")


@dataclass(frozen=True)
class Run:
    """A finished run. `how` tells what happened when it was asked for: trained, resumed, reused."""

    path: Path
    how: str = "reused"

    @cached_property
    def settings(self) -> dict:
        """Everything that made the run, as JSON has it."""
        return _read_json(self.path / "settings.json", SETTINGS)

    @cached_property
    def finished(self) -> dict:
        """Best epoch, seconds of training, and the digests of the weights."""
        return _read_json(self.path / "finished.json", FINISHED)

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """One array for each of CURVES, an entry an epoch; epoch counts from 1."""
        return _read_csv(self.path / "curves.csv", CURVES)

    @cached_property
    def steps(self) -> dict[str, np.ndarray]:
        """One array for each of STEPS, an entry a training step; step counts from 1."""
        return _read_csv(self.path / "steps.csv", STEPS)

    @property
    def title(self) -> str:
        """A name for legends and messages, such as "unet, reported, seed 0"."""
        return title(self.settings)

    @property
    def validation_names(self) -> tuple[str, ...]:
        """Names of the validation pictures, in the order of the predictions."""
        return tuple(self.settings["validation_names"])

    def prediction(self, epoch: int = -1) -> np.ndarray:
        """Road probabilities, uint8 (n, H, W), of the validation pictures after an epoch; -1 is the last."""
        epochs = len(self.curves["epoch"])
        number = epochs if epoch == -1 else epoch
        if not 1 <= number <= epochs:
            raise RunError(f"{self.path.name} has epochs 1 to {epochs}; epoch {epoch} was asked for.")
        return read_prediction(self.path, number)

    def model(self, which: str = "last") -> keras.Model:
        """The network with its `best` or `last` weights, checked against their digest first."""
        from roadseg import models

        path = self.path / f"{which}.weights.h5"
        if which not in WEIGHTS:
            raise RunError(f"no weights are called {which!r}: choose best or last.")
        try:
            if digest(path) != self.finished["weights"][which]:
                raise ValueError("another digest")
            recipe, size = self.settings["recipe"], tuple(self.settings["size"])
            model = models.build(self.settings["model"], size=size, standardize=recipe["standardize"] is True)
            model.load_weights(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise RunError(
                f"{path} is missing or not what the training wrote: delete {self.path} and train again."
            ) from error
        return model


def place(out: str | Path | None = None) -> Path:
    """Where runs live: `out`, else ROADSEG_RUNS, else the project's `runs`."""
    return Path(out or os.environ.get("ROADSEG_RUNS") or kitti.project_root() / "runs")


def folder(out: str | Path | None = None) -> Path:
    """The place of runs, to write to: made when missing. Raises RunError where it cannot be made or written."""
    path = place(out)
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "no permission to write")
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses in the folder of runs into a RunError."""
    try:
        yield
    except (OSError, NotImplementedError) as error:  # the second where a file system has no locks
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"the runs folder {path} cannot be written ({reason}): make it writable, or set ROADSEG_RUNS to a folder "
            "that is and has space."
        ) from error


def title(settings: dict) -> str:
    """What a run of these settings is called in legends and messages."""
    return f"{settings['model']}, {settings['recipe']['name']}, seed {settings['seed']}"


def key(settings: dict) -> str:
    """The name of the run's folder: readable, then a digest of all that makes it this run and no other."""
    text = json.dumps({name: settings[name] for name in KEY}, sort_keys=True)
    return f"{_readable(settings)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def open_run(path: str | Path, *, how: str = "reused") -> Run:
    """The finished run in a folder.

    Raises RunError where there is none, where the training has not finished, or where its files contradict each other.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"there is no run at {path}: train one with `python -m roadseg train`, or look into its parent.")
    if not (path / "settings.json").is_file() and not (path / "finished.json").is_file():
        raise RunError(f"{path} is no run: name one of the folders in runs, or train: `python -m roadseg train`.")
    if not (path / "finished.json").is_file():
        raise RunError(f"the run {path} has not finished: the same training command resumes it.")
    run = Run(path, how)
    epochs = {run.finished["epochs"], run.settings["epochs"], len(run.curves["epoch"])}
    if len(epochs) > 1 or missing_files(path, run.finished["epochs"]):
        raise RunError(f"the run {path} has lost files or lines: delete it and train again.")
    return run


def missing_files(path: Path, epochs: int) -> list[str]:
    """Names of the files that a finished run of so many epochs lacks."""
    names = ["settings.json", "curves.csv", "steps.csv", *(f"{which}.weights.h5" for which in WEIGHTS)]
    names += [f"predictions/{prediction_name(epoch)}" for epoch in range(1, epochs + 1)]
    return [name for name in names if not (path / name).is_file()]


def find(settings: dict, *, out: str | Path | None = None) -> Run | None:
    """The newest finished run with these settings, whoever wrote its step: None where there is none."""
    wanted = {name: settings[name] for name in KEY if name != "step"}
    found = finished(wanted, f"{_readable(settings)}-*", out=out)
    return max(found, key=lambda run: run.finished["ended"], default=None)


def finished(wanted: dict, pattern: str, *, out: str | Path | None = None) -> Iterator[Run]:
    """The runs in folders of such names whose settings hold what is wanted; unfinished and damaged ones are none."""
    for path in place(out).glob(pattern):
        try:
            run = open_run(path)
        except RunError:
            continue
        if wanted == {name: run.settings[name] for name in wanted}:
            yield run


@contextmanager
def locked(path: Path, *, say) -> Iterator[None]:
    """Hold the run's lock; where another process holds it, say so and wait until it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with _writing(path.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Another process is training {path.name}; waiting for it, to reuse what it makes.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole."""
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def write_csv(path: Path, columns: tuple[str, ...], rows: np.ndarray) -> None:
    """Write a table whole: rows float64 (n, len(columns)); digits enough to read the same numbers back."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([repr(int(row[0])), *(repr(float(value)) for value in row[1:])] for row in rows)
    with written_whole(path) as file:
        file.write(text.getvalue().encode())


def write_arrays(path: Path, *, compress: bool = False, **named: np.ndarray) -> None:
    """Write an npz file whole. Masks compress well; weights hardly at all."""
    with written_whole(path) as file:
        (np.savez_compressed if compress else np.savez)(file, **named)


def prediction_name(epoch: int) -> str:
    """The file name of an epoch's predictions."""
    return f"epoch-{epoch:02d}.npz"


def read_prediction(path: Path, epoch: int) -> np.ndarray:
    """Predictions in the run's folder `path` after `epoch`: uint8 (n, H, W)."""
    return read_arrays(path / "predictions" / prediction_name(epoch), ("probability",))["probability"]


def read_arrays(path: Path, names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The named arrays of an npz file, else all; RunError where it is damaged or lacks one. Never unpickles."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in names or kept.files}
    except DAMAGED_ARRAYS as error:
        run = path.parent.parent if path.parent.name == "predictions" else path.parent
        raise RunError(f"{path} is missing or damaged ({error}): delete the run {run} and train again.") from error


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reference() -> dict:
    """Numbers on 240 real KITTI pictures that come with the package; `tests/make_reference.py` makes them.

    runs : finished runs, each with settings (model, recipe, seed, split, versions, machine), curves (lists by name,
        without times) and scores (by category, on blocks of frames held out); those of `fast` with `edge`, the share
        of pixels that are wrong 1 to 31 pixels from the edge of the road. `reported-14` and `assigned-14` are of the
        simple model, split by the course's rule, with 14 x 57 steps where the course has 12 x 68.
    baselines : scores of the baselines on the same blocks.
    record : rows of `records.table` for `fast` and `fast-bfloat16` on the same blocks, with nothing else running.
    from scenes alone : U-Nets trained on rendered scenes only, with their scores on all real pictures.
    tried : U-Nets by what was tried on the way to `fast` and `best`, and by these, with scores on the same blocks, and
        `mirrored`: scores of the mean of what the network says to a picture and to its mirror image.
    """
    return json.loads((Path(__file__).parent / "reference.json").read_text())


def reference_runs(model: str, recipe: str) -> list[dict]:
    """The runs of `reference` for one model and recipe, one for each seed, in the order of these."""
    entries = [e for e in reference()["runs"] if (e["model"], e["recipe"]["name"]) == (model, recipe)]
    if not entries:
        raise RunError(f"no reference runs of {model}, {recipe}: see the entries of roadseg.runs.reference().")
    return sorted(entries, key=lambda entry: entry["seed"])


def _readable(settings: dict) -> str:
    return f"{settings['model']}-{settings['recipe']['name']}-seed{settings['seed']}"


def _read_json(path: Path, required: tuple[str, ...]) -> dict:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or not set(required) <= content.keys():
            raise ValueError("other entries")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is missing or damaged: delete the run {path.parent} and train again.") from error
    return content


def _read_csv(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        text = path.read_text()
        header, *rows = csv.reader(text.splitlines())
        table = np.array(rows, np.float64).reshape(len(rows), len(columns))
        if tuple(header) != columns or not text.endswith("\n"):
            raise ValueError("other columns, or half a line")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is missing or damaged: delete the run {path.parent} and train again.") from error
    return dict(zip(columns, table.T))
