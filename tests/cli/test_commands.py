"""The commands: what they do, their exit status, and the one line of an error."""

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import write_roads
from students import write_run

from roadseg import data, download, kitti, models, runs, training
from roadseg.cli import COMMANDS, main
from roadseg.cli.evaluate import LABELS, SCORES, score_table
from roadseg.cli.start import open_jupyterlab
from roadseg.cli.train import MODELS, parse_seeds
from roadseg.download import archive
from roadseg.report import contents
from roadseg.scenes import folder

LOADED_AFTER = """
import sys
{}
print([name for name in ("keras", "matplotlib", "nbgrader", "numpy", "PIL", "tensorflow") if name in sys.modules])
"""


@pytest.fixture(scope="module", autouse=True)
def small():
    """Commands load images of 32 x 32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.load.__kwdefaults__, "size", (32, 32))
        yield


@pytest.fixture(scope="module")
def trained(road_folder, tmp_path_factory) -> tuple[runs.Run, str]:
    """A run of two epochs that the command made of the drawn images, and what the command printed."""
    out, printed = tmp_path_factory.mktemp("runs"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("ROADSEG_CACHE", str(out / "cache"))
        patch.delenv("ROADSEG_EPOCHS", raising=False)
        arguments = ["train", "simple", "--data", str(road_folder), "--epochs", "2", "--seed", "0", "--out", str(out)]
        assert main(arguments) == 0
    (path,) = out.glob("simple-*")
    return runs.open_run(path), printed.getvalue()


def error_of(capsys, arguments: list[str]) -> str:
    """The one line that a failing command prints."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def loaded_after(code: str) -> str:
    """The last line that code prints in a fresh Python: which heavy packages it has loaded."""
    command = [sys.executable, "-c", LOADED_AFTER.format(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.splitlines()[-1]


# --- help, imports, interrupts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"\n  python -m roadseg {command}" in capsys.readouterr().out


def test_imports_help_and_start_load_nothing_heavy(tmp_path):
    assert loaded_after("import roadseg") == "[]"
    assert loaded_after("from roadseg.cli import build_parser; build_parser().format_help()") == "[]"
    folder = str(tmp_path)
    assert "tensorflow" not in loaded_after(
        f"from roadseg.__main__ import main; main(['start', {folder!r}]); main(['status', {folder!r}])"
    )


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["data", "--seed", "1"], "--seed"),
        (["data", "--verify"], "ROADSEG_DATA"),
        (["data", "--verify", "nowhere"], "nowhere"),
        (["data", "--render", "x", "--seed", "-1"], "seed"),
        (["train", "simple", "--data", "nowhere"], "nowhere"),
        *((["train", "simple", "--seeds", text], text) for text in ("x", "9-0", "1,,2", "0-9999", "2147483648", "")),
        (["train", "simple", "--scheduler", "tcp://127.0.0.1:9"], "--seeds"),
        (["evaluate", "no-run"], "runs/no-run"),
        (["predict", "no-run", "photo.jpg"], "runs/no-run"),
        (["submit", "no-run", "--data", "nowhere"], "runs/no-run"),
        (["status", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_an_error_is_one_line(arguments, found, capsys):
    assert found in error_of(capsys, arguments)


def test_an_interrupt_and_what_the_system_refuses_are_one_line_and_a_bug_is_raised(monkeypatch, capsys):
    refused = PermissionError(13, "Permission denied", "secret")
    monkeypatch.setattr(download, "locate", Mock(side_effect=[KeyboardInterrupt, refused, ZeroDivisionError]))
    assert main(["data"]) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert error_of(capsys, ["data"]) == "roadseg: error: [Errno 13] Permission denied: 'secret'\n"
    with pytest.raises(ZeroDivisionError):
        main(["data"])


# --- start, status ----------------------------------------------------------------------------------------------------


def test_start_makes_copies_and_status_reads_them(tmp_path, capsys):
    assert main(["start", str(tmp_path / "mine")]) == 0
    assert len(list((tmp_path / "mine").glob("*.ipynb"))) == 5
    assert main(["status", str(tmp_path / "mine")]) == 0
    assert "0 of 21" in capsys.readouterr().out


def test_what_a_terminal_cannot_show_stops_nothing(tmp_path, monkeypatch):
    main(["start", str(tmp_path)])
    (tmp_path / "学生七.ipynb").touch()
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    command = [sys.executable, "-m", "roadseg", "status", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    assert b"???.ipynb" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a process on Windows cannot become another program")
def test_start_opens_jupyterlab_on_this_computer_only_with_its_options(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    main(["start", str(tmp_path), "--open", "--no-browser", "--port", "8900"])
    ((_, command, environment),) = calls
    assert command[1:3] == ["-m", "jupyterlab"] and command[-3:] == ["--no-browser", "--port", "8900"]
    assert "--ServerApp.ip=127.0.0.1" in command and f"--ServerApp.root_dir={tmp_path}" in command
    assert not any("token" in part or "password" in part for part in command)  # JupyterLab's own token stays
    settings = Path(environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0]) / "labconfig/page_config.json"
    assert list(json.loads(settings.read_text())) == ["disabledExtensions"]
    (layout,) = (tmp_path / ".jupyterlab").iterdir()
    layout.write_text("{}")
    main(["start", str(tmp_path), "--open"])
    assert layout.read_text() == "{}"  # what was open stays
    kernel = Path(environment["JUPYTER_PATH"].split(os.pathsep)[0]) / "kernels/python3/kernel.json"
    (module,) = (part[len("--ext=") :] for part in json.loads(kernel.read_text())["argv"] if part.startswith("--ext="))
    assert importlib.import_module(module).load_ipython_extension


def test_on_windows_the_command_waits_for_jupyterlab(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(subprocess, "call", lambda command, env: (command[-1], env))
    assert open_jupyterlab("--option", environment={"A": "b"}) == ("--option", {"A": "b"})


# --- data -------------------------------------------------------------------------------------------------------------


def test_data_shows_what_is_found_and_where_it_looked(road_folder, monkeypatch, capsys):
    assert main(["data"]) == 0
    places = ["ROADSEG_DATA", "data/data_road", "data/data_road.zip", "data/scenes"]
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[-4:]] == places
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))
    assert main(["data"]) == 0
    assert f"Used: {road_folder}\n" in capsys.readouterr().out


def test_data_verify_names_each_file(road_folder, monkeypatch, capsys):
    assert main(["data", "--verify", str(road_folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    groups = [sum(line.startswith(group) for line in lines) for group in ("missing", "damaged")]
    assert groups == [915, 48]  # the drawn images carry published names
    assert "missing  testing/image_2/um_000000.png" in lines
    paths = {path.relative_to(road_folder).as_posix(): path for path in road_folder.rglob("*.png")}
    published = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    monkeypatch.setattr(archive, "published_digests", lambda: published)
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))
    assert main(["data", "--verify"]) == 0  # what is found
    assert "48 of 48" in capsys.readouterr().out


def test_data_render(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folder, "COUNTS", {"um": 1})
    more = tmp_path / "more"
    assert main(["data", "--render", str(more), "--seed", "3"]) == 0
    assert [frame.name for frame in kitti.list_frames(more)] == ["um_000000"]
    capsys.readouterr()
    assert "seed 3" in error_of(capsys, ["data", "--render", str(more), "--seed", "4"])


def test_data_download(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "download", lambda target: target / "data_road")
    assert main(["data", "--download", "kitti"]) == 0
    assert str(tmp_path / "data" / "data_road") in capsys.readouterr().out


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_prints_a_line_an_epoch(trained):
    run, printed = trained
    source, _, *epochs, _, advice = printed.splitlines()
    assert source.startswith("24 ") and advice.endswith(f"python -m roadseg evaluate {run.path}")
    for number, line in enumerate(epochs):
        curves = {name: f"{values[number]:.4f}" for name, values in run.curves.items()}
        assert line.startswith(f"epoch  {number + 1}/2  loss {curves['loss']}, validation {curves['val_loss']}  ")
        assert f"accuracy {curves['accuracy']}, validation {curves['val_accuracy']}  " in line
    assert len(epochs) == 2 and "0:00" in epochs[-1]


def test_the_report_finds_what_train_wrote(trained, road_folder, monkeypatch):
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))
    monkeypatch.setenv("ROADSEG_RUNS", str(trained[0].path.parent))
    assert contents.trained().runs["simple"].path == trained[0].path


def test_train_passes_every_option_on(trained, road_folder, monkeypatch):
    received = {}

    def train(model, recipe, roads, *, callback, **options):
        received.update(options, model=model, recipe=recipe, count=len(roads))
        return trained[0]

    monkeypatch.setattr(training, "train", train)
    options = ["--recipe", "fast", "--seed", "7", "--epochs", "5", "--out", "there", "--split", "blocks"]
    options += ["--strategy", "mirrored", "--mixed-precision"]
    assert main(["train", "unet", "--data", str(road_folder), *options]) == 0
    expected = {"recipe": "fast", "seed": 7, "epochs": 5, "out": "there", "split": "blocks"}
    expected |= {"strategy": "mirrored", "mixed_precision": True}
    assert received == {**expected, "model": "unet", "count": 24}


def test_seeds_become_a_table_and_a_figure(road_folder, tmp_path, monkeypatch, capsys):
    roads, made = data.load(road_folder), {}
    for seed in (1, 3):
        options = {"columns": {"val_loss": [0.5, seed / 10]}, "finished": {"seconds": 2.0 * seed}, "seed": seed}
        made[seed] = write_run(tmp_path / f"{seed}", roads, [np.zeros((3, 8, 8), np.uint8)] * 2, **options)
    monkeypatch.setattr(training, "train", lambda *_, seed, **__: made[seed])
    scores = lambda run, _: {"all": {"max_f": run.settings["seed"] / 4, "iou": 0.5}}  # noqa: E731
    monkeypatch.setattr(training, "evaluate", scores)
    assert main(["train", "simple", "--seeds", "3,1", "--data", str(road_folder), "--out", str(tmp_path)]) == 0
    rows = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["3"] == ["0.3000", "0.0000", "0.7500", "0.5000", "6.0"]
    one, three = (np.array(rows[seed], float) for seed in "13")
    for name, expected in (("mean", (one + three) / 2), ("standard deviation", abs(one - three) / 2**0.5)):
        np.testing.assert_allclose(np.array(rows[name], float), expected, atol=0.06)
    for name, expected in (("lowest", np.minimum(one, three)), ("highest", np.maximum(one, three))):
        np.testing.assert_array_equal(np.array(rows[name], float), expected)
    assert [path.name for path in tmp_path.glob("*.png")] == ["simple-reported-seeds-3,1.png"]


def test_seeds_and_models_that_there_are():
    assert parse_seeds("0-9") == list(range(10)) and parse_seeds("5,0,2,2-3") == [0, 2, 3, 5]
    assert all(models.build(name, size=(32, 32), filters=(2, 2)) for name in MODELS)


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_as_json_and_as_a_table(trained, road_folder, monkeypatch, capsys):
    run, _ = trained
    monkeypatch.setenv("ROADSEG_RUNS", str(run.path.parent))
    scores = training.evaluate(run, data.load(road_folder))
    assert main(["evaluate", run.path.name, "--data", str(road_folder), "--json"]) == 0  # by its name
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["images"], found["count"]) == (run.path.name, "validation", 15)
    assert found["view"] == "camera"
    assert found["scores"].keys() == {"um", "umm", "uu", "all"}
    for category, row in found["scores"].items():
        expected = {name: None if value != value else value for name, value in scores[category].items()}
        assert row == pytest.approx(expected)
    scores = training.evaluate(run, data.load(road_folder), tta=True)
    assert main(["evaluate", str(run.path), "--data", str(road_folder), "--tta"]) == 0  # by its path
    printed = capsys.readouterr().out
    rows = {line[:12].strip(): line[12:].split() for line in printed.splitlines() if line.startswith("  ")}
    assert [name for name in rows if name] == [LABELS.get(name, name) for names in SCORES.values() for name in names]
    assert rows["MaxF"] == [f"{row['max_f']:.4f}" for row in scores.values()]


