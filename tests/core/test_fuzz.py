"""The loader on hundreds of broken and strange files and folders: it reads them right, or says one line."""

import os
import shutil
import signal
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import write_roads

from roadseg import data, kitti
from roadseg.backend import tf
from roadseg.errors import DataError

if sys.platform != "linux":
    pytest.skip("file names, fifos and limits as Linux has them", allow_module_level=True)

import resource

SIZE = 7, 9  # height, width
COLOURS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits by PNG's colour type
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
MUTANTS = 800


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position + 8 <= len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        found.append((png[position + 4 : position + 8], png[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def rows(samples: np.ndarray, bits: int) -> bytes:
    """Samples (h, w, channels), as PNG's rows without filter."""
    flat = samples.reshape(len(samples), -1)
    if bits == 16:
        packed = flat.astype(">u2").view(np.uint8).reshape(len(flat), -1)
    else:
        wide = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        packed = np.packbits(wide.reshape(len(flat), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in packed) if packed.size else b""


def png_of(rng: np.random.Generator, colour: int, bits: int, *, interlaced: bool) -> bytes:
    """A whole PNG file of random samples."""
    samples = rng.integers(0, 2**bits, (*SIZE, CHANNELS[colour]))
    passes = [samples[a::b, c::d] for a, b, c, d in ADAM7] if interlaced else [samples]
    pixels = b"".join(rows(part, bits) for part in passes if part.size)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", SIZE[1], SIZE[0], bits, colour, 0, 0, interlaced))]
    if colour == 3:
        parts.append((b"PLTE", rng.bytes(3 * 2**bits)))
        if rng.random() < 0.5:
            parts.append((b"tRNS", rng.bytes(2**bits)))
    return joined([*parts, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")])


PLAIN = [(colour, bits, interlaced) for colour in COLOURS for bits in COLOURS[colour] for interlaced in (False, True)]


@pytest.mark.parametrize(("colour", "bits", "interlaced"), PLAIN)
def test_every_kind_of_png_reads_right_or_is_refused(tmp_path, colour, bits, interlaced):
    content = png_of(np.random.default_rng(0), colour, bits, interlaced=interlaced)
    (tmp_path / "a.png").write_bytes(content)
    if colour == 0 and bits == 16:
        with pytest.raises(DataError, match="convert it to RGB"):
            kitti._read_png(tmp_path / "a.png")
    else:
        np.testing.assert_array_equal(kitti._read_png(tmp_path / "a.png"), tf.io.decode_png(content, channels=3))


KINDS = (
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"iCCP",
    b"zTXt",
    b"iTXt",
    b"tEXt",
    b"tRNS",
    b"PLTE",
    b"gAMA",
    b"eXIf",
    b"pHYs",
    b"XxXx",
)
BOMB = zlib.compress(bytes(50_000_000), 9)  # 49 kB


def mutant(rng: np.random.Generator) -> bytes:
    """A PNG file with one to three changes; those inside of chunks get right checksums."""
    png = png_of(rng, *PLAIN[rng.integers(len(PLAIN))][:2], interlaced=bool(rng.random() < 0.5))
    for _ in range(rng.integers(1, 4)):
        png = MUTATIONS[rng.integers(len(MUTATIONS))](png, rng)
    return png


def in_chunks(change):
    """A mutation of the list of chunks; files whose chunks cannot be told any more stay as they are."""

    def mutation(png: bytes, rng: np.random.Generator) -> bytes:
        chunks = chunks_of(png)
        if chunks:
            change(chunks, rng)
        return joined([(kind[:4].ljust(4, b"x"), content) for kind, content in chunks])

    return mutation


def flip(png: bytes, rng: np.random.Generator) -> bytes:
    content = bytearray(png)
    for _ in range(rng.integers(1, 5) if png else 0):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def flip_inside(chunks: list, rng: np.random.Generator) -> None:
    place = rng.integers(len(chunks))
    if chunks[place][1]:
        chunks[place] = (chunks[place][0], flip(chunks[place][1], rng))


def change_header(chunks: list, rng: np.random.Generator) -> None:
    values = list(struct.unpack(">IIBBBBB", chunks[0][1][:13].ljust(13, b"\0")))
    values[rng.integers(7)] = int(rng.choice([0, 1, 2, 3, 4, 7, 8, 9, 16, 255]))
    if rng.random() < 0.3:
        values[:2] = (
            [100_000, 100_000] if rng.random() < 0.5 else [int(rng.integers(1, 2**31)), int(rng.integers(1, 99))]
        )
    chunks[0] = (chunks[0][0], struct.pack(">IIBBBBB", *values))


def insert(chunks: list, rng: np.random.Generator) -> None:
    content = rng.bytes(int(rng.integers(0, 40)))
    if rng.random() < 0.5:  # as the chunks with compressed text and colour profiles begin
        content = b"name\0\0" + (BOMB if rng.random() < 0.5 else zlib.compress(content))
    chunks.insert(int(rng.integers(len(chunks) + 1)), (KINDS[rng.integers(len(KINDS))], content))


def lose(chunks: list, rng: np.random.Generator) -> None:
    if len(chunks) > 1:
        del chunks[rng.integers(len(chunks))]


def shuffle(chunks: list, rng: np.random.Generator) -> None:
    chunks[:] = [chunks[i] for i in rng.permutation(len(chunks))]


def repeat(chunks: list, rng: np.random.Generator) -> None:
    chunks.insert(int(rng.integers(len(chunks))), chunks[rng.integers(len(chunks))])


def claim_length(png: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(png) + 1))
    return png[:place] + struct.pack(">I", int(rng.integers(2**32))) + png[place + 4 :]


MUTATIONS = [
    *map(in_chunks, (flip_inside, change_header, insert, lose, shuffle, repeat)),
    *(flip, claim_length, lambda png, rng: png[: rng.integers(len(png) + 1)], lambda png, rng: png + rng.bytes(30)),
]


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """So much more memory, and a minute: what needs more fails."""
    limits, page = resource.getrlimit(resource.RLIMIT_AS), resource.getpagesize()
    now = int(Path("/proc/self/statm").read_text().split()[0]) * page
    resource.setrlimit(resource.RLIMIT_AS, (now + megabytes * 2**20, limits[1]))
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def read(path: Path) -> np.ndarray | None:
    """The pixels of a PNG file; None where it is refused in one line that names it and says what to do."""
    try:
        return kitti._read_png(path)
    except DataError as error:
        message = str(error)
        assert message.startswith(f"{path}: ") and "; " in message and "\n" not in message and len(message) < 500
        return None


def test_mutants_read_right_or_are_refused_in_one_line(tmp_path):
    read_count, path = 0, tmp_path / "a.png"
    with at_most(400):
        for seed in range(MUTANTS):
            content = mutant(np.random.default_rng(seed))
            path.write_bytes(content)
            pixels = read(path)
            if pixels is not None:
                read_count += 1
                with suppress(tf.errors.InvalidArgumentError):  # libpng refuses more
                    np.testing.assert_array_equal(pixels, tf.io.decode_png(content, channels=3), err_msg=str(seed))
    assert MUTANTS / 20 < read_count < MUTANTS / 2


HEADER = struct.pack(">IIBBBBB", 9, 7, 8, 2, 0, 0, 0)
PIXELS = (b"IDAT", zlib.compress(bytes(28 * 7)))
LARGE = struct.pack(">IIBBBBB", 9_999, 9_999, 8, 2, 0, 0, 0)
BAD = {
    "claims too much": [(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)), PIXELS],
    "claims too much later": [
        (b"IHDR", HEADER),
        (b"IHDR", struct.pack(">IIBBBBB", 9_999, 9_999, 8, 2, 0, 0, 0)),
        PIXELS,
    ],
    "bomb of text": [(b"IHDR", HEADER), (b"zTXt", b"name\0\0" + BOMB), PIXELS],
    "bomb of colours": [(b"IHDR", HEADER), (b"iCCP", b"name\0\0" + BOMB), PIXELS],
    "animated after all": [(b"IHDR", HEADER), PIXELS, (b"acTL", bytes(8))],
}


@pytest.mark.parametrize("chunks", BAD.values(), ids=BAD)
def test_bad_pictures_are_refused(tmp_path, chunks):
    (tmp_path / "good.png").write_bytes(joined([(b"IHDR", HEADER), PIXELS, (b"IEND", b"")]))
    (tmp_path / "bad.png").write_bytes(joined([*chunks, (b"IEND", b"")]))
    with at_most(200):
        assert (read(tmp_path / "good.png") == np.zeros((7, 9, 3))).all()
        assert read(tmp_path / "bad.png") is None


# --- folders ---------------------------------------------------------------------------------------------------------

IMAGE, LABEL = "training/image_2/um_000000.png", "training/gt_image_2/um_road_000000.png"


def replaced(by):
    """A change of a folder: an image or label makes room for something else."""

    def change(root: Path, rng: np.random.Generator) -> None:
        path = root / (IMAGE, LABEL)[rng.integers(2)]
        path.unlink()
        by(path)

    return change


def strange_name(root: Path, rng: np.random.Generator) -> None:
    """One more file, whose name is any bytes."""
    name = (
        bytes(rng.choice([*rng.bytes(8), 10, 13, 27, 255], 8).astype(np.uint8)).replace(b"/", b"").replace(b"\0", b"")
    )
    folder = [root, root / "training", (root / IMAGE).parent, (root / LABEL).parent][rng.integers(4)]
    Path(os.fsdecode(os.fsencode(folder) + b"/x" + name)).touch()


def move(root: Path, rng: np.random.Generator) -> None:
    """The folder of images or labels, or the one above, takes a strange name."""
    folder = [root / "training", (root / IMAGE).parent, (root / LABEL).parent][rng.integers(3)]
    folder.rename(os.fsdecode(os.fsencode(folder.parent) + b"/\xff\n" + rng.bytes(2).hex().encode()))


def spelled_twice(root: Path, rng: np.random.Generator) -> None:
    path = root / (IMAGE, LABEL)[rng.integers(2)]
    shutil.copy(path, path.with_name(path.name.upper()))


REFUSED = [
    replaced(Path.mkdir),
    replaced(os.mkfifo),
    replaced(lambda path: path.symlink_to(path.name)),  # to itself
    replaced(lambda path: path.symlink_to("/dev/zero")),
    replaced(lambda path: path.symlink_to(path.parent)),
    replaced(lambda path: path.write_bytes(os.urandom(99))),
    replaced(lambda path: None),
    move,
    spelled_twice,
]
HARMLESS = [strange_name, lambda root, rng: (root / "training" / "loop").symlink_to(root)]


@pytest.mark.parametrize("seed", range(60))
def test_strange_folders_load_right_or_are_refused_in_one_line(tmp_path, seed):
    rng = np.random.default_rng(seed)
    root = write_roads(tmp_path / "a", count=1, size=(4, 6))
    expected = data.load(root, size=(4, 6), cache=False)
    for change in HARMLESS:
        change(root, rng)
    if refused := seed % 2:
        REFUSED[seed // 2 % len(REFUSED)](root, rng)
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n" + os.fsencode(str(seed))))
    root.rename(strange)
    with at_most(200):
        try:
            found = data.load(strange, size=(4, 6), cache=tmp_path / "cache")
        except DataError as error:
            message = str(error)
            assert refused and message.isprintable() and len(message) < 500
        else:
            assert not refused and found.fingerprint == expected.fingerprint
            assert found.source.isprintable() and found.source.encode()


@pytest.mark.parametrize("name", ["ROADSEG_DATA", "ROADSEG_HOME"])
@pytest.mark.parametrize("place", ["loop", "~nobody-of-this-name/roads", "b\udcff\n", "fifo"])
def test_variables_that_lead_nowhere(tmp_path, monkeypatch, name, place):
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, place)
    with at_most(200), pytest.raises(DataError, match=f"correct or unset {name}") as error:
        kitti.locate()
    assert str(error.value).isprintable()
