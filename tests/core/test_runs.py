"""What a training leaves on disk: files that are whole or not there, reading them back, telling what is damaged."""

import os
import shutil
import stat
import threading
from itertools import product
from pathlib import Path

import make_reference
import numpy as np
import pytest

from roadseg import baselines, recipes, runs
from roadseg.errors import RunError
from roadseg.files import written_whole

SETTINGS = {
    "model": "simple",
    "recipe": {"name": "reported", "learning_rate": 1e-3, "initializer": "glorot_uniform", "standardize": False},
    "seed": 3,
    "split": "course",
    "epochs": 2,
    "size": [8, 12],
    "data": "0123456789abcdef",
    "step": "fedcba9876543210",
    "validation_names": ["um_000001", "uu_000002"],
}
CURVES = np.array([[1, 0.5, 0.8, 0.4, 0.82, 1e-3, 2.5], [2, 0.1 + 0.2, 1 / 3, 0.3, 0.9, 1e-3, 2.25]])
STEPS = np.array([[i, 1 / i, 0.5] for i in range(1, 5)])


def write_run(out: Path, *, ended: str = "2024-05-01T10:00:00+00:00", **changes) -> Path:
    """A finished run, written by hand."""
    settings = {**SETTINGS, **changes}
    path = out / runs.key(settings)
    (path / "predictions").mkdir(parents=True)
    for epoch in (1, 2):
        probability = np.full((2, 8, 12), 100 * epoch, np.uint8)
        runs.write_arrays(path / "predictions" / f"epoch-0{epoch}.npz", compress=True, probability=probability)
    runs.write_csv(path / "curves.csv", runs.CURVES, CURVES)
    runs.write_csv(path / "steps.csv", runs.STEPS, STEPS)
    for which in runs.WEIGHTS:
        (path / f"{which}.weights.h5").write_bytes(which.encode())
    weights = {which: runs.digest(path / f"{which}.weights.h5") for which in runs.WEIGHTS}
    runs.write_json(path / "settings.json", settings)
    finished = {"epochs": 2, "best_epoch": 2, "seconds": 4.75, "weights": weights, "ended": ended}
    runs.write_json(path / "finished.json", finished)
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return write_run(tmp_path / "runs")


