"""The commands: what they print, their exit status, and the one line of an error."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from roadseg import data, kitti, recipes, runs, training
from roadseg.cli import doctor
from roadseg.cli import main as commands
from roadseg.cli.main import MODELS, main, score_table
from roadseg.scenes import rendering as scenes

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WITHOUT_ARRAYS = (
    "import sys; sys.modules.update(numpy=None); from roadseg.__main__ import main; sys.exit(main(['doctor']))"
)
HEAVY_AFTER = """
import sys
{}
print([name for name in ("keras", "matplotlib", "numpy", "PIL", "tensorflow") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def trained(road_folder, tmp_path_factory) -> tuple[runs.Run, str]:
    """A run that the command made of the drawn pictures, two epochs long, and what the command printed."""
    out, printed = tmp_path_factory.mktemp("runs"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("ROADSEG_CACHE", str(out / "cache"))
        patch.delenv("ROADSEG_EPOCHS", raising=False)
        arguments = ["train", "simple", "--data", str(road_folder), "--epochs", "2", "--seed", "3", "--out", str(out)]
        assert main(arguments) == 0
    (path,) = out.glob("simple-*")
    return runs.open_run(path), printed.getvalue()


@pytest.fixture
def no_measuring(monkeypatch):
    """The doctor measures nothing."""
    monkeypatch.setattr(doctor, "seconds_per_step", {"simple": 0.1, "unet": 0.3}.get)


def error_of(capsys, arguments: list[str]) -> str:
    """The one line that a failing command prints."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    start = "roadseg: error: "
    assert printed.err.startswith(start)
    return printed.err.removeprefix(start).strip()


def python(code: str) -> subprocess.CompletedProcess:
    """Run code in a fresh Python."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


# --- train -----------------------------------------------------------------------------------------------------------


def test_train_prints_a_line_an_epoch(trained, roads):
    run, printed = trained
    source, title, *epochs, ended, advice = printed.splitlines()
    assert source.startswith("24 pictures. Road images from roads")
    assert title.startswith("simple, reported, seed 3: 2 epochs")
    assert len(epochs) == 2
    for number, line in enumerate(epochs):
        curves = {name: f"{values[number]:.4f}" for name, values in run.curves.items()}
        assert f"epoch  {number + 1}/2  loss {curves['loss']}, validation {curves['val_loss']}  " in line
        assert f"accuracy {curves['accuracy']}, validation {curves['val_accuracy']}  " in line
        assert re.search(r"  \d+\.\d s, \d+:\d\d left$", line)
    assert epochs[-1].endswith("0:00 left")
    assert ended.startswith("Trained: simple, reported, seed 3, 0:")
    assert advice == f"Evaluate it: python -m roadseg evaluate {run.path}"


def test_train_again_reuses(trained, road_folder, capsys):
    run, _ = trained
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    out = str(run.path.parent)
    assert main(["train", "simple", "--data", str(road_folder), "--epochs", "2", "--seed", "3", "--out", out]) == 0
    assert "Reused: simple, reported, seed 3" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_train_hands_on_every_option(trained, road_folder, monkeypatch, capsys):
    asked = {}

    def train(model, recipe, roads, **options):
        asked.update(options, model=model, recipe=recipe, count=len(roads))
        return trained[0]

    monkeypatch.setattr(training, "train", train)
    for model in MODELS:
        options = ["--recipe", "fast", "--seed", "7", "--epochs", "5", "--out", "there", "--split", "blocks"]
        options += ["--strategy", "mirrored", "--mixed-precision"]
        assert main(["train", model, "--data", str(road_folder), *options]) == 0
        del asked["watch"]
        expected = {"recipe": "fast", "seed": 7, "epochs": 5, "out": "there", "split": "blocks"}
        expected |= {"strategy": "mirrored", "mixed_precision": True}
        assert asked == {**expected, "model": model, "count": 24}


def test_the_models_are_those_that_can_be_built():
    from roadseg import models

    assert all(models.build(name, size=(32, 32)) for name in MODELS)


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_as_json_and_as_a_table(trained, road_folder, monkeypatch, capsys):
    run, _ = trained
    monkeypatch.setenv("ROADSEG_RUNS", str(run.path.parent))
    scores = training.evaluate(run, data.load(road_folder))
    assert main(["evaluate", run.path.name, "--data", str(road_folder), "--json"]) == 0  # by its name
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["images"], found["count"]) == (run.path.name, "validation", 15)
    assert found["scores"].keys() == {"um", "umm", "uu", "all"}
    for category, row in found["scores"].items():
        expected = {name: None if value != value else value for name, value in scores[category].items()}
        assert row == pytest.approx(expected)
    assert main(["evaluate", str(run.path), "--data", str(road_folder)]) == 0  # by its path
    printed = capsys.readouterr().out
    assert printed.startswith("simple, reported, seed 3: 15 pictures (validation)")
    rows = {line[:12].strip(): line[12:].split() for line in printed.splitlines() if line.startswith("  ")}
    names = ["accuracy", "precision", "recall", "F1", "IoU", "MaxF", "AP", "PRE", "REC", "FPR", "FNR", "threshold"]
    assert [name for name in rows if name] == names
    columns = printed.splitlines()[2].split()
    assert columns == ["um", "umm", "uu", "all"]
    assert rows["MaxF"] == [f"{scores[category]['max_f']:.4f}" for category in columns]
    assert rows["AP"] == [f"{scores[category]['average_precision']:.4f}" for category in columns]


def test_evaluate_on_other_pictures(trained, tmp_path, capsys):
    from conftest import write_roads

    run, other = trained[0], str(write_roads(tmp_path / "others", count=2, seed=5))
    error = error_of(capsys, ["evaluate", str(run.path), "--data", other])
    assert run.path.name in error and error.endswith("score all of them (--images all).")
    assert main(["evaluate", str(run.path), "--data", other, "--images", "all"]) == 0
    assert "6 pictures (all). Road images from others." in capsys.readouterr().out


def test_what_has_no_value_is_a_dash_and_null(trained, road_folder, monkeypatch, capsys):
    names = ("accuracy", "precision", "recall", "f1", "iou")
    names += ("max_f", "average_precision", "pre", "rec", "fpr", "fnr", "threshold")
    scores = {"um": {**dict.fromkeys(names, 0.25), "precision": float("nan")}, "all": dict.fromkeys(names, 1.0)}
    (line,) = (line for line in score_table(scores).splitlines() if "precision" in line)
    assert line.split() == ["precision", "-", "1.0000"]
    assert len({len(line) for line in score_table(scores).splitlines() if "at " not in line}) == 1
    monkeypatch.setattr(training, "evaluate", lambda *_, **__: scores)
    assert main(["evaluate", str(trained[0].path), "--data", str(road_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["um"]["precision"] is None


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_says_what_is_found_and_where_it_looked(tmp_path, road_folder, monkeypatch, capsys):
    assert main(["data"]) == 0
    printed = capsys.readouterr().out
    assert "scenes take its place." in printed and "rendered when they are first needed" in printed
    places = ["ROADSEG_DATA", "data/data_road", "data/data_road.zip", "data/scenes"]
    assert [line.strip() for line in printed.splitlines()[-4:]] == places
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))
    assert main(["data"]) == 0
    printed = capsys.readouterr().out
    assert f"ROADSEG_DATA points to {road_folder}." in printed and f"Used: {road_folder}" in printed


def test_data_verify_names_each_file(road_folder, monkeypatch, capsys):
    assert main(["data", "--verify", str(road_folder)]) == 1
    printed = capsys.readouterr().out.splitlines()
    groups = {group: sum(line.startswith(group) for line in printed) for group in ("missing", "damaged")}
    assert sum(groups.values()) == 963 and groups["damaged"] == 48  # drawn pictures carry published names
    assert "missing  testing/image_2/um_000000.png" in printed
    assert printed[-1].startswith(f"{road_folder}: 0 of 963 files are intact, 915 missing")
    published = {
        path.relative_to(road_folder).as_posix(): kitti._sha256(path) for path in sorted(road_folder.rglob("*.png"))
    }
    monkeypatch.setattr(kitti, "digests", lambda: published)
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))
    assert main(["data", "--verify"]) == 0  # what is found
    assert capsys.readouterr().out == f"{road_folder}: 48 of 48 files are intact.\n"


def test_data_render(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes, "COUNTS", {"um": 1})
    folder = tmp_path / "more"
    assert main(["data", "--render", str(folder), "--seed", "4"]) == 0
    assert capsys.readouterr().out.startswith(f"{folder} holds the scenes of seed 4.")
    assert json.loads((folder / "scenes.json").read_text())["seed"] == 4
    assert [frame.name for frame in kitti.frames(folder)] == ["um_000000"]
    assert "found other scenes (seed 4" in error_of(capsys, ["data", "--render", str(folder)])


def test_data_download(tmp_path, monkeypatch, capsys):
    def download(target):
        return target / "data_road"

    monkeypatch.setattr(kitti, "download", download)
    assert main(["data", "--download", "kitti"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'data' / 'data_road'} holds KITTI road")


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--seed", "1"], "--seed belongs to --render: add --render DIR, or leave --seed out."),
        (["data", "--verify"], "there is no KITTI road to verify (looked at ROADSEG_DATA, "),
        (["data", "--verify", "nowhere"], "nowhere: expected training/image_2"),
        (["data", "--render", "x", "--seed", "-1"], "seed should be a whole number from 0 on"),
        (["train", "simple", "--data", "nowhere"], "nowhere: expected training/image_2"),
        (["evaluate", "no-run"], "runs/no-run: train one with `python -m roadseg train`"),
    ],
)
def test_an_error_is_one_line(arguments, message, capsys):
    assert message in error_of(capsys, arguments)


