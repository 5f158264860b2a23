"""What a training run leaves on disk, and reading it back. NumPy and JSON only: nothing in a run is ever executed.

A run is a folder, `runs/MODEL-RECIPE-seedN-DIGEST/`:

    settings.json        what made it: model, recipe, seed, split, data, step, versions, machine
    state.npz            weights, optimizer and curves after the last whole epoch: what a resumed run starts from
    curves.csv           one row an epoch: loss, accuracy, val_loss, val_accuracy, learning_rate, seconds
    steps.csv            one row a training step: loss and accuracy of its batch
    predictions/         epoch-01.npz ...: road probabilities of the validation images, uint8 (n, H, W), 255 is 1.0
    best.weights.h5      after the epoch of the lowest validation loss; last.weights.h5 after the last
    tensorboard/         the curves and images of predicted road, for TensorBoard
    finished.json        written last, with a digest of each weights file: without it the run has not finished
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import platform
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

import roadseg
from roadseg import storage
from roadseg.errors import OptionError, RunError, explained
from roadseg.storage import all_runs_folders, atomic_write, runs_folder

if TYPE_CHECKING:
    import keras

CURVES = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
STEPS = ("step", "loss", "accuracy")
WEIGHTS = ("best", "last")
KEY = ("model", "recipe", "seed", "split", "epochs", "size", "data", "step")  # the settings that make a run this run
# Entries of settings.json and finished.json that reading a run relies on, with their types.
SETTINGS = {"model": str, "recipe": dict, "seed": int, "split": str, "epochs": int, "size": list, "data": str}
SETTINGS |= {"step": str, "validation_names": list}
FINISHED = {"epochs": int, "best_epoch": int, "seconds": float, "parameters": int, "weights": dict, "ended": str}
NOT_WRITABLE = "make it writable, or set ROADSEG_RUNS to a folder that is and has space"


@dataclass(frozen=True)
class Run:
    """A finished run; `how` it was obtained: trained, resumed or reused."""

    path: Path
    how: str = "reused"

    @cached_property
    def settings(self) -> dict:
        """Everything that made the run, as JSON has it."""
        return _read_json(self.path / "settings.json", SETTINGS)

    @cached_property
    def finished(self) -> dict:
        """Best epoch, seconds of training, number of parameters, and the digests of the weights."""
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
        """Names of the validation images, in the order of the predictions."""
        return tuple(self.settings["validation_names"])

    def prediction(self, epoch: int = -1) -> np.ndarray:
        """Road probabilities, uint8 (n, H, W), of the validation images after an epoch; -1 is the last."""
        epochs = len(self.curves["epoch"])
        number = epochs if epoch == -1 else epoch
        if not 1 <= number <= epochs:
            raise RunError(f"{self.path.name} has epochs 1 to {epochs}; found epoch {epoch}.")
        found, expected = read_prediction(self.path, number), (len(self.validation_names), *self.settings["size"])
        if found.shape != expected or found.dtype != np.uint8:
            raise RunError(
                f"{self.path.name}: expected predictions in uint8 {expected} after epoch {number}, found {found.dtype} "
                f"{found.shape}: delete the run and train again."
            )
        return found

    def model(self, which: str = "last") -> keras.Model:
        """The network with its `best` or `last` weights, checked against their digest first."""
        from roadseg import models

        path = self.path / f"{which}.weights.h5"
        if which not in WEIGHTS:
            raise RunError(f"no weights are called {which!r}: choose best or last.")
        with _reading(path):
            if digest(path) != self.finished["weights"][which]:
                raise ValueError("another digest")
            recipe, size = self.settings["recipe"], tuple(self.settings["size"])
            model = models.build(self.settings["model"], size=size, standardize=recipe["standardize"] is True)
            model.load_weights(path)
        return model


def make_folder(out: str | Path | None = None) -> Path:
    """The folder of runs, made when missing: `out`, else ROADSEG_RUNS, else the project's `runs`.

    Raises RunError where it cannot be made or written."""
    path = runs_folder(out)
    with explained(RunError, path, NOT_WRITABLE):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "no permission to write", str(path))
    return path


def title(settings: dict) -> str:
    """What a run of these settings is called in legends and messages."""
    return f"{settings['model']}, {settings['recipe']['name']}, seed {settings['seed']}"


def key(settings: dict) -> str:
    """The name of the run's folder: readable, then a digest of all that makes it this run and no other."""
    text = json.dumps({name: settings[name] for name in KEY}, sort_keys=True)
    return _readable(settings) + hashlib.sha256(text.encode()).hexdigest()[:8]


def open_run(path: str | Path, *, how: str = "reused") -> Run:
    """The finished run in a folder, or of a name in the runs folder.

    Raises RunError where there is none, where the training has not finished, or where its files contradict each other.
    """
    path = Path(path) if os.path.isdir(path) else runs_folder() / path
    if not os.path.isfile(path / "finished.json"):  # False, too, where it may not be read: pathlib's raises
        if os.path.isfile(path / "settings.json"):
            raise RunError(f"the run {path} has not finished: the same training command resumes it.")
        raise RunError(f"{path} is no run: name one of the folders in runs, or train: `python -m roadseg train`.")
    run = Run(path, how)
    epochs = len(run.curves["epoch"])
    names = ["steps.csv", *(f"{which}.weights.h5" for which in WEIGHTS)]
    names += [f"predictions/{prediction_name(epoch)}" for epoch in range(1, epochs + 1)]
    whole = epochs == run.finished["epochs"] == run.settings["epochs"] and "name" in run.settings["recipe"]
    if not whole or not all(os.path.isfile(path / name) for name in names):
        raise RunError(f"the run {path} has lost files or lines: delete it and train again.")
    return run


