"""Nothing is lost: trainings that are killed, interrupted or refused by the disk go on from what is whole."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from roadseg import data, kitti, models, recipes, runs, training
from roadseg.backend import keras
from roadseg.board import Board
from roadseg.errors import Interrupted, RunError

if sys.platform != "linux":
    pytest.skip("kills, forks and limits as Linux has them", allow_module_level=True)

import resource

MOMENTS = 25
RECIPE = recipes.changed("fast", name="own", epochs=8)
SHORT = recipes.changed("fast", name="short", epochs=3)


def quiet(text):
    """Swallow what a training says."""


@pytest.fixture(scope="module")
def finished(roads, tmp_path_factory) -> runs.Run:
    """A short run; not to be changed."""
    return training.train("simple", SHORT, roads, out=tmp_path_factory.mktemp("finished"), say=quiet)


def assert_same(found: runs.Run, expected: runs.Run) -> None:
    """Two finished runs agree to the last bit in all but times."""
    assert found.finished["weights"] == expected.finished["weights"]  # digests of the files
    for name in runs.STEPS:
        np.testing.assert_array_equal(found.steps[name], expected.steps[name])
    for name in set(runs.CURVES) - {"seconds"}:
        np.testing.assert_array_equal(found.curves[name], expected.curves[name])
    for epoch in range(1, len(found.curves["epoch"]) + 1):
        np.testing.assert_array_equal(found.prediction(epoch), expected.prediction(epoch))
    assert not list(found.path.rglob("*part*"))


# --- killed ----------------------------------------------------------------------------------------------------------


def count_writing(out: Path, call: Callable[[], None]) -> None:
    """Call at each step of writing below `out`: a file opens or gets its name, an array begins, bytes are synced."""

    def on_event(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename") and str(out) in str(arguments[0]):
            call()

    def before(function):
        def wrapped(*arguments, **options):
            call()
            return function(*arguments, **options)

        return wrapped

    sys.addaudithook(on_event)
    os.fsync = before(os.fsync)
    np.lib.format.write_array = before(np.lib.format.write_array)


def train_to_be_killed(folder: Path, out: Path, step_of_writing: int, queue) -> None:
    """In a process of its own: train; die at the given step of writing, else tell how many there were."""
    roads, steps = data.load(folder, size=(32, 32), cache=False), 0

    def one_more() -> None:
        nonlocal steps
        steps += 1
        if steps == step_of_writing:
            os.kill(os.getpid(), signal.SIGKILL)

    count_writing(out, one_more)
    training.train("simple", RECIPE, roads, out=out, say=quiet)
    queue.put(steps)


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_random_moments_it_ends_as_if_undisturbed(road_folder, roads, tmp_path):
    """Ten moments by the clock, the others between two steps of writing; see `count_writing`."""
    context = multiprocessing.get_context("forkserver")  # which has loaded TensorFlow but not started its threads
    context.set_forkserver_preload(["roadseg.training"])
    queue = context.Queue()

    def start(name: str, step_of_writing: int = 0) -> multiprocessing.Process:
        arguments = (road_folder, tmp_path / name, step_of_writing, queue)
        process = context.Process(target=train_to_be_killed, args=arguments)
        process.start()
        return process

    first = context.Process(target=quiet, args=("the server starts",))
    first.start()
    first.join()
    began = time.monotonic()
    start("whole").join()
    seconds, steps = time.monotonic() - began, queue.get(timeout=1)
    (whole,) = (runs.open_run(path) for path in (tmp_path / "whole").glob("simple-*"))
    seed = time.time_ns() % 2**32
    print(f"seed {seed}: {seconds:.1f} s and {steps} steps of writing")
    rng, killed = np.random.default_rng(seed), []
    for moment in range(MOMENTS):
        by_clock = moment < 10
        process = start(str(moment), 0 if by_clock else int(rng.integers(1, steps + 1)))
        if by_clock:
            time.sleep(rng.uniform(0, seconds))
            seconds = seconds if process.is_alive() else seconds / 2  # the machine has become faster: kill sooner
            process.kill()
        process.join()
        killed.append(process.exitcode == -signal.SIGKILL)
        for state in (tmp_path / str(moment)).rglob("state.npz"):
            assert len(runs.read_arrays(state)["curves"]) >= 1, seed
        said = []
        assert_same(training.train("simple", RECIPE, roads, out=tmp_path / str(moment), say=said.append), whole)
        assert not [line for line in said if "damaged" in line or "lost" in line], seed
    assert sum(killed) >= MOMENTS - 3, seed  # a kill by the clock may come after the end


def hold_lock(path: Path, ready) -> None:
    """In a process of its own: hold a run's lock until it is killed."""
    with runs.locked(path, say=quiet):
        ready.set()
        time.sleep(300)


