"""Train a network, or resume or reuse the run of the same settings.

example:
  python -m roadseg train unet --recipe fast --seed 1
"""

import sys
from argparse import ArgumentParser, Namespace
from functools import partial

from roadseg.recipes import RECIPES

MODELS = ("simple", "unet", "unet-no-skip")


def add_options(parser: ArgumentParser) -> None:
    """Add the parameters of `roadseg.train`."""
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=f"one of {', '.join(MODELS)}")
    text = f"how it is trained: {', '.join(RECIPES)} (default: reported)"
    parser.add_argument("--recipe", choices=tuple(RECIPES), metavar="NAME", default="reported", help=text)
    parser.add_argument("--data", metavar="DIR", help="images in KITTI's layout (default: KITTI if found, else scenes)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, order and flips (default 0)")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's number (12; fast 10, best 40)")
    parser.add_argument("--out", metavar="DIR", help="folder of runs (default: ROADSEG_RUNS, else runs)")
    text = "what validates: the course's 15 images (default), or blocks of neighboring frames"
    parser.add_argument("--split", choices=("course", "blocks"), default="course", help=text)
    text = "one device (default), or all GPUs share each batch"
    parser.add_argument("--strategy", choices=("one", "mirrored"), default="one", help=text)
    text = "multiply in float16 on a GPU, in bfloat16 on a processor that can (doctor says)"
    parser.add_argument("--mixed-precision", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Train a network and print a line an epoch."""
    import roadseg

    roads = roadseg.load(options.data, log=partial(print, file=sys.stderr, flush=True))
    print(f"{len(roads)} images. {roads.source}", flush=True)
    trained = roadseg.train(
        options.model,
        options.recipe,
        roads,
        split=options.split,
        seed=options.seed,
        epochs=options.epochs,
        out=options.out,
        strategy=options.strategy,
        mixed_precision=options.mixed_precision,
        callback=_print_epoch,
    )
    print(f"Evaluate it: python -m roadseg evaluate {trained.path}")
    return 0


def _print_epoch(progress) -> None:
    """Print losses, accuracies, the seconds of the epoch, and the time left, from a `roadseg.training.Progress`."""
    if progress.fraction:
        if sys.stdout.isatty():
            print(f"epoch {progress.epoch + 1:2}: {progress.fraction:4.0%}", end="\r", flush=True)
        return
    if progress.epoch == 0:
        print(f"{progress.title}: {progress.epochs} epochs; the first takes longest", flush=True)
        return
    last = {name: values[-1] for name, values in progress.curves.items()}
    left = round(progress.seconds_left)
    print(
        f"epoch {progress.epoch:2}/{progress.epochs}"
        f"  loss {last['loss']:.4f}, validation {last['val_loss']:.4f}"
        f"  accuracy {last['accuracy']:.4f}, validation {last['val_accuracy']:.4f}"
        f"  {last['seconds']:.1f} s, {left // 60}:{left % 60:02d} left",
        flush=True,
    )