# --- whole files -----------------------------------------------------------------------------------------------------


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with written_whole(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_exception_in_the_middle_leaves_the_old_file(tmp_path, error, old):
    target = tmp_path / "file"
    if old:
        target.write_bytes(old)
    with pytest.raises(error), written_whole(target) as file:
        file.write(b"half")
        raise error
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([old] if old else [])


def test_whole_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with written_whole(tmp_path / "file") as file:
        file.write(b"x")
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1


def test_tables_come_back_as_they_were(tmp_path):
    runs.write_csv(tmp_path / "curves.csv", runs.CURVES, CURVES)
    assert (tmp_path / "curves.csv").read_text().splitlines()[:2] == [
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds",
        "1,0.5,0.8,0.4,0.82,0.001,2.5",
    ]
    (tmp_path / "settings.json").touch()
    curves = runs.Run(tmp_path).curves
    np.testing.assert_array_equal(np.stack(list(curves.values()), axis=1), CURVES)


# --- reading a run ---------------------------------------------------------------------------------------------------


def test_a_run_reads_back(path):
    run = runs.open_run(path)
    assert (run.path, run.how, run.settings) == (path, "reused", SETTINGS)
    assert run.title == "simple, reported, seed 3" and run.validation_names == ("um_000001", "uu_000002")
    assert tuple(run.curves) == runs.CURVES and tuple(run.steps) == runs.STEPS
    assert run.curves["accuracy"].tolist() == [0.8, 1 / 3] and run.steps["step"].tolist() == [1, 2, 3, 4]
    assert (run.finished["best_epoch"], run.finished["seconds"]) == (2, 4.75)


def test_predictions_by_epoch(path):
    run = runs.open_run(str(path))
    assert [int(run.prediction(epoch)[0, 0, 0]) for epoch in (1, 2, -1)] == [100, 200, 200]
    assert run.prediction().shape == (2, 8, 12) and run.prediction().dtype == np.uint8
    for epoch in (0, 3, -2):
        with pytest.raises(RunError, match=rf"{path.name} has epochs 1 to 2; epoch {epoch} was asked for"):
            run.prediction(epoch)


def test_what_is_no_run(path, tmp_path):
    with pytest.raises(RunError, match=rf"there is no run at {tmp_path / 'none'}: train one with `python -m roadseg"):
        runs.open_run(tmp_path / "none")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(RunError, match=rf"{tmp_path / 'pictures'} is no run: name one of the folders in runs"):
        runs.open_run(tmp_path / "pictures")
    with pytest.raises(RunError, match="there is no run at"):
        runs.open_run(path / "settings.json")
    (path / "finished.json").unlink()
    with pytest.raises(RunError, match=rf"the run {path} has not finished: the same training command resumes it"):
        runs.open_run(path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def scribble(path):
    path.write_bytes(b"\xff\xfe{[,\0\n")


def other_content(path):
    """A whole file of the right kind that holds something else."""
    if path.suffix == ".npz":
        np.savez(path, other=np.zeros(3))
    else:
        path.write_text({".json": '["other"]\n', ".csv": "step,value\n1,2\n"}[path.suffix])


@pytest.mark.parametrize("damage", [Path.unlink, truncate, empty, scribble, other_content])
@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("settings.json", lambda run: run.settings),
        ("finished.json", lambda run: run.finished),
        ("curves.csv", lambda run: run.curves),
        ("steps.csv", lambda run: run.steps),
        ("predictions/epoch-02.npz", lambda run: run.prediction()),
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(path, file, read, damage):
    damage(path / file)
    left = sorted(path.rglob("*"))
    with pytest.raises(RunError) as error:
        read(runs.Run(path))
    message = str(error.value)
    assert message.startswith(f"{path / file} is missing or damaged") and "\n" not in message
    assert message.endswith(f": delete the run {path} and train again.")
    assert sorted(path.rglob("*")) == left


@pytest.mark.parametrize("file", ["settings.json", "finished.json", "curves.csv"])
@pytest.mark.parametrize("damage", [truncate, empty, scribble, other_content])
def test_a_run_with_damaged_tables_does_not_open(path, file, damage):
    damage(path / file)
    with pytest.raises(RunError, match=rf"{file} is missing or damaged.*: delete the run"):
        runs.open_run(path)


def lose_line(path):
    lines = (path / "curves.csv").read_text().splitlines(keepends=True)
    (path / "curves.csv").write_text("".join(lines[:-1]))


@pytest.mark.parametrize("lost", ["steps.csv", "last.weights.h5", "best.weights.h5", "predictions/epoch-01.npz", None])
def test_a_run_that_lost_files_or_lines_does_not_open(path, lost):
    (path / lost).unlink() if lost else lose_line(path)
    with pytest.raises(RunError, match=rf"the run {path} has lost files or lines: delete it and train again"):
        runs.open_run(path)


def test_no_shortened_table_opens(path):
    whole = (path / "curves.csv").read_bytes()
    for length in range(len(whole)):
        (path / "curves.csv").write_bytes(whole[:length])
        with pytest.raises(RunError, match="delete"):
            runs.open_run(path)


def test_any_changed_byte_of_a_prediction_is_told_or_harmless(path):
    file = path / "predictions" / "epoch-01.npz"
    whole, told = file.read_bytes(), 0
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            assert (runs.read_prediction(path, 1) == 100).all()
        except RunError:
            told += 1
    assert told > len(whole) / 2


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("file", ["predictions/epoch-01.npz", "state.npz"])
def test_nothing_is_unpickled(path, tmp_path, file):
    trap = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(path / file, allow_pickle=True, probability=trap)
    with pytest.raises(RunError, match=r"is missing or damaged .*: delete the run"):
        runs.read_arrays(path / file)
    assert not (tmp_path / "sprung").exists()
    with np.load(path / file, allow_pickle=True) as kept:
        kept["probability"].item().close()
    assert (tmp_path / "sprung").exists()  # so the trap works


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> tuple[Path, list[np.ndarray]]:
    """A weights file of the simple model, and what is in it."""
    from roadseg import models
    from roadseg.backend import keras

    keras.utils.set_random_seed(7)
    model = models.build("simple", size=(8, 12))
    path = tmp_path_factory.mktemp("weights") / "model.weights.h5"
    model.save_weights(path)
    return path, model.get_weights()


def with_weights(path: Path, file: Path) -> runs.Run:
    """The run with these weights after the last epoch."""
    shutil.copy(file, path / "last.weights.h5")
    finished = runs.open_run(path).finished
    finished["weights"]["last"] = runs.digest(file)
    runs.write_json(path / "finished.json", finished)
    return runs.open_run(path)


def test_the_model_comes_back_with_its_weights(path, weights):
    file, values = weights
    model = with_weights(path, file).model()
    assert model.input_shape == (None, 8, 12, 3)
    for found, expected in zip(model.get_weights(), values):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("damage", [Path.unlink, truncate, empty, scribble])
def test_weights_are_checked_against_their_digest(path, weights, damage):
    run = with_weights(path, weights[0])
    damage(path / "last.weights.h5")
    with pytest.raises(RunError, match=rf"last\.weights\.h5 is missing or .*: delete {path} and train again"):
        run.model()
    with pytest.raises(RunError, match="no weights are called 'final': choose best or last"):
        run.model("final")


# --- keys, finding, folders, locks -----------------------------------------------------------------------------------


def test_the_key_is_readable_and_changes_with_each_ingredient():
    changes = {
        "model": "unet",
        "recipe": {**SETTINGS["recipe"], "learning_rate": 1e-4},
        "seed": 4,
        "split": "blocks",
        "epochs": 3,
        "size": [12, 8],
        "data": "another",
        "step": "another",
    }
    assert set(changes) == set(runs.KEY)
    keys = [runs.key({**SETTINGS, name: value}) for name, value in changes.items()]
    assert len({runs.key(SETTINGS), *keys}) == 1 + len(changes)
    assert runs.key(SETTINGS).startswith("simple-reported-seed3-") and keys[0].startswith("unet-reported-seed3-")
    others = {"versions": {"numpy": "3"}, "machine": {"cores": 99}, "started": "later", "source": "elsewhere"}
    assert runs.key({**dict(reversed(SETTINGS.items())), **others}) == runs.key(SETTINGS)


def test_find_prefers_the_newest_whoever_wrote_its_step(tmp_path):
    write_run(tmp_path, step="one", ended="2024-05-01T10:00:00+00:00")
    newest = write_run(tmp_path, step="two", ended="2024-05-03T10:00:00+00:00")
    write_run(tmp_path, step="three", ended="2024-05-02T10:00:00+00:00")
    assert runs.find(SETTINGS, out=tmp_path).path == newest


@pytest.mark.parametrize("change", [{"seed": 33}, {"data": "other"}, {"epochs": 1}, {"split": "blocks"}])
def test_find_takes_no_run_of_other_settings(tmp_path, change):
    write_run(tmp_path)
    assert runs.find({**SETTINGS, **change}, out=tmp_path) is None


@pytest.mark.parametrize("file", ["settings.json", "finished.json", "curves.csv"])
@pytest.mark.parametrize("damage", [Path.unlink, truncate, other_content])
def test_find_passes_over_damaged_runs(tmp_path, file, damage):
    whole, damaged = (write_run(tmp_path, step=step, ended=f"2024-05-0{step}T10:00:00+00:00") for step in "12")
    damage(damaged / file)
    assert runs.find(SETTINGS, out=tmp_path).path == whole


def test_the_folder_of_runs(tmp_path, monkeypatch):
    assert runs.folder(tmp_path / "deep" / "out") == tmp_path / "deep" / "out"
    assert runs.folder() == tmp_path / "runs"
    monkeypatch.delenv("ROADSEG_RUNS")
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path / "deep"))
    assert runs.folder() == tmp_path / "deep" / "runs" and runs.folder().is_dir()