def test_options_of_a_training_out_of_range(road_folder, capsys):
    assert main(["train", "simple", "--data", str(road_folder), "--epochs", "0"]) == 2
    assert "roadseg: error: epochs 0, seed 0: expected whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["train", "net"], "invalid choice: 'net'"),
        (["train", "unet", "--recipe", "slow"], "invalid choice: 'slow'"),
        (["evaluate", "run", "--images", "some"], "invalid choice: 'some'"),
        (["data", "--verify", "--render", "x"], "not allowed with"),
        (["data", "--download", "coco"], "invalid choice: 'coco'"),
    ],
)
def test_an_unknown_option_shows_the_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_interrupting_shows_no_traceback_but_a_bug_does(monkeypatch, capsys):
    def raising(error):
        def locate():
            raise error

        return locate

    monkeypatch.setattr(kitti, "locate", raising(KeyboardInterrupt()))
    assert main(["data"]) == 130
    assert capsys.readouterr() == ("", "roadseg: interrupted: nothing half done is kept; start again.\n")
    monkeypatch.setattr(kitti, "locate", raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["data"])


# --- help and imports ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["doctor", "data", "train", "evaluate"])
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  python -m roadseg {command}" in capsys.readouterr().out


def test_importing_and_asking_for_help_load_nothing_heavy():
    for code in ("import roadseg", "from roadseg.cli.main import parser; parser().format_help()"):
        done = python(HEAVY_AFTER.format(code))
        assert (done.stdout, done.stderr) == ("[]\n", "")


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_finds_all_that_is_needed(trained, no_measuring, monkeypatch, capsys):
    run, _ = trained
    monkeypatch.setenv("ROADSEG_RUNS", str(run.path.parent))
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for name in ("tensorflow", "keras", "numpy", "jupyterlab"):
        assert re.search(rf"^  {name} +{re.escape(metadata.version(name))}$", printed, re.MULTILINE)
    assert re.search(rf"^  cores +{os.cpu_count()}$", printed, re.MULTILINE)
    assert "scenes take its place" in printed and "not rendered yet" in printed
    assert re.search(rf"{run.path.name} +finished: 2 epochs, 0:\d\d min", printed)
    assert re.search(r"01_simple_model +about 3 min$", printed, re.MULTILINE)  # 2 x 816 steps of 0.1 s
    assert re.search(r"03_written_questions +about \d min after the ones before it, about 1\d min alone", printed)
    assert printed.endswith("All that is essential is there.\n")


