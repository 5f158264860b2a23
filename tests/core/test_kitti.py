"""Tests of `roadseg.kitti` on tiny folders and archives, and on real images where there are some.

ROADSEG_KITTI names a folder with real KITTI road images: `original/training` holds six images as published (one for
each size and category) and a `um_lane` label, `half/training` 240 of the 289 labelled images at half resolution. Where
it is not set, the tests of real images are skipped.
"""

import errno
import hashlib
import io
import os
import shutil
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch  # noqa: F401  (its log keeps the stderr of its first import, which must outlive a test)
import pytest
from PIL import Image

from roadseg import kitti
from roadseg.errors import DataError

NAMES = ("um_000000", "umm_000000", "uu_000000")
NOT_ROAD, IS_ROAD, EXCLUDED, EXCLUDED_ROAD = (255, 0, 0), (255, 0, 255), (0, 0, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("ROADSEG_DATA", "ROADSEG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(kitti, "RETRIES", 0)


@pytest.fixture
def root(tmp_path) -> Path:
    """A data set of three frames, 6 x 4 pixels, and one lane label."""
    return write_dataset(tmp_path / "source" / "data_road")


@pytest.fixture
def archive(root, tmp_path, monkeypatch) -> bytes:
    """The data set as data_road.zip, whose files are the published ones."""
    published = digests_of(root)
    monkeypatch.setattr(kitti, "digests", lambda: published)
    return zip_of({f"data_road/{path.relative_to(root)}": path.read_bytes() for path in files_of(root)})


def write_dataset(root: Path, *, training="training") -> Path:
    for name in NAMES:
        category, number = name.split("_")
        save(root / training / "image_2" / f"{name}.png", np.full((4, 6, 3), len(category) * 50))
        save(root / training / "gt_image_2" / f"{category}_road_{number}.png", label_array())
    save(root / training / "gt_image_2" / "um_lane_000001.png", label_array())
    (root / training / "calib").mkdir()
    (root / training / "calib" / "um_000000.txt").write_text("P0: 1 0 0")
    return root


def label_array() -> np.ndarray:
    return np.array([[NOT_ROAD] * 6, [IS_ROAD] * 6, [EXCLUDED] * 6, [EXCLUDED_ROAD] * 6])


def save(path: Path, pixels: np.ndarray, *, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).convert(mode).save(path)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def state_of(folder: Path) -> dict[str, bytes]:
    """All visible files below a folder with their bytes: what must not change when something fails."""
    return {str(path): path.read_bytes() for path in files_of(folder) if not path.name.startswith(".data_road.lock")}


def digests_of(root: Path) -> dict[str, str]:
    pngs = [path for path in files_of(root) if path.suffix == ".png"]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in pngs}


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def leftovers(target: Path) -> list[str]:
    """What is in a target folder besides the lock and what belongs there."""
    allowed = {"data_road", "data_road.zip", ".data_road.lock"}
    return sorted(path.name for path in target.iterdir() if path.name not in allowed)


def assert_helpful(error: pytest.ExceptionInfo, *words: object) -> None:
    """One line that holds all of `words`, after a semicolon what to do."""
    message = str(error.value)
    assert "\n" not in message
    assert "; " in message
    assert [str(word) for word in words if str(word) not in message] == []


# --- frames ----------------------------------------------------------------------------------------------------------


def test_frames_pair_images_with_road_labels_sorted_and_without_lanes(root):
    found = kitti.frames(root)
    assert [(frame.name, frame.category) for frame in found] == list(zip(NAMES, kitti.CATEGORIES, strict=True))
    assert [frame.label.name for frame in found] == ["um_road_000000.png", "umm_road_000000.png", "uu_road_000000.png"]
    assert all(frame.image.name == f"{frame.name}.png" for frame in found)


def test_frames_of_folders_in_other_spelling_and_nested(tmp_path):
    write_dataset(tmp_path / "Data_Road", training="Training")
    assert [frame.name for frame in kitti.frames(tmp_path)] == list(NAMES)
    assert kitti.frames(tmp_path) == kitti.frames(tmp_path / "Data_Road")


def test_frames_ignore_what_is_no_frame(root):
    for name in (".DS_Store", "Thumbs.db", "um_1.png", "notes.txt"):
        (root / "training" / "image_2" / name).write_bytes(b"x")
    assert len(kitti.frames(root)) == 3


def test_frames_of_a_missing_and_of_a_strange_folder(tmp_path):
    with pytest.raises(DataError) as error:
        kitti.frames(tmp_path / "nowhere")
    assert_helpful(error, tmp_path / "nowhere", "training/image_2", "no such folder", "unpack data_road.zip")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError) as error:
        kitti.frames(tmp_path)
    assert_helpful(error, tmp_path, "training/gt_image_2", "found holiday.jpg", "unpack data_road.zip")


