"""Blank copies of the worked notebooks, which are the one source.

A blank copy has no solutions (between the markers that nbgrader uses), answers, hidden tests and outputs; the figures
that a task aims at are folded below it. Cells that only check the prose against its numbers are left out: they
hold for the worked notebook's runs alone. It remembers in its metadata how each cell was when it was handed out.
"""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path

from roadseg.workbook import files
from roadseg.workbook.files import CODE_STUB, TEXT_STUB, NotebookError

SOLUTION = re.compile(r"(?ms)^([ \t]*)[^\n]*### BEGIN SOLUTION.*?(?:### END SOLUTION[^\n]*$|\Z)")
HIDDEN = re.compile(r"(?ms)\n?^[^\n]*### BEGIN HIDDEN TESTS.*?(?:### END HIDDEN TESTS[^\n]*$|\Z)")
EXPECTED = "expected-figure"  # tag of the cell whose figure a blank copy keeps, to aim at
PROSE_CHECK = "prose-check"  # tag of the cells that are left out
AIM = "To aim at: the figure of the worked notebook (open it after your own run)"


def start(folder: Path | None = None) -> list[str]:
    """Make the blank copies that are missing in a folder, and say what was done, a line a notebook.

    A notebook that is there is never written to. Where the workbook has changed since it was made, the line says which
    cells.

    Raises
    ------
    NotebookError : the folder cannot be written, or there are no notebooks to copy.
    """
    folder, lines = folder or files.default_folder(), []
    for source in files.worked_notebooks():
        made, path = blank(files.read_notebook(source)), folder / source.name
        if not path.exists():
            files.write_notebook(path, made)
            lines.append(f"{path.name}: a blank copy, new")
            continue
        try:
            remark = _changes(files.read_notebook(path), made)
        except NotebookError as error:
            remark = f": {error}"
        lines.append(f"{path.name}: yours, left as it is{remark}")
    return lines


def _changes(own: dict, made: dict) -> str:
    """What has changed in the workbook since a copy was made, as the end of a sentence."""
    then, now = files.handed_out(own), files.handed_out(made)
    if not then or then == now:
        return ""
    differ = ", ".join(name for name in {**now, **then} if then.get(name) != now.get(name))
    return f". The workbook has changed since, in the cells {differ}: to get the new one, rename yours and start again"


def without_prose_checks(worked: dict) -> dict:
    """A worked notebook without the cells that only hold its prose to its numbers."""
    kept = [cell for cell in worked["cells"] if PROSE_CHECK not in cell["metadata"].get("tags", ())]
    return {**worked, "cells": kept}


def blank(worked: dict) -> dict:
    """A blank copy of a worked notebook; of a blank one, the same again."""
    made = copy.deepcopy(without_prose_checks(worked))
    made["cells"] = [each for cell in made["cells"] for each in (cell, *_figures_to_aim_at(cell))]
    for cell in made["cells"]:
        is_text = files.role(cell).get("solution") and cell["cell_type"] == "markdown"
        source = TEXT_STUB if is_text else HIDDEN.sub("", SOLUTION.sub(rf"\1{CODE_STUB}", files.source_of(cell)))
        cell["source"] = source.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        _lock(cell)
    cells = {cell["id"]: files.cell_digest(cell) for cell in made["cells"]}
    made["metadata"]["roadseg"] = {"cells": cells, "locked": [c["id"] for c in made["cells"] if files.is_locked(c)]}
    return made


def _figures_to_aim_at(cell: dict) -> list[dict]:
    """The first image that an expected figure's cell shows, as a text cell: none for other cells."""
    data = next((out["data"] for out in cell.get("outputs", ()) if "image/png" in out.get("data", ())), None)
    if data is None or EXPECTED not in cell["metadata"].get("tags", ()):
        return []
    caption = "".join(data["text/plain"]).split("\n")[0].translate(str.maketrans("[]", "()"))
    image = "".join(data["image/png"]).replace("\n", "")
    # not as an attachment: JupyterLab asks the browser for its address before it has the image
    source = f"<details><summary>{AIM}</summary>\n\n![{caption}](data:image/png;base64,{image})\n\n</details>"
    return [{"cell_type": "markdown", "id": f"{cell['id']}-aim", "metadata": {"editable": False}, "source": source}]


def _lock(cell: dict) -> None:
    """What nbgrader does when it hands a cell out: no deleting, no editing of locked ones, and a checksum."""
    own, locked = files.role(cell), files.is_locked(cell)
    if own:
        cell["metadata"] |= {"deletable": False} | ({"editable": False} if locked else {})
    if own.get("grade") or own.get("solution"):
        # nbgrader's own checksum of a cell, by which it sees that nothing was answered
        flags = map(str, [bool(own.get("grade")), bool(own.get("solution")), locked])
        parts = [files.source_of(cell), cell["cell_type"], *flags, own["grade_id"]]
        parts += [str(float(own["points"]))] if own.get("grade") else []
        checksum = hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()
        own.update(checksum=checksum, cell_type=cell["cell_type"])
