"""Where files are kept, and that each is whole or not there."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from roadseg import storage
from roadseg.errors import DataError


def test_project_root_is_the_nearest_project_else_the_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("ROADSEG_HOME")
    monkeypatch.chdir(tmp_path)
    assert storage.project_root() == Path(storage.__file__).resolve().parents[1]
    (tmp_path / "roadseg").symlink_to(300 * "x")  # a folder that refuses, as those of others do
    inner = tmp_path / "notebooks" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    (tmp_path / "notebooks" / "00_road_data.ipynb").touch()
    assert storage.project_root() == tmp_path
    (inner / "roadseg").mkdir()
    (inner / "roadseg" / "__init__.py").touch()
    assert storage.project_root() == inner


def test_environment_variables_choose_the_folders(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.setenv("ROADSEG_RUNS", str(tmp_path / "elsewhere"))
    assert (storage.cache_folder(), storage.runs_folder()) == (tmp_path / "cache", tmp_path / "elsewhere")
    monkeypatch.delenv("ROADSEG_CACHE")
    monkeypatch.delenv("ROADSEG_RUNS")
    assert (storage.cache_folder(), storage.runs_folder()) == (tmp_path / "data" / "cache", tmp_path / "runs")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("ROADSEG_CACHE", "~/c")
    monkeypatch.setenv("ROADSEG_RUNS", "~/r")
    monkeypatch.setenv("ROADSEG_SHARED_RUNS", "~/s")
    assert storage.cache_folder() == tmp_path / "c" and storage.all_runs_folders() == [tmp_path / "r", tmp_path / "s"]
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"ROADSEG_HOME.*gone"):
        storage.project_root()


# --- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_file_is_the_new_one_or_the_old_one(tmp_path, error):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with suppress(ValueError, KeyboardInterrupt), storage.atomic_write(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
        if error:
            raise error
    assert target.read_bytes() == (b"old" if error else b"new") and list(tmp_path.iterdir()) == [target]


def test_an_error_names_the_file_that_was_meant(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as error, storage.atomic_write(tmp_path / "file" / "below"):
        pytest.fail("it began")
    assert error.value.filename == str(tmp_path / "file" / "below")


def test_a_folder_in_the_way_is_refused_at_once(tmp_path):
    with pytest.raises(IsADirectoryError, match=tmp_path.name), storage.atomic_write(tmp_path):
        pytest.fail("it began")


def test_a_file_that_another_program_holds_is_replaced_once_it_is_free(tmp_path, monkeypatch):
    replace = os.replace

    def refuse_once(source, target):
        monkeypatch.setattr(os, "replace", replace)
        raise PermissionError(target)

    monkeypatch.setattr(os, "replace", refuse_once)
    (tmp_path / "source").touch()
    storage.replace(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


# --- arrays ----------------------------------------------------------------------------------------------------------


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "changed": lambda path: path.write_bytes(path.read_bytes().replace(b"\x07\0\0\0", b"\x08\0\0\0")),
    "pickled": lambda path: np.savez(path, a=np.array([{}], object)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_arrays_are_read_and_missing_ones_are_told_from_damaged_ones(tmp_path, damage):
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(100), b=np.array(["x"]))
    arrays = storage.read_arrays(path)
    assert list(arrays) == ["a", "b"] and arrays["a"].tolist() == list(range(100))
    for missing in (tmp_path / "gone.npz", path / "below.npz"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            storage.read_arrays(missing)
    damage(path)
    with pytest.raises(ValueError, match=r"arrays\.npz"):
        storage.read_arrays(path)
