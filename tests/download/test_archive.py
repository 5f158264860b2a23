"""Fetching, unpacking and verifying: everything is right, or nothing is there and one line says why."""

import errno
import stat
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import files_below
from filelock import FileLock

from roadseg.download import Verification, archive, download, published_digests, unpack, verify
from roadseg.errors import DataError
from roadseg.street import benchmark


def names_in(folder: Path) -> set[str]:
    """What a folder holds besides the lock."""
    return {path.name for path in folder.iterdir()} - {".data_road.lock"}


# --- unpacking -------------------------------------------------------------------------------------------------------


def test_unpack_gives_the_same_files_and_leaves_a_folder_that_is_there(root, members, data, put_archive):
    path = put_archive(members)
    folder = unpack(path, data)
    assert folder == data / "data_road" and files_below(folder) == files_below(root)
    assert names_in(data) == {"data_road", "data_road.zip"}
    (folder / "mine.txt").write_text("mine")
    assert (unpack(path, data) / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("top", ["", "Downloads/data_road-main/", "data_road\\"])
def test_archives_zipped_again_on_a_mac_with_any_top_folder(root, members, data, put_archive, top):
    renamed = {name.removeprefix("data_road/"): content for name, content in members.items()}
    renamed = {top + name.replace("/", top[-1:] or "/"): content for name, content in renamed.items()}
    extra = {f"__MACOSX/{top}training/{part}/._um_000000.png": b"mac" for part in ("image_2", "gt_image_2")}
    extra[f"{top}.DS_Store"] = b"mac"
    folder = unpack(put_archive(extra | renamed), data)
    assert files_below(root).items() <= files_below(folder).items()
    assert verify(folder) == Verification((), (), (), 6)
    assert folder.stat().st_mode == data.stat().st_mode  # others may read it, too


def test_unpack_writes_nothing_outside(tmp_path, members, data, put_archive):
    (tmp_path / "um.txt").write_text("mine")
    link = zipfile.ZipInfo("data_road/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    outside = ("../um.txt", "../../um.txt", f"{tmp_path}/um.txt", "data_road/../../../um.txt", "..\\um.txt")
    before = files_below(tmp_path)
    folder = unpack(put_archive({**members, **dict.fromkeys(outside, b"evil"), link: b"../.."}), data)
    after = {name: content for name, content in files_below(tmp_path).items() if not name.startswith("data/")}
    assert after == before and names_in(data) == {"data_road", "data_road.zip"}
    assert not (folder / "link").is_symlink()


def change_member(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"image_2/um_000000.png") + 60] ^= 1
    path.write_bytes(content)


def set_encrypted(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of the first member, in both its headers
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)


def grow(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("data_road/bomb", bytes(1_000_001))


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path: zipfile.ZipFile(path, "w").close(),
    **{"changed": change_member, "encrypted": set_encrypted, "too large": grow},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_unpack_refuses_a_bad_archive_and_leaves_the_folder_as_it_was(members, data, put_archive, damage, monkeypatch):
    assert archive.LARGEST_ARCHIVE > 495_000_000
    monkeypatch.setattr(archive, "LARGEST_ARCHIVE", 1_000_000)
    path = put_archive(members)
    damage(path)
    with pytest.raises(DataError, match=str(path)):
        unpack(path, data)
    assert names_in(data) == {"data_road.zip"}


# --- verification ----------------------------------------------------------------------------------------------------


def test_digests_are_those_of_all_published_images():
    published = published_digests()
    assert sum(name.startswith("training/") for name in published) == 289 + 384
    assert sum(name.startswith("testing/") for name in published) == 290 == len(benchmark.test_names())
    assert {len(digest) for digest in published.values()} == {64}


def test_verify_tells_missing_damaged_and_unknown_files(root):
    (root / "training").rename(root / "Training")
    (root / "notes.txt").touch()
    (root / ".cache").touch()
    assert verify(root) == Verification((), (), ("notes.txt",), 6) and verify(root).ok
    (root / "Training/image_2/um_000000.png").unlink()
    (root / "Training/image_2/uu_000000.png").write_bytes(b"changed")
    missing, damaged = "training/image_2/um_000000.png", "training/image_2/uu_000000.png"
    report = verify(root)
    assert report == Verification((missing,), (damaged,), ("notes.txt",), 4) and not report.ok
    assert all(part in str(report) for part in ("4 of 6", missing, damaged, "notes.txt"))


def test_real_images_have_the_published_digests(kitti_folder):
    report = verify(kitti_folder / "original")
    assert (report.good, report.damaged, report.unknown) == (13, (), ()) and not report.ok


# --- download --------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves `content`; its first `failures` answers break off halfway."""

    content = b""
    failures = 0
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data_road.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.requests += 1
        self.send_response(200 if self.path == "/data_road.zip" else 404)
        self.end_headers()  # without a length: only the checks of what arrived can notice
        sent = len(server.content) // 2 if server.requests <= server.failures else len(server.content)
        self.wfile.write(server.content[:sent])

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(members, put_archive, monkeypatch) -> Iterator[Server]:
    """A server on this machine that has the archive."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(archive, "RETRIES", 0)
    path = put_archive(members)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.content = path.read_bytes()
        path.unlink()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_download_unpacks_once_and_removes_what_a_killed_one_left(server, root, data):
    (data / ".data_road-0a1b2c" / "data_road").mkdir(parents=True)
    with ThreadPoolExecutor(3) as pool:  # which take turns
        (folder,) = set(pool.map(lambda _: download(data, url=server.url, progress=False), range(3)))
    assert folder == data / "data_road" and files_below(folder) == files_below(root) and server.requests == 1
    assert (data / "data_road.zip").read_bytes() == server.content
    assert names_in(data) == {"data_road", "data_road.zip"}
    (folder / "training/image_2/um_000000.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=rf"{folder}.*um_000000.png"):
        download(data, url=server.url, progress=False)
    assert (folder / "training/image_2/um_000000.png").read_bytes() == b"mine" and server.requests == 1


def test_a_download_that_breaks_off_leaves_nothing_and_can_be_repeated(server, data):
    server.failures = 1
    with pytest.raises(DataError, match=server.url):
        download(data, url=server.url, progress=False)
    assert names_in(data) == set()
    assert verify(download(data, url=server.url, progress=False)).ok


@pytest.mark.parametrize("there", [False, True], ids=["downloaded", "put there"])  # which is used
def test_changed_images_are_refused(server, members, data, put_archive, there):
    changed = "training/image_2/uu_000000.png"
    path = put_archive({**members, f"data_road/{changed}": b"another image"})
    server.content = path.read_bytes()
    if not there:
        path.unlink()
    before = names_in(data)
    with pytest.raises(DataError, match=changed):
        download(data, url=server.url, progress=False)
    assert names_in(data) == before


def test_a_missing_archive_and_a_full_disk_are_named_and_nothing_is_left(server, data, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="404"):
        download(data, url=server.url.replace("data_road", "gone"), progress=False)
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(DataError, match=f"{data}.*No space left"):
        download(data, url=server.url, progress=False)
    assert names_in(data) == set()


def test_a_lock_is_not_waited_for_forever(data, monkeypatch):
    monkeypatch.setattr(archive, "PATIENCE", 0.1)
    with FileLock(data / ".data_road.lock"), pytest.raises(DataError, match=r"\.data_road\.lock"):
        download(data, progress=False)