def test_a_folder_of_runs_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match=rf"the runs folder {path} cannot be written .*set ROADSEG_RUNS to a folder"):
            runs.folder(path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RunError, match=r"\(no permission to write\): make it writable, or set ROADSEG_RUNS"):
        runs.folder(tmp_path / "locked")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_lock_lets_one_in_at_a_time(tmp_path):
    said, entered = [], threading.Event()

    def enter():
        with runs.locked(tmp_path / "run", say=lambda text: said.append(text) or waiting.set()):
            entered.set()

    waiting, other = threading.Event(), threading.Thread(target=enter)
    with runs.locked(tmp_path / "run", say=pytest.fail):
        other.start()
        assert waiting.wait(20) and not entered.is_set()
    other.join(20)
    assert entered.is_set()
    assert said == ["Another process is training run; waiting for it, to reuse what it makes."]


# --- reference results -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> list[dict]:
    return runs.reference()["runs"]


def test_reference_holds_all_that_the_notebooks_plot(reference):
    keys = {(entry["model"], entry["recipe"]["name"], entry["seed"]) for entry in reference}
    models, names = ("simple", "unet", "unet-no-skip"), ("reported", "assigned", "fast")
    as_long = {recipe.name for recipe in make_reference.AS_LONG}
    kinds = {*product(models, names), *product(["simple"], as_long)}
    assert as_long == {"reported-14", "assigned-14"}
    assert keys == {(model, name, seed) for model, name in kinds for seed in (0, 1, 2)}
    assert set(runs.reference()["baselines"]) == set(baselines.BASELINES)
    assert [entry["seed"] for entry in runs.reference()["from scenes alone"]] == [0, 1]
    tried = {(entry["recipe"]["name"], entry["seed"]) for entry in runs.reference()["tried"]}
    names = {recipes.named(recipe).name for recipe in make_reference.TRIED}
    assert tried == {(name, seed) for name in names for seed in (0, 1, 2)} and {"adam", "muon", "fast", "best"} < names


