"""Learn segmentation by building a road detector. The package in reading order, each part loaded when first used.

The core:

errors      the one-line errors that users meet
files       files that are either whole or not there
kitti       KITTI road on disk: find, download, verify, decode
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
plots       arrays in, figure out
notebook    short errors in Jupyter

The rooms, each a folder:

scenes      road scenes rendered from a seed, in KITTI's layout
checks      what is wrong with a step, a network or a number
workbook    notebooks as files: blank copies, progress, questions, answers
widgets     panels to play with, and the U-Net as a diagram
report      the report to hand in
course      the teacher's side: a course graded with nbgrader
cli         the commands
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
_PARTS = (
    *("errors", "files", "kitti", "data", "metrics", "baselines", "models", "provenance", "recipes", "runs", "board"),
    *("losses", "optimizers", "devices", "training", "plots", "notebook"),
    *("scenes", "checks", "workbook", "widgets", "report", "course", "cli"),
)


def __getattr__(name: str):
    """Import a part on first use, so that `import roadseg` is instant and TensorFlow waits until it is needed."""
    if name in _PARTS:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'roadseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PARTS, *_HOME])
