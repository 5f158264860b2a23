"""Look at versions, machine, data and runs, and say what is missing.

example:
  python -m roadseg doctor
"""

import math
import os
import platform
import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

import roadseg
from roadseg.errors import RoadsegError
from roadseg.storage import max_epochs, project_root

# What each notebook trains, as (model, recipe), that no notebook before it has trained.
NEW_RUNS = {
    "00_road_data": (),
    "01_simple_model": (("simple", "reported"), ("simple", "assigned")),
    "02_unet": (("unet", "reported"), ("unet-no-skip", "reported"), ("unet", "assigned")),
    "03_written_questions": (),
    "04_going_further": (("unet", "fast"), ("unet", "fast"), ("unet", "transfer")),  # the last two on blocks
}
# Steps of the U-Net that take as long as a notebook's own small networks.
EXPERIMENTS = {"03_written_questions": 900, "04_going_further": 700}
SIZE, BATCH, STEPS_PER_EPOCH = (256, 256), 4, 68
WARM_UP_STEPS, TIMED_STEPS = 2, 4

GIGABYTE = 2**30
LEAST_MEMORY = 2.5 * GIGABYTE  # the peak of a training run, with the images
LEAST_DISK = 1 * GIGABYTE  # scenes, cache and the runs of all notebooks take less than half of that
INSTALL = "python -m pip install -r requirements.txt"


@dataclass(frozen=True)
class Line:
    """One line of the output. `remedy` says what to do about a problem; an essential problem stops the work."""

    name: str
    value: str
    remedy: str = ""
    essential: bool = False


def run(options: Namespace) -> int:
    """Print all findings, as they come; return 1 where something essential is missing or wrong, else 0."""
    stops = False
    for title, section in SECTIONS.items():
        print(f"\n{title}", flush=True)
        for finding in _findings(section):
            print(f"  {finding.name:22} {finding.value}", flush=True)
            if finding.remedy:
                print(f"  {'':22} -> {finding.remedy}", flush=True)
            stops |= finding.essential and bool(finding.remedy)
    print("\nSomething essential is missing: see the arrows." if stops else "\nAll that is essential is there.")
    return int(stops)