def test_frames_name_images_without_label(root):
    for number in range(1, 6):
        save(root / "training" / "image_2" / f"uu_00000{number}.png", np.zeros((4, 6, 3)))
    with pytest.raises(DataError) as error:
        kitti.frames(root)
    assert_helpful(error, "5 without label (uu_000001.png, uu_000002.png, uu_000003.png and 2 more)", "restore")
    assert "uu_000004" not in str(error.value)


def test_frames_name_labels_without_image(root):
    (root / "training" / "image_2" / "umm_000000.png").unlink()
    with pytest.raises(DataError) as error:
        kitti.frames(root)
    assert_helpful(error, "1 without image (umm_road_000000.png)", "restore each image")


def test_frames_of_empty_folders(tmp_path):
    for name in ("image_2", "gt_image_2"):
        (tmp_path / "training" / name).mkdir(parents=True)
    with pytest.raises(DataError) as error:
        kitti.frames(tmp_path)
    assert_helpful(error, tmp_path, "no image", "um_000000.png", "copy")


def test_frames_refuse_a_folder_in_place_of_a_file(root):
    image = root / "training" / "image_2" / "um_000000.png"
    image.unlink()
    image.mkdir()
    with pytest.raises(DataError) as error:
        kitti.frames(root)
    assert_helpful(error, image.parent, "found a folder or a broken link: um_000000.png", "replace it")


def test_frames_of_an_unreadable_folder(root, monkeypatch):
    def denied(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", denied)  # chmod would not stop the administrator
    with pytest.raises(DataError) as error:
        kitti.frames(root)
    assert_helpful(error, root, "Permission denied", "make the folder readable")


# --- reading and decoding --------------------------------------------------------------------------------------------


def test_decode_label_keeps_road_and_evaluation_apart():
    road, evaluated = kitti.decode_label(label_array().astype(np.uint8))
    assert road.dtype == evaluated.dtype == bool
    assert road[:, 0].tolist() == [False, True, False, True]
    assert evaluated[:, 0].tolist() == [True, True, False, False]


@pytest.mark.parametrize(("width", "height"), [(1242, 375), (1241, 376), (1238, 374), (1226, 370), (621, 188), (7, 5)])
def test_read_frame_of_any_size(root, width, height):
    frame = kitti.frames(root)[0]
    save(frame.image, np.full((height, width, 3), 9))
    save(frame.label, np.full((height, width, 3), 255))
    image, label = kitti.read_frame(frame)
    assert image.shape == label.shape == (height, width, 3)
    assert image.dtype == label.dtype == np.uint8
    assert image.max() == 9
    assert label.min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_images_of_other_modes_become_rgb(root, mode):
    frame = kitti.frames(root)[0]
    save(frame.image, np.full((4, 6, 3), 255), mode=mode)
    assert (kitti.read_frame(frame)[0] == np.full((4, 6, 3), 255)).all()


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_labels_of_other_colour_modes_are_exact(root, mode):
    frame = kitti.frames(root)[0]
    label = Image.fromarray(label_array().astype(np.uint8))
    (label.quantize() if mode == "P" else label.convert(mode)).save(frame.label)
    assert (kitti.read_frame(frame)[1] == label_array()).all()


def test_palette_with_transparency_reads_without_a_warning(root):
    frame = kitti.frames(root)[0]
    Image.fromarray(label_array().astype(np.uint8)).quantize().save(frame.image, transparency=b"\0\x80\xff")
    assert (kitti.read_frame(frame)[0] == label_array()).all()


def test_grey_labels_and_deep_images_are_refused(root):
    frame = kitti.frames(root)[0]
    save(frame.label, np.full((4, 6), 255), mode="L")
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.label, "expected one of the modes RGB, RGBA, P, found L", "convert it to RGB")
    Image.fromarray(np.full((4, 6), 40_000, dtype=np.uint16)).save(frame.image)
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.image, "found I;16", "convert it to RGB")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


