"""How fast the package is, side by side with a plain script and with PyTorch: a table, and build/bench.json.

    python tests/bench.py                   # about 12 minutes on two idle cores, on rendered scenes
    python tests/bench.py --data FOLDER     # on images in KITTI's layout
    python tests/bench.py --quick           # does it run? times mean nothing

Scenes are enlarged to the size of KITTI's published images, which the plain script decodes in every epoch.

An epoch is what each way of training really does for the course's split: 68 steps of four images and the validation,
for the plain script with decoding, for the package with everything it writes: in float32, as the others, without
oneDNN, and in mixed precision where the machine has 16-bit numbers. All take turns, each in a process of its own. The
others run some steps of an epoch, scaled up, and all of the validation, with TensorFlow as installed and scheduled as
any process (the package turns oneDNN on and asks for batch work).

Two of the others do less than a training, and show what none can beat. One computes TensorFlow's convolutions in
float32, forward and backward, and nothing between them: what the plain script takes in comparison is the most that
training in float32 could gain. One multiplies matrices, with as many multiplications as the network's: how close an
epoch comes to that is the fraction of the machine's rate that it reaches.

Targets are for medians. The one over the plain script is for the package's fastest way on this machine: mixed precision
where there is one, else float32.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image
from plain_course_script import PlainTraining

import roadseg
from roadseg import backend, data, kitti, metrics, models, runs, scenes
from roadseg.backend import keras, tf
from roadseg.data import course_split
from roadseg.recipes import get_recipe

PROJECT = Path(__file__).resolve().parent.parent
SPEEDUP = {"unet": 3.0, "simple": 2.0}  # over the plain script
TORCH_SPEEDUP = {"unet": 1.2, "simple": 1.0}  # over PyTorch, eager or compiled, whichever is faster
LOADER_SPEEDUP, CACHED_SECONDS, MEMORY_GIB, IMPORT_SECONDS, SCENES_SECONDS = 1.6, 0.5, 2.5, 0.2, 60.0
MOVE_SECONDS = 0.1  # of a panel
BATCH, VALIDATION_BATCH = 4, 8
WITHOUT_ONEDNN = "roadseg without oneDNN"
PUBLISHED_SIZE, NOISE = (1242, 375), 2.0  # of most of KITTI's images; gray levels, as much as makes files as long
GET_TORCH = "PyTorch is not installed, so nothing is compared with it: pip install torch==2.13.0"


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    size: tuple[int, int]
    repeats: int  # of each way, in turns; one more before them, which compiles, does not count
    steps: int  # of an epoch, for the ways that are scaled up
    starts: int  # of a fresh interpreter
    scenes: dict[str, int] | None  # how many of each category to render; None is as many as KITTI has


FULL = Effort(size=(256, 256), repeats=5, steps=20, starts=7, scenes=None)
QUICK = Effort(size=(32, 32), repeats=1, steps=2, starts=1, scenes={"uu": 1})


def row(
    what: str, values: list[float], unit: str, *, at_least: float | None = None, below: float | None = None
) -> dict:
    """One line of the table: the median of what was measured, its spread, and the target where there is one."""
    median = statistics.median(values)
    target, met = None, None
    if at_least is not None:
        target, met = f"at least {at_least:g}", median >= at_least
    if below is not None:
        target, met = f"below {below:g}", median < below
    median, low, high = (round(value, 4) for value in (median, min(values), max(values)))
    return {"what": what, "median": median, "low": low, "high": high, "unit": unit, "target": target, "met": met}


def ratios(slower: list[float], faster: list[float]) -> list[float]:
    """Of neighbors in time: what else the machine does then slows both."""
    return [one / other for one, other in zip(slower, faster)]


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


# --- epochs ----------------------------------------------------------------------------------------------------------


def epoch_rows(name: str, root: Path, effort: Effort) -> list[dict]:
    """Seconds an epoch, by the package, the plain script and PyTorch, all in turns, and how they compare."""
    running = ways(name, root, effort)
    try:
        turns = [{way: measure() for way, measure in running.items()} for _ in range(1 + effort.repeats)]
    finally:
        for way in running.values():
            way.end()
    times = {way: [turn[way] for turn in turns[1:]] for way in running}  # the first epoch, which compiles, is left out
    rows = [row(f"{name}: an epoch, {way}", values, "s") for way, values in times.items()]
    plain, ours = times["plain script"], [way for way in times if way.startswith("roadseg")]
    rivals = [way for way in times if way.startswith("PyTorch")]
    rival = min(rivals, key=lambda way: statistics.median(times[way]), default=None)
    for way in ours:
        target = SPEEDUP[name] if way == ours[-1] else None
        rows.append(row(f"{name}: plain script / {way}", ratios(plain, times[way]), "x", at_least=target))
        if rival:
            target = None if way == WITHOUT_ONEDNN else TORCH_SPEEDUP[name]
            rows.append(row(f"{name}: {rival} / {way}", ratios(times[rival], times[way]), "x", at_least=target))
    rows.append(row(f"{name}: plain script / convolutions", ratios(plain, times["convolutions alone"]), "x"))
    rows.append(row(f"{name}: fraction of the matrix rate", ratios(times["matrices alone"], times["roadseg"]), "x"))
    return rows


def ways(name: str, root: Path, effort: Effort) -> dict[str, Apart]:
    """The package: without oneDNN, in float32 and, where the machine has 16-bit numbers, in mixed precision; and the
    others, with oneDNN where TensorFlow uses it by itself on this processor."""
    package = {WITHOUT_ONEDNN: (False, "0"), "roadseg": (False, "1")}
    if dtype := backend.fast_precision():
        package[f"roadseg {dtype}"] = (True, "1")
    others = {"plain script": PlainTraining, "convolutions alone": Convolutions, "matrices alone": MatrixProducts}
    if importlib.util.find_spec("torch"):
        others["PyTorch"] = torch_training
        if shutil.which("c++"):  # which torch.compile needs
            others["PyTorch compiled"] = partial(torch_training, compiled=True)
    flags = backend.CPUINFO.read_text() if backend.CPUINFO.is_file() else ""
    own = "1" if any(flag in flags for flag in ("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile")) else "0"
    count = len(kitti.list_frames(root))
    schedule_as_usual()  # processes start as the one that starts them
    return {
        **{way: Apart(onednn, train_package, name, root, effort, mixed) for way, (mixed, onednn) in package.items()},
        **{way: Apart(own, train_other, build, name, root, effort, count) for way, build in others.items()},
    }


class Apart:
    """A way of training in a process of its own, where no other framework's threads compete; a call times one epoch."""

    def __init__(self, onednn: str, serve: Callable, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = onednn  # the process inherits it, before it loads TensorFlow
        self.process.start()
        theirs.close()

    def __call__(self) -> float:
        try:
            self.pipe.send(True)
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise SystemExit(f"a way of training ended early, with {self.process.exitcode}: see above") from None

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def train_package(pipe, name: str, root: Path, effort: Effort, mixed: bool) -> None:
    """In the process apart: the package's own training, an epoch whenever asked."""
    os.environ.pop("ROADSEG_EPOCHS", None)
    started = 0.0

    def take_turns(progress: roadseg.training.Progress) -> None:
        nonlocal started
        if progress.fraction:  # within an epoch
            return
        if progress.epoch:
            pipe.send(time.perf_counter() - started)
        if progress.epoch < progress.epochs:
            pipe.recv()
            started = time.perf_counter()

    recipe = get_recipe("reported", name="bench", epochs=1 + effort.repeats)
    roads = data.load(root, size=effort.size, cache=False)
    with tempfile.TemporaryDirectory() as out:
        roadseg.train(name, recipe, roads, out=out, mixed_precision=mixed, callback=take_turns, log=lambda text: None)


def train_other(pipe, build: Callable, name: str, root: Path, effort: Effort, count: int) -> None:
    """In the process apart: build, then time an epoch whenever asked."""
    importlib.import_module("roadseg.backend")  # which asks for batch work, once
    schedule_as_usual()
    way, in_all = build(name, root, size=effort.size), -(-len(course_split(count).train) // BATCH)
    steps = min(effort.steps, in_all)
    while pipe.recv():
        pipe.send(seconds(lambda: way.train(steps)) * in_all / steps + seconds(way.validate))


def schedule_as_usual() -> None:
    """Take back what `roadseg.backend` does for the package's own trainings: other scripts know nothing of it.

    It holds for this thread and for those that it starts from now on."""
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Convolutions:
    """The network's convolutions in float32, each on random numbers of its own, and their gradients: nothing else."""

    def __init__(self, name: str, root: Path, size: tuple[int, int]):
        convolutions = [layer for layer in models.build(name, size=size).layers if is_convolution(layer)]
        self.layers = [bare(layer) for layer in convolutions]
        self.validated = len(course_split(len(kitti.list_frames(root))).validation)
        inputs, outputs = ([getattr(layer, side).shape[1:] for layer in convolutions] for side in ("input", "output"))
        self.images, self.changes = (
            [tf.random.normal((BATCH, *shape)) for shape in part] for part in (inputs, outputs)
        )
        self.held_out = [tf.random.normal((VALIDATION_BATCH, *shape)) for shape in inputs]
        self.forward, self.backward = tf.function(self.outputs), tf.function(self.gradients)

    def outputs(self, images: list[tf.Tensor]) -> list[tf.Tensor]:
        return [layer(image) for layer, image in zip(self.layers, images)]

    def gradients(self, images: list[tf.Tensor], changes: list[tf.Tensor]) -> tuple:
        """What every convolution gives, and its gradients by its kernel and, but for the first, by its input. All are
        returned, as TensorFlow leaves out what nobody asks for."""
        with tf.GradientTape() as tape:
            tape.watch(images[1:])
            outputs = self.outputs(images)
        kernels = [layer.kernel for layer in self.layers]
        return outputs, *tape.gradient(outputs, [images[1:], kernels], changes)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.backward(self.images, self.changes)

    def validate(self) -> None:
        for _ in range(-(-self.validated // VALIDATION_BATCH)):
            self.forward(self.held_out)


def bare(layer):
    """The same convolution, without bias and activation."""
    convolution = type(layer).from_config({**layer.get_config(), "activation": None, "use_bias": False})
    convolution.build(layer.input.shape)
    return convolution


class MatrixProducts:
    """As many multiplications as a training does, in matrix products: what the machine could do at its best."""

    SIDE = 1024  # of the square matrix; the other has a row for every 1024 x 1024 multiplications

    def __init__(self, name: str, root: Path, size: tuple[int, int]):
        rng = np.random.default_rng(0)
        model, count = models.build(name, size=size), len(kitti.list_frames(root))
        self.an_image = multiplications(model)
        self.validated = len(course_split(count).validation)
        rows = -(-VALIDATION_BATCH * self.an_image // self.SIDE**2)
        self.long, self.square = (rng.normal(size=(n, self.SIDE)).astype(np.float32) for n in (3 * rows, self.SIDE))

    def multiply(self, multiplications: int) -> None:
        rows = -(-multiplications // self.SIDE**2)
        self.long[:rows] @ self.square

    def train(self, steps: int) -> None:
        """Forward, and backward twice: by the weights and by the input, each as much as forward."""
        for _ in range(steps):
            self.multiply(3 * BATCH * self.an_image)

    def validate(self) -> None:
        for start in range(0, self.validated, VALIDATION_BATCH):
            self.multiply(min(VALIDATION_BATCH, self.validated - start) * self.an_image)


def multiplications(model) -> int:
    """Of one image going forward, in all convolutions: kernel x pixels, out of it or, transposed, into it."""
    in_all = 0
    for layer in model.layers:
        if is_convolution(layer):
            side = layer.input if "Transpose" in type(layer).__name__ else layer.output
            in_all += math.prod(layer.kernel.shape) * math.prod(side.shape[1:3])
    return in_all


def is_convolution(layer) -> bool:
    return isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose))


def torch_training(name: str, root: Path, size: tuple[int, int], *, compiled: bool = False):
    """The same network in PyTorch, channels last, fed from the same arrays; compiled by torch.compile or not."""
    import torch
    from torch import nn

    roads = data.load(root, size=size, cache=False)

    def convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, side, stride, side // 2), nn.ReLU()]

    def double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(*convolution(inputs, outputs, 3), *convolution(outputs, outputs, 3))

    class UNet(nn.Module):
        def __init__(self, filters=(8, 16, 32, 64, 128)):
            super().__init__()
            self.down = nn.ModuleList(double(a, b) for a, b in zip((3, *filters), filters))
            pairs = list(zip(filters[:0:-1], filters[-2::-1]))
            self.raised = nn.ModuleList(nn.Sequential(nn.ConvTranspose2d(a, b, 2, 2), nn.ReLU()) for a, b in pairs)
            self.up = nn.ModuleList(double(a, b) for a, b in pairs)
            self.score = nn.Conv2d(filters[0], 1, 1)

        def forward(self, x):
            skips = []
            for level in self.down[:-1]:
                skips.append(level(x))
                x = nn.functional.max_pool2d(skips[-1], 2)
            x = self.down[-1](x)
            for raised, level in zip(self.raised, self.up):
                x = level(torch.cat([skips.pop(), raised(x)], 1))
            return torch.sigmoid(self.score(x))

    def simple_model() -> nn.Sequential:
        enlarge = nn.Upsample(scale_factor=4, mode="bilinear")
        return nn.Sequential(
            *convolution(3, 32, 5, 2), *convolution(32, 64, 5, 2), nn.Conv2d(64, 1, 1), enlarge, nn.Sigmoid()
        )

    class TorchTraining:
        def __init__(self):
            self.split = course_split(len(roads))
            self.model = {"unet": UNet, "simple": simple_model}[name]().to(memory_format=torch.channels_last)
            assert sum(p.numel() for p in self.model.parameters()) == {"unet": 485_817, "simple": 53_761}[name]
            self.forward = torch.compile(self.model) if compiled else self.model
            self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
            self.images, self.masks = torch.from_numpy(roads.images), torch.from_numpy(roads.masks)

        def batch(self, index):
            image = (self.images[index].float() / 255).permute(0, 3, 1, 2)  # channels last in memory as it is
            return image, self.masks[index].float()[:, None]

        def train(self, steps: int) -> None:
            order = torch.randperm(len(self.split.train))
            for index in torch.from_numpy(self.split.train)[order].split(BATCH)[:steps]:
                image, mask = self.batch(index)
                probability = self.forward(image)
                loss = nn.functional.binary_cross_entropy(probability, mask)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                ((probability >= 0.5) == (mask >= 0.5)).float().mean().item()

        @torch.no_grad()
        def validate(self) -> None:
            for index in torch.from_numpy(self.split.validation).split(VALIDATION_BATCH):
                image, mask = self.batch(index)
                nn.functional.binary_cross_entropy(self.forward(image), mask).item()

    return TorchTraining()


# --- loading, memory, start ------------------------------------------------------------------------------------------


def loader_rows(root: Path, effort: Effort) -> list[dict]:
    """Decoding one by one and in parallel, in turns; loading from the cache."""
    loads = {workers: [] for workers in (1, 2)}
    for _ in range(effort.repeats):
        for workers, times in loads.items():
            times.append(seconds(lambda: data.load(root, size=effort.size, cache=False, workers=workers)))  # noqa: B023
    with tempfile.TemporaryDirectory() as cache:
        data.load(root, size=effort.size, cache=cache)
        cached = [seconds(lambda: data.load(root, size=effort.size, cache=cache)) for _ in range(effort.repeats)]
    return [
        row("loading, one by one", loads[1], "s"),
        row("loading, two at once", loads[2], "s"),
        row("loading: one by one / two at once", ratios(loads[1], loads[2]), "x", at_least=LOADER_SPEEDUP),
        row("loading from the cache", cached, "s", below=CACHED_SECONDS),
    ]


TRAIN_ONCE = """
import resource, sys
from roadseg import data, recipes, training
root, out, size, unit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
roads = data.load(root, size=(size, size), cache=out + "/cache")
recipe = recipes.get_recipe("fast", name="bench", epochs=1, progressive_resizing=0.0, color_jitter=1.0)
training.train("unet", recipe, roads, out=out + "/runs")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def memory_rows(root: Path, effort: Effort) -> list[dict]:
    """The largest resident memory of a process that loads, decodes and trains the U-Net; none on Windows."""
    if importlib.util.find_spec("resource") is None:
        return []
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, elsewhere kilobytes
    with tempfile.TemporaryDirectory() as out:
        told = run_python("-c", TRAIN_ONCE, root, out, effort.size[0], unit)
    gibibytes = int(told.split()[-1]) / 2**30
    return [row("peak memory of a U-Net's training", [gibibytes], "GiB", below=MEMORY_GIB)]


def scenes_rows(effort: Effort) -> list[dict]:
    """Rendering all scenes, once."""
    options = {"counts": effort.scenes} if effort.scenes else {}
    with tempfile.TemporaryDirectory() as out:
        once = seconds(lambda: scenes.write(Path(out) / "scenes", **options))
    return [row("rendering all scenes", [once], "s", below=SCENES_SECONDS)]


def panel_rows(root: Path, effort: Effort) -> list[dict]:
    """What the kernel does when the threshold moves: all that the page shows, made anew."""
    from roadseg.widgets import predictions

    roads = data.load(root, size=effort.size, cache=False)
    validation = course_split(len(roads)).validation
    names = tuple(roads.names[i] for i in validation)
    parts = {name: getattr(roads, name)[validation] for name in ("images", "masks", "valid")}
    own = replace(roads, names=names, **parts)
    probability = np.random.default_rng(0).integers(0, 256, own.masks.shape, np.uint8)
    sweep = metrics.threshold_sweep(probability, own.masks, own.valid)

    def move(threshold: float) -> None:
        predictions.threshold_page(own, probability, sweep, place=0, threshold=threshold)

    moves = [seconds(lambda t=t: move(t)) for t in np.linspace(0, 1, 21)]
    return [row("a move of the threshold", moves, "s", below=MOVE_SECONDS)]


def import_rows(effort: Effort) -> list[dict]:
    """What `import roadseg` adds to the start of an interpreter."""
    codes = ("pass", "import roadseg")
    times = [[seconds(lambda c=code: run_python("-c", c)) for code in codes] for _ in range(effort.starts)]
    added = [full - bare for bare, full in times]
    return [
        row("start of Python alone", [bare for bare, _ in times], "s"),
        row("import roadseg", added, "s", below=IMPORT_SECONDS),
    ]


def run_python(*arguments: object) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


# --- images --------------------------------------------------------------------------------------------------------


def published_size(half: Path, root: Path) -> Path:
    """The images of `half` in the new folder `root`, as large as KITTI's and as long in bytes; kept for next time."""
    record = half / scenes.RECORD
    made_of = record.read_text() if record.is_file() else "other images"
    if (root / "whole").is_file() and (root / "whole").read_text() == made_of:
        return root
    shutil.rmtree(root, ignore_errors=True)
    rng = np.random.default_rng(0)
    for part, method in (("image_2", Image.Resampling.BICUBIC), ("gt_image_2", Image.Resampling.NEAREST)):
        (root / "training" / part).mkdir(parents=True, exist_ok=True)
        for file in sorted((half / "training" / part).glob("*.png")):
            with Image.open(file) as image:
                image = np.asarray(image.resize(PUBLISHED_SIZE, method))
            if part == "image_2":
                image = np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / "training" / part / file.name)
    (root / "whole").write_text(made_of)
    return root


# --- the whole -------------------------------------------------------------------------------------------------------


def measure(root: Path, effort: Effort) -> list[dict]:
    """All rows; each group is printed as soon as it is there."""
    groups = [lambda name=name: epoch_rows(name, root, effort) for name in SPEEDUP]
    groups += [lambda: loader_rows(root, effort), lambda: memory_rows(root, effort), lambda: import_rows(effort)]
    groups += [lambda: panel_rows(root, effort), lambda: scenes_rows(effort)]
    rows = []
    for group in groups:
        rows += (new := group())
        for line in new:
            print(line_of(**line), flush=True)
    return rows


def line_of(what: str, median: float, low: float, high: float, unit: str, target: str | None, met: bool | None) -> str:
    """A row as a line of the table."""
    spread, verdict = f"{low:.2f} to {high:.2f}", {True: "met", False: "MISSED", None: ""}[met]
    return f"{what:40}{median:8.2f} {unit:4}{spread:18}{target or '':14}{verdict}".rstrip()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 when a target is missed, which a quick run does not look at."""
    parser = argparse.ArgumentParser(description="Measure the speed of the package.")
    parser.add_argument("--data", type=Path, help="images in KITTI's layout; otherwise scenes are rendered")
    parser.add_argument("--out", type=Path, default=PROJECT / "build", help="folder of bench.json")
    parser.add_argument("--quick", action="store_true", help="see that it runs, in seconds")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    made = PROJECT / "build" / "bench"
    root = options.data or published_size(scenes.write(made / "scenes"), made / "published")
    if options.quick:
        print("A quick run, on too little to measure: only that it runs means something.")
    rows = measure(root, effort)
    torch = metadata.version("torch") if importlib.util.find_spec("torch") else None
    if torch is None:
        print(GET_TORCH)
    report = {"quick": options.quick, "images": len(kitti.list_frames(root)), "effort": asdict(effort), "rows": rows}
    report |= {"machine": runs.machine(), "versions": {**runs.versions(), "torch": torch}}
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "bench.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Written: {target}")
    return int(not options.quick and any(line["met"] is False for line in rows))


if __name__ == "__main__":
    sys.exit(main())
