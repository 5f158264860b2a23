"""Notebooks as files: blank copies of the worked ones, what a student has done in them, and the answers in them.

The worked notebooks in `notebooks/` are the one source. A blank copy is a worked notebook without solutions (between
the markers that nbgrader uses), answers, hidden tests and outputs; the figures that a task aims at move into the text
above. It remembers in its metadata how each cell was when it was handed out. Nothing here runs a notebook.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roadseg import kitti
from roadseg.checks.result import MIME, NOT_WRITTEN
from roadseg.errors import RoadsegError
from roadseg.files import written_whole
from roadseg.workbook import questions
from roadseg.workbook.questions import Item

CODE_STUB = "pass  # your code goes here, in place of this line"
TEXT_STUB = "**Your answer:** write it here, in place of this line."
SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
EXPECTED = "expected-figure"  # tag of the cell whose figure a blank copy keeps, to aim at
AIM = "**To aim at:** the worked workbook's figure."

STATES = ("done", "not right", "not checked", "too short", "wrong cell", "doubled", "deleted", "open", "no notebook")


class NotebookError(RoadsegError):
    """A notebook's file is missing, damaged or in the way."""


@dataclass(frozen=True)
class Entry:
    """What a workbook holds for one item of the assignment.

    state : one of STATES. remark : one line about it. source : the answer, Markdown or code; empty where there is none.
    attachments : pictures that were pasted into the answer, name to {mime type: base64}. check : what the check below
    the answer last said, {name, passed, cause}, or None.
    """

    item: Item
    state: str
    remark: str = ""
    source: str = ""
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)
    check: dict | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer, and its check, if it has one, is content."""
        return self.state == "done"


@dataclass(frozen=True)
class Workbook:
    """A folder of notebooks: its entries in the order of `questions.ITEMS`, its files, and how they were run.

    untouched : by notebook name, the ids of locked cells that were changed or deleted. counts : by notebook name, the
    execution counts of its code cells in order, None where a cell has not run.
    """

    folder: Path
    notebooks: tuple[Path, ...]
    entries: tuple[Entry, ...]
    untouched: dict[str, list[str]]
    counts: dict[str, list[int | None]]


def default_folder() -> Path:
    """Where a student's own notebooks are: `my_workbook` in the project."""
    return kitti.project_root() / "my_workbook"


def worked_folder() -> Path:
    """Where the worked notebooks are, or, in a copy handed out to a class, blank ones."""
    return Path(__file__).resolve().parents[2] / "notebooks"


# --- blank copies -----------------------------------------------------------------------------------------------------


def blank(worked: dict) -> dict:
    """A blank copy of a worked notebook; of a blank one, the same again."""
    made = copy.deepcopy(worked)
    for cell in made["cells"]:
        _clear(cell)
    for cell, original in zip(made["cells"], worked["cells"]):
        if EXPECTED in _tags(original):
            _keep_figure(made["cells"], cell["id"], original)
    for cell in made["cells"]:
        _lock(cell)
    cells = {cell["id"]: _digest(cell) for cell in made["cells"]}
    made["metadata"]["roadseg"] = {"cells": cells, "locked": [c["id"] for c in made["cells"] if _is_locked(c)]}
    return made


def _clear(cell: dict) -> None:
    """Take the solution, the answer, the hidden tests and the outputs out of a cell."""
    if cell["cell_type"] == "code":
        cell.update(outputs=[], execution_count=None)
    text = "".join(cell["source"])
    if _role(cell).get("solution") and cell["cell_type"] == "markdown":
        text = TEXT_STUB
    cell["source"] = _without(_without(text, SOLUTION, CODE_STUB), HIDDEN).splitlines(keepends=True)


