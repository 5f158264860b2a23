"""The report to hand in: one HTML file, one PDF, and one zip with both, the notebooks and a manifest.

Everything is made first and written last, each file whole, so that a failure leaves what was there before.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from roadseg import provenance
from roadseg.errors import RoadsegError
from roadseg.files import written_whole
from roadseg.report import contents as report_contents
from roadseg.report.contents import TITLE, Trained, fingerprint, in_order
from roadseg.report.document import cleaned
from roadseg.report.formulas import formulas
from roadseg.report.html import html
from roadseg.report.pdf import pdf
from roadseg.workbook import notebooks as workbook
from roadseg.workbook.notebooks import Workbook

HTML, PDF, ZIP = "report.html", "report.pdf", "hand_in.zip"
LARGEST = 20_000_000  # bytes of the zip
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can say: the same contents, the same file


class ReportError(RoadsegError):
    """Something that the report needs is missing, or it cannot be made or written."""


@dataclass(frozen=True)
class Written:
    """Where the report is."""

    html: Path
    pdf: Path
    zip: Path


def write(
    folder: str | Path | None = None,
    *,
    out: str | Path | None = None,
    draft: bool = False,
    runs_folder: str | Path | None = None,
    name: str = "",
) -> Written:
    """Write report.html, report.pdf and a zip of executed notebooks and their runs.

    Parameters
    ----------
    folder : of the notebooks; None is `my_workbook`.
    out : folder for the three files; None is `report` among the notebooks.
    draft : mark in the report what is missing, instead of refusing.
    runs_folder : None is ROADSEG_RUNS or the project's `runs`.
    name : of whoever hands in, for the first page, the manifest and the zip's name, which is otherwise hand_in.zip.

    Raises
    ------
    ReportError : answers or runs are missing, the zip would be too large, or the files cannot be written.
    NotebookError : no notebooks in the folder, or a damaged one.
    """
    book, name = workbook.read(None if folder is None else Path(folder)), cleaned(name).strip()
    found = report_contents.trained(runs_folder)
    missing = report_contents.missing(book, found)
    if missing and not draft:
        raise ReportError(
            f"the report is not complete. Missing: {'; '.join(missing)}. Answer, run all cells of the notebooks, save "
            "them and try again; or write a draft with --draft, which marks what is missing."
        )
    pages = _pages(book, found, name)
    packed = _packed(_contents(book, found, pages, {"draft": draft, "name": name, "missing": missing}))
    return _written(Path(out or book.folder / "report"), {**pages, _zip_name(name): packed})


def _zip_name(name: str) -> str:
    words = "_".join(re.findall(r"\w+", name.lower()))
    return f"{words}.zip" if words else ZIP


def _pages(book: Workbook, found: Trained, name: str) -> dict[str, bytes]:
    """The report, as HTML and as PDF."""
    nodes = report_contents.contents(book, found, name=name)
    able = formulas(nodes)
    newest = max(path.stat().st_mtime for path in book.notebooks)
    ended = int(found.ended.timestamp() if found.ended else newest)
    return {
        HTML: html(nodes, able, title=TITLE).encode(),
        PDF: pdf(nodes, able, title=TITLE, author=name, timestamp=ended),
    }


def _contents(book: Workbook, found: Trained, pages: Mapping[str, bytes], facts: dict) -> dict[str, bytes]:
    """The files of the zip, by name; the manifest last."""
    try:
        files = {path.name: path.read_bytes() for path in book.notebooks} | dict(pages)
    except OSError as error:
        raise ReportError(f"{error.filename} cannot be read ({error.strerror}).") from error
    manifest = {**facts, **_manifest(book, found), "files": {name: _digest(content) for name, content in files.items()}}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    return files


def _manifest(book: Workbook, found: Trained) -> dict:
    """What a teacher's programs want to know: versions, how the notebooks ran, states of all answers, runs."""
    return {
        "versions": provenance.versions(),
        "notebooks": {
            name: {
                "execution_counts": counts,
                "ran_from_top_to_bottom": in_order(counts),
                "locked_cells_changed": book.untouched[name],
            }
            for name, counts in book.counts.items()
        },
        "answers": {
            entry.item.id: {"label": entry.item.label, "state": entry.state, "check": entry.check}
            for entry in book.entries
        },
        "runs": {model: fingerprint(run) for model, run in found.runs.items()},
    }


def _digest(content: bytes) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _packed(files: Mapping[str, bytes]) -> bytes:
    """A zip of some files; the same files always make the same zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), content, zipfile.ZIP_DEFLATED)
        sizes = {member.filename: member.compress_size for member in archive.infolist()}
    if packed.tell() >= LARGEST:
        largest = sorted(sizes, key=sizes.get, reverse=True)[:3]
        told = ", ".join(f"{name} {sizes[name] / 1e6:.1f} MB" for name in largest)
        raise ReportError(
            f"the zip would have {packed.tell() / 1e6:.1f} MB, and {LARGEST / 1e6:.0f} are allowed. The largest in "
            f"it: {told}. Paste smaller pictures, or clear outputs that nobody needs."
        )
    return packed.getvalue()


def _written(out: Path, files: Mapping[str, bytes]) -> Written:
    """Write the HTML file, the PDF and the zip; none of them takes its name before all are on the disk."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name, content in files.items():
                file = stack.enter_context(written_whole(out / name))
                file.write(content)
                file.flush()
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {out} ({error.strerror or error}): free space, close its files, or "
            "choose another folder with --out."
        ) from error
    return Written(*(out / name for name in files))
