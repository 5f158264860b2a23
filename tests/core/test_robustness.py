"""Nothing is lost: runs that are killed, interrupted or refused by the disk resume from their last whole epoch."""

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from roadseg import data, recipes, runs, training
from roadseg.backend import tf
from roadseg.errors import Interrupted, RunError

if sys.platform != "linux":
    pytest.skip("kills, forks and limits as Linux has them", allow_module_level=True)

import resource

MOMENTS = 25
RECIPE = recipes.get_recipe("fast", name="own", epochs=3, color_jitter=0.5)


def quiet(line):
    """A log or callback that keeps nothing."""


def train(roads, out: Path, **options) -> runs.Run:
    return training.train("simple", RECIPE, roads, out=out, **{"log": quiet, **options})


@pytest.fixture(scope="module")
def whole(roads, tmp_path_factory) -> runs.Run:
    """A run that nothing has disturbed; not to be changed."""
    return train(roads, tmp_path_factory.mktemp("whole"))


def assert_same(found: runs.Run, expected: runs.Run) -> None:
    """Two finished runs agree to the last bit in all but times, and no part of a file is left."""
    assert found.finished["weights"] == expected.finished["weights"]  # digests of the files
    for name in runs.STEPS:
        np.testing.assert_array_equal(found.steps[name], expected.steps[name])
    for name in set(runs.CURVES) - {"seconds"}:
        np.testing.assert_array_equal(found.curves[name], expected.curves[name])
    for epoch in range(1, len(found.curves["epoch"]) + 1):
        np.testing.assert_array_equal(found.prediction(epoch), expected.prediction(epoch))
    assert not list(found.path.rglob("*part*"))


# --- killed ----------------------------------------------------------------------------------------------------------


def train_to_be_killed(folder: Path, out: Path, fatal_step: int, queue) -> None:
    """In a process of its own: train, and be killed at the given step of writing, or report how many there were. A
    step of writing: a file is opened or renamed, or its bytes are synced."""
    roads, steps = data.load(folder, size=(32, 32), cache=False), 0

    def on_event(event: str, arguments: tuple) -> None:
        nonlocal steps
        if (event in ("open", "os.rename") and str(out) in str(arguments[0])) or event == "fsync":
            steps += 1
            if steps == fatal_step:
                os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync
    os.fsync = lambda file: (sys.audit("fsync"), fsync(file))
    sys.addaudithook(on_event)
    train(roads, out)
    queue.put(steps)


@pytest.mark.long
def test_killed_at_random_moments_it_ends_as_if_undisturbed(road_folder, roads, whole, tmp_path):
    context = multiprocessing.get_context("forkserver")  # which has loaded TensorFlow but not started its threads
    context.set_forkserver_preload(["roadseg.training"])
    queue, seed = context.Queue(), time.time_ns() % 2**32
    rng, steps, killed = np.random.default_rng(seed), 0, 0
    for moment in range(MOMENTS):
        out, fatal_step = tmp_path / str(moment), int(rng.integers(1, steps + 1)) if steps else 0
        process = context.Process(target=train_to_be_killed, args=(road_folder, out, fatal_step, queue))
        process.start()
        process.join()
        steps = steps or queue.get(timeout=300)  # the first is not killed: it counts
        killed += process.exitcode == -signal.SIGKILL
        log = []
        assert_same(train(roads, out, log=log.append), whole)
        assert not [line for line in log if "damaged" in line or "lost" in line], seed
    assert killed >= MOMENTS - 3, seed


# --- interrupted -----------------------------------------------------------------------------------------------------


def interrupt(*_, **__) -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
    time.sleep(1)


def interrupt_at(call: int, function: Callable) -> Callable:
    """The function, with Ctrl-C before a call, counted from 1."""
    calls = iter(range(1, 1000))
    return lambda *arguments, **options: (next(calls) == call and interrupt(), function(*arguments, **options))[1]


PHASES = [
    (data, "dataset", interrupt_at(2, data.dataset)),  # validation
    (np, "savez", interrupt),
    (data, "dataset", interrupt_at(3, data.dataset)),  # in the second epoch
    (tf.summary, "scalar", interrupt),
    (runs, "write_csv", interrupt),  # after the state of the last epoch
    (runs, "digest", interrupt),  # after the weights, before the file that says that all is there
]


@pytest.mark.slow
def test_interrupted_in_every_phase_it_resumes(roads, whole, tmp_path, monkeypatch):
    kept = 0
    for place, name, function in PHASES:
        with monkeypatch.context() as patch, pytest.raises(Interrupted, match=whole.path.name):
            patch.setattr(place, name, function)
            train(roads, tmp_path)
        epochs = [len(runs.read_run_arrays(state)["curves"]) for state in tmp_path.rglob("state.npz")]
        assert not list(tmp_path.rglob("*part*")) and sum(epochs) >= kept
        kept = sum(epochs)
    assert kept == 3
    for name in (".state.npz.0a1b2c3d.part", ".part.best.weights.h5"):  # as a killed process leaves them
        (tmp_path / whole.path.name / name).write_bytes(b"half")
    assert_same(train(roads, tmp_path), whole)


# --- refused by the disk ---------------------------------------------------------------------------------------------


def limit_files(length: int, epoch: int = 0, progress: training.Progress | None = None) -> None:
    """From now on, or after an epoch, the disk takes so many bytes of any file: errors as on a full one."""
    if progress is None or progress.epoch == epoch > 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (length, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_file(roads, whole, tmp_path):
    """Settings, predictions, TensorBoard's files, state (0.9 MB), at the end the weights (0.2 MB): each is once the
    first that does not fit. HDF5 alone would crash, or leave half a file."""
    for length, epoch in ((100, 0), (20_000, 0), (130_000, 1), (130_000, 3)):
        limit_files(resource.RLIM_INFINITY if epoch else length)
        try:
            with pytest.raises(RunError, match="free space"):
                train(roads, tmp_path, callback=partial(limit_files, length, epoch))
        finally:
            limit_files(resource.RLIM_INFINITY)
        epochs = [len(runs.read_run_arrays(state)["curves"]) for state in tmp_path.rglob("state.npz")]
        assert sum(epochs) == epoch and not list(tmp_path.rglob("*part*"))
    assert_same(train(roads, tmp_path), whole)


@pytest.mark.slow
def test_a_finished_run_in_a_read_only_folder_is_reused(whole, roads, tmp_path, monkeypatch):
    path = Path(shutil.copytree(whole.path, tmp_path / "runs" / whole.path.name))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # permissions would not stop the administrator
    for folder in (path, path.parent):
        folder.chmod(0o555)
    again = train(roads, path.parent)
    assert (again.how, again.path) == ("reused", path) and training.evaluate(again, roads)["all"]["accuracy"] > 0
    with pytest.raises(RunError, match="permission"):
        train(roads, path.parent, seed=1)
    for folder in (path, path.parent):
        folder.chmod(0o755)
