"""What a student has done in a folder of notebooks: the state of each task and question, and the answers.

All is read from the saved files. Nothing here runs a notebook: what the checks said is in the outputs that they left.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from roadseg.checks.result import MIME, NOT_WRITTEN
from roadseg.workbook.files import (
    TEXT_STUB,
    NotebookError,
    cell_digest,
    default_folder,
    handed_out,
    read_notebook,
    role,
    source_of,
    worked_notebooks,
)
from roadseg.workbook.questions import EXERCISES, ITEMS, Item


@dataclass(frozen=True)
class Entry:
    """What a workbook holds for one item of the assignment.

    state : done, not right, not checked, too short, wrong cell, deleted, open or no notebook. remark : one
    line about it. source : the answer, Markdown or code; empty where there is none. attachments : images that were
    pasted into the answer, name to {mime type: base64}. check : what the check below the answer last said, {name,
    passed, cause}, or None.
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


def read_workbook(folder: Path | None = None) -> Workbook:
    """What the notebooks of a folder hold. Missing and damaged ones are no error: their items have no notebook.

    Raises
    ------
    NotebookError : no such folder, or no notebook of the workbook in it.
    """
    folder = folder or default_folder()
    names = {path.name for path in worked_notebooks()}
    found = sorted(folder.glob("*.ipynb"))
    paths = tuple(path for path in found if path.name in names)
    if not paths:
        raise NotebookError(f"there are no notebooks in {folder}: python -m roadseg start makes your copies.")
    notebooks, damaged = {}, {}
    for path in paths:
        try:
            notebooks[path.stem] = read_notebook(path)
        except NotebookError as error:
            damaged[path.stem] = str(error)
    return Workbook(
        folder=folder,
        notebooks=paths,
        entries=tuple(_entry(item, notebooks.get(item.notebook)) for item in ITEMS),
        exercises=tuple(_entry(item, notebooks.get(item.notebook)) for item in EXERCISES),
        changed={name: _changed(notebook) for name, notebook in notebooks.items()},
        counts={name: [cell["execution_count"] for cell in _code(notebook)] for name, notebook in notebooks.items()},
        others=tuple(path for path in found if path.name not in names),
        damaged=damaged,
    )


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
    if others := ", ".join(path.name for path in book.others):
        lines.append(f"Not read, as the workbook has no notebook of that name: {others}.")
    return "\n".join(lines)


def _entry(item: Item, notebook: dict | None) -> Entry:
    """Look for the answer in its own cell first, then around it."""
    if notebook is None:
        return Entry(item, "no notebook", f"{item.notebook}.ipynb is missing or damaged")
    own = next((cell for cell in notebook["cells"] if role(cell).get("grade_id") == item.id), None)
    if own is None:
        return Entry(item, "deleted", "its cell is gone: get it back from a blank copy")
    source, check = source_of(own).strip(), None
    if item.kind == "text":
        state, remark = _text_state(item, source)
    else:
        check = _check(item, notebook)
        state, remark = _code_state(item, source, check)
    if state == "open" and (elsewhere := _elsewhere(item, notebook)):
        state, remark = "wrong cell", f"there is something in {elsewhere}: move it into the answer's own cell"
    return Entry(item, state, remark, source, own.get("attachments", {}), check)


def _text_state(item: Item, source: str) -> tuple[str, str]:
    count = len(words(source.replace(TEXT_STUB, "")))
    if count >= item.words:
        return "done", ""
    counted = f"{count} word{'s' * (count != 1)}, at least {item.words} expected"
    return ("too short", counted) if source.replace(TEXT_STUB, "").strip() else ("open", "")


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
        return "not right", f"its check says: {check['cause'].replace('_', ' ')}"
    return ("not checked", "run its cell and the check below it") if _binds(tree, item.defines) else ("open", "")


def parsed(source: str) -> ast.Module | None:
    """A code cell's syntax; None where it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a backslash in a string
            return ast.parse(as_python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # null bytes, brackets in brackets
        return None


def as_python(source: str) -> str:
    """A code cell with IPython's `%` and `!` lines as the calls they stand for, without %%time and the like."""
    return TransformerManager().transform_cell(re.sub(r"\A(?:\s*%%.*\n?)+", "", source))


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


def _binds(tree: ast.Module, name: str) -> bool:
    """Whether code gives the name a value anywhere: by an assignment, a definition or an import."""
    nodes = list(ast.walk(tree))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return name in stored or any(name in (getattr(n, "asname", None), getattr(n, "name", None)) for n in nodes)


def _check(item: Item, notebook: dict) -> dict | None:
    """What the item's check last said, from the outputs that are in the file."""
    name = item.id.replace("choice-", "answer-")
    cards = (output.get("data", {}).get(MIME) for cell in _code(notebook) for output in cell["outputs"])
    card = next((card for card in cards if isinstance(card, dict) and card.get("name") == name), None)
    return card and {"name": name, "passed": card.get("passed") is True, "cause": str(card.get("cause") or "")}


def _elsewhere(item: Item, notebook: dict) -> str:
    """Where an answer seems to be instead of in its own cell, in words; empty where nowhere."""
    as_handed_out = set(handed_out(notebook).values())
    for number, cell in _section(item, notebook) if as_handed_out else ():
        if role(cell) or cell_digest(cell) in as_handed_out:
            continue
        tree = parsed(source_of(cell)) if cell["cell_type"] == "code" else None
        if item.kind == "text":
            holds_answer = tree is None and len(words(source_of(cell))) >= min(item.words, 10)
        else:
            holds_answer = tree and not all(map(_is_empty, tree.body)) and _binds(tree, item.defines)
        if holds_answer:
            return f"cell {number} of {item.notebook}"
    return ""


def _section(item: Item, notebook: dict) -> list[tuple[int, dict]]:
    """The numbered cells around an answer: a text's own section, for code the whole notebook."""
    cells = list(enumerate(notebook["cells"], start=1))
    if item.kind != "text":
        return cells
    own = next(number for number, cell in cells if role(cell).get("grade_id") == item.id)
    heads = [n for n, c in cells if c["cell_type"] == "markdown" and re.search(r"^##? ", source_of(c), re.MULTILINE)]
    first = max((n for n in heads if n < own), default=1)
    last = min((n for n in heads if n > own), default=len(cells) + 1)
    return cells[first - 1 : last - 1]


def _changed(notebook: dict) -> list[str]:
    """The ids of locked cells that are not as they were handed out."""
    now = {cell["id"]: cell_digest(cell) for cell in notebook["cells"]}
    locked = notebook["metadata"].get("roadseg", {}).get("locked", [])
    return [name for name in locked if now.get(name) != handed_out(notebook).get(name)]


def _code(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def words(written: str) -> list[str]:
    """The words of a text, in any script; Chinese, Japanese and Korean characters count one each."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+", written)