def flipped(png: bytes) -> bytes:
    """The same file with one bit of its pixels changed."""
    middle = png.index(b"IDAT") + 12
    return png[:middle] + bytes([png[middle] ^ 1]) + png[middle + 1 :]


BAD_PNG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda png: b"", "is empty"),
    "text": (lambda png: b"<html>not found</html>", "expected a still PNG picture"),
    "jpeg": (lambda png: b"\xff\xd8\xff\xe0\0\x10JFIF", "expected a still PNG picture"),
    "cut in the start": (lambda png: png[:20], "truncated or damaged"),
    "cut in the middle": (lambda png: png[: png.index(b"IDAT") + 10], "truncated or damaged"),
    "cut at the end": (lambda png: png[:-14], "truncated or damaged"),
    "one bit flipped": (flipped, "truncated or damaged"),
    "no pixels": (lambda png: png_of(6, 4, chunk(b"IEND", b"")), "truncated or damaged"),
    "a bomb": (lambda png: png_of(60_000, 60_000, chunk(b"IDAT", b"")), "16,000,000 pixels, found 60000 x 60000"),
    "just too large": (lambda png: png_of(16_001, 1_000, chunk(b"IDAT", b"")), "at most 16,000,000 pixels"),
    "animated": (lambda png: png_of(6, 4, chunk(b"acTL", bytes(8)), chunk(b"IDAT", b"")), "still PNG picture"),
}


@pytest.mark.parametrize("which", ["image", "label"])
@pytest.mark.parametrize(("damage", "words"), BAD_PNG.values(), ids=BAD_PNG)
def test_read_frame_names_the_bad_file_and_the_remedy(root, which, damage, words):
    frame = kitti.frames(root)[0]
    bad = getattr(frame, which)
    bad.write_bytes(damage(bad.read_bytes()))
    before = state_of(root)
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, bad, words, "; replace it by an intact copy")
    assert state_of(root) == before


def test_read_frame_of_missing_directory_and_unreadable(root, monkeypatch):
    frame = kitti.frames(root)[0]
    frame.image.unlink()
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.image, "No such file", "make it a readable file")
    frame.image.mkdir()
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.image, "make it a readable file")

    def denied(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.image, "Permission denied", "make it a readable file")


def test_read_frame_tells_both_sizes(root):
    frame = kitti.frames(root)[0]
    save(frame.label, np.full((4, 5, 3), 255))
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.label, "um_000000.png, 6 x 4 pixels, found 5 x 4", "replace")


@pytest.mark.parametrize("colour", [EXCLUDED, EXCLUDED_ROAD])
def test_read_frame_refuses_a_label_that_evaluates_nothing(root, colour):
    frame = kitti.frames(root)[0]
    save(frame.label, np.full((4, 6, 3), colour))
    with pytest.raises(DataError) as error:
        kitti.read_frame(frame)
    assert_helpful(error, frame.label, "no pixel is evaluated", "replace the label")


# --- location --------------------------------------------------------------------------------------------------------


def test_locate_falls_back_to_scenes(tmp_path):
    found = kitti.locate(tmp_path)
    assert (found.path, found.kind) == (tmp_path / "data" / "scenes", "scenes")
    assert found.looked == ("ROADSEG_DATA", "data/data_road", "data/data_road.zip", "data/scenes")
    assert found.why == "There is no KITTI road in the folder data: scenes take its place."
    assert not found.path.parent.exists()


@pytest.mark.parametrize("name", ["data_road", "Data_Road", "DATA_ROAD", "data_road/Data_Road"])
def test_locate_finds_the_folder_in_any_spelling(tmp_path, name):
    write_dataset(tmp_path / "data" / name, training="Training")
    found = kitti.locate(tmp_path)
    assert (found.path, found.kind, len(found.looked)) == (tmp_path / "data" / name, "kitti", 2)
    assert len(kitti.frames(found.path)) == 3