def _without(text: str, marks: tuple[str, str], stub: str = "") -> str:
    """The lines of a text without those from one mark to the other; the stub, if any, takes their place."""
    kept, inside = [], False
    for line in text.split("\n"):
        if marks[0] in line:
            inside = True
            if stub:
                kept.append(line[: len(line) - len(line.lstrip())] + stub)
        elif marks[1] in line:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def _keep_figure(cells: list[dict], after: str, original: dict) -> None:
    """Put the picture that a worked cell shows into the text above it."""
    shown = [output["data"] for output in original["outputs"] if _picture(output)]
    above = [c for c in cells[: [c["id"] for c in cells].index(after)] if c["cell_type"] == "markdown" and not _role(c)]
    if not shown or not above:
        return
    kind = _picture({"data": shown[0]})
    name = f"{after}.{kind.removeprefix('image/')}"
    above[-1].setdefault("attachments", {})[name] = {kind: "".join(shown[0][kind]).replace("\n", "")}
    words = "".join(shown[0].get("text/plain", "")).splitlines()[0].replace("[", "(").replace("]", ")")
    text = "".join(above[-1]["source"]) + f"\n\n{AIM}\n\n![{words}](attachment:{name})"
    above[-1]["source"] = text.splitlines(keepends=True)


def _picture(output: dict) -> str:
    """The kind of picture that an output holds; empty where it holds none."""
    return next((kind for kind in ("image/png", "image/jpeg") if kind in output.get("data", {})), "")


def _lock(cell: dict) -> None:
    """What nbgrader does when it hands a cell out: no deleting, no editing of locked ones, and a checksum."""
    role = _role(cell)
    if not role:
        return
    cell["metadata"]["deletable"] = False
    if _is_locked(cell):
        cell["metadata"]["editable"] = False
    if role.get("grade") or role.get("solution"):
        role.update(checksum=_checksum(cell), cell_type=cell["cell_type"])


def _checksum(cell: dict) -> str:
    """nbgrader's checksum of a cell, by which it sees that nothing was answered."""
    role = _role(cell)
    parts = ["".join(cell["source"]), cell["cell_type"], str(bool(role.get("grade"))), str(bool(role.get("solution")))]
    parts += [str(_is_locked(cell)), role["grade_id"]]
    if role.get("grade"):
        parts.append(str(float(role["points"])))
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def filled(made: dict, worked: dict) -> dict:
    """A blank copy with the worked notebook's solutions, answers and hidden tests put back: its sources again."""
    full = copy.deepcopy(made)
    originals = {cell["id"]: cell for cell in worked["cells"]}
    for cell in full["cells"]:
        if _role(cell):
            cell["source"] = originals[cell["id"]]["source"]
        elif cell.pop("attachments", None):
            cell["source"] = "".join(cell["source"]).split(f"\n\n{AIM}")[0].splitlines(keepends=True)
    return full


# --- starting ---------------------------------------------------------------------------------------------------------


def start(folder: Path | None = None) -> list[str]:
    """Make the blank copies that are missing in a folder, and say what was done, a line a notebook.

    A notebook that is there is never written to. Where the workbook has changed since it was made, the line says which
    cells.

    Raises
    ------
    NotebookError : the folder cannot be written, or there are no notebooks to copy.
    """
    folder = folder or default_folder()
    sources = sorted(worked_folder().glob("[0-9][0-9]_*.ipynb"))
    if not sources:
        raise NotebookError(f"there are no notebooks in {worked_folder()}: get a whole copy of the workbook.")
    lines = []
    for source in sources:
        made, path = blank(read_notebook(source)), folder / source.name
        if path.exists():
            lines.append(f"{path.name}: yours, left as it is{_moved_on(read_notebook(path), made)}")
        else:
            write_notebook(path, made)
            lines.append(f"{path.name}: a blank copy, new")
    return lines


def _moved_on(own: dict, made: dict) -> str:
    """What has changed in the workbook since a copy was made, as the end of a sentence."""
    then, now = _handed_out(own), _handed_out(made)
    if not then or then == now:
        return ""
    changes = {
        "changed": [name for name in now if name in then and then[name] != now[name]],
        "new": [name for name in now if name not in then],
        "gone": [name for name in then if name not in now],
    }
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in changes.items() if names)
    return f". The workbook has moved on since ({told}): to get the new one, rename yours and start again"


# --- reading ----------------------------------------------------------------------------------------------------------


