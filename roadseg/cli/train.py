"""Train a network, or resume or reuse the run of the same settings.

examples:
  python -m roadseg train unet --recipe fast --seed 1
  python -m roadseg train unet --recipe fast --seeds 0-9
"""

import importlib.util
import re
import statistics
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

import roadseg
from roadseg.errors import OptionError, RunError, clock, explained, quoted
from roadseg.recipes import RECIPES

COLUMNS = ("loss", "accuracy", "MaxF", "IoU", "seconds")  # of validation, after the last epoch; of training
SPREAD = {"mean": statistics.mean, "standard deviation": statistics.stdev, "lowest": min, "highest": max}
MOST_SEEDS = 1000
MODELS = ("simple", "unet", "unet-no-skip")


def add_options(parser: ArgumentParser) -> None:
    """Add the parameters of `roadseg.train`."""
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=f"one of {', '.join(MODELS)}")
    text = f"how it is trained: {', '.join(RECIPES)} (default: reported)"
    parser.add_argument("--recipe", choices=tuple(RECIPES), metavar="NAME", default="reported", help=text)
    parser.add_argument("--data", metavar="DIR", help="images in KITTI's layout (default: KITTI if found, else scenes)")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, order and flips (default 0)")
    text = "a run for each of these seeds, and a table of all: 0-9 or 0,2,5; finished ones are reused"
    seeds.add_argument("--seeds", metavar="LIST", help=text)
    text = "of a Dask scheduler, whose workers train the seeds: tcp://HOST:8786; they need the same folder of runs"
    parser.add_argument("--scheduler", metavar="ADDRESS", help=text)
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's number (12; fast 10, best 40)")
    parser.add_argument("--out", metavar="DIR", help="folder of runs (default: ROADSEG_RUNS, else runs)")
    text = "what validates: the course's 15 images (default), or blocks of neighboring frames"
    parser.add_argument("--split", choices=("course", "blocks"), default="course", help=text)
    text = "one device (default), or all GPUs share each batch"
    parser.add_argument("--strategy", choices=("one", "mirrored"), default="one", help=text)
    text = "multiply in float16 on a GPU, in bfloat16 on a processor that can (doctor says)"
    parser.add_argument("--mixed-precision", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Train a network and print a line an epoch, or one network for each seed and a table."""
    if options.scheduler and options.seeds is None:
        raise OptionError(f"--scheduler {options.scheduler} is for many seeds: add --seeds, such as --seeds 0-9.")
    seeds = [options.seed] if options.seeds is None else parse_seeds(options.seeds)
    roads = roadseg.load(options.data, log=partial(print, file=sys.stderr, flush=True))
    print(f"{len(roads)} images. {roads.source}", flush=True)
    names = ("split", "epochs", "out", "strategy", "mixed_precision")
    settings = {name: getattr(options, name) for name in names}
    if options.seeds is not None:
        return _compare_seeds(seeds, roads, settings, options)
    trained = roadseg.train(options.model, options.recipe, roads, seed=options.seed, callback=_print_epoch, **settings)
    print(f"Evaluate it: python -m roadseg evaluate {quoted(trained.path)}")
    return 0


def parse_seeds(text: str) -> list[int]:
    """The seeds of "0-9", "0,2,5" or "3", in order and once each; OptionError for anything else."""
    if re.fullmatch(r"\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*", text, re.ASCII):
        ends = [part.split("-") for part in text.split(",")]
        ranges = [range(int(part[0]), int(part[-1]) + 1) for part in ends]
        if all(ranges) and sum(map(len, ranges)) <= MOST_SEEDS and max(map(max, ranges)) < 2**31:
            return sorted({seed for part in ranges for seed in part})
    found = f"--seeds {text}: expected at most {MOST_SEEDS} whole numbers below 2 ** 31"
    raise OptionError(f"{found}, such as 0-9 or 0,2,5.")


def train_seed(seed: int, network: tuple, data: str | None, fingerprint: str, settings: dict) -> tuple[str, list]:
    """The folder of a seed's run, and its COLUMNS; any worker with the same images and folder does it."""
    roads = roadseg.load(data)
    if roads.fingerprint != fingerprint:
        raise OptionError("a worker has other images than this machine: name a folder that all share with --data.")
    roadseg.backend.tf.get_logger().setLevel("ERROR")  # each run compiles its steps anew, which TensorFlow warns about
    trained = roadseg.train(*network, roads, seed=seed, callback=_print_epoch, **settings)
    scores = roadseg.evaluate(trained, roads)["all"]
    last = [float(trained.curves[f"val_{name}"][-1]) for name in ("loss", "accuracy")]
    return str(trained.path), [*last, scores["max_f"], scores["iou"], trained.finished["seconds"]]


def _compare_seeds(seeds: list[int], roads, settings: dict, options: Namespace) -> int:
    """Train all seeds, here or on a scheduler's workers; print a table, and write their curves beside the runs."""
    from tqdm import tqdm

    from roadseg import plots, runs, storage

    out, data = runs.make_folder(options.out).absolute(), options.data and str(Path(options.data).absolute())
    shared = (options.model, options.recipe), data, roads.fingerprint, settings | {"out": str(out)}
    if options.scheduler is None:
        found = {seed: train_seed(seed, *shared) for seed in seeds}
    else:
        if importlib.util.find_spec("roadseg.course") is None:
            raise OptionError("--scheduler needs the whole project, with roadseg/course: leave it out here.")
        from roadseg.course import workers

        with workers.connect(options.scheduler) as client:
            if lacking := [address for address, there in client.run(out.is_dir).items() if not there]:
                raise OptionError(f"the worker {lacking[0]} has no {out}: name a folder that all share with --out.")
            done = workers.results(client, train_seed, seeds, lambda seed: (seed, *shared))
            found = dict(tqdm(done, "Trained", len(seeds), disable=None, smoothing=0, unit=""))
    for outcome in found.values():
        if isinstance(outcome, Exception):
            raise outcome
    print(seed_table({seed: found[seed][1] for seed in seeds}))
    curves = [runs.open_run(found[seed][0]).curves for seed in seeds]
    named = options.seeds if len(options.seeds) < 60 else f"{len(seeds)}-of-{seeds[0]}-{seeds[-1]}"
    path = out / f"{options.model}-{options.recipe}-seeds-{named}.png"
    with explained(RunError, path, runs.NOT_WRITABLE), storage.atomic_write(path) as file:
        file.write(plots.encoded(plots.curves({f"{options.model}, {options.recipe}": curves})))
    print(f"The curves of all: {path}")
    return 0


def seed_table(rows: dict[int, list[float]]) -> str:
    """A line for each seed, and for two or more their mean, sample standard deviation, lowest and highest value."""
    named = {str(seed): row for seed, row in rows.items()}
    if len(rows) > 1:
        named |= {name: [function(column) for column in zip(*rows.values())] for name, function in SPREAD.items()}
    lines = ["".join([f"{'seed':18}", *(f"{name:>10}" for name in COLUMNS)])]
    for name, (*scores, seconds) in named.items():
        lines.append("".join([f"{name:18}", *(f"{score:10.4f}" for score in scores), f"{seconds:10.1f}"]))
    return "\n".join(lines)


def _print_epoch(progress) -> None:
    """Print losses, accuracies, the seconds of the epoch, and the time left, from a `roadseg.training.Progress`."""
    if progress.fraction:
        if sys.stdout.isatty():
            print(f"epoch {progress.epoch + 1:2}: {progress.fraction:4.0%}", end="\r", flush=True)
        return
    if progress.epoch == 0:
        epochs = "one epoch" if progress.epochs == 1 else f"{progress.epochs} epochs; the first takes longest"
        print(f"{progress.title}: {epochs}", flush=True)
        return
    last = {name: values[-1] for name, values in progress.curves.items()}
    print(
        f"epoch {progress.epoch:2}/{progress.epochs}"
        f"  loss {last['loss']:.4f}, validation {last['val_loss']:.4f}"
        f"  accuracy {last['accuracy']:.4f}, validation {last['val_accuracy']:.4f}"
        f"  {last['seconds']:.1f} s, {clock(round(progress.seconds_left))} left",
        flush=True,
    )
