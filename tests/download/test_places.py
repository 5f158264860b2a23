"""Where the road data is found."""

import shutil

import pytest

from roadseg.download import Location, locate
from roadseg.errors import DataError
from roadseg.kitti import list_frames


def test_an_archive_that_was_put_there_is_unpacked_once(tmp_path, members, data, put_archive):
    archive = put_archive(members).rename(data / "Data_Road.zip")
    found = locate()  # in the project that ROADSEG_HOME names
    assert (found.path, found.kind, len(list_frames(found.path))) == (data / "data_road", "kitti", 3)
    archive.write_bytes(b"no longer needed")
    assert locate().path == data / "data_road"


def test_without_any_kitti_there_are_scenes_to_render(tmp_path):
    found = locate()
    assert (found.path, found.kind, found.to_render) == (tmp_path / "data" / "scenes", "scenes", True)
    (found.path / "training" / "calib").mkdir(parents=True)
    assert not locate().to_render
    (found.path / "scenes.json").write_text('{"version": 0}')  # of the renderer, an older one
    assert locate().to_render


@pytest.mark.parametrize("name", ["data_road (1).zip", "KITTI"])
def test_a_near_miss_is_named(tmp_path, data, name):
    for other in ("README.md", "cache", ".data_road.lock", "old training"):
        (data / other).touch()
    assert "rename" not in locate().reason
    (data / name).touch()
    assert f"If {name} is" in locate().reason


@pytest.mark.parametrize("kind", ["kitti", "scenes"])
def test_the_environment_chooses_before_all_others(tmp_path, root, data, monkeypatch, kind):
    shutil.copytree(root, data / "data_road")
    if kind == "scenes":
        (root / "scenes.json").write_text('{"version": 0}')
    monkeypatch.setenv("ROADSEG_DATA", str(root))
    found = locate()
    assert found == Location(root, kind, found.reason, ("ROADSEG_DATA",))
    assert str(root) in found.reason and found.chosen and not found.to_render


@pytest.mark.parametrize("name", ["gone", "loop"])
def test_a_wrong_choice_is_named(tmp_path, data, monkeypatch, name):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROADSEG_DATA", name)
    with pytest.raises(DataError, match=rf"ROADSEG_DATA.*{name}"):
        locate()
