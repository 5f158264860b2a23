"""The report to hand in: one HTML file, one PDF, and one zip with both, the notebooks and a manifest.

Everything is made first and written last, each file whole, so that a failure leaves what was there before.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from roadseg import runs, workbook
from roadseg.errors import RoadsegError, explained
from roadseg.report import contents, pages
from roadseg.report.contents import TITLE, Trained
from roadseg.report.pandoc import cleaned
from roadseg.storage import atomic_write
from roadseg.workbook import Workbook
from roadseg.workbook.files import ascii_name

LARGEST = 20_000_000  # bytes of the zip


class ReportError(RoadsegError):
    """Something that the report needs is missing, or it cannot be made or written."""


@dataclass(frozen=True)
class Written:
    """Where the report is, and answers and files to look at again, in words."""

    html: Path
    pdf: Path
    zip: Path
    remarks: tuple[str, ...] = ()


def write_report(
    folder: Path | None = None, *, out: Path | None = None, draft: bool = False, name: str = ""
) -> Written:
    """Write report.html, report.pdf and a zip of both, the executed notebooks and a manifest.

    Parameters
    ----------
    folder : of the notebooks; None is `my_workbook`.
    out : folder for the three files; None is `report` among the notebooks.
    draft : mark in the report what is missing, instead of refusing.
    name : of whoever hands in, for the first page, the manifest and the zip's name, which is otherwise hand_in.zip.

    Raises
    ------
    ReportError : answers or runs are missing, the zip would be too large, or the files cannot be written.
    NotebookError : no notebooks in the folder, or a damaged one.
    """
    book, name = workbook.read_workbook(folder), cleaned(name).strip()
    if book.damaged:
        raise workbook.NotebookError(" ".join(book.damaged.values()))
    found = contents.trained()
    missing = contents.missing_parts(book, found)
    if missing and not draft:
        why = (
            f"the report is not complete. Missing: {'; '.join(missing)}. Answer, run all cells of the notebooks, save "
            "them and try again; or write a draft with --draft, which marks what is missing."
        )
        raise ReportError(" ".join([why, *book.unread]))
    files = made(book, found, name=name)
    with explained(ReportError, book.folder, "make it readable"):
        packed = {path.name: path.read_bytes() for path in book.notebooks} | files
    manifest = {"draft": draft, "name": name, "missing": missing, **_manifest(book, found, packed)}
    packed["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    files[f"{ascii_name(name).lower() or 'hand_in'}.zip"] = _zipped(packed)
    out = out or book.folder / "report"
    with explained(ReportError, out, "free space, close its files, or choose another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:  # none of them takes its name before all are on the disk
            for file, content in files.items():
                opened = stack.enter_context(atomic_write(out / file))
                opened.write(content)
                opened.flush()
    return Written(*(out / file for file in files), remarks=(*contents.answer_remarks(book), *book.unread))


def made(book: Workbook, found: Trained, *, name: str) -> dict[str, bytes]:
    """The report, as HTML and as PDF."""
    blocks = list(contents.contents(book, found, name=name))
    newest = max(path.stat().st_mtime for path in book.notebooks)
    ended = int(found.ended.timestamp() if found.ended else newest)
    return {
        "report.html": pages.html(blocks, title=TITLE).encode(),
        "report.pdf": pages.pdf(blocks, title=TITLE, author=name, timestamp=ended),
    }


def _manifest(book: Workbook, found: Trained, files: Mapping[str, bytes]) -> dict:
    """What a teacher's programs want to know: versions, how the notebooks ran, states of all answers, runs, digests."""
    return {
        "versions": runs.versions(),
        "notebooks": {
            name: {
                "execution_counts": counts,
                "ran_from_top_to_bottom": contents.in_order(counts),
                "locked_cells_changed": book.changed[name],
            }
            for name, counts in book.counts.items()
        },
        "answers": {e.item.id: {"label": e.item.label, "state": e.state, "check": e.check} for e in book.entries},
        "runs": {model: contents.fingerprint(run) for model, run in found.runs.items()},
        "files": {n: {"sha256": hashlib.sha256(file).hexdigest(), "bytes": len(file)} for n, file in files.items()},
    }


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of some files; the same files always make the same zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of 1980, whenever it is
        members = sorted(archive.infolist(), key=lambda member: member.compress_size, reverse=True)
    if packed.tell() >= LARGEST:
        largest = ", ".join(f"{member.filename} {member.compress_size / 1e6:.1f} MB" for member in members[:3])
        raise ReportError(
            f"the zip would have {packed.tell() / 1e6:.1f} MB, and {LARGEST / 1e6:.0f} are allowed. The largest in "
            f"it: {largest}. Paste smaller images, or clear outputs that nobody needs."
        )
    return packed.getvalue()