@pytest.mark.slow
def test_who_waits_for_a_process_that_is_killed_goes_on(tmp_path):
    context, said = multiprocessing.get_context("forkserver"), []
    ready = context.Event()
    process = context.Process(target=hold_lock, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(100)
    with runs.locked(tmp_path / "run", say=lambda line: said.append(line) or process.kill()):
        assert said == ["Another process is training run; waiting for it, to reuse what it makes."]
    process.join()


@pytest.mark.slow
def test_what_a_killed_process_left_is_swept_up(finished, roads, tmp_path):
    path = Path(shutil.copytree(finished.path, tmp_path / finished.path.name))
    (path / "finished.json").unlink()
    left = [path / name for name in (".state.npz.0a1b2c3d.part", ".part.best.weights.h5", "predictions/.x.part")]
    for path in left:
        path.write_bytes(b"half")
    assert training.train("simple", SHORT, roads, out=tmp_path, say=quiet).how == "resumed"
    assert not any(path.exists() for path in left)


# --- interrupted -----------------------------------------------------------------------------------------------------


def press(*_, **__) -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
    time.sleep(1)


def pressing_at(call: int, function: Callable) -> Callable:
    """The function, with Ctrl-C before a call, counted from 1."""
    calls = iter(range(1, 1000))

    def wrapped(*arguments, **options):
        if next(calls) == call:
            press()
        return function(*arguments, **options)

    return wrapped


def half_written(file, **arrays) -> None:
    file.write(b"half")
    press()


PHASES = [
    (models, "build", pressing_at(3, models.build)),  # the first two look at the options
    (training, "_loss_fn", press),  # while the step is compiled
    (data, "dataset", pressing_at(3, data.dataset)),  # in the second epoch
    (data, "dataset", pressing_at(2, data.dataset)),  # validation
    (training, "_passed", pressing_at(2, training._passed)),
    (np, "savez", half_written),
    (runs, "write_csv", press),
    (Board, "log", press),
    (keras.Model, "save_weights", press),
    (runs, "digest", press),  # after the weights, before the file that says that all is there
]


@pytest.mark.slow
def test_interrupted_in_every_phase_it_goes_on(roads, tmp_path, monkeypatch):
    whole, epochs = training.train("simple", SHORT, roads, out=tmp_path / "whole", say=quiet), 0
    for place, name, function in PHASES:
        with monkeypatch.context() as patch, pytest.raises(Interrupted) as interrupted:
            patch.setattr(place, name, function)
            training.train("simple", SHORT, roads, out=tmp_path / "own", say=quiet)
        message = f"{whole.path.name} keeps its last whole epoch, and the same command or cell goes on from there."
        assert interrupted.value._render_traceback_() == [f"Interrupted: {message}"]
        assert not list(tmp_path.rglob("*part*"))
        states = [runs.read_arrays(state) for state in (tmp_path / "own").rglob("state.npz")]
        assert not states or len(states[0]["curves"]) >= epochs
        epochs = len(states[0]["curves"]) if states else 0
    assert epochs == 3
    assert_same(training.train("simple", SHORT, roads, out=tmp_path / "own", say=quiet), whole)


def test_loading_interrupted(road_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="keeps nothing half done: start it again"):
        patch.setattr(kitti, "frames", press)
        data.load(road_folder, size=(8, 8))
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(np, "savez", half_written)
        data.load(road_folder, size=(8, 8))
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.slow
def test_ctrl_c_ends_the_command_with_one_line(road_folder, tmp_path):
    command = [sys.executable, "-m", "roadseg", "train", "simple", "--data", road_folder, "--epochs", "500"]
    project = Path(__file__).parents[2]
    with subprocess.Popen(
        [*command, "--out", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=project
    ) as process:
        while not process.stdout.readline().startswith("epoch  2"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("roadseg: interrupted: simple-reported-seed0-") and errors.count("\n") == 1
    (state,) = tmp_path.rglob("state.npz")
    assert len(runs.read_arrays(state)["curves"]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1])  # after the first process that renders has started, or so
def test_ctrl_c_while_scenes_are_rendered(tmp_path, seconds):
    command = [sys.executable, "-m", "roadseg", "data", "--render", tmp_path / "scenes"]
    project = Path(__file__).parents[2]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=project, start_new_session=True) as process:
        while not psutil.Process(process.pid).children():
            time.sleep(0.01)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, errors.count("\n")) == (130, 1), errors
    assert errors.startswith("roadseg: interrupted: ")
    assert not list(tmp_path.iterdir())


