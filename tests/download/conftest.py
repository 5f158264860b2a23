"""A tiny data set whose files are the published ones, and archives of it."""

import hashlib
import zipfile
from pathlib import Path

import pooch  # noqa: F401  (its log keeps the stderr of its first import, which must outlive a test)
import pytest
from conftest import files_below, write_roads

from roadseg.download import archive


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Three images with labels, which are published, and a calibration file, which is not."""
    root = write_roads(tmp_path / "source" / "data_road", count=1, size=(4, 6))
    published = {name: hashlib.sha256(content).hexdigest() for name, content in files_below(root).items()}
    monkeypatch.setattr(archive, "published_digests", lambda: published)
    (root / "training" / "calib").mkdir()
    (root / "training" / "calib" / "um_000000.txt").write_text("P0: 1 0 0")
    return root


@pytest.fixture
def members(root) -> dict[str, bytes]:
    """What the published archive holds: names and contents."""
    return {f"data_road/{name}": content for name, content in files_below(root).items()}


@pytest.fixture
def data(tmp_path) -> Path:
    """The project's data folder, empty."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def put_archive(data):
    """A function that writes members as data/data_road.zip."""

    def put(members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(data / "data_road.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
            for member, content in members.items():
                zipped.writestr(member, content)
        return data / "data_road.zip"

    return put
