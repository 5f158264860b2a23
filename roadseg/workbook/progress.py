"""What a student has done in a folder of notebooks: the state of each task and question, and the answers.

All is read from the saved files. Nothing here runs a notebook: what the checks said is in the outputs that they left.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from roadseg.checks.result import MIME, NOT_WRITTEN
from roadseg.workbook import files
from roadseg.workbook.files import TEXT_STUB, NotebookError
from roadseg.workbook.needs import find_names, parsed
from roadseg.workbook.questions import EXERCISES, ITEMS, Item

HEADING = re.compile(r"^##? ", re.MULTILINE)
NEARLY = re.compile(r"(?i)^[^.].*\.ipynb|^\d\d_\w+\.json$")  # a browser may put .txt behind it


@dataclass(frozen=True)
class Entry:
    """What a workbook holds for one item of the assignment.

    state : done, not right, not checked, too short, wrong cell, deleted, open or no notebook. remark : one
    line about it. source : what the cell holds, Markdown or code; empty where nothing was typed. attachments :
    images that were pasted into the answer, name to {mime type: base64}. check : what the check below the answer
    last said, {name, passed, cause}, or None.
    """

    item: Item
    state: str
    remark: str = ""
    source: str = ""
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)
    check: dict | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer, and its check, if it has one, has passed."""
        return self.state == "done"


@dataclass(frozen=True)
class Workbook:
    """A folder of notebooks: its entries in the order of `questions.ITEMS`, its files, and how they were run.

    exercises : the entries of `questions.EXERCISES`, which carry no points. changed : by notebook name, the ids of
    locked cells that were changed or deleted. counts : by notebook name, the execution counts of its code cells in
    order, None where a cell has not run. others : notebooks in the folder that are not the workbook's, such as
    copies under another name; they are not read. damaged : by notebook name, why a file cannot be read.
    """

    folder: Path
    notebooks: tuple[Path, ...]
    entries: tuple[Entry, ...]
    exercises: tuple[Entry, ...]
    changed: dict[str, list[str]]
    counts: dict[str, list[int | None]]
    others: tuple[Path, ...]
    damaged: dict[str, str]

    @property
    def unread(self) -> list[str]:
        """A line that names the others, if there are any."""
        names = ", ".join(path.name for path in self.others)
        return [f"Not read, as the workbook has no notebook of that name: {names}."] if names else []


def read_workbook(folder: Path | None = None) -> Workbook:
    """What the notebooks of a folder hold. Missing and damaged ones are no error: their items have no notebook.

    Raises
    ------
    NotebookError : no such folder, a file in its place, or no notebook of the workbook in it.
    """
    folder = folder or files.default_folder()
    names = {path.name for path in files.worked_notebooks()}
    found = sorted(path for path in folder.glob("*.*") if NEARLY.search(path.name) and path.is_file())
    paths = tuple(path for path in found if path.name in names)
    if folder.is_file():
        raise NotebookError(f"{folder} is a file: name the folder that your notebooks are in, such as {folder.parent}.")
    if not paths:
        others = f", which holds {', '.join(path.name for path in found)}" if found else ""
        what = f"there are no notebooks of the workbook in {folder}{others}"
        what = what if folder.is_dir() else f"the folder {folder} does not exist"
        raise NotebookError(f"{what}: python -m roadseg start makes your copies, whose names have to stay.")
    cells, changed, counts, damaged = {}, {}, {}, {}
    for path in paths:
        try:
            notebook = files.read_notebook(path)
        except NotebookError as error:
            damaged[path.stem] = str(error)
            continue
        cells[path.stem] = notebook
        now, then = {cell["id"]: files.cell_digest(cell) for cell in notebook["cells"]}, files.handed_out(notebook)
        locked = notebook["metadata"].get("roadseg", {}).get("locked", ())
        changed[path.stem] = [name for name in then if name in locked and now.get(name) != then[name]]
        counts[path.stem] = [c["execution_count"] for c in notebook["cells"] if c["cell_type"] == "code"]
    entries, exercises = (tuple(read_entry(i, cells.get(i.notebook)) for i in items) for items in (ITEMS, EXERCISES))
    others = tuple(path for path in found if path not in paths)
    return Workbook(folder, paths, entries, exercises, changed, counts, others, damaged)


def summary(book: Workbook) -> str:
    """All tasks and questions with their states, a line each, and lines that count and warn."""
    width = max(len(entry.item.title) for entry in book.entries)
    lines = [
        f"{e.item.label:12} {e.item.title:{width}} {e.item.kind:7} {e.state:12} {e.remark}".rstrip()
        for e in (*book.entries, *book.exercises)
    ]
    done = [entry for entry in book.entries if entry.done]
    points = sum(entry.item.points for entry in done)
    lines.append(f"\n{len(done)} of {len(book.entries)} done; they carry {points} of 100 points.")
    lines += book.damaged.values()
    if changed := [f"{name}: {', '.join(ids)}" for name, ids in book.changed.items() if ids]:
        lines.append(f"Locked cells were changed ({'; '.join(changed)}): take them back from a blank copy.")
    return "\n".join(lines + book.unread)