@contextmanager
def kernel() -> Iterator:
    """A Jupyter kernel and its client."""
    manager, client = start_new_kernel(cwd=str(Path(__file__).parents[2]))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_the_kernel_interrupted_and_restarted(road_folder, tmp_path):
    code = f"""
        import time
        import roadseg
        from roadseg import recipes
        roads = roadseg.load({str(road_folder)!r}, size=(32, 32), cache=False)
        recipe = recipes.changed("reported", name="own", epochs=12)
        def watch(progress):
            print(progress.epoch, flush=True)
            time.sleep(0.2)  # so that the interrupt comes before the end
        run = roadseg.train("simple", recipe, roads, out={str(tmp_path)!r}, watch=watch)
    """.replace("        ", "")
    printed, errors, interrupted = [], [], []

    def show(message: dict) -> None:
        printed.append(message["content"].get("text", ""))
        errors.extend(message["content"].get("traceback", []))
        if message["msg_type"] == "stream" and "2" in "".join(printed).split() and not interrupted:
            interrupted.append(True)
            manager.interrupt_kernel()

    with kernel() as (manager, client):
        client.execute_interactive(code, output_hook=show, timeout=120)
    assert len(errors) == 1 and errors[0].startswith("Interrupted: simple-own-seed0-") and "\n" not in errors[0]
    with kernel() as (manager, client):
        client.execute_interactive(code, output_hook=show, timeout=120)
    assert len(errors) == 1 and "Going on with simple, own, seed 0 after epoch" in "".join(printed)
    assert len(list(tmp_path.rglob("finished.json"))) == 1


# --- refused by the disk ---------------------------------------------------------------------------------------------


@contextmanager
def no_file_longer_than(length: int) -> Iterator[None]:
    """The disk takes so many bytes of any file and no more: errors as on a full one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def assert_refused(error: pytest.ExceptionInfo, *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message and len(message) < 400
    assert not [word for word in (*words, "set ROADSEG_RUNS") if word not in message]


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_file(roads, tmp_path):
    """Settings, predictions, state (0.9 MB), at the end the weights (0.2 MB): each is the first that does not fit."""
    whole, own = training.train("simple", SHORT, roads, out=tmp_path / "whole", say=quiet), tmp_path / "own"
    for length in (100, 3_000, 100_000):
        with no_file_longer_than(length), pytest.raises(RunError) as error:
            training.train("simple", SHORT, roads, out=own, say=quiet)
        assert_refused(error, "cannot be written (File too large)", "free space", "the last whole epoch is kept")
        assert not [path for path in own.rglob("*") if "part" in path.name or path.name == "state.npz"]
    for epoch in (2, 3):  # the state after the next one, or the weights
        with no_file_longer_than(resource.RLIM_INFINITY), pytest.raises(RunError) as error:
            watch = partial(fill_after, epoch)
            training.train("simple", SHORT, roads, out=own, say=quiet, watch=watch)
        assert_refused(error, "cannot be written (", "free space", "the last whole epoch is kept")
        (state,) = own.rglob("state.npz")
        assert len(runs.read_arrays(state)["curves"]) == epoch
        assert not list(own.rglob("*part*"))
    assert_same(training.train("simple", SHORT, roads, out=own, say=quiet), whole)


def fill_after(epoch: int, progress: training.Progress) -> None:
    """Watch a training: after an epoch the disk is almost full."""
    if progress.epoch == epoch:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


@pytest.mark.parametrize("length", [0, 100, 2_000, 130_000])  # where HDF5 alone crashed, or left half a file
def test_weights_are_written_whole_or_not_at_all(tmp_path, length):
    model, path = models.build("simple", size=(32, 32)), tmp_path / "last.weights.h5"
    path.write_bytes(b"old")
    with no_file_longer_than(length), pytest.raises(OSError):
        training._write_weights(model, path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("last.weights.h5", b"old")]


def test_tensorboards_files_do_not_fit(finished, roads, tmp_path):
    board = Board(shutil.copytree(finished.path, tmp_path / "copy"), roads.images[:15])
    row = [values[0] for values in finished.curves.values()]
    with no_file_longer_than(100), pytest.raises(OSError, match="TensorBoard's files in"):
        board.log(row)
    board.close()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no room"), NotImplementedError("no room")], ids=type)
def test_a_lock_that_cannot_be_made(roads, tmp_path, monkeypatch, error):
    import filelock

    for error in (OSError(errno.ENOSPC, "No space left on device"), NotImplementedError("no locks here")):

        def refuse(*_, error=error, **__):
            raise error

        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
        with pytest.raises(RunError) as told:
            training.train("simple", SHORT, roads, out=tmp_path, say=quiet)
        assert_refused(
            told, f"the runs folder {tmp_path} cannot be written ({getattr(error, 'strerror', '') or error})"
        )


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the permission to write from a folder and all in it."""
    paths = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in paths:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o755)


