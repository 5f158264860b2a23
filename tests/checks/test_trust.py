"""Nothing in a run's folder is executed, and JupyterLab answers on this computer only, and only to its token."""

import io
import json
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from roadseg import recipes, runs, training
from roadseg.errors import RunError

PROJECT = Path(__file__).parents[2]
RECIPE = recipes.changed("fast", name="own", epochs=1)
UNPICKLED = []
sys.addaudithook(lambda event, arguments: UNPICKLED.append(arguments) if event == "pickle.find_class" else None)


@pytest.fixture(scope="module")
def trained(roads, tmp_path_factory) -> runs.Run:
    """A run of one epoch; not to be changed."""
    return training.train("simple", RECIPE, roads, out=tmp_path_factory.mktemp("runs"), say=lambda line: None)


@pytest.fixture
def path(trained, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained.path, tmp_path / trained.path.name)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def keras_archive(place: Path) -> bytes:
    """A whole model in Keras's own format, with a layer that runs code."""
    config = {"class_name": "Lambda", "config": {"function": f"lambda x: open({str(place)!r}, 'w')"}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("config.json", json.dumps(config))
        zipped.writestr("metadata.json", "{}")
        zipped.writestr("model.weights.h5", b"")
    return buffer.getvalue()


def sign(path: Path) -> None:
    """Make the run say that its weights are what they are now: whoever can change them can do that, too."""
    finished = json.loads((path / "finished.json").read_text())
    finished["weights"] = {which: runs.digest(path / f"{which}.weights.h5") for which in runs.WEIGHTS}
    (path / "finished.json").write_text(json.dumps(finished))


def assert_refused(path: Path) -> None:
    with pytest.raises(RunError) as error:
        runs.open_run(path).model()
    message = str(error.value)
    assert message.endswith(f"delete {path} and train again.") and len(message) < 500


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_pickles_and_keras_archives_are_never_opened(path, roads, tmp_path, signed):
    sprung = tmp_path / "sprung"
    trap, archive = pickle.dumps(Trap(sprung)), keras_archive(sprung)
    for name in ("model.keras", "last.keras", "best.keras", "last.h5"):
        (path / name).write_bytes(archive)
    for name in ("state.pkl", "model.pickle", "settings.pkl", "weights.npy"):
        (path / name).write_bytes(trap)
    UNPICKLED.clear()
    run = runs.open_run(path)
    assert run.model().count_params() == 53_761 and training.evaluate(run, roads)  # what lies beside does no harm
    for content in (trap, archive):
        (path / "last.weights.h5").write_bytes(content)
        if signed:
            sign(path)
        assert_refused(path)
    assert not sprung.exists() and not UNPICKLED
    pickle.loads(trap)
    assert sprung.exists() and UNPICKLED  # so the trap works


def test_a_changed_byte_of_the_weights_is_told(path):
    weights = path / "last.weights.h5"
    whole, rng = weights.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(whole), size=20).tolist():
        weights.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
        assert_refused(path)


def first_weights(file: h5py.File) -> tuple[h5py.Group, str, tuple[int, ...]]:
    """Where the first array of the file is, and its shape."""
    found = []
    file.visititems(
        lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) and item.ndim == 4 else None
    )
    return found[0].parent, found[0].name.split("/")[-1], found[0].shape


def elsewhere(path: Path) -> Path:
    """Another HDF5 file, with an array of the right shape, outside of the run."""
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["0"] = np.full((5, 5, 3, 32), 7, np.float32)
    (path.parent / "secret.raw").write_bytes(bytes(5 * 5 * 3 * 32 * 4))
    return path.parent / "secret.h5"


CRAFTED: dict[str, Callable] = {
    "another shape": lambda group, name, shape, path: group.create_dataset(name, data=np.zeros(3, np.float32)),
    "text": lambda group, name, shape, path: group.create_dataset(name, shape, h5py.string_dtype()),
    "far too large": lambda group, name, shape, path: group.create_dataset(
        name, (10**6, 10**6, 10**3), np.float32, chunks=(1, 1000, 1000)
    ),
    "a group": lambda group, name, shape, path: group.create_group(name),
    "missing": lambda group, name, shape, path: None,
    "link to itself": lambda group, name, shape, path: group.__setitem__(name, h5py.SoftLink(f"{group.name}/{name}")),
    "link to another file": lambda group, name, shape, path: group.__setitem__(
        name, h5py.ExternalLink(str(elsewhere(path)), "/0")
    ),
    "bytes of another file": lambda group, name, shape, path: group.create_dataset(
        name, shape, np.float32, external=[(str(elsewhere(path).with_suffix(".raw")), 0, h5py.h5f.UNLIMITED)]
    ),
    "virtual": lambda group, name, shape, path: group.create_virtual_dataset(name, layout_of(elsewhere(path), shape)),
}


def layout_of(file: Path, shape: tuple[int, ...]) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[:] = h5py.VirtualSource(str(file), "0", shape)
    return layout


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # Keras, before it refuses
@pytest.mark.parametrize("craft", CRAFTED.values(), ids=CRAFTED)
def test_crafted_weights_with_the_right_digest_are_refused(path, craft):
    with h5py.File(path / "last.weights.h5", "r+") as file:
        group, name, shape = first_weights(file)
        del group[name]
        craft(group, name, shape, path)
    sign(path)
    assert_refused(path)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("settings.json", {"model": "os.system"}),
        ("settings.json", {"model": ["simple"]}),
        ("settings.json", {"recipe": {}}),
        ("settings.json", {"recipe": "fast"}),
        ("settings.json", {"size": 7}),
        ("settings.json", {"size": ["a", "b"]}),
        ("settings.json", {"size": [7, 7]}),
        ("finished.json", {"weights": {}}),
        ("finished.json", {"weights": ["last"]}),
    ],
)
def test_changed_settings_are_refused(path, file, change):
    content = json.loads((path / file).read_text()) | change
    (path / file).write_text(json.dumps(content))
    assert_refused(path)


def test_an_initializer_from_a_file_is_not_made(path):
    """Keras would make an object of whatever a dictionary names."""
    content = json.loads((path / "settings.json").read_text())
    content["recipe"]["initializer"] = {"module": "builtins", "class_name": "print", "config": {}}
    (path / "settings.json").write_text(json.dumps(content))
    assert runs.open_run(path).model().count_params() == 53_761


# --- JupyterLab ------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def status_of(url: str, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except urllib.error.URLError:
        return 0


@pytest.mark.slow
def test_jupyterlab_listens_here_only_and_asks_for_its_token(tmp_path, monkeypatch):
    for name in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / "jupyter"))
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/contents"
    command = [sys.executable, "-m", "roadseg", "start", tmp_path / "mine", "--open", "--no-browser", f"--port={port}"]
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 100
            while not (status := status_of(url)) and time.monotonic() < deadline:
                time.sleep(0.2)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            listening = {
                connection.laddr.ip
                for one in family
                for connection in one.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
            (record,) = (tmp_path / "jupyter").glob("jpserver-*.json")
            token = json.loads(record.read_text())["token"]
            assert status == status_of(url, "wrong") == 403 and status_of(url, token) == 200
            assert listening == {"127.0.0.1"} and len(token) >= 32
        finally:
            for one in psutil.Process(process.pid).children(recursive=True):
                one.terminate()
            process.terminate()