def read(folder: Path | None = None) -> Workbook:
    """What the notebooks of a folder hold; a missing one is no error, a damaged one is.

    Raises
    ------
    NotebookError : no such folder, no notebook in it, or a file that is no notebook.
    """
    folder = folder or default_folder()
    paths = tuple(sorted(folder.glob("[0-9][0-9]_*.ipynb"))) if folder.is_dir() else ()
    if not paths:
        raise NotebookError(f"there are no notebooks in {folder}: python -m roadseg start makes your copies.")
    notebooks = {path.stem: read_notebook(path) for path in paths}
    return Workbook(
        folder=folder,
        notebooks=paths,
        entries=tuple(_entry(item, notebooks.get(item.notebook)) for item in questions.ITEMS),
        untouched={name: _touched(notebook) for name, notebook in notebooks.items()},
        counts={name: [c["execution_count"] for c in _code(notebook)] for name, notebook in notebooks.items()},
    )


def _entry(item: Item, notebook: dict | None) -> Entry:
    """Look for the answer in its own cell first, then around it."""
    if notebook is None:
        return Entry(item, "no notebook", f"{item.notebook}.ipynb is missing")
    own = [cell for cell in notebook["cells"] if _role(cell).get("grade_id") == item.id]
    if len(own) != 1:
        state, remark = ("doubled", f"its cell is there {len(own)} times") if own else ("deleted", "its cell is gone")
        source = "\n\n".join("".join(cell["source"]) for cell in own)
        return Entry(item, state, f"{remark}: get it back from a blank copy", source)
    source = "".join(own[0]["source"]).strip()
    state, remark = _text_state(item, source) if item.kind == "text" else _code_state(item, source, notebook)
    if state == "open" and (elsewhere := _elsewhere(item, notebook)):
        state, remark = "wrong cell", f"there is something in {elsewhere}: move it into the answer's own cell"
    return Entry(item, state, remark, source, own[0].get("attachments", {}), _check(item, notebook))


def _text_state(item: Item, source: str) -> tuple[str, str]:
    written = source.replace(TEXT_STUB, "").strip()
    if not written:
        return "open", ""
    count = len(words(written))
    return ("done", "") if count >= item.words else ("too short", f"{count} words, at least {item.words} expected")


def _code_state(item: Item, source: str, notebook: dict) -> tuple[str, str]:
    defined = _defined(source)
    if defined is None:
        return "not right", "its cell is not Python: the line with the error shows when it runs"
    if item.defines not in defined:
        return "open", ""
    check = _check(item, notebook)
    if check is None or check["cause"] == NOT_WRITTEN:
        return "not checked", "run its cell and the check below it"
    return ("done", "") if check["passed"] else ("not right", f"its check says: {check['cause'].replace('_', ' ')}")


def _elsewhere(item: Item, notebook: dict) -> str:
    """Where an answer seems to stand instead of in its own cell, in words; empty where nowhere."""
    handed_out = _handed_out(notebook)
    if not handed_out:
        return ""
    for number, cell in _section(item, notebook):
        changed = handed_out.get(cell["id"]) != _digest(cell)
        if changed and not _role(cell) and _holds_answer(item, cell):
            return f"cell {number} of {item.notebook}"
    return ""


def _section(item: Item, notebook: dict) -> Iterator[tuple[int, dict]]:
    """The numbered cells around an answer: a text's own section, for code the whole notebook."""
    cells = list(enumerate(notebook["cells"], start=1))
    if item.kind != "text":
        yield from cells
        return
    own = next(number for number, cell in cells if _role(cell).get("grade_id") == item.id)
    heads = [n for n, c in cells if c["cell_type"] == "markdown" and re.search(r"^##? ", "".join(c["source"]), re.M)]
    first = max((n for n in heads if n < own), default=1)
    last = min((n for n in heads if n > own), default=len(cells) + 1)
    yield from cells[first - 1 : last - 1]


def _holds_answer(item: Item, cell: dict) -> bool:
    source = "".join(cell["source"])
    defined = _defined(source) if cell["cell_type"] == "code" else None
    if item.kind != "text":
        return defined is not None and item.defines in defined
    return defined is None and len(words(source)) >= min(item.words, 10)