def test_what_was_tried_is_what_the_recipes_say():
    meant = {recipe.name: recipes.settings(recipe) for recipe in map(recipes.named, make_reference.TRIED)}
    for entry in runs.reference()["tried"]:
        name, recipe = entry["recipe"]["name"], entry["recipe"]
        assert (entry["model"], entry["split"], entry["epochs"]) == ("unet", "blocks", recipe["epochs"])
        assert recipe == meant[name]
        for scores in (entry["scores"], entry["mirrored"]):
            assert set(scores) == {"um", "umm", "uu", "all"} and 0.8 < scores["all"]["max_f"] < 1


def test_reference_results_are_whole(reference):
    keys = [(entry["model"], entry["recipe"]["name"], entry["seed"]) for entry in reference]
    assert keys and len(set(keys)) == len(keys)
    assert {model for model, _, _ in keys} <= {"simple", "unet", "unet-no-skip"}
    for entry in reference:
        assert set(entry["curves"]) == set(runs.CURVES) - {"seconds"}
        assert all(len(column) == entry["epochs"] for column in entry["curves"].values())
        assert all(np.isfinite(column).all() for column in entry["curves"].values())
        assert entry["curves"]["epoch"] == list(range(1, entry["epochs"] + 1))
        as_in_the_course = entry["recipe"]["name"].endswith("-14")
        assert (entry["split"], entry["train_count"]) == (("course", 225) if as_in_the_course else ("blocks", 200))


def test_reference_results_tell_scores_versions_and_machine(reference):
    for entry in reference:
        assert set(entry["scores"]) == {"um", "umm", "uu", "all"}
        for row in entry["scores"].values():
            assert {"accuracy", "f1", "iou", "max_f", "average_precision"} <= set(row)
            assert all(value is None or 0 <= value <= 1 for value in row.values())
        assert {"tensorflow", "keras", "numpy", "python", "roadseg"} <= set(entry["versions"])
        assert set(entry["machine"]) == {"system", "processor", "cores"}


def test_reference_runs_of_one_recipe_come_by_seed():
    assert [entry["seed"] for entry in runs.reference_runs("unet", "fast")] == [0, 1, 2]
    assert {entry["recipe"]["name"] for entry in runs.reference_runs("simple", "assigned")} == {"assigned"}
    with pytest.raises(RunError, match="no reference runs of unet, slow"):
        runs.reference_runs("unet", "slow")
