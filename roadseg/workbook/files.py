"""Notebooks as files: JSON read and written as Jupyter does, and the folders that hold them. Nothing here runs one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from roadseg.errors import RoadsegError
from roadseg.storage import atomic_write, project_root


class NotebookError(RoadsegError):
    """A notebook's file is missing, damaged or in the way."""


def default_folder() -> Path:
    """Where a student's own notebooks are: `my_workbook` in the project."""
    return project_root() / "my_workbook"


def worked_folder() -> Path:
    """Where the worked notebooks are, or, in a copy handed out to a class, blank ones."""
    return Path(__file__).resolve().parents[2] / "notebooks"


def worked_notebooks() -> list[Path]:
    """The files of the worked notebooks, in order. Raises NotebookError where there are none."""
    paths = sorted(worked_folder().glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise NotebookError(f"there are no notebooks in {worked_folder()}: get a whole copy of the workbook.")
    return paths


def read_notebook(path: Path) -> dict:
    """A notebook's file; what older formats and other programs leave out of cells is filled in.

    Raises NotebookError where it is none.
    """
    try:
        notebook = json.loads(path.read_bytes())  # in UTF-8, UTF-16 or UTF-32
        notebook.setdefault("metadata", {})
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
            cell.setdefault("metadata", {})
            cell.setdefault("id", role(cell).get("grade_id", ""))
            if cell["cell_type"] == "code":
                cell.setdefault("outputs", [])
                cell.setdefault("execution_count", None)
    except OSError as error:
        raise NotebookError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotebookError(
            f"{path} is no whole notebook: in JupyterLab choose File, Revert Notebook to Checkpoint, or rename it and "
            "run python -m roadseg start."
        ) from error
    return notebook


def write_notebook(path: Path, notebook: dict) -> None:
    """Write a notebook's file as Jupyter does, whole or not at all. Raises NotebookError where that fails."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise NotebookError(f"{path} cannot be written ({error.strerror or error}): choose another folder.") from error


def without_widgets(model: dict, **_) -> None:
    """Leave live widgets out of a notebook that Jupyter is about to save; their text form stays.

    Without its kernel a widget shows as an error. For `ContentsManager.pre_save_hook`.
    """
    if model["type"] == "notebook":
        for cell in model["content"]["cells"]:
            for output in cell.get("outputs", ()):
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def text(cell: dict) -> str:
    """A cell's source."""
    return "".join(cell["source"])


def role(cell: dict) -> dict:
    """nbgrader's part of a cell's metadata; empty where the cell has none."""
    return cell["metadata"].get("nbgrader", {})


def is_locked(cell: dict) -> bool:
    """Whether nbgrader hands the cell out as one that is not to be changed."""
    return not role(cell).get("solution") and bool(role(cell).get("grade") or role(cell).get("locked"))


def digest(cell: dict) -> str:
    """Of a cell's source."""
    return hashlib.sha256(text(cell).encode()).hexdigest()[:16]


def handed_out(notebook: dict) -> dict[str, str]:
    """Digests of all cells of a copy as they were handed out, by id; empty for other notebooks."""
    return notebook["metadata"].get("roadseg", {}).get("cells", {})
