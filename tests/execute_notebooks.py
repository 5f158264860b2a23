"""Execute the worked notebooks from clean kernels, in order, and write them back with tidy outputs.

    python tests/execute_notebooks.py [NOTEBOOK ...]      # all of notebooks/ by default

They should show scenes and full trainings: run it without ROADSEG_DATA and ROADSEG_EPOCHS, and with no KITTI in data/.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute(path: Path) -> None:
    """Run one notebook and keep its outputs; times and versions of this machine do not go into the metadata."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=1800, resources={"metadata": {"path": str(path.parent)}}).execute()
    book.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)  # without its kernel it would show as an error
    nbformat.write(book, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(map(str, NOTEBOOKS.glob("0*.ipynb"))):
        started = time.perf_counter()
        execute(Path(name))
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