def _defined(source: str) -> set[str] | None:
    """The names to which code gives a value or a function with a body, at its top level; None where it is no Python."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None
    names = {node.name for node in body if isinstance(node, ast.FunctionDef) and not all(map(_is_empty, node.body))}
    for node in body:
        if isinstance(node, ast.Assign) and not _is_empty(node):
            names |= {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return names


def _is_empty(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, `...`, `pass`, an assignment of None, or says that nothing is there yet."""
    if isinstance(statement, ast.Raise):
        return "NotImplementedError" in ast.unparse(statement)
    value = getattr(statement, "value", None)
    empty = isinstance(value, ast.Constant) and (value.value in (None, ...) or isinstance(statement, ast.Expr))
    return isinstance(statement, ast.Pass) or empty


def _check(item: Item, notebook: dict) -> dict | None:
    """What the item's check last said, from the outputs that are in the file."""
    name = "answer-" + item.id.split("-")[1] if item.kind in ("number", "choice") else item.id
    for cell in _code(notebook):
        for output in cell["outputs"]:
            found = output.get("data", {}).get(MIME)
            if found and found["name"] == name:
                return found
    return None


def _touched(notebook: dict) -> list[str]:
    """The ids of locked cells that are not as they were handed out."""
    handed_out = _handed_out(notebook)
    now = {cell["id"]: _digest(cell) for cell in notebook["cells"]}
    locked = notebook["metadata"].get("roadseg", {}).get("locked", [])
    return [name for name in locked if now.get(name) != handed_out.get(name)]


def words(text: str) -> list[str]:
    """The words of a text, in any script; Chinese, Japanese and Korean characters count one each."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+", text)


def summary(book: Workbook) -> str:
    """All tasks and questions with their states, a line each, and a line that counts."""
    width = max(len(entry.item.title) for entry in book.entries)
    lines = [
        f"{e.item.label:12} {e.item.title:{width}} {e.item.kind:7} {e.state:12} {e.remark}".rstrip()
        for e in book.entries
    ]
    done = [entry for entry in book.entries if entry.done]
    changed = [f"{name}: {', '.join(ids)}" for name, ids in book.untouched.items() if ids]
    lines.append(
        f"\n{len(done)} of {len(book.entries)} done; they carry {sum(e.item.points for e in done)} of 100 points."
    )
    lines += [f"Locked cells were changed ({'; '.join(changed)}): take them back from a blank copy."] if changed else []
    return "\n".join(lines)


# --- files ------------------------------------------------------------------------------------------------------------


def read_notebook(path: Path) -> dict:
    """A notebook's file as it is; NotebookError where it is none."""
    try:
        notebook = json.loads(path.read_text("utf-8"))
        if all({"id", "cell_type", "metadata", "source"} <= cell.keys() for cell in notebook["cells"]):
            return notebook
        raise ValueError("a cell lacks a part")
    except OSError as error:
        raise NotebookError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NotebookError(
            f"{path} is no whole notebook: in JupyterLab choose File, Revert Notebook to Checkpoint, or rename it and "
            "run python -m roadseg start."
        ) from error


def write_notebook(path: Path, notebook: dict) -> None:
    """Write a notebook's file as Jupyter does, whole or not at all."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise NotebookError(f"{path} cannot be written ({error.strerror or error}): choose another folder.") from error


def _role(cell: dict) -> dict:
    """nbgrader's part of a cell's metadata; empty where the cell has none."""
    return cell["metadata"].get("nbgrader", {})


def _is_locked(cell: dict) -> bool:
    role = _role(cell)
    return not role.get("solution") and bool(role.get("grade") or role.get("locked"))


def _tags(cell: dict) -> Iterable[str]:
    return cell["metadata"].get("tags", ())


def _code(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _handed_out(notebook: dict) -> dict[str, str]:
    """Digests of all cells as they were handed out, by id."""
    return notebook["metadata"].get("roadseg", {}).get("cells", {})


def _digest(cell: dict) -> str:
    return hashlib.sha256("".join(cell["source"]).encode()).hexdigest()[:16]


def own_notebook() -> Path | None:
    """The file of the notebook that runs this, where Jupyter or VS Code tells; None elsewhere."""
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    return path if path.suffix == ".ipynb" and path.is_file() else None