def test_locate_prefers_the_usual_spelling(tmp_path):
    (tmp_path / "data" / "DATA_ROAD").mkdir(parents=True)
    write_dataset(tmp_path / "data" / "data_road")
    spellings = [path.name for path in (tmp_path / "data").iterdir()]  # one only where case does not matter
    assert kitti.locate(tmp_path).path.name == max(spellings)


def test_locate_prefers_the_environment(tmp_path, root, monkeypatch):
    write_dataset(tmp_path / "data" / "data_road")
    monkeypatch.setenv("ROADSEG_DATA", str(root))
    expected = kitti.Location(root, "kitti", f"ROADSEG_DATA points to {root}.", ("ROADSEG_DATA",))
    assert kitti.locate(tmp_path) == expected


def test_locate_refuses_a_wrong_environment(tmp_path, monkeypatch):
    write_dataset(tmp_path / "data" / "data_road")
    monkeypatch.setenv("ROADSEG_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError) as error:
        kitti.locate(tmp_path)
    assert_helpful(error, "ROADSEG_DATA", tmp_path / "gone", "training/image_2", "correct or unset ROADSEG_DATA")


def test_locate_refuses_a_folder_that_only_has_the_name(tmp_path):
    (tmp_path / "data" / "data_road").mkdir(parents=True)
    with pytest.raises(DataError) as error:
        kitti.locate(tmp_path)
    assert_helpful(error, tmp_path / "data" / "data_road", "found nothing", "unpack data_road.zip")


def test_locate_unpacks_an_archive_put_there_by_hand_once(tmp_path, archive):
    data = tmp_path / "data"
    data.mkdir()
    (data / "Data_Road.zip").write_bytes(archive)
    found = kitti.locate(tmp_path)
    assert (found.path, found.kind, len(found.looked)) == (data / "data_road", "kitti", 3)
    assert len(kitti.frames(found.path)) == 3
    (data / "Data_Road.zip").write_bytes(b"no longer needed")
    assert kitti.locate(tmp_path).path == data / "data_road"
    assert leftovers(data) == ["Data_Road.zip"]


def test_locate_explains_a_damaged_archive(tmp_path, archive):
    data = tmp_path / "data"
    data.mkdir()
    (data / "data_road.zip").write_bytes(archive[:-30])
    before = state_of(data)
    with pytest.raises(DataError) as error:
        kitti.locate(tmp_path)
    assert_helpful(error, data / "data_road.zip", "truncated or damaged", "delete", kitti.URL)
    assert state_of(data) == before
    assert leftovers(data) == []


def test_project_root(tmp_path, monkeypatch):
    inner = tmp_path / "notebooks" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert kitti.project_root() == tmp_path
    assert kitti.locate().path == tmp_path / "data" / "scenes"
    (inner / "pyproject.toml").touch()
    assert kitti.project_root() == inner
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path))
    assert kitti.project_root() == tmp_path
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path / "gone"))
    with pytest.raises(DataError) as error:
        kitti.project_root()
    assert_helpful(error, tmp_path / "gone", "correct or unset ROADSEG_HOME")


def test_project_root_without_any_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kitti, "__file__", str(tmp_path / "site" / "roadseg" / "kitti.py"))
    assert kitti.project_root() == tmp_path
    (tmp_path / "site" / "notebooks").mkdir(parents=True)
    assert kitti.project_root() == tmp_path / "site"


# --- unpacking -------------------------------------------------------------------------------------------------------


def put(target: Path, content: bytes) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    (target / "data_road.zip").write_bytes(content)
    return target / "data_road.zip"


def test_unpack_gives_the_same_files(root, archive, tmp_path):
    folder = kitti.unpack(put(tmp_path / "data", archive), tmp_path / "data")
    assert folder == tmp_path / "data" / "data_road"
    assert digests_of(folder) == digests_of(root)
    assert (folder / "training" / "calib" / "um_000000.txt").read_text() == "P0: 1 0 0"
    assert leftovers(tmp_path / "data") == []


def test_unpack_leaves_what_is_there(archive, tmp_path):
    (tmp_path / "data" / "data_road").mkdir(parents=True)
    (tmp_path / "data" / "data_road" / "mine.txt").write_text("mine")
    kitti.unpack(put(tmp_path / "data", archive), tmp_path / "data")
    assert [path.name for path in files_of(tmp_path / "data" / "data_road")] == ["mine.txt"]


