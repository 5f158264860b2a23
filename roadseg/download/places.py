"""Where the road data is: a folder that somebody chose, KITTI in the project's data folder, or rendered scenes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roadseg.download.archive import ARCHIVE, unpack
from roadseg.errors import DataError, printable
from roadseg.kitti import ROOT, find_dataset, find_path
from roadseg.scenes import VERSION, read_record
from roadseg.storage import project_root

# Names that somebody may have meant; hidden files are this package's or a browser's.
NEARLY = re.compile(r"(?!\.).*(data[_ -]?road|kitti).*|training", re.IGNORECASE)


@dataclass(frozen=True)
class Location:
    """Where the road data is: `reason` is a sentence for people, `searched` lists the places in the order tried."""

    path: Path
    kind: Literal["kitti", "scenes"]
    reason: str
    searched: tuple[str, ...]

    @property
    def to_render(self) -> bool:
        """True if these are the usual scenes, and have not been rendered yet, or with another version."""
        if self.kind != "scenes" or self.chosen:
            return False
        record = read_record(self.path)
        outdated = record is not None and record.get("version", VERSION) != VERSION
        return outdated or not (self.path / "training" / "calib").is_dir()

    @property
    def chosen(self) -> bool:
        """True if ROADSEG_DATA names the folder, so that no other place was searched."""
        return len(self.searched) == 1


def locate() -> Location:
    """Find the road data: ROADSEG_DATA, else KITTI in the project's data folder, else the rendered scenes.

    An archive that was put into the data folder by hand is unpacked there once. Raises DataError where KITTI is meant
    to be (ROADSEG_DATA is set, a folder is called data_road) but is not.
    """
    data = project_root() / "data"
    searched = ("ROADSEG_DATA", f"data/{ROOT}", f"data/{ARCHIVE}", "data/scenes")
    if chosen := os.environ.get("ROADSEG_DATA"):
        try:
            root = find_dataset(Path(os.path.realpath(os.path.expanduser(chosen))))  # links in a circle, too
        except DataError as error:
            raise DataError(f"ROADSEG_DATA is wrong: {error}, or correct or unset ROADSEG_DATA") from error
        kind = "kitti" if read_record(root) is None else "scenes"
        return Location(root, kind, f"ROADSEG_DATA points to {printable(chosen)}.", searched[:1])
    if folder := find_path(data, ROOT):
        return Location(find_dataset(folder), "kitti", f"data/{folder.name} holds KITTI road.", searched[:2])
    if archive := find_path(data, ARCHIVE):
        found = f"data/{archive.name} was put there and is unpacked."
        return Location(find_dataset(unpack(archive, data)), "kitti", found, searched[:3])
    reason = "There is no KITTI road in the folder data: rendered scenes are used instead."
    names = sorted(path.name for path in data.iterdir()) if data.is_dir() else ()
    if nearly := [name for name in names if NEARLY.fullmatch(name)]:
        expected = f"it should be the folder data/{ROOT}/training or the file data/{ARCHIVE}"
        reason += f" (If {printable(nearly[0])} is KITTI road: {expected}.)"
    return Location(data / "scenes", "scenes", reason, searched)
