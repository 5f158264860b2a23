"""The benchmark runs and writes what it promises; how fast anything is, is not looked at here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench.py"


@pytest.mark.long
def test_the_benchmark_runs_and_writes_its_report(road_folder, tmp_path):
    command = [sys.executable, str(BENCH), "--quick", "--data", str(road_folder), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert set(content) == {"quick", "images", "effort", "machine", "versions", "rows"}
    assert (content["quick"], content["images"]) == (True, 24)
    rows = {row["what"]: row for row in content["rows"]}
    for row in rows.values():
        assert row["low"] <= row["median"] <= row["high"] and (row["met"] is None) == (row["target"] is None)
    assert all(what in done.stdout for what in rows)
    for name, speedup in (("unet", 3), ("simple", 2)):  # the fastest way of the package is held to it
        targets = [row["target"] for what, row in rows.items() if what.startswith(f"{name}: plain script / roadseg")]
        assert targets == [None] * (len(targets) - 1) + [f"at least {speedup}"]
        assert any(what.startswith(f"{name}: PyTorch") for what in rows) == bool(content["versions"]["torch"])
    others = ("loading: one by one / two at once", "loading from the cache", "import roadseg", "rendering all scenes")
    assert all(rows[what]["target"] for what in (*others, "a move of the threshold"))


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCH.parent)
    import bench

    return bench


def test_rows_hold_targets_against_medians(bench):
    line = bench.row("what", [1.0, 5.0, 2.0], "x", at_least=2)
    assert list(line.values()) == ["what", 2.0, 1.0, 5.0, "x", "at least 2", True]
    assert bench.row("what", [1.0, 1.9, 9.0], "x", at_least=2)["met"] is False
    assert bench.row("what", [3.0], "s")["met"] is None
    assert "MISSED" in bench.line_of(**bench.row("what", [0.2], "s", below=0.2))
    assert bench.ratios([6.0, 9.0], [2.0, 3.0]) == [3.0, 3.0]