BAD_NAMES = (
    "/etc/passwd",
    "../outside.png",
    "data_road/../../outside.png",
    "data_road/training/..",
    "data_road/./x.png",
    "data_road//x.png",
    "C:/x.png",
    "data_road/C:x.png",
    "data_road\\..\\x.png",
    "other/x.png",
    "data_road.png",
    "data_road/x\n.png",
    "data_road/.hidden",
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_unpack_refuses_paths_outside(tmp_path, name):
    target = tmp_path / "data"
    bad = put(target, zip_of({"data_road/a.png": b"a", name: b"evil"}))
    before = state_of(tmp_path)
    with pytest.raises(DataError) as error:
        kitti.unpack(bad, target)
    assert_helpful(error, bad, "expected only plain paths below data_road/", repr(name), f"delete {bad}", kitti.URL)
    assert state_of(tmp_path) == before
    assert leftovers(target) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_unpack_refuses_links_and_devices(tmp_path, kind):
    member = zipfile.ZipInfo("data_road/link")
    member.external_attr = (kind | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr(member, "/etc/passwd")
    bad = put(tmp_path, buffer.getvalue())
    with pytest.raises(DataError) as error:
        kitti.unpack(bad, tmp_path)
    assert_helpful(error, bad, "expected only files and folders, found 'data_road/link'", "delete")
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "data_road").exists()


def encrypted(content: bytes) -> bytes:
    """The archive with the flag of encryption set in its first member, in both of its headers."""
    changed = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[changed.index(mark) + offset] |= 1
    return bytes(changed)


def compressed_by(kind: int, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as zipped:
        zipped.writestr("data_road/a.png", content)
    return buffer.getvalue()


BAD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "encrypted": (lambda: encrypted(zip_of({"data_road/a": b"abc"})), "expected no encrypted members"),
    "other method": (lambda: compressed_by(zipfile.ZIP_BZIP2, b"abc"), "expected only deflated or stored"),
    "same names": (lambda: zip_of({"data_road/a": b"1", "data_road/A": b"2"}), "two members of one name"),
    "bomb": (lambda: zip_of({"data_road/a": bytes(10**6)}), "expected no member that shrinks below 1/100"),
    "large file": (lambda: zip_of({"data_road/a": os.urandom(2_000)}), "expected at most 1,000 bytes a file"),
    "large total": (lambda: zip_of({f"data_road/{i}": b"1" * 900 for i in range(6)}), "at most 5,000 bytes unpacked"),
    "many members": (lambda: zip_of({f"data_road/{i}": b"" for i in range(31)}), "at most 30 members, found 31"),
    "no archive": (lambda: b"<html>404</html>", "truncated or damaged"),
    "empty file": (lambda: b"", "truncated or damaged"),
    "no members": (lambda: zip_of({}), "expected data_road/training"),
    "no training": (lambda: zip_of({"data_road/a.png": b"a"}), "expected data_road/training"),
}


@pytest.mark.parametrize(("content", "words"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_unpack_refuses_bad_archives(tmp_path, monkeypatch, content, words):
    monkeypatch.setattr(kitti, "MOST_MEMBERS", 30)
    if "bytes" in words:
        monkeypatch.setattr(kitti, "LARGEST_FILE", 1_000)
        monkeypatch.setattr(kitti, "LARGEST_ARCHIVE", 5_000)
    bad = put(tmp_path, content())
    before = state_of(tmp_path)
    with pytest.raises(DataError) as error:
        kitti.unpack(bad, tmp_path)
    assert_helpful(error, bad, words, f"delete {bad}", kitti.URL)
    assert state_of(tmp_path) == before
    assert leftovers(tmp_path) == []


def test_bounds_leave_room_for_the_published_archive():
    assert len(kitti.digests()) * 2 < kitti.MOST_MEMBERS == 5_000
    assert kitti.LARGEST_FILE == 64 * 2**20
    assert 495_000_000 < kitti.LARGEST_ARCHIVE == 2**31


def test_unpack_notices_a_changed_byte(tmp_path):
    content = bytearray(zip_of({"data_road/a.png": os.urandom(500)}))
    content[200] ^= 1
    bad = put(tmp_path, bytes(content))
    with pytest.raises(DataError) as error:
        kitti.unpack(bad, tmp_path)
    assert_helpful(error, bad, "truncated or damaged", "delete")
    assert leftovers(tmp_path) == []


def test_unpack_explains_a_full_disk_and_cleans_up(archive, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    good = put(tmp_path / "data", archive)
    with pytest.raises(DataError) as error:
        kitti.unpack(good, tmp_path / "data")
    assert_helpful(error, tmp_path / "data", "No space left on device", "free 1 GB there")
    assert good.read_bytes() == archive
    assert leftovers(tmp_path / "data") == []


def test_unpack_below_a_file(archive, tmp_path):
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DataError) as error:
        kitti.unpack(tmp_path / "data_road.zip", tmp_path / "data")
    assert_helpful(error, tmp_path / "data", "File exists", "choose a folder")


# --- verification ----------------------------------------------------------------------------------------------------


def test_digests_are_the_published_ones():
    published = kitti.digests()
    kinds = {kind: sum(name.startswith(kind) for name in published) for kind in ("training", "testing")}
    assert kinds == {"training": 289 + 384, "testing": 290}
    assert all(len(digest) == 64 for digest in published.values())


def test_verify_tells_good_from_bad(root, archive):
    report = kitti.verify(root)
    assert report == kitti.Verification((), (), (), 7)
    assert report.ok
    assert str(report) == "7 of 7 files are intact"
    (root / "training" / "image_2" / "um_000000.png").unlink()
    (root / "training" / "image_2" / "uu_000000.png").write_bytes(b"changed")
    (root / "training" / "more.png").touch()
    (root / ".cache").mkdir()
    (root / ".cache" / "arrays.npy").touch()
    report = kitti.verify(root)
    missing, damaged = "training/image_2/um_000000.png", "training/image_2/uu_000000.png"
    assert report == kitti.Verification((missing,), (damaged,), ("training/more.png",), 5)
    assert not report.ok
    expected = f"5 of 7 files are intact, 1 missing ({missing}), 1 damaged ({damaged}), 1 unknown (training/more.png)"
    assert str(report) == expected


def test_unknown_files_do_no_harm_and_case_does_not_matter(root, archive):
    (root / "notes.txt").touch()
    (root / "training").rename(root / "Training")
    assert kitti.verify(root) == kitti.Verification((), (), ("notes.txt",), 7)
    assert kitti.verify(root).ok


def test_verify_of_a_missing_folder(tmp_path):
    with pytest.raises(DataError) as error:
        kitti.verify(tmp_path / "nowhere")
    assert_helpful(error, tmp_path / "nowhere", "no such folder", "unpack")


# --- download --------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A web server that counts requests and misbehaves as its attributes say."""

    content = b""
    failures = 0  # first answers that break off midway
    cut: int | None = None  # bytes after which every answer breaks off
    tells_length = True  # where not, nobody but the receiver's checks notices
    redirect = ""  # where moved.zip is now
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data_road.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.requests += 1
        if self.path == "/moved.zip":
            self.answer(302, b"moved", location=server.redirect)
        elif self.path != "/data_road.zip":
            self.answer(404, b"not here")
        elif server.requests <= server.failures:
            self.answer(200, server.content[: len(server.content) // 2])
        elif server.cut is not None:
            self.answer(200, server.content[: server.cut])
        else:
            self.answer(200, server.content)

    def answer(self, status: int, body: bytes, *, location: str = "") -> None:
        self.send_response(status)
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(self.server.content) if status == 200 else len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(archive) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.content = archive
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_download_unpacks_verifies_and_does_it_once(server, tmp_path, archive, capfd):
    target = tmp_path / "data"
    folder = kitti.download(target, url=server.url, progress=True)
    assert "100%" in capfd.readouterr().err
    assert folder == target / "data_road"
    assert kitti.verify(folder) == kitti.Verification((), (), (), 7)
    assert leftovers(target) == []
    assert kitti.download(target, url=server.url) == folder
    assert server.requests == 1


def test_download_uses_a_finished_archive(server, tmp_path, archive):
    put(tmp_path, archive)
    kitti.download(tmp_path, url=server.url, progress=False)
    assert server.requests == 0
    assert kitti.verify(tmp_path / "data_road").ok


def test_download_checks_the_digest_of_the_archive(server, tmp_path, archive):
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=server.url, digest="0" * 64, progress=False)
    assert_helpful(error, server.url, "hash", "by hand")
    assert state_of(tmp_path / "data") == {}
    kitti.download(tmp_path / "data", url=server.url, digest=hashlib.sha256(archive).hexdigest(), progress=False)


def test_download_survives_one_broken_connection(server, tmp_path, monkeypatch):
    monkeypatch.setattr(kitti, "RETRIES", 1)
    server.failures = 1
    kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert server.requests == 2


def test_download_explains_a_broken_connection_and_leaves_nothing(server, tmp_path):
    server.failures = 9
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert_helpful(error, server.url, "was not downloaded", "try again", "by hand", f"into {tmp_path / 'data'}")
    assert state_of(tmp_path / "data") == {}
    assert leftovers(tmp_path / "data") == []


@pytest.mark.parametrize("tells_length", [True, False])
def test_download_cut_at_random_bytes_leaves_nothing_and_starts_clean(server, tmp_path, archive, tells_length):
    server.tells_length = tells_length
    for cut in np.random.default_rng(0).integers(len(archive), size=15).tolist():
        server.cut = cut
        with pytest.raises(DataError) as error:
            kitti.download(tmp_path / "data", url=server.url, progress=False)
        assert_helpful(error, server.url, "try again", "by hand", f"into {tmp_path / 'data'}")
        assert state_of(tmp_path) == state_of(tmp_path / "source") and leftovers(tmp_path / "data") == []
    server.cut = None
    kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert kitti.verify(tmp_path / "data" / "data_road").ok
    assert (tmp_path / "data" / "data_road.zip").read_bytes() == archive


def test_download_of_changed_bytes_is_right_or_refused(server, tmp_path, archive):
    rng, refused = np.random.default_rng(1), 0
    for number, place in enumerate(rng.integers(len(archive), size=60).tolist()):
        target = tmp_path / str(number)
        server.content = archive[:place] + bytes([archive[place] ^ 1 << int(rng.integers(8))]) + archive[place + 1 :]
        try:
            kitti.download(target, url=server.url, progress=False)
        except DataError as error:
            assert "\n" not in str(error) and "something else" in str(error)
            assert state_of(target) == {} and leftovers(target) == []
            refused += 1
        else:
            assert kitti.verify(target / "data_road").ok and leftovers(target) == []
    assert 30 < refused < 60  # the others are times, attributes and calibration


def test_what_a_killed_download_left_is_swept_up(server, tmp_path):
    (tmp_path / "data" / ".data_road-0a1b2c" / "data_road").mkdir(parents=True)
    (tmp_path / "data" / ".data_road-0a1b2c" / "tmpfile").write_bytes(b"half")
    (tmp_path / "data" / "mine").mkdir()
    kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert leftovers(tmp_path / "data") == ["mine"]


def test_download_explains_a_missing_file_and_a_silent_host(server, tmp_path):
    url = server.url.replace("data_road.zip", "gone.zip")
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=url, progress=False)
    assert_helpful(error, url, "404", "by hand", "data_road.zip into")
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url="http://127.0.0.1:9/data_road.zip", progress=False)
    assert_helpful(error, "127.0.0.1:9", "was not downloaded", "by hand")
    assert state_of(tmp_path / "data") == {}


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/x.zip", "http://example.org/x.zip"])
def test_download_refuses_addresses_and_redirects_of_another_kind(server, tmp_path, elsewhere):
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=elsewhere, progress=False)
    assert_helpful(error, elsewhere, "expected an address that begins with https://", "by hand")
    assert not (tmp_path / "data").exists()
    server.redirect = elsewhere
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=server.url.replace("data_road", "moved"), progress=False)
    assert_helpful(error, elsewhere, "expected an address that begins with https://", "by hand")
    assert state_of(tmp_path / "data") == {}


