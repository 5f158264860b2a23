"""The doctor: what it finds, what it says to do, and its estimate."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

from roadseg import backend, workbook
from roadseg.cli import doctor, main
from roadseg.recipes import RECIPES

WITHOUT_NUMPY = (
    "import sys; sys.modules.update(numpy=None); from roadseg.__main__ import main; sys.exit(main(['doctor']))"
)


@pytest.fixture
def examine(monkeypatch, capsys):
    """Runs the doctor, which measures nothing: its exit status, and its lines by the names that they start with."""
    monkeypatch.setattr(doctor, "seconds_per_step", {"simple": 0.1, "unet": 0.3}.get)

    def run() -> tuple[int, dict[str, str]]:
        status = main(["doctor"])
        findings = re.findall(r"^  (\S.*?)  +(.*(?:\n +-> .*)?)$", capsys.readouterr().out, re.MULTILINE)
        return status, dict(findings)

    return run


def test_all_that_is_needed_is_found_and_an_incomplete_run_is_named(examine, monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "onednn_is_on", lambda: True)
    (tmp_path / "runs" / "half").mkdir(parents=True)
    (tmp_path / "runs" / "half" / "settings.json").write_text("{}")
    status, found = examine()
    assert status == 0
    for name in ("tensorflow", "keras", "numpy", "jupyterlab"):
        assert found[name] == metadata.version(name)
    assert found["cores"] == str(os.cpu_count()) and found["python"].startswith("3.")
    assert found["project"] == str(tmp_path) and found["oneDNN"] == "on"
    assert found["folder"].startswith(str(tmp_path / "runs")) and str(tmp_path / "runs" / "half") in found["half"]
    assert "about 3 min" in found["01_simple_model"]  # 2 x 816 steps of 0.1 s


def test_bad_data_and_runs_are_essential(examine, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROADSEG_DATA", str(tmp_path / "gone"))
    assert examine()[0] == 1
    monkeypatch.delenv("ROADSEG_DATA")
    monkeypatch.setenv("ROADSEG_RUNS", str(tmp_path / "file"))
    status, found = examine()
    assert status == 1 and str(tmp_path / "file") in found["not examined"]
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(("package", "version", "status"), [("keras", None, 1), ("jupyterlab", "0.1", 0)])
def test_a_package_to_install_is_named(examine, monkeypatch, package, version, status):
    def other_version(name):
        if name != package:
            return metadata.distribution(name).version
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(doctor.metadata, "version", other_version)
    found_status, found = examine()
    assert found_status == status
    assert re.fullmatch(rf"{version or 'missing'}\n +-> .*pip install -r requirements.txt", found[package])


def test_a_python_that_does_not_fit_is_essential(examine, monkeypatch):
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.9.1")
    status, found = examine()
    assert status == 1 and re.match(r"3\.9\.1\n +-> .*3\.11", found["python"])


def test_without_numpy_the_doctor_still_works():
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMPY], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.count("-> install what is missing: python -m pip install -r requirements.txt") >= 1
    assert {"cores", "memory"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def test_the_estimate_counts_each_run_once_and_respects_the_epochs_limit(examine, monkeypatch):
    small = round(RECIPES["fast"].progressive_resizing * 10)
    fast = 3 * (10 - small + small / 3) / 12
    minutes = doctor.estimate({"simple": 60 / 816, "unet": 180 / 816})
    expected = [0, 2, 9, 2700 / 816, 2100 / 816 + 3 * fast]  # the last two have small networks of their own
    assert list(minutes.values()) == pytest.approx(expected)
    monkeypatch.setenv("ROADSEG_EPOCHS", "6")
    status, found = examine()
    assert status == 0 and found["ROADSEG_EPOCHS"] == "6"
    assert "about 1 min" in found["01_simple_model"]  # 2 x 6 x 68 steps of 0.1 s
    monkeypatch.setenv("ROADSEG_EPOCHS", "none")
    assert examine()[0] == 1


def test_the_doctors_runs_are_those_of_the_notebooks():
    before = set()
    for name, new in doctor.NEW_RUNS.items():
        cells = json.loads((workbook.worked_folder() / f"{name}.ipynb").read_text("utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found = set(re.findall(r'\btrain\(\s*"([\w-]+)",\s*"(\w+)"', code))
        assert found - before == set(new), name
        before |= found


@pytest.mark.long
def test_a_step_is_measured_where_operations_are_deterministic():
    code = "from roadseg.cli import doctor; print(doctor.seconds_per_step('simple', size=(32, 32), steps=1))"
    environment = {**os.environ, "TF_DETERMINISTIC_OPS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) > 0
