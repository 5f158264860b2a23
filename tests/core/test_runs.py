"""What a training run leaves on disk: reading it back, damage, keys and finding, locks, the source of steps."""

import json
import multiprocessing
import runpy
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from roadseg import data, recipes, runs, training
from roadseg.errors import OptionError, RunError

RECIPE = recipes.get_recipe("reported", name="small", epochs=2)


@pytest.fixture(scope="module")
def trained(roads, tmp_path_factory) -> runs.Run:
    """A finished run of two epochs, not to be changed."""
    return training.train("simple", RECIPE, roads, seed=3, out=tmp_path_factory.mktemp("runs"), log=lambda line: None)


@pytest.fixture
def path(trained, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained.path, tmp_path / "runs" / trained.path.name))


def change(path: Path, **entries) -> None:
    """Change entries of a JSON file."""
    runs.write_json(path, json.loads(path.read_text()) | entries)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_run_reads_back(path):
    run = runs.open_run(str(path))
    assert (run.path, run.how, run.title) == (path, "reused", "simple, small, seed 3")
    with np.load(path / "state.npz") as state:  # tables come back to the last digit
        np.testing.assert_array_equal(np.stack(list(run.curves.values()), axis=1), state["curves"])
        np.testing.assert_array_equal(np.stack(list(run.steps.values()), axis=1), state["steps"])
        for i, weight in enumerate(run.model("best").get_weights()):
            np.testing.assert_array_equal(weight, state[f"best_{i}"])
    np.testing.assert_array_equal(run.prediction(), run.prediction(2))
    with pytest.raises(RunError, match=r"1 to 2.* 3"):
        run.prediction(3)
    with pytest.raises(RunError, match="'final'"):
        run.model("final")


def test_what_is_no_finished_run(path, tmp_path):
    for other in (tmp_path / "none", tmp_path, path / "settings.json", tmp_path / (300 * "x")):
        with pytest.raises(RunError, match=str(other)):
            runs.open_run(other)
    (path / "finished.json").unlink()
    with pytest.raises(RunError, match=f"{path} has not finished"):
        runs.open_run(path)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_content(path):
    """A whole file of the right kind that holds something else."""
    if path.suffix == ".npz":
        np.savez(path, other=np.zeros(3))
    else:
        path.write_text({".json": '{"epochs": 2}\n'}.get(path.suffix, "step,value\n1,2\n"))


READ = {
    "settings.json": lambda run: run.settings,
    "finished.json": lambda run: run.finished,
    "curves.csv": lambda run: run.curves,
    "steps.csv": lambda run: run.steps,
    "predictions/epoch-02.npz": lambda run: run.prediction(),
    "last.weights.h5": lambda run: run.model(),
}


@pytest.mark.parametrize("damage", [Path.unlink, half, other_content])
@pytest.mark.parametrize("file", READ)
def test_a_damaged_file_is_named(path, file, damage):
    damage(path / file)
    with pytest.raises(RunError, match=f"{path / file} .*{path}") as error:
        READ[file](runs.Run(path))
    assert "\n" not in str(error.value)
    if damage is Path.unlink or file.endswith(("json", "curves.csv")):
        with pytest.raises(RunError):
            runs.open_run(path)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("finished.json", {"epochs": 10**12}),
        ("finished.json", {"ended": 3}),
        ("settings.json", {"recipe": {}}),
    ],
)
def test_a_crafted_run_does_not_open_and_is_not_found(path, file, changes):
    wanted = runs.open_run(path).settings
    change(path / file, **changes)
    with pytest.raises(RunError, match=str(path)):
        runs.open_run(path)
    assert runs.find(wanted, out=path.parent) is None


