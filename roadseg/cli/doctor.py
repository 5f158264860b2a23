"""What the workbook needs and what it finds on this machine: findings, each with what to do where something is missing.

`python -m roadseg doctor` prints them. The estimate of minutes trains both networks for a few steps. Parts of the
package are reached through `roadseg`, so that a missing NumPy is a finding as well.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import roadseg
from roadseg.errors import RoadsegError

# What each notebook trains, as (model, recipe), in the order of reading: later ones reuse what earlier ones made.
NOTEBOOK_TRAININGS: dict[str, tuple[tuple[str, str], ...]] = {
    "00_road_data": (),
    "01_simple_model": (("simple", "reported"), ("simple", "assigned")),
    "02_unet": (("unet", "reported"), ("simple", "reported"), ("unet-no-skip", "reported"), ("unet", "assigned")),
    "03_written_questions": (
        *(("simple", "reported"), ("unet", "reported"), ("unet-no-skip", "reported")),
        ("unet", "assigned"),
    ),
    "04_going_further": (("unet", "fast"), ("unet", "reported")),
}
STEPS = {
    "reported": 816,  # 68 an epoch, 12 epochs
    "assigned": 816,
    "fast": 370,  # 68 an epoch, 10 epochs; 7 of them take a third of the time
}
STEPS_BESIDES = {"03_written_questions": 900, "04_going_further": 330}  # of the U-Net: experiments, and fast on blocks
SIZE, BATCH = (256, 256), 4
WARM_UP_STEPS, TIMED_STEPS = 2, 4

PYTHONS = ((3, 11), (3, 13))
GIGABYTE = 2**30
LEAST_MEMORY = 2.5 * GIGABYTE  # the peak of a training, with the pictures
LEAST_DISK = 1 * GIGABYTE  # scenes, cache and the runs of all notebooks take less than half of that
VARIABLES = ("ROADSEG_DATA", "ROADSEG_HOME", "ROADSEG_RUNS", "ROADSEG_CACHE", "ROADSEG_EPOCHS")
INSTALL = "python -m pip install -r requirements.txt"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `remedy` says what to do about a problem; an essential one stops the work."""

    name: str
    value: str
    remedy: str = ""
    essential: bool = False


def examine() -> int:
    """Print all findings, as they come; return 1 where something essential is missing or wrong, else 0."""
    stops = False
    for title, section in SECTIONS.items():
        print(f"\n{title}", flush=True)
        for finding in findings(section):
            print(f"  {finding.name:22} {finding.value}", flush=True)
            if finding.remedy:
                print(f"  {'':22} -> {finding.remedy}", flush=True)
            stops |= finding.essential and bool(finding.remedy)
    print("\nSomething essential is missing: see the arrows." if stops else "\nAll that is essential is there.")
    return int(stops)