def test_evaluate_on_other_images(trained, tmp_path, capsys):
    run, other = trained[0], str(write_roads(tmp_path / "others", count=2, seed=5))
    error = error_of(capsys, ["evaluate", str(run.path), "--data", other])
    assert run.path.name in error and "--images all" in error
    assert main(["evaluate", str(run.path), "--data", other, "--images", "all"]) == 0
    assert re.search(r"\b6 \w+ \(all\b", capsys.readouterr().out)


def test_evaluate_from_above(trained, tmp_path, capsys):
    run, root = trained[0], write_roads(tmp_path / "roads", count=1)
    arguments = ["evaluate", str(run.path), "--images", "all", "--view", "bird", "--json", "--data", str(root)]
    assert "calib" in error_of(capsys, arguments)
    (root / "training/calib").mkdir()
    for path in (root / "training/image_2").iterdir():
        calibration = "P2: 50 0 48 0 0 50 19 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
        calibration += "Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0\n"
        (root / f"training/calib/{path.stem}.txt").write_text(calibration)
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["view"], found["count"]) == ("bird", 3)
    from_camera = training.evaluate(run, data.load(root), images="all")
    assert found["scores"].keys() == from_camera.keys()
    assert 0 < found["scores"]["all"]["max_f"] != from_camera["all"]["max_f"]


def test_what_has_no_value_is_a_dash_and_null(trained, road_folder, monkeypatch, capsys):
    row = dict.fromkeys([name for names in SCORES.values() for name in names], 0.25)
    scores = {"um": {**row, "precision": float("nan")}, "all": row}
    lines = score_table(scores).splitlines()
    assert ["precision", "-", "0.2500"] in [line.split() for line in lines]
    assert len({len(line) for line in lines if "at " not in line}) == 1
    monkeypatch.setattr(training, "evaluate", lambda *_, **__: scores)
    assert main(["evaluate", str(trained[0].path), "--data", str(road_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["um"]["precision"] is None


def test_output_that_nobody_reads_to_its_end_is_no_error(tmp_path):
    command = f"{sys.executable} -m roadseg data | {sys.executable} -c 'pass'"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""
