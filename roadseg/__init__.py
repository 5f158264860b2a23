"""Learn segmentation by building a road detector. The package in reading order, each part loaded when first used.

The core:

kitti         KITTI road on disk: pair, read, decode
data          load, cache, split, batch
augment       random changes to image and mask together
models        the simple model and the U-Net
recipes       how networks are trained, as data
optimization  cross-entropy and Dice; Adam, and Muon for kernels
metrics       confusion counts, F1, IoU, MaxF, average precision
baselines     four predictors that know no shape
training      the two steps, and the loop over epochs
runs          what a training run leaves on disk
plots         arrays in, figure out
backend       TensorFlow, loaded quietly; devices and precision
storage       where files are; files that are either whole or not there
errors        one line each

The rooms, each a folder:

download      find, fetch, unpack and verify KITTI road
scenes        road scenes rendered from a seed, in KITTI's layout
street        the benchmark's own view, your own photos and films
checks        what is wrong with a step, a network or a number
widgets       panels to play with, and the U-Net as a diagram
workbook      notebooks as files: blank copies, progress, questions, answers
report        the report to hand in
course        the teacher's side: a course graded with nbgrader
cli           the commands
"""

from importlib import import_module

__version__ = "0.2.0"

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


def __getattr__(name: str):
    """Import a part on first use, so that `import roadseg` is instant and TensorFlow waits until it is needed."""
    if name in _parts():
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'roadseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_parts(), *_HOME])


def _parts() -> set[str]:
    """The names of the modules and rooms that are there: a student's copy has no `course`."""
    from pkgutil import iter_modules  # which takes a third of the time of `import roadseg`

    return {module.name for module in iter_modules(__path__)} - {"__main__"}