def _findings(section: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """What a section finds, up to the package or the folder that it needs and that is missing or wrong."""
    try:
        yield from section()
    except ImportError as error:
        yield Line("not examined", str(error), f"install what is missing: {INSTALL}", essential=True)
    except (RoadsegError, OSError) as error:
        yield Line("not examined", "wrong", str(error), essential=True)


def examine_versions() -> Iterator[Line]:
    """Python, this package and what it depends on; JupyterLab is not essential, as all other commands run without."""
    yield Line("roadseg", roadseg.__version__)
    from packaging.requirements import Requirement  # comes with TensorFlow

    python = Requirement(f"python{metadata.metadata('roadseg')['Requires-Python']}")
    for wanted in (python, *map(Requirement, metadata.requires("roadseg"))):
        if wanted.marker and not wanted.marker.evaluate({"extra": "lab"}):
            continue
        try:
            version = platform.python_version() if wanted is python else metadata.version(wanted.name)
            remedy = "" if version in wanted.specifier else f"expected {wanted.specifier}; install: {INSTALL}"
        except metadata.PackageNotFoundError:
            version, remedy = "missing", f"install it: {INSTALL}"
        if wanted is python and remedy:
            remedy = f"make a new environment with a Python {wanted.specifier}."
        yield Line(wanted.name, version, remedy, essential=wanted.marker is None)


def examine_machine() -> Iterator[Line]:
    """Cores, memory, the variables that change paths and epochs, oneDNN and mixed precision."""
    yield Line("cores", str(os.cpu_count() or "unknown"))
    import psutil  # where it is missing, the cores have been found

    memory = psutil.virtual_memory()
    scarce = memory.available < LEAST_MEMORY
    remedy = f"a training run needs up to {_gigabytes(LEAST_MEMORY)}: close other programs." if scarce else ""
    yield Line("memory", f"{_gigabytes(memory.total)}, {_gigabytes(memory.available)} free", remedy)
    for name in sorted(name for name in os.environ if name.startswith("ROADSEG_")):
        yield Line(name, os.environ[name])
    max_epochs()  # a wrong value is an error
    from roadseg import backend  # last, as it loads TensorFlow

    on = backend.onednn_is_on()
    remedy = "" if on else "unset TF_ENABLE_ONEDNN_OPTS: without oneDNN training takes about twice as long."
    yield Line("oneDNN", "on" if on else "off", remedy)
    dtype = backend.fast_precision()
    yield Line("mixed precision", f"{dtype}: faster with --mixed-precision" if dtype else "not on this machine")


def _gigabytes(number: float) -> str:
    return f"{number / GIGABYTE:.1f} GB"


def examine_data() -> Iterator[Line]:
    """The project's folder and its disk, and which road images are found."""
    from roadseg import download, kitti

    project = project_root()
    yield Line("project", str(project))
    free = shutil.disk_usage(project).free
    remedy = f"scenes, cache and runs need {_gigabytes(LEAST_DISK)}: free some." if free < LEAST_DISK else ""
    yield Line("disk", f"{_gigabytes(free)} free", remedy)
    location = download.locate()
    yield Line(location.kind, location.reason)
    if location.to_render:
        yield Line("images", "not rendered yet: the first notebook does it, in about a minute")
    else:
        yield Line("images", f"{len(kitti.list_frames(location.path))} with labels, in {location.path}")


def examine_runs() -> Iterator[Line]:
    """The runs folder, how many it holds, and those that have not finished."""
    from roadseg import runs

    folder = runs.make_folder()
    paths = sorted(path.parent for path in folder.glob("*/settings.json"))
    yield Line("folder", f"{folder}: {len(paths) or 'no'} {'run' if len(paths) == 1 else 'runs'}")
    for path in paths:
        try:
            runs.open_run(path)
        except RoadsegError as error:
            yield Line(path.name, "incomplete", str(error))


def examine_minutes() -> Iterator[Line]:
    """How long each notebook trains here, after the ones before it, whose runs it reuses."""
    seconds = {model: seconds_per_step(model) for model in ("simple", "unet")}
    for notebook, minutes in estimate(seconds, epochs_limit=max_epochs()).items():
        yield Line(notebook, f"about {minutes:.0f} min" if minutes >= 1 else "under 1 min")


def estimate(seconds: dict[str, float], *, epochs_limit: float = math.inf) -> dict[str, float]:
    """Minutes that each notebook trains after those before it.

    seconds : of a training step of "simple" and of "unet". epochs_limit : the most epochs of a run.
    """
    from roadseg.recipes import RECIPES

    minutes = {}
    for notebook, new in NEW_RUNS.items():
        took = EXPERIMENTS.get(notebook, 0) * seconds["unet"]
        for model, name in new:
            epochs = min(RECIPES[name].epochs, epochs_limit)
            small = round(RECIPES[name].progressive_resizing * epochs)  # a third of the time
            steps = STEPS_PER_EPOCH * (epochs - small + small / 3)
            took += steps * seconds["simple" if model == "simple" else "unet"]  # skip connections take no time
        minutes[notebook] = took / 60
    return minutes


def seconds_per_step(name: str, *, size: tuple[int, int] = SIZE, steps: int = TIMED_STEPS) -> float:
    """Mean seconds of a compiled training step with a batch of noise, without the first steps, which compile."""
    import numpy as np

    from roadseg import models

    model = models.build(name, size=size)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    image = np.random.default_rng(0).random((BATCH, *size, 3), dtype=np.float32)
    mask = np.zeros((BATCH, *size, 1), np.float32)
    for step in range(WARM_UP_STEPS + steps):
        if step == WARM_UP_STEPS:
            started = time.perf_counter()
        model.train_on_batch(image, mask)
    return (time.perf_counter() - started) / steps


SECTIONS = {
    "Versions": examine_versions,
    "Machine": examine_machine,
    "Data": examine_data,
    "Runs": examine_runs,
    "Minutes of training in each notebook, in this order, on this machine": examine_minutes,
}
