"""What is written beside rendered scenes: version of the renderer, seed, counts."""

from __future__ import annotations

import json
from pathlib import Path

RECORD = "scenes.json"  # lies where scenes were rendered
VERSION = 2  # of the renderer: the same seed gives the same pixels only within one version


def read_record(root: Path) -> dict | None:
    """The record in a folder of scenes; None where there is none, or a damaged one."""
    try:
        record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
