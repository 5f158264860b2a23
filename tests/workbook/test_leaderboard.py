"""The leaderboard: what counts as an attempt, when the clock stops, and the order."""

import csv

import numpy as np
import pytest
from students import write_run

from roadseg.errors import RunError
from roadseg.storage import runs_folder
from roadseg.workbook import leaderboard


def attempt(roads, name, *, seconds, reaches, split="blocks", folder=""):
    """A run of epochs of these seconds that finds all of the road from the epoch `reaches` on, half of it before."""
    right = 255 * roads.masks[-3:].astype(np.uint8)
    half = np.where(np.arange(32) < 16, right, 0).astype(np.uint8)
    found = [right if epoch >= reaches else half for epoch in range(1, len(seconds) + 1)]
    options = {"model": "unet", "split": split, "recipe": {"name": name}, "columns": {"seconds": np.array(seconds)}}
    return write_run(runs_folder() / f"unet-{name}{folder}", roads, found, **options)


def test_the_fastest_comes_first_and_who_never_arrives_last(roads):
    attempt(roads, "never", seconds=[5, 5], reaches=9)
    attempt(roads, "slow", seconds=[40, 30, 20], reaches=2)
    fast = attempt(roads, "fast", seconds=[50.4, 99], reaches=1)
    attempt(roads, "course", seconds=[1], reaches=1, split="course")  # other images validate: no attempt
    unfinished = attempt(roads, "unfinished", seconds=[1], reaches=1)
    (unfinished.path / "finished.json").unlink()
    table = leaderboard.standings(roads)
    found = {title: (row["seconds to target"], row["seconds in all"]) for title, row in table.items()}
    assert list(found.items()) == [
        ("fast, seed 0", (50, 149)),
        ("slow, seed 0", (70, 90)),
        ("never, seed 0", (None, 10)),
    ]
    assert table["fast, seed 0"]["best MaxF"] == 1 > table["never, seed 0"]["best MaxF"] > 0
    np.testing.assert_array_equal(leaderboard.max_f(fast, roads), 1)
    with open(runs_folder() / leaderboard.TABLE, newline="") as file:
        kept = list(csv.DictReader(file))
    assert [line["run"] for line in kept] == ["unet-fast", "unet-slow", "unet-never"]
    assert tuple(kept[0]) == leaderboard.COLUMNS


def test_of_runs_with_one_title_the_table_has_the_best(roads):
    for number, reaches in enumerate([9, 1, 2]):
        attempt(roads, "fast", seconds=[5, 5], reaches=reaches, folder=f"-{number}")
    assert leaderboard.standings(roads)["fast, seed 0"]["run"] == "unet-fast-1"
    assert (runs_folder() / leaderboard.TABLE).read_text().count("\n") == 4


def test_no_attempts_make_an_empty_table_where_the_folder_can_be_written(roads, tmp_path, monkeypatch):
    assert leaderboard.standings(roads) == {}
    assert (runs_folder() / leaderboard.TABLE).read_text() == ",".join(leaderboard.COLUMNS) + "\n"
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / leaderboard.TABLE).mkdir(parents=True)  # as on Windows, where a table is open in Excel
    for name in ("file", "taken"):
        monkeypatch.setenv("ROADSEG_RUNS", str(tmp_path / name))
        with pytest.raises(RunError):
            leaderboard.standings(roads)