def test_doctor_says_what_to_do_about_bad_data_and_runs(tmp_path, no_measuring, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROADSEG_DATA", str(tmp_path / "gone"))
    monkeypatch.setenv("ROADSEG_RUNS", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "-> ROADSEG_DATA is wrong" in printed and str(tmp_path / "gone") in printed
    assert f"-> the runs folder {tmp_path / 'file'} cannot be written" in printed
    assert "essential is missing: see the arrows" in printed
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(("package", "status"), [("keras", 1), ("jupyterlab", 0)])
@pytest.mark.parametrize("version", [None, "0.1"])
def test_doctor_says_which_package_to_install(no_measuring, monkeypatch, capsys, package, status, version):
    def other_version(name):
        if name != package:
            return metadata.distribution(name).version
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(doctor.metadata, "version", other_version)
    assert main(["doctor"]) == status
    printed = capsys.readouterr().out
    assert re.search(rf"^  {package} +{version or 'missing'}\n +-> .*pip install -r requirements.txt$", printed, re.M)


def test_doctor_without_numpy():
    done = python(WITHOUT_ARRAYS)
    assert done.returncode == 1 and done.stderr == ""
    assert "-> install what is missing: python -m pip install -r requirements.txt" in done.stdout
    assert {"cores", "memory"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def test_doctor_names_a_run_that_is_not_whole(tmp_path, no_measuring, capsys):
    (tmp_path / "runs" / "half").mkdir(parents=True)
    (tmp_path / "runs" / "half" / "settings.json").write_text("{}")
    assert main(["doctor"]) == 0
    assert re.search(r"half +not whole\n +-> .*the same training command resumes it", capsys.readouterr().out)


def test_memory_is_what_psutil_says():
    total, free = doctor.memory()
    assert total == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert free is None or free == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_step_is_measured():
    assert 0 < doctor.seconds_per_step("simple", size=(32, 32), steps=2) < 5


def test_the_estimate_counts_each_training_once_in_order():
    minutes = doctor.estimate({"simple": 60 / 816, "unet": 180 / 816, "unet-no-skip": 240 / 816})
    assert minutes["00_road_data"] == (0, 0)
    assert minutes["01_simple_model"] == pytest.approx((2, 2))
    made = {training for trainings in doctor.NOTEBOOK_TRAININGS.values() for training in trainings}
    whole = sum(
        {"simple": 1, "unet": 3, "unet-no-skip": 4}[model] * doctor.STEPS[recipe] / 816 for model, recipe in made
    )
    assert minutes["03_written_questions"][0] == pytest.approx(900 * 3 / 816)  # its experiments alone
    assert sum(in_order for in_order, _ in minutes.values()) == pytest.approx(whole + (900 + 330) * 3 / 816)


def test_the_table_of_trainings_is_what_the_notebooks_train():
    found = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found[path.stem] = set(re.findall(r'\btrain\(\s*"([\w-]+)",\s*"(\w+)"', code))
    assert found == {notebook: set(trainings) for notebook, trainings in doctor.NOTEBOOK_TRAININGS.items()}


# --- start, status ---------------------------------------------------------------------------------------------------


def test_start_makes_copies_and_status_reads_them(tmp_path, capsys):
    assert main(["start", str(tmp_path / "mine")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("a blank copy, new") == 5 and "--open" in printed
    assert main(["status", str(tmp_path / "mine")]) == 0
    assert "0 of 21 done" in capsys.readouterr().out


def test_start_opens_jupyterlab_here_only_and_hands_on_its_options(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(commands, "_become", lambda *told: calls.append(told) or 0)
    assert main(["start", str(tmp_path), "--open", "--no-browser", "--port", "8900"]) == 0
    ((command, environment),) = calls
    assert command[1:3] == ["-m", "jupyterlab"] and command[-3:] == ["--no-browser", "--port", "8900"]
    assert "--ServerApp.ip=127.0.0.1" in command and f"--ServerApp.root_dir={tmp_path}" in command
    assert not any("token" in part or "password" in part for part in command)  # JupyterLab's own token stays
    settings = Path(environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0]) / "labconfig/page_config.json"
    assert list(json.loads(settings.read_text())) == ["disabledExtensions"]


def test_the_estimate_knows_the_recipes_steps():
    """An epoch has 68 steps; one of pictures of half the size takes about a third of the time."""
    for name, steps in doctor.STEPS.items():
        recipe = recipes.RECIPES[name]
        small = round(recipe.half_size * recipe.epochs)
        assert steps == pytest.approx(68 * (recipe.epochs - small + small / 3), rel=0.03), name


@pytest.mark.skipif(os.name == "nt", reason="a process on Windows cannot become another program")
def test_jupyterlab_takes_the_place_of_the_command():
    code = (
        "import os, sys; from roadseg.cli.main import _become; print(os.getpid());"
        "_become([sys.executable, '-c', 'import os; print(os.getpid(), os.environ[\"MARK\"])'], {'MARK': 'told'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    before, after = done.stdout.splitlines()
    assert after == f"{before} told"


def test_on_windows_the_command_waits_for_jupyterlab(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(subprocess, "call", lambda command, env: (command, env))
    assert commands._become(["program"], {"A": "b"}) == (["program"], {"A": "b"})


def test_status_without_notebooks_says_how_to_get_them(tmp_path, capsys):
    assert "roadseg start" in error_of(capsys, ["status", str(tmp_path / "nowhere")])


def test_start_and_status_need_no_tensorflow(tmp_path):
    code = HEAVY_AFTER.format(
        f"from roadseg.__main__ import main; main(['start', {str(tmp_path)!r}]); main(['status', {str(tmp_path)!r}])"
    )
    assert "tensorflow" not in python(code).stdout.splitlines()[-1]