@pytest.mark.parametrize("there", ["http://127.0.0.1/x.zip", "http://example.org/x.zip", "//example.org/x.zip"])
def test_no_redirect_leaves_https(there):
    class Response:
        is_redirect, url, headers, closed = True, "https://example.org/data_road.zip", {"location": there}, False

        def close(self):
            self.closed = True

    response = Response()
    if there.startswith("//"):
        kitti._check_redirect(response)
        return
    with pytest.raises(DataError) as error:
        kitti._check_redirect(response)
    assert_helpful(error, there, "expected an address that begins with https://")
    assert response.closed


def test_download_follows_a_redirect_of_the_same_kind(server, tmp_path):
    server.redirect = "/data_road.zip"
    kitti.download(tmp_path / "data", url=server.url.replace("data_road", "moved"), progress=False)
    assert server.requests == 2


def test_download_names_files_that_fail_verification(server, tmp_path, root, monkeypatch):
    other = {"training/image_2/uu_000000.png": "0" * 64, "testing/image_2/um_000007.png": "1" * 64}
    published = kitti.digests() | other
    monkeypatch.setattr(kitti, "digests", lambda: published)
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert_helpful(error, "1 missing (testing/image_2/um_000007.png)", "1 damaged (training/image_2/uu_000000.png)")
    assert_helpful(error, f"{server.url} delivered something else", "try again", f"into {tmp_path / 'data'}")
    assert state_of(tmp_path / "data") == {} and leftovers(tmp_path / "data") == []