def findings(section: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a section finds; where a package that it needs is missing, that."""
    try:
        yield from section()
    except ImportError as error:
        yield Finding("not examined", str(error), f"install what is missing: {INSTALL}", essential=True)


# --- versions --------------------------------------------------------------------------------------------------------


def versions() -> Iterator[Finding]:
    """Python, this package and those that it needs: without the essential ones nothing runs, without JupyterLab the
    commands do."""
    lowest, highest = (".".join(map(str, version)) for version in PYTHONS)
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    wrong = "" if fits else f"install a Python from {lowest} to {highest}, and make a new environment with it."
    yield Finding("python", platform.python_version(), wrong, essential=True)
    yield Finding("roadseg", roadseg.__version__)
    try:
        from packaging.requirements import Requirement  # comes with TensorFlow

        needed = [Requirement(line) for line in metadata.requires("roadseg")]
    except (ImportError, metadata.PackageNotFoundError):
        yield Finding("its packages", "missing", f"install them: {INSTALL}", essential=True)
        return
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": "lab"}):
            yield _installed(requirement)


def _installed(requirement) -> Finding:
    """Whether a package is there, in a version within the range."""
    essential = requirement.marker is None  # the others belong to an extra
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(requirement.name, "missing", f"install it: {INSTALL}", essential=essential)
    if version in requirement.specifier:
        return Finding(requirement.name, version)
    wrong = f"expected {requirement.specifier}; install it: {INSTALL}"
    return Finding(requirement.name, version, wrong, essential=essential)


# --- machine ---------------------------------------------------------------------------------------------------------


def machine() -> Iterator[Finding]:
    """Cores, memory, disk, the variables that change where things are, and precision."""
    yield Finding("cores", str(os.cpu_count() or "unknown"))
    total, free = memory()
    tight = free is not None and free < LEAST_MEMORY
    yield Finding(
        "memory",
        f"{_gigabytes(total)}, {_gigabytes(free)} free",
        f"a training needs up to {_gigabytes(LEAST_MEMORY)}: close other programs." if tight else "",
    )
    yield from _disk()
    for name in VARIABLES:
        if value := os.environ.get(name):
            yield Finding(name, value)
    from roadseg.devices import short_float  # last, as it needs TensorFlow

    on = os.environ["TF_ENABLE_ONEDNN_OPTS"].lower() not in ("0", "false")  # set when TensorFlow was loaded
    off = "unset TF_ENABLE_ONEDNN_OPTS: without oneDNN training takes about twice as long."
    yield Finding("oneDNN", "on" if on else "off", "" if on else off)
    short = short_float()
    yield Finding(
        "mixed precision", f"{short}: trains faster with --mixed-precision" if short else "not on this machine"
    )


def memory() -> tuple[int | None, int | None]:
    """Bytes of memory, in all and free; None for what this system does not tell."""
    if sys.platform == "win32":
        return _windows_memory()
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None, None
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return total, free[0] if free else None


def _windows_memory() -> tuple[int, int]:
    """The same from GlobalMemoryStatusEx, whose structure MEMORYSTATUSEX is two 32-bit, then seven 64-bit numbers."""
    import ctypes

    names = ("total", "available", "total_page", "available_page", "total_virtual", "available_virtual", "extended")

    class Status(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_ulong) for name in ("length", "load")),
            *((name, ctypes.c_ulonglong) for name in names),
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.total, status.available


def _disk() -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(roadseg.kitti.project_root()).free
    except (RoadsegError, OSError) as error:
        yield Finding("disk", "unknown", str(error))
        return
    tight = f"scenes, cache and runs need {_gigabytes(LEAST_DISK)}: free some." if free < LEAST_DISK else ""
    yield Finding("disk", f"{_gigabytes(free)} free", tight)


def _gigabytes(number: float | None) -> str:
    return "unknown" if number is None else f"{number / GIGABYTE:.1f} GB"


# --- data and runs ---------------------------------------------------------------------------------------------------


def data() -> Iterator[Finding]:
    """Which road pictures are found, and every place looked at."""
    try:
        yield Finding("project", str(roadseg.kitti.project_root()))
        location = roadseg.kitti.locate()
        yield Finding(location.kind, location.why)
        for place in location.looked:
            yield Finding("looked at", place)
        if location.kind == "scenes" and not location.chosen:
            yield Finding("real KITTI", "not here; `python -m roadseg data --download kitti` fetches it (495 MB)")
        if location.to_render:
            yield Finding("scenes", "not rendered yet: the first notebook does it, in about a minute")
        else:
            yield Finding("pictures", f"{len(roadseg.kitti.frames(location.path))} with labels, in {location.path}")
    except RoadsegError as error:
        yield Finding("data", "wrong", str(error), essential=True)


def trained() -> Iterator[Finding]:
    """The runs folder, and what it holds."""
    try:
        folder = roadseg.runs.folder()
    except RoadsegError as error:
        yield Finding("runs", "not writable", str(error), essential=True)
        return
    paths = sorted(path.parent for path in folder.glob("*/settings.json"))
    yield Finding("folder", f"{folder}: {len(paths) or 'no'} {'run' if len(paths) == 1 else 'runs'}")
    for path in paths:
        yield _run(path)


def _run(path: Path) -> Finding:
    try:
        run = roadseg.runs.open_run(path)
        seconds = round(run.finished["seconds"])
        return Finding(path.name, f"finished: {run.finished['epochs']} epochs, {seconds // 60}:{seconds % 60:02d} min")
    except RoadsegError as error:
        return Finding(path.name, "not whole", str(error))


# --- minutes ---------------------------------------------------------------------------------------------------------


def minutes() -> Iterator[Finding]:
    """How long the trainings of each notebook take here: those not made before, and all of them."""
    seconds = {model: seconds_per_step(model) for model in ("simple", "unet")}
    seconds["unet-no-skip"] = seconds["unet"]  # as many convolutions of the same size; the skips cost hardly anything
    for model in ("simple", "unet"):
        yield Finding(f"a step of {model}", f"{seconds[model]:.3f} s")
    for notebook, (in_order, alone) in estimate(seconds).items():
        text = _minutes(in_order) + (f" after the ones before it, {_minutes(alone)} alone" if alone > in_order else "")
        yield Finding(notebook, text)


def estimate(seconds: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Minutes that each notebook trains, after those before it and alone, from the seconds of a step of each model."""
    made, found = set(), {}
    for notebook, trainings in NOTEBOOK_TRAININGS.items():
        new = [training for training in trainings if training not in made]
        besides = STEPS_BESIDES.get(notebook, 0) * seconds["unet"]
        found[notebook] = tuple(
            (sum(seconds[model] * STEPS[recipe] for model, recipe in part) + besides) / 60 for part in (new, trainings)
        )
        made.update(new)
    return found


def seconds_per_step(name: str, *, size: tuple[int, int] = SIZE, steps: int = TIMED_STEPS) -> float:
    """Mean seconds of a compiled training step with four pictures of noise; the steps that compile do not count."""
    from roadseg.backend import keras, tf

    model, optimizer = roadseg.models.build(name, size=size), keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    metrics = {"running_loss": keras.metrics.Mean(), "running_accuracy": keras.metrics.BinaryAccuracy()}
    image, road = tf.random.uniform((BATCH, *size, 3)), tf.zeros((BATCH, *size, 1))
    options = {"loss_fn": keras.losses.BinaryCrossentropy(), "optimizer": optimizer, **metrics}
    step = tf.function(lambda: roadseg.training.train_step(model, image, road, **options))
    for _ in range(WARM_UP_STEPS):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step().numpy()
    return (time.perf_counter() - started) / steps


def _minutes(number: float) -> str:
    return f"about {round(number)} min" if number >= 1 else "under 1 min"


SECTIONS = {
    "Versions": versions,
    "Machine": machine,
    "Data": data,
    "Runs": trained,
    "Minutes of training in each notebook, on this machine": minutes,
}