def test_a_prediction_of_other_images_is_named(path):
    runs.write_arrays(path / "predictions" / runs.prediction_name(2), probability=np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(RunError, match=str(path.name)):
        runs.open_run(path).prediction(2)


# --- keys, finding, folders ------------------------------------------------------------------------------------------


def test_the_key_is_readable_and_changes_with_each_ingredient(trained):
    settings = trained.settings
    values = ("unet", {**settings["recipe"], "learning_rate": 1e-4}, 4, "blocks", 3, [12, 8], "other", "other")
    keys = {runs.key({**settings, name: value}) for name, value in zip(runs.KEY, values, strict=True)}
    assert runs.key(settings) == trained.path.name and trained.path.name.startswith("simple-small-seed3-")
    assert len(keys | {trained.path.name}) == 1 + len(runs.KEY)
    assert runs.key({**settings, "versions": {}, "machine": {}, "started": "", "source": ""}) == trained.path.name


def test_find_takes_the_newest_whole_run_whoever_wrote_its_step(path):
    settings, out = runs.open_run(path).settings, path.parent
    newest, damaged = (Path(shutil.copytree(path, f"{path}-{name}")) for name in ("newest", "damaged"))
    for other in (newest, damaged):
        change(other / "settings.json", step="other")
        change(other / "finished.json", ended="9999-12-31T00:00:00+00:00")
    half(damaged / "curves.csv")
    assert runs.find(settings, out=out).path == newest
    shutil.rmtree(newest)
    assert runs.find(settings, out=out).path == path
    for changes in ({"seed": 33}, {"data": "other"}):
        assert runs.find({**settings, **changes}, out=out) is None
    assert [run.path for run in runs.find_all({"split": "course"}, "simple-*", out=out)] == [path]


def test_a_finished_run_that_has_lost_files_makes_room_for_another(path):
    log = []
    assert runs.find_at(path, log=log.append).path == path and not log
    (path / "predictions" / runs.prediction_name(1)).unlink()
    assert runs.find_at(path, log=log.append) is None and len(log) == 1
    assert not any((path / name).exists() for name in ("state.npz", "finished.json"))


def test_a_shared_run_is_reused_where_there_is_no_own_one(path, roads, tmp_path, monkeypatch):
    monkeypatch.setenv("ROADSEG_SHARED_RUNS", str(path.parent))
    lines, own = [], tmp_path / "own"
    train = partial(training.train, "simple", RECIPE, roads, seed=3, out=own, log=lines.append)
    assert train().path == path and not own.exists()
    assert str(path) in lines[-1]
    shutil.copytree(path, own / path.name)
    change(path / "finished.json", ended="9999-12-31T00:00:00+00:00")
    assert train().path == own / path.name
    assert str(path.parent) not in lines[-1]


def test_the_folder_of_runs(tmp_path):
    assert runs.make_folder(tmp_path / "deep" / "out").is_dir() and runs.make_folder() == tmp_path / "runs"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=f"{tmp_path / 'file'}.*ROADSEG_RUNS"):
        runs.make_folder(tmp_path / "file")


# --- locks -----------------------------------------------------------------------------------------------------------


def test_the_lock_of_another_process_is_waited_for(tmp_path):
    other, log = FileLock(tmp_path / ".run.lock"), []
    other.acquire()
    with runs.locked(tmp_path / "run", log=lambda line: (log.append(line), other.release())):
        assert len(log) == 1


def train_in_process(folder, out, queue):
    """In another process: train, and report how it went."""
    roads, log = data.load(folder, size=(32, 32), cache=False), []
    wait = lambda progress: time.sleep(0.3)  # noqa: E731  long enough for the other process to find the lock
    queue.put((training.train("simple", RECIPE, roads, out=out, log=log.append, callback=wait).how, log))


@pytest.mark.long
def test_of_two_processes_one_trains_and_the_other_reuses(road_folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=train_in_process, args=(road_folder, tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    (reused, log), (trained, _) = sorted(queue.get(timeout=500) for _ in processes)
    for process in processes:
        process.join()
    assert (reused, trained) == ("reused", "trained") and 1 <= len(log) <= 2


# --- source of steps -------------------------------------------------------------------------------------------------


def defined(path: Path, source: str):
    """The function `step` of a file with this source."""
    path.write_text(source)
    return runpy.run_path(str(path))["step"]


def test_the_digest_of_a_source_ignores_comments_docstrings_and_layout(tmp_path):
    plain = defined(tmp_path / "a.py", "def step(x):\n    return x + 1\n")
    same = defined(
        tmp_path / "b.py", 'if True:\n  def step(\n      x):\n    """Add."""\n    return (x  # one\n  + 1)\n'
    )
    other = defined(tmp_path / "c.py", "def step(x):\n    return x + 2\n")
    assert runs.source_digest(plain) == runs.source_digest(same) != runs.source_digest(other)
    assert runs.source_digest(plain, other) != runs.source_digest(other, plain)
    assert runs.source_digest(partial(plain, 1)) == runs.source_digest(plain)
    objects = "class Adder:\n    def __call__(self, x):\n        return x + {}\n\nstep = Adder()\n"
    one, two = (runs.source_digest(defined(tmp_path / f"{n}.py", objects.format(n))) for n in (1, 2))
    assert one != two
    with pytest.raises(OptionError):
        runs.source_digest(print)


def test_a_step_below_a_line_of_ipython_has_a_digest():
    """IPython compiles what is below %%time under a name of its own, and keeps no source."""
    one, same, other = (eval(compile(f"lambda x: [x + {n} for _ in x]", "<timed exec>", "eval")) for n in (1, 1, 2))
    assert runs.source_digest(one) == runs.source_digest(same) != runs.source_digest(other)
    sets = [eval(f"lambda x: x in {members}") for members in ("{0, 8}", "{8, 0}")]  # whose order in memory differs
    assert runs.source_digest(sets[0]) == runs.source_digest(sets[1])