def test_download_leaves_a_damaged_folder_to_its_owner(server, tmp_path, root):
    folder = tmp_path / "data" / "data_road"
    shutil.copytree(root, folder)
    (folder / "training" / "image_2" / "um_000000.png").write_bytes(b"mine")
    before = state_of(folder)
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert_helpful(error, folder, "1 damaged (training/image_2/um_000000.png)", "move this folder away")
    assert state_of(folder) == before
    assert server.requests == 0


def test_download_explains_a_full_disk(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(DataError) as error:
        kitti.download(tmp_path / "data", url=server.url, progress=False)
    assert_helpful(error, tmp_path / "data", "No space left on device", "free 1 GB there")
    assert state_of(tmp_path / "data") == {}


def test_downloads_into_one_folder_take_turns(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(kitti.download, tmp_path / "data", url=server.url, progress=False) for _ in range(4)]
        assert {call.result(timeout=10) for call in calls} == {tmp_path / "data" / "data_road"}
    assert server.requests == 1


def test_download_does_not_wait_for_ever(server, tmp_path, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(kitti, "PATIENCE", 0.1)
    with FileLock(tmp_path / ".data_road.lock"), pytest.raises(DataError) as error:
        kitti.download(tmp_path, url=server.url, progress=False)
    assert_helpful(error, tmp_path, ".data_road.lock")
    assert server.requests == 0


# --- real images -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real() -> Path:
    """The folder that ROADSEG_KITTI names."""
    folder = os.environ.get("ROADSEG_KITTI")
    if not folder:
        pytest.skip("ROADSEG_KITTI does not name a folder of real KITTI road images")
    return Path(folder)


def test_real_originals_have_the_published_digests(real):
    report = kitti.verify(real / "original")
    assert (report.good, report.damaged, report.unknown) == (13, (), ())
    assert not report.ok


def test_real_originals_of_all_sizes_read(real):
    shapes = {kitti.read_frame(frame)[0].shape for frame in kitti.frames(real / "original")}
    assert shapes == {(375, 1242, 3), (376, 1241, 3), (374, 1238, 3), (370, 1226, 3)}


def test_real_frames_are_counted_without_lanes(real):
    found = kitti.frames(real / "half")
    counts = [sum(frame.category == category for frame in found) for category in kitti.CATEGORIES]
    assert counts == [79, 80, 81]
    assert list((real / "half" / "training" / "gt_image_2").glob("um_lane_*.png"))
    assert not [frame for frame in found if "lane" in frame.label.name]


def test_real_labels_have_the_published_shares(real):
    labels = [kitti.decode_label(kitti.read_frame(frame)[1]) for frame in kitti.frames(real / "half")]
    road, evaluated = (np.concatenate([pair[index].ravel() for pair in labels]) for index in (0, 1))
    assert road.mean() == pytest.approx(0.177, abs=0.005)
    assert 1 - evaluated.mean() == pytest.approx(0.013, abs=0.005)
    assert (road & ~evaluated).any()