def test_a_finished_run_in_a_folder_that_is_read_only_is_reused(finished, roads, tmp_path, monkeypatch):
    made = shutil.copytree(finished.path, tmp_path / "runs" / finished.path.name)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # permissions would not stop the administrator
    with read_only(tmp_path / "runs"):
        again = training.train("simple", SHORT, roads, out=tmp_path / "runs", say=quiet)
        assert (again.how, again.path) == ("reused", made)
        assert training.evaluate(again, roads)["all"]["accuracy"] > 0
        with pytest.raises(RunError, match="no permission to write"):
            training.train("simple", SHORT, roads, seed=1, out=tmp_path / "runs", say=quiet)


def test_a_run_folder_that_is_read_only(roads, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(runs, "write_json", refuse)
    with pytest.raises(RunError) as told:
        training.train("simple", SHORT, roads, out=tmp_path, say=quiet)
    assert_refused(told, "cannot be written (Read-only file system)")


@pytest.mark.slow
def test_a_clock_that_is_set_back(roads, tmp_path, monkeypatch):
    """Half-way the clock falls back to 1970; nothing relies on it."""

    def fall_back(progress: training.Progress) -> None:
        if progress.epoch == 2:
            monkeypatch.setattr(time, "time", lambda: 0.0)
            monkeypatch.setattr(time, "time_ns", lambda: 0)
            monkeypatch.setattr(training, "datetime", Past)

    whole = training.train("simple", SHORT, roads, out=tmp_path / "whole", say=quiet)
    own = training.train("simple", SHORT, roads, out=tmp_path / "own", say=quiet, watch=fall_back)
    assert_same(own, whole)
    assert own.finished["ended"] < own.settings["started"] and (own.curves["seconds"] > 0).all()
    assert training.train("simple", SHORT, roads, out=tmp_path / "own", say=quiet).how == "reused"


class Past(datetime):
    """A clock that has stopped at the beginning."""

    @classmethod
    def now(cls, zone=None):
        return cls(1970, 1, 1, tzinfo=zone)


# --- state from elsewhere --------------------------------------------------------------------------------------------


CHANGES = {
    "no weights": {"model_0": None},
    "no best weights": {"best_0": None},
    "no curves": {"curves": None},
    "three best losses": {"best_loss": np.zeros(3)},
    "another shape": {"model_0": np.zeros((1, 2), np.float32)},
    "text": {"model_0": np.zeros((5, 5, 3, 32), "U1")},
    "more weights": {"model_99": np.zeros(1, np.float32)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_state_that_does_not_fit_is_told_and_changes_nothing(finished, tmp_path, change):
    kept = runs.read_arrays(finished.path / "state.npz") | change
    np.savez(tmp_path / "state.npz", **{name: value for name, value in kept.items() if value is not None})
    model = finished.model()
    before = model.get_weights()
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    with pytest.raises(RunError, match="belongs to another network"):
        training._restore(training._State(model, optimizer), tmp_path)
    for found, expected in zip(model.get_weights(), before):
        np.testing.assert_array_equal(found, expected)