def find(settings: dict, *, out: str | Path | None = None) -> Run | None:
    """The newest finished run with these settings, whoever wrote its step, own ones first; None where there is none."""
    wanted = {name: settings[name] for name in KEY if name != "step"}
    found, own = find_all(wanted, f"{_readable(settings)}*", out=out), runs_folder(out)
    return max(found, key=lambda run: (run.path.parent == own, run.finished["ended"]), default=None)


def find_all(wanted: dict, pattern: str, *, out: str | Path | None = None) -> Iterator[Run]:
    """The finished runs in folders of such names whose settings hold what is wanted, here or in ROADSEG_SHARED_RUNS;
    damaged ones are left out."""
    for path in chain.from_iterable(folder.glob(pattern) for folder in all_runs_folders(out)):
        try:
            run = open_run(path)
        except RunError:
            continue
        if wanted == {name: run.settings[name] for name in wanted}:
            yield run


def find_at(path: Path, *, log: Callable[[str], None]) -> Run | None:
    """The finished run in a folder. One that has lost files is none: what is left of it makes room for another."""
    if not (path / "finished.json").is_file():
        return None
    try:
        return open_run(path)
    except RunError as error:
        log(f"{error} It is trained again now.")
        with explained(RunError, path, NOT_WRITABLE):
            for name in ("state.npz", "finished.json"):  # in this order: without the second, the first counts
                (path / name).unlink(missing_ok=True)
        return None


@contextmanager
def locked(path: Path, *, log: Callable[[str], None]) -> Iterator[None]:
    """Hold the run's lock; where another process holds it, say so and wait until it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with explained(RunError, path.parent, NOT_WRITABLE):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"Another process is training {path.name}; waiting for it, to reuse what it makes.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    """Write a table whole: rows of len(columns) numbers; digits enough to read the same numbers back."""
    lines = [",".join(columns)]
    lines += [f"{row[0]:.0f}," + ",".join(repr(float(value)) for value in row[1:]) for row in rows]
    with atomic_write(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def write_arrays(path: Path, *, compress: bool = False, **named: np.ndarray) -> None:
    """Write an npz file whole. Masks compress well; weights hardly at all."""
    with atomic_write(path) as file:
        (np.savez_compressed if compress else np.savez)(file, **named)


def prediction_name(epoch: int) -> str:
    """The file name of an epoch's predictions."""
    return f"epoch-{epoch:02d}.npz"


def read_prediction(path: Path, epoch: int) -> np.ndarray:
    """Predictions in the run's folder `path` after `epoch`: uint8 (n, H, W)."""
    file = path / "predictions" / prediction_name(epoch)
    with _reading(file):
        return storage.read_arrays(file)["probability"]


def read_run_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; RunError where it is damaged."""
    with _reading(path):
        return storage.read_arrays(path)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what made a number ----------------------------------------------------------------------------------------------


def code_of(function: Any) -> CodeType | None:
    """The code behind partial application, decorators, tf.function, or an object's __call__; None without any."""
    for inner in ("func", "python_function", "__wrapped__"):
        while hasattr(function, inner):
            function = getattr(function, inner)
    if not hasattr(function, "__code__"):
        function = vars(type(function)).get("__call__")
    return getattr(function, "__code__", None)


def source_digest(*functions: Callable) -> str:
    """Digest of the code of functions: comments, docstrings and layout do not count.

    Raises OptionError for what is not written in Python, such as a built-in function."""
    text = []
    for function in functions:
        if (code := code_of(function)) is None:
            raise OptionError(f"{function!r} has no source: define a function in a cell or file.")
        try:
            (statement,) = ast.parse(textwrap.dedent(inspect.getsource(code))).body
        except (OSError, SyntaxError, ValueError):  # IPython forgets the source of a cell below %%time
            text.append(_compiled(code))
            continue
        if isinstance(statement, ast.FunctionDef) and ast.get_docstring(statement) is not None:
            del statement.body[0]
        text.append(ast.dump(statement))
    return hashlib.sha256("".join(text).encode()).hexdigest()[:16]


def _compiled(code: CodeType) -> str:
    """Compiled code in words that are the same whenever it is compiled."""
    sets = [sorted(map(repr, part)) if isinstance(part, frozenset) else part for part in code.co_consts]
    constants = [_compiled(part) if isinstance(part, CodeType) else repr(part) for part in sets]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    return {"roadseg": roadseg.__version__, "python": platform.python_version(), **packages}


def machine() -> dict[str, str | int]:
    """The kind of machine, without its name: system, processor, cores."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (model := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        processor = model[1]
    return {"system": platform.system(), "processor": processor, "cores": os.cpu_count() or 1}


def _readable(settings: dict) -> str:
    return f"{settings['model']}-{settings['recipe']['name']}-seed{settings['seed']}-"


def _read_json(path: Path, required: dict[str, type]) -> dict:
    with _reading(path):
        content = json.loads(path.read_text())
        if wrong := [name for name, kind in required.items() if not isinstance(content.get(name), kind)]:
            raise ValueError(f"other entries: {wrong}")
        return content


def _read_csv(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    with _reading(path):
        text = path.read_text()
        header, *rows = text.splitlines()
        table = np.array([row.split(",") for row in rows], np.float64).reshape(len(rows), len(columns))
        if header != ",".join(columns) or not text.endswith("\n"):
            raise ValueError("other columns, or half a line")
        return dict(zip(columns, table.T))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file of a run that turns out to be missing or damaged while it is read, and say what to do."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:  # all that HDF5 raises
        run = path.parent.parent if path.parent.name == "predictions" else path.parent
        found = f"{path} is missing or not what the training wrote"
        raise RunError(f"{found}: delete the run {run} and train again.") from error
