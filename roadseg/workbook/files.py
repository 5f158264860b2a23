"""Notebooks as files: JSON read and written as Jupyter does, and the folders that hold them. Nothing here runs one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import warnings
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

from roadseg.errors import RoadsegError, explained
from roadseg.storage import atomic_write, project_root
from roadseg.workbook.questions import EXERCISES, ITEMS

CODE_STUB = "pass  # your code goes here, in place of this line"
TEXT_STUB = "**Your answer:** write it here, in place of this line."
LATIN = {"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
LATIN |= {"Æ": "Ae", "Œ": "Oe", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "Th"}
OUTPUTS = {  # the kinds of outputs, with what each has to have
    "stream": {"name": "stdout", "text": ""},
    "display_data": {"data": {}, "metadata": {}},
    "execute_result": {"data": {}, "metadata": {}, "execution_count": None},
    "error": {"ename": "", "evalue": "", "traceback": []},
}


class NotebookError(RoadsegError):
    """A notebook's file is missing, damaged or in the way."""


def default_folder() -> Path:
    """Where a student's own notebooks are: `my_workbook` in the project, or, on a hub, what nbgrader has fetched."""
    fetched = project_root() / "road_segmentation"
    return fetched if any(fetched.glob("[0-9][0-9]_*.ipynb")) else project_root() / "my_workbook"


def worked_folder() -> Path:
    """Where the worked notebooks are, or, in a copy handed out to a class, blank ones."""
    return Path(__file__).resolve().parents[2] / "notebooks"


