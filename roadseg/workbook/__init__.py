"""The workbook's notebooks as files, and what its experiments need.

ITEMS, Item, item, rubrics            the tasks and questions, and what their texts should say
start, blank                          blank copies of the worked notebooks
CODE_STUB, TEXT_STUB, AIM, EXPECTED   what stands in them in place of answers and figures
read_workbook, summary, Workbook, Entry  what a student has done in a folder of notebooks
overview, compare, reference_answer   the same seen in a notebook, and the reference answers
own_steps                             the student's two steps, for notebook 02
compare_guess                         a guess beside what was measured
needs                                 which cells of a notebook an answer needs
default_folder, worked_folder         where the notebooks are
read_notebook, write_notebook         one notebook's file; NotebookError where that fails
parse_notebook, notebook_bytes        the same of a file's content
without_widgets                       leaves live widgets out of what Jupyter saves
analysis                              what notebook 03 measures
reference                             numbers on real KITTI images
leaderboard                           how soon the U-Net is good on new streets (notebook 04)
"""

from importlib import import_module

_HOME = {
    **dict.fromkeys(("ITEMS", "Item", "item", "rubrics"), "questions"),
    **dict.fromkeys(("start", "blank", "without_prose_checks", "AIM", "EXPECTED"), "copies"),
    **dict.fromkeys(("read_workbook", "summary", "Workbook", "Entry"), "progress"),
    **dict.fromkeys(("overview", "compare", "reference_answer"), "review"),
    "own_steps": "own",
    "compare_guess": "analysis",
    **dict.fromkeys(("default_folder", "worked_folder", "read_notebook", "write_notebook"), "files"),
    **dict.fromkeys(("NotebookError", "parse_notebook", "notebook_bytes", "without_widgets"), "files"),
    **dict.fromkeys(("CODE_STUB", "TEXT_STUB"), "files"),
}
__all__ = [*_HOME]


def __getattr__(name: str):
    """Import a part on first use: some load TensorFlow or Matplotlib."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