def read_entry(item: Item, notebook: dict | None) -> Entry:
    """What a notebook holds for an item, None where there is none. Looks in its own cell first, then around it."""
    if notebook is None:
        return Entry(item, "no notebook", f"{item.notebook}.ipynb is missing or damaged")
    places = [i for i, cell in enumerate(notebook["cells"]) if files.role(cell).get("grade_id") == item.id]
    if not places:
        return Entry(item, "deleted", "its cell is gone: get it back from a blank copy")
    own, check = notebook["cells"][places[0]], None
    source = files.source_of(own).strip()
    if item.kind == "text":
        state, remark = _text_state(item, source)
    else:
        check = _check(item, notebook)
        state, remark = _code_state(item, source, check)
    if state == "open":
        if item.kind == "text" or files.is_blank(own, files.handed_out(notebook)):
            source = ""
        else:
            remark = f"its cell does not set {item.defines}"
        if elsewhere := _elsewhere(item, notebook, places[0]):
            state, remark = "wrong cell", f"there is something in {elsewhere}: move it into the answer's own cell"
    return Entry(item, state, remark, source, own.get("attachments", {}), check)


def _text_state(item: Item, source: str) -> tuple[str, str]:
    written = source.replace(TEXT_STUB, "").strip()
    count = len(words(written))
    if count >= item.words:
        return "done", ""
    counted = f"{count} word{'s' * (count != 1)}, at least {item.words} expected"
    return ("too short", counted) if written else ("open", "")


def _check(item: Item, notebook: dict) -> dict | None:
    """What the item's check last said, from the outputs that are in the file."""
    name = item.id.replace("choice-", "answer-")
    card = files.shown_data(notebook, MIME, name)
    return card and {"name": name, "passed": card.get("passed") is True, "cause": str(card.get("cause") or "")}


def _code_state(item: Item, source: str, check: dict | None) -> tuple[str, str]:
    """Where the cell holds anything, what the check saw counts, however the answer was given."""
    tree = parsed(source)
    if tree is None:
        return "not right", "its cell is not Python: the line with the error shows when it runs"
    if all(map(_is_empty, tree.body)):
        return "open", ""
    if check and check["passed"]:
        return "done", ""
    if check and check["cause"] != NOT_WRITTEN:
        return "not right", f"its check last said: {check['cause'].replace('_', ' ')}"
    return ("not checked", "run its cell and the check below it") if _defines(item, source) else ("open", "")


def _defines(item: Item, source: str) -> bool:
    """Whether code gives the item's name a value."""
    return item.defines in find_names(source).made and not all(map(_is_empty, parsed(source).body))


def _is_empty(node: ast.stmt) -> bool:
    """Whether a statement gives nothing yet: pass, a docstring, `name = None`, or a function of such a body."""
    if isinstance(node, ast.FunctionDef):
        return all(map(_is_empty, node.body))
    if isinstance(node, ast.Raise):
        return "NotImplementedError" in ast.unparse(node)
    value = getattr(node, "value", None)
    return isinstance(node, ast.Pass) or (
        isinstance(value, ast.Constant) and (value.value in (None, ...) or isinstance(node, ast.Expr))
    )


def _says(node: ast.stmt) -> bool:
    """Whether a statement gives nothing, or nothing but a text: a string that is kept or printed."""
    value = getattr(node, "value", None)
    parts = value.args if isinstance(value, ast.Call) and ast.unparse(value.func) == "print" else [value]
    return _is_empty(node) or all(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)


def _elsewhere(item: Item, notebook: dict, own: int) -> str:
    """Where an answer seems to be instead of in its own cell, in words; empty where nowhere.

    A text is looked for in its own section, between headings, code in the whole notebook.
    """
    cells, as_handed_out = notebook["cells"], files.handed_out(notebook)
    first, last = 0, len(cells)
    if item.kind == "text":
        texts = [i for i, c in enumerate(cells) if c["cell_type"] == "markdown" and c["id"] in as_handed_out]
        heads = [i for i in texts if HEADING.search(files.source_of(cells[i]))]
        first, last = max((i for i in heads if i < own), default=0), min((i for i in heads if i > own), default=last)
    for number, cell in enumerate(cells[first:last], start=first + 1):
        source = files.source_of(cell)
        given = files.is_locked(cell) or files.cell_digest(cell) in as_handed_out.values()
        if not as_handed_out or given or number == own + 1:
            continue
        tree = parsed(source) if cell["cell_type"] == "code" else None
        if item.kind == "text":  # which may be a comment, or a string
            is_text = not files.role(cell) and (tree is None or all(map(_says, tree.body)))
            holds_answer = is_text and len(words(source)) >= min(item.words, 10)
        else:
            holds_answer = tree is not None and _defines(item, source)
        if holds_answer:
            return f"cell {number} of {item.notebook}"
    return ""


def words(written: str) -> list[str]:
    """The words of a text, in any script; Chinese, Japanese and Korean characters count one each."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+", written)
