"""A course folder that several files share."""

from pathlib import Path

import pytest
from handed_in import command, set_own_jupyter


@pytest.fixture(scope="session")
def set_up(tmp_path_factory) -> Path:
    """A course as `course setup` makes it, for copies; not to be changed."""
    pytest.importorskip("nbgrader")
    folder = tmp_path_factory.mktemp("set_up")
    with pytest.MonkeyPatch.context() as patch:
        set_own_jupyter(patch, folder)
        patch.setenv("ROADSEG_HOME", str(folder))
        assert command("setup", folder / "course") == 0
    return folder / "course"