def worked_notebooks() -> list[Path]:
    """The files of the worked notebooks, in order. Raises NotebookError where there are none."""
    paths = sorted(worked_folder().glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise NotebookError(f"there are no notebooks in {worked_folder()}: get a whole copy of the workbook.")
    return paths


def own_folder() -> Path | None:
    """The folder of the notebook that runs this: Jupyter tells its file, otherwise it is where the kernel started.

    None where no notebooks of the workbook are there, and where they are the worked ones, executed without Jupyter.
    """
    session = os.environ.get("JPY_SESSION_NAME")
    places = [Path(session).parent] if session else []
    places += [Path.cwd()] if Path.cwd() != worked_folder() else []
    names = [path.name for path in worked_notebooks()]
    return next((place for place in places if any((place / name).is_file() for name in names)), None)


def read_notebook(path: Path) -> dict:
    """A notebook's file, as `parse_notebook` reads it. Raises NotebookError where it is none."""
    with explained(NotebookError, path, "make it a readable file"):
        return parse_notebook(path.read_bytes(), str(path))


def parse_notebook(content: bytes, name: str) -> dict:
    """The notebook in a file of that name, in format 4.5, whichever program has saved it.

    Formats 3 and 4 and all encodings are read, and what is missing is filled in. Each answer is one cell with its
    nbgrader metadata: the parts of one that was split or doubled count in their order, and cells that have lost their
    names are known by their places. Sources are lists of lines. The same bytes always give the same notebook.

    Raises
    ------
    NotebookError : it is no whole notebook; the message says why and what to do.
    """
    try:
        notebook = _decoded(content)
        cells, metadata = [_filled(cell) for cell in notebook["cells"]], _table(notebook, "metadata")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        found = "it holds something else"
        if not content.strip(b"\0 \r\n"):
            found = "it is empty"
        elif isinstance(error, json.JSONDecodeError):
            found = f"its JSON ends or is damaged in line {error.lineno}"
        raise NotebookError(
            f"{name} is no whole notebook: {found}. In JupyterLab choose File, Revert Notebook to Checkpoint, or "
            "rename it and run python -m roadseg start."
        ) from error
    if not isinstance(_table(metadata, "roadseg").get("locked"), list):
        metadata.pop("roadseg", None)
    if any("state" not in _table(metadata, "widgets", kind) for kind in _table(metadata, "widgets")):
        del metadata["widgets"]  # as Colab saves it, which no other program can show
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    notebook["cells"] = _joined(_named_by_place(cells), handed_out(notebook))
    used: set[str] = set()
    for number, cell in enumerate(notebook["cells"], start=1):
        name = cell["id"] or f"cell-{number}"
        cell["id"] = name if name not in used else f"{name[:50]}-{number}"
        used.add(cell["id"])
    return notebook


def _decoded(content: bytes) -> dict:
    """The JSON of a notebook, that of format 3 as format 4."""
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:  # of an old editor
        text = content.decode("cp1252", "replace")
    text = text.lstrip("\ufeff \t\r\n")
    notebook, _ = json.JSONDecoder().raw_decode(text)  # a synchronized folder may leave an old end behind it
    if "worksheets" in notebook:
        import nbformat  # only here: it takes a second

        for cell in (cell for sheet in notebook["worksheets"] for cell in sheet["cells"]):
            cell.setdefault("outputs", [])
        with warnings.catch_warnings(action="ignore"):  # of ids that are missing
            notebook = nbformat.v4.upgrade(nbformat.v3.to_notebook_json(notebook), 3, 0)
    return notebook


def _table(parent: object, *names: str) -> dict:
    """The dict below these names; empty where there is none."""
    for name in names:
        parent = parent.get(name) if isinstance(parent, dict) else None
    return parent if isinstance(parent, dict) else {}


def _filled(cell: dict) -> dict:
    """A cell with all that format 4.5 requires, and nothing that it forbids. An answer without metadata gets them."""
    typed = "".join(map(str, cell.get("source") or "")).encode(errors="replace").decode()  # halves of characters
    source = re.sub("\r\n?", "\n", typed)
    metadata = _table(cell, "metadata")
    own = _table(metadata, "nbgrader")
    identity = str(own.get("grade_id") or cell.get("id") or metadata.get("id") or "")  # the last is Colab's
    name = re.sub(r"[^\w-]|[^\x00-\x7f]", "_", identity)[:64]
    item = next((item for item in (*ITEMS, *EXERCISES) if item.id == name), None)
    kind = cell.get("cell_type")
    if item or kind not in ("code", "markdown", "raw"):  # a key turns code into text in JupyterLab
        kind = "code" if (item.kind != "text" if item else "outputs" in cell) else "markdown"
    if item and not own:
        own = {"locked": False, "schema_version": 3, "solution": True, "task": False}
        own |= {"grade": True, "points": item.points} if item.kind == "text" else {"grade": False}
    metadata.pop("nbgrader", None)
    if own:
        metadata["nbgrader"] = own | {"grade_id": name}
    filled = {"cell_type": kind, "id": name, "metadata": metadata, "source": source.splitlines(keepends=True)}
    if kind == "code":
        count, outputs = cell.get("execution_count"), cell.get("outputs")
        filled["execution_count"] = count if isinstance(count, int) else None
        filled["outputs"] = list(filter(None, map(_filled_output, outputs if isinstance(outputs, list) else ())))
    elif attachments := {name: _bundle(kinds) for name, kinds in _table(cell, "attachments").items() if _bundle(kinds)}:
        filled["attachments"] = attachments
    return filled


def _bundle(kinds: object) -> dict:
    """What there is of a media bundle."""
    return {kind: content for kind, content in _table(kinds).items() if content is not None}


def _filled_output(output: object) -> dict | None:
    """An output with all that its kind has to have, and nothing else; None for one of no kind that there is."""
    output = _table(output)
    kind = str(output.get("output_type"))
    if kind not in OUTPUTS:
        return None
    filled = {"output_type": kind}
    for name, default in OUTPUTS[kind].items():
        found = output.get(name)
        if isinstance(default, dict):
            filled[name] = _bundle(found)
        elif isinstance(found, list):  # of lines
            filled[name] = [str(line) for line in found]
        else:
            filled[name] = found if isinstance(found, int if default is None else type(default)) else default
    return filled


@cache
def _originals() -> list[list[dict]]:
    """The cells, as they are handed out, of each notebook that has answers."""
    from roadseg.workbook import copies  # which needs this module

    paths = (worked_folder() / f"{name}.ipynb" for name in dict.fromkeys(item.notebook for item in ITEMS))
    worked = [list(map(_filled, json.loads(path.read_bytes())["cells"])) for path in paths if path.is_file()]
    return [copies.blank({"cells": cells, "metadata": {}})["cells"] for cells in worked]


def _named_by_place(cells: list[dict]) -> list[dict]:
    """The cells, in which answers and checks that have lost their names have them again: they stand where the workbook
    has them. A check that its answer was merged into becomes two cells."""
    names = [role(cell).get("grade_id") or cell["id"] for cell in cells]
    known = [item for item in ITEMS if item.id in names]
    if known and all(item.id in names for item in ITEMS if item.notebook == known[0].notebook):
        return cells
    sources = [source_of(cell).strip() for cell in cells]
    found = {*names, *sources}
    key = lambda cell: cell["id"] if cell["id"] in names else source_of(cell).strip()  # noqa: E731
    originals = max(_originals(), key=lambda originals: sum(key(cell) in found for cell in originals), default=[])
    theirs = list(map(key, originals))
    if 2 * sum(name in found for name in theirs) < len(theirs):  # another notebook
        return cells
    ours = [name if name in theirs else source for name, source in zip(names, sources)]
    for _, i, i_end, j, j_end in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        for original, cell in zip(originals[i:i_end], cells[j:j_end]):
            same_kind = original["cell_type"] == cell["cell_type"]
            if role(original) and original["id"] not in names and not role(cell) and same_kind:
                cell["id"], cell["metadata"]["nbgrader"] = original["id"], dict(role(original))
    given, own = ({cell["id"]: cell for cell in book} for book in (originals, cells))
    for item in (item for item in ITEMS if item.id in given and item.id not in own):
        check = own.get(f"check-{item.id}")
        typed, asked = (source_of(cell).strip() if cell else "" for cell in (check, given.get(f"check-{item.id}")))
        if asked and typed and not typed.startswith(asked):
            answer = {**check, "id": item.id, "metadata": {"nbgrader": dict(role(given[item.id]))}, "outputs": []}
            answer["source"] = typed.removesuffix(asked).splitlines(keepends=True)
            cells.insert(cells.index(check), answer)
            check["source"] = given[check["id"]]["source"]
    return cells


def _joined(cells: list[dict], original: dict[str, str]) -> list[dict]:
    """The cells, with each answer in the first of its cells, and text that was added below it.

    original : digests of the cells as they were handed out. A part that is as it was handed out adds nothing.
    """
    kept: list[dict] = []
    first: dict[str, dict] = {}
    for cell in cells:
        name, above = role(cell).get("grade_id"), kept[-1] if kept else None
        added = cell["cell_type"] == "markdown" and not role(cell) and cell_digest(cell) not in original.values()
        below = above and role(above).get("solution") and above["cell_type"] == "markdown"
        if original and added and below and not source_of(cell).startswith("#"):
            _append(above, cell, original)
        elif name not in first:
            kept.append(cell)
            first |= {name: cell} if name else {}
        elif role(cell).get("solution"):
            _append(first[name], cell, original)
        else:  # a test, which counts once
            del cell["metadata"]["nbgrader"]
            kept.append(cell)
    return kept


def _append(answer: dict, part: dict, original: dict[str, str]) -> None:
    """Add another cell's part to an answer: what was written in both, once."""
    for name in _table(part, "attachments"):
        images = answer.setdefault("attachments", {})
        renamed = name if name not in images else f"{len(images)}-{name}"
        images[renamed] = part["attachments"][name]
        part["source"] = [line.replace(f"attachment:{name}", f"attachment:{renamed}") for line in part["source"]]
    written = [source_of(cell) for cell in (answer, part) if not is_blank(cell, original)]
    if len(written) == 2 and f"\n{written[1].strip()}\n" in f"\n{written[0]}\n":
        written.pop()
    if written:
        joined = ("\n" if answer["cell_type"] == "code" else "\n\n").join(filter(str.strip, written))
        answer["source"] = joined.splitlines(keepends=True)
    if answer["cell_type"] == part["cell_type"] == "code":
        answer["outputs"] += part["outputs"]


def write_notebook(path: Path, notebook: dict) -> None:
    """Write a notebook's file as Jupyter does, whole or not at all. Raises NotebookError where that fails."""
    content = notebook_bytes(notebook)
    with explained(NotebookError, path, "choose another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)


def notebook_bytes(notebook: dict) -> bytes:
    """The content of a notebook's file. Halves of characters, which no file can hold, are question marks."""
    return (json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode(errors="replace")


def ascii_name(name: str) -> str:
    """A name in ASCII, for files and addresses: letters, digits, dashes, dots and underscores.

    Latin letters lose their accents; words of other scripts are in punycode. Of a name of signs alone nothing is left.
    """
    composed, plain = unicodedata.normalize("NFKC", name), []
    known = (c if c in "-." or unicodedata.category(c)[0] in "LMN" else " " for c in composed)
    for word in "".join(known).split():
        latin = unicodedata.normalize("NFKD", word.translate(str.maketrans(LATIN)))
        bare = "".join(c for c in latin if not unicodedata.combining(c))
        plain.append(bare if bare.isascii() else word.encode("punycode").decode().strip("-"))
    return "_".join(plain).strip("_.-")[:100]


def without_widgets(model: dict, **_) -> None:
    """Leave live widgets out of a notebook that Jupyter is about to save; their text form stays.

    Without its kernel a widget shows as an error. For `ContentsManager.pre_save_hook`.
    """
    if model["type"] == "notebook":
        for cell in model["content"]["cells"]:
            for output in cell.get("outputs", ()):
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def source_of(cell: dict) -> str:
    """A cell's source."""
    return "".join(cell["source"])


def role(cell: dict) -> dict:
    """nbgrader's part of a cell's metadata; empty where the cell has none."""
    return cell["metadata"].get("nbgrader", {})


def shown_data(notebook: dict, kind: str, name: str) -> dict | None:
    """What the package's outputs of a media type hold for an answer; None where none has that name."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    found = (output.get("data", {}).get(kind) for output in outputs)
    return next((data for data in reversed([*found]) if isinstance(data, dict) and data.get("name") == name), None)


def is_blank(cell: dict, original: dict[str, str]) -> bool:
    """Whether an answer's cell holds nothing, or what `original`, digests by id, says that it was handed out with."""
    if not source_of(cell).strip() or cell_digest(cell) == original.get(cell["id"]):
        return True
    return cell["id"] not in original and (CODE_STUB in source_of(cell) or TEXT_STUB in source_of(cell))


def is_locked(cell: dict) -> bool:
    """Whether nbgrader hands the cell out as one that is not to be changed."""
    return not role(cell).get("solution") and bool(role(cell).get("grade") or role(cell).get("locked"))


def cell_digest(cell: dict) -> str:
    """Of a cell's source."""
    return hashlib.sha256(source_of(cell).encode()).hexdigest()[:16]


def handed_out(notebook: dict) -> dict[str, str]:
    """Digests of all cells of a copy as they were handed out, by id; empty for other notebooks."""
    return _table(notebook, "metadata", "roadseg", "cells")
