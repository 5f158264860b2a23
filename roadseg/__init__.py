"""Learn segmentation by building a road detector. The package in reading order, each part loaded when first used:

errors      the one-line errors that users meet
files       files that are either whole or not there
kitti       KITTI road on disk: find, download, verify, decode
scenes      road scenes rendered from a seed, in KITTI's layout
data        read, resize, cache, split, batch
metrics     confusion counts, precision, recall, F1, IoU, MaxF, average precision
baselines   four predictions that look at no shape
models      the simple model and the U-Net
provenance  what made a number: versions, machine, source
recipes     how networks are trained, as data
runs        what a training leaves on disk
board       a run for TensorBoard
losses      cross-entropy, and Dice beside it
optimizers  Adam, and Muon for kernels
devices     one device or several, float32 or mixed precision
training    the two steps and the loop
records     the speed record, read off the runs
plots       arrays in, figure out
notebook    short errors in Jupyter
evidence    what the questions' experiments need besides the runs
drawing     a network as a picture
explore     panels to play with, each with a figure below it
cards       what a check found, as a card
graph       what a network computes, as operations
wiring      those operations as levels, skips and joins
check_unet  is it the U-Net?
trials      a reader's step beside Keras's own
mistakes    what explains the difference
check_steps     are they training and validation steps?
check_answers   numbers and choices, each wrong one with its reason
checks      all of these under one roof
questions   the tasks and questions, their points and rubrics
workbook    notebooks as files: blank copies, progress, answers
review      progress and reference answers, in a notebook
document    answers as safe pages
report      the report to hand in
teach       the teacher's side: a course graded with nbgrader
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "load": "data",
    "course_split": "data",
    "block_split": "data",
    "simple_model": "models",
    "unet": "models",
    "train": "training",
    "evaluate": "training",
    "predict": "training",
}
_MODULES = (
    *("errors", "files", "kitti", "scenes", "data", "metrics", "baselines", "models", "provenance"),
    *("recipes", "runs", "board", "losses", "optimizers", "devices", "training", "records", "plots", "notebook"),
    *("evidence", "drawing", "explore", "cards", "graph", "wiring", "check_unet", "trials", "mistakes"),
    *("check_steps", "check_answers", "checks", "questions", "workbook", "review", "document", "report", "teach"),
)


def __getattr__(name: str):
    """Import a part on first use, so that `import roadseg` is instant and TensorFlow waits until it is needed."""
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'roadseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *_HOME])
