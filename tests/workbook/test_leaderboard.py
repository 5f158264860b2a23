"""The leaderboard: what counts as an attempt, when the clock stops, and the order."""

import csv

import numpy as np
import pytest

from roadseg import metrics, recipes, runs, training
from roadseg.errors import RunError
from roadseg.workbook import leaderboard


def trained(roads, out, name="own", **options):
    recipe = recipes.get_recipe("reported", name=name, epochs=3)
    return training.train("unet", recipe, roads, **{"split": "blocks", "out": out, "log": lambda text: None, **options})


@pytest.mark.slow
def test_attempts_are_read_from_their_runs(roads, tmp_path, monkeypatch):
    run, other = trained(roads, tmp_path), trained(roads, tmp_path, name="other", seed=1)
    trained(roads, tmp_path, name="course", split="course")  # other images validate: no attempt
    where = [roads.names.index(name) for name in run.validation_names]
    expected = [
        metrics.threshold_sweep(run.prediction(epoch), roads.masks[where], roads.valid[where]).max_f1
        for epoch in (1, 2, 3)
    ]
    np.testing.assert_allclose(leaderboard.max_f(run, roads), expected)
    monkeypatch.setattr(leaderboard, "TARGET", np.sort(expected)[1])  # two of the three epochs reach it
    table = leaderboard.standings(roads, out=tmp_path)
    assert set(table) == {"own, seed 0", "other, seed 1"}
    row = table["own, seed 0"]
    first = int(np.flatnonzero(np.array(expected) >= leaderboard.TARGET)[0])
    assert row["seconds to target"] == pytest.approx(run.curves["seconds"][: first + 1].sum(), abs=0.51)
    assert row["best MaxF"] == pytest.approx(max(expected), abs=1e-4) and row["run"] == run.path.name
    with open(tmp_path / leaderboard.TABLE, newline="") as file:
        kept = list(csv.DictReader(file))
    assert [line["run"] for line in kept] == [row["run"] for row in table.values()]
    monkeypatch.setattr(leaderboard, "TARGET", 2.0)
    assert [row["seconds to target"] for row in leaderboard.standings(roads, out=tmp_path).values()] == [None, None]
    (other.path / "finished.json").unlink()
    assert list(leaderboard.standings(roads, out=tmp_path)) == ["own, seed 0"]


def write_run(path, roads, *, seconds, reaches):
    """A finished run of one epoch, which finds all of the road or half of it."""
    (path / "predictions").mkdir(parents=True)
    recipe = {"name": path.name.removeprefix("unet-")}
    settings = {name: kind() for name, kind in runs.SETTINGS.items()} | {
        "model": "unet",
        "split": "blocks",
        "data": roads.fingerprint,
    }
    settings |= {"recipe": recipe, "seed": 0, "validation_names": roads.names[-3:], "epochs": 1, "size": roads.size}
    runs.write_json(path / "settings.json", settings)
    runs.write_json(path / "finished.json", {name: kind() for name, kind in runs.FINISHED.items()} | {"epochs": 1})
    runs.write_csv(path / "curves.csv", runs.CURVES, np.array([[1, 0, 0, 0, 0, 0, seconds]]))
    for name in ("steps.csv", "best.weights.h5", "last.weights.h5"):
        (path / name).touch()
    found = roads.masks[-3:].copy()
    if not reaches:
        found[:, :, 16:] = False
    runs.write_arrays(path / "predictions" / runs.prediction_name(1), probability=255 * found.astype(np.uint8))


def test_the_fastest_comes_first_and_who_never_arrives_last(roads, tmp_path):
    for name, seconds, reaches in (("never", 5, False), ("slow", 70, True), ("fast", 50, True)):
        write_run(tmp_path / f"unet-{name}", roads, seconds=seconds, reaches=reaches)
    rows = list(leaderboard.standings(roads, out=tmp_path).values())
    assert [(row["recipe"], row["seconds to target"]) for row in rows] == [("fast", 50), ("slow", 70), ("never", None)]


def test_no_attempts_make_an_empty_table(roads, tmp_path):
    assert leaderboard.standings(roads, out=tmp_path) == {}
    assert (tmp_path / leaderboard.TABLE).read_text() == ",".join(leaderboard.COLUMNS) + "\n"


def test_a_folder_that_cannot_be_made(roads, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError):
        leaderboard.standings(roads, out=tmp_path / "file")
