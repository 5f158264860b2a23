"""Look at versions, machine, data and runs, and say what is missing.

example:
  python -m roadseg doctor
"""

import math
import os
import platform
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

import roadseg
from roadseg.errors import RoadsegError
from roadseg.storage import max_epochs, project_root

# What each notebook trains, as (model, recipe), in reading order: later notebooks reuse the runs of earlier ones.
NOTEBOOK_RUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "00_road_data": (),
    "01_simple_model": (("simple", "reported"), ("simple", "assigned")),
    "02_unet": (("unet", "reported"), ("simple", "reported"), ("unet-no-skip", "reported"), ("unet", "assigned")),
    "03_written_questions": (
        *(("simple", "reported"), ("unet", "reported"), ("unet-no-skip", "reported")),
        ("unet", "assigned"),
    ),
    "04_going_further": (("unet", "fast"), ("unet", "reported"), ("unet", "fast", "blocks")),
}
# Steps of the U-Net that take as long as a notebook's own small networks.
EXPERIMENTS = {"03_written_questions": 900, "04_going_further": 700}
SIZE, BATCH, STEPS_PER_EPOCH = (256, 256), 4, 68
WARM_UP_STEPS, TIMED_STEPS = 2, 4

PYTHONS = ((3, 11), (3, 13))
GIGABYTE = 2**30
LEAST_MEMORY = 2.5 * GIGABYTE  # the peak of a training run, with the images
LEAST_DISK = 1 * GIGABYTE  # scenes, cache and the runs of all notebooks take less than half of that
VARIABLES = ("ROADSEG_DATA", "ROADSEG_HOME", "ROADSEG_RUNS", "ROADSEG_CACHE")
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
    lowest, highest = (".".join(map(str, version)) for version in PYTHONS)
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    remedy = "" if fits else f"install a Python from {lowest} to {highest}, and make a new environment with it."
    yield Line("python", platform.python_version(), remedy, essential=True)
    yield Line("roadseg", roadseg.__version__)
    try:
        from packaging.requirements import Requirement  # comes with TensorFlow

        requirements = [Requirement(line) for line in metadata.requires("roadseg")]
    except (ImportError, metadata.PackageNotFoundError):
        yield Line("its packages", "missing", f"install them: {INSTALL}", essential=True)
        return
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": "lab"}):
            continue
        try:
            version = metadata.version(requirement.name)
            remedy = "" if version in requirement.specifier else f"expected {requirement.specifier}; install: {INSTALL}"
        except metadata.PackageNotFoundError:
            version, remedy = "missing", f"install it: {INSTALL}"
        yield Line(requirement.name, version, remedy, essential=requirement.marker is None)


def examine_machine() -> Iterator[Line]:
    """Cores, memory, the variables that change paths, oneDNN and mixed precision."""
    yield Line("cores", str(os.cpu_count() or "unknown"))
    import psutil  # where it is missing, the cores have been found

    memory = psutil.virtual_memory()
    scarce = memory.available < LEAST_MEMORY
    remedy = f"a training run needs up to {_gigabytes(LEAST_MEMORY)}: close other programs." if scarce else ""
    yield Line("memory", f"{_gigabytes(memory.total)}, {_gigabytes(memory.available)} free", remedy)
    for name in VARIABLES:
        if value := os.environ.get(name):
            yield Line(name, value)
    if value := os.environ.get("ROADSEG_EPOCHS"):
        max_epochs()  # a wrong value is an error
        yield Line("ROADSEG_EPOCHS", value)
    from roadseg import backend  # last, as it loads TensorFlow

    on = backend.onednn_is_on()
    remedy = "" if on else "unset TF_ENABLE_ONEDNN_OPTS: without oneDNN training takes about twice as long."
    yield Line("oneDNN", "on" if on else "off", remedy)
    dtype = backend.fast_precision()
    value = f"{dtype}: trains faster with --mixed-precision" if dtype else "not on this machine"
    yield Line("mixed precision", value)


def _gigabytes(number: float) -> str:
    return f"{number / GIGABYTE:.1f} GB"


def examine_data() -> Iterator[Line]:
    """The project's folder and its disk, which road images are found, and every place looked at."""
    from roadseg import download, kitti

    project = project_root()
    yield Line("project", str(project))
    free = shutil.disk_usage(project).free
    remedy = f"scenes, cache and runs need {_gigabytes(LEAST_DISK)}: free some." if free < LEAST_DISK else ""
    yield Line("disk", f"{_gigabytes(free)} free", remedy)
    location = download.locate()
    yield Line(location.kind, location.reason)
    for place in location.searched:
        yield Line("searched", place)
    if location.kind == "scenes" and not location.chosen:
        yield Line("real KITTI", "not here; `python -m roadseg data --download kitti` fetches it (495 MB)")
    if location.to_render:
        yield Line("scenes", "not rendered yet: the first notebook does it, in about a minute")
    else:
        yield Line("images", f"{len(kitti.list_frames(location.path))} with labels, in {location.path}")


def examine_runs() -> Iterator[Line]:
    """The runs folder, and what it holds."""
    from roadseg import runs

    folder = runs.make_folder()
    paths = sorted(path.parent for path in folder.glob("*/settings.json"))
    yield Line("folder", f"{folder}: {len(paths) or 'no'} {'run' if len(paths) == 1 else 'runs'}")
    for path in paths:
        try:
            finished = runs.open_run(path).finished
        except RoadsegError as error:
            yield Line(path.name, "incomplete", str(error))
        else:
            minutes, seconds = divmod(round(finished["seconds"]), 60)
            yield Line(path.name, f"finished: {finished['epochs']} epochs, {minutes}:{seconds:02d} min")


def examine_minutes() -> Iterator[Line]:
    """How long each notebook trains here: only the runs that no notebook before it has made, and all of its runs."""
    seconds = {model: seconds_per_step(model) for model in ("simple", "unet")}
    for model, value in seconds.items():
        yield Line(f"a step of {model}", f"{value:.3f} s")
    for notebook, minutes in estimate(seconds, epochs_limit=max_epochs()).items():
        after, alone = (f"about {number:.0f} min" if number >= 1 else "under 1 min" for number in minutes)
        yield Line(notebook, after if after == alone else f"{after} after the ones before it, {alone} alone")


def estimate(seconds: dict[str, float], *, epochs_limit: float = math.inf) -> dict[str, tuple[float, float]]:
    """Minutes that each notebook trains: after those before it, whose runs it reuses, and alone.

    seconds : of a training step of "simple" and of "unet". epochs_limit : the most epochs of a run.
    """
    from roadseg.recipes import RECIPES

    made, minutes = set(), {}
    for notebook, needed in NOTEBOOK_RUNS.items():
        after = alone = EXPERIMENTS.get(notebook, 0) * seconds["unet"]
        for model, name, *split in needed:
            epochs = min(RECIPES[name].epochs, epochs_limit)
            small = round(RECIPES[name].progressive_resizing * epochs)  # a third of the time
            steps = STEPS_PER_EPOCH * (epochs - small + small / 3)
            took = steps * seconds["simple" if model == "simple" else "unet"]  # skip connections take no time
            alone += took
            after += 0 if (model, name, *split) in made else took
        minutes[notebook] = (after / 60, alone / 60)
        made.update(needed)
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
    "Minutes of training in each notebook, on this machine": examine_minutes,
}
