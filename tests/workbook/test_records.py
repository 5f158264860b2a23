"""The speed record: what counts as an attempt, when the clock stops, and the order."""

import csv

import numpy as np
import pytest

from roadseg import metrics, recipes, runs, training
from roadseg.errors import RunError
from roadseg.workbook import leaderboard as records


def trained(roads, out, name="own", **options):
    recipe = recipes.changed("reported", name=name, epochs=3)
    return training.train("unet", recipe, roads, **{"split": "blocks", "out": out, "say": lambda text: None, **options})


@pytest.mark.slow
def test_attempts_are_read_off_their_runs(roads, tmp_path, monkeypatch):
    run, other = trained(roads, tmp_path), trained(roads, tmp_path, name="other", seed=1)
    trained(roads, tmp_path, name="course", split="course")  # other pictures validate: no attempt
    where = [roads.names.index(name) for name in run.validation_names]
    expected = [
        metrics.curve(run.prediction(epoch), roads.road[where], roads.evaluated[where]).max_f1 for epoch in (1, 2, 3)
    ]
    np.testing.assert_allclose(records.max_f(run, roads), expected)
    monkeypatch.setattr(records, "TARGET", np.sort(expected)[1])  # two of the three epochs reach it
    table = records.table(roads, out=tmp_path)
    assert set(table) == {"own, seed 0", "other, seed 1"}
    row = table["own, seed 0"]
    first = int(np.flatnonzero(np.array(expected) >= records.TARGET)[0])
    assert row["seconds to target"] == pytest.approx(run.curves["seconds"][: first + 1].sum(), abs=0.06)
    assert row["best MaxF"] == pytest.approx(max(expected), abs=1e-4) and row["run"] == run.path.name
    with open(tmp_path / records.TABLE, newline="") as file:
        kept = list(csv.DictReader(file))
    assert [line["run"] for line in kept] == [row["run"] for row in table.values()]
    monkeypatch.setattr(records, "TARGET", 2.0)
    assert [row["seconds to target"] for row in records.table(roads, out=tmp_path).values()] == [None, None]
    (other.path / "finished.json").unlink()
    assert list(records.table(roads, out=tmp_path)) == ["own, seed 0"]


def test_the_fastest_comes_first_and_who_never_arrives_last():
    rows = [
        {"seconds to target": seconds, "best MaxF": best}
        for seconds, best in ((None, 0.8), (70.0, 0.91), (None, 0.89), (50.0, 0.9))
    ]
    order = sorted(rows, key=records._place)
    assert [(row["seconds to target"], row["best MaxF"]) for row in order] == [
        (50.0, 0.9),
        (70.0, 0.91),
        (None, 0.89),
        (None, 0.8),
    ]


def test_no_attempts_make_an_empty_table(roads, tmp_path):
    assert records.table(roads, out=tmp_path) == {}
    assert (tmp_path / records.TABLE).read_text() == ",".join(records.COLUMNS) + "\n"


def test_a_folder_that_cannot_be_made(roads, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        records.table(roads, out=tmp_path / "file")
    assert runs.place(tmp_path / "file").is_file()
