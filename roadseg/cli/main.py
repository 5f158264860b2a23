"""The commands, `python -m roadseg start | status | report | doctor | data | train | evaluate`: a small function each.

A command gets the parsed options and gives the exit status: 0, or 1 where what it looked at is not as it should be.
Errors of the package end it with one line on stderr and status 2. Parts of the package are reached through `roadseg`,
which loads each when it is first used: so help is instant, and TensorFlow loads only in commands that compute.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import roadseg
from roadseg.errors import DataError, OptionError, RoadsegError
from roadseg.recipes import RECIPES

if TYPE_CHECKING:
    from roadseg.data import RoadData
    from roadseg.runs import Run
    from roadseg.training import Progress

MODELS = ("simple", "unet", "unet-no-skip")
INTERRUPTED = 130  # what shells expect after Ctrl-C
EXAMPLES = """examples:
  python -m roadseg start --open
  python -m roadseg doctor
  python -m roadseg data --render data/more_scenes --seed 1
  python -m roadseg train unet --recipe fast
  python -m roadseg evaluate runs/unet-fast-seed0-1a2b3c4d --images all
"""
AT_HALF = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU"}
AT_BEST = {
    **{"max_f": "MaxF", "average_precision": "AP", "pre": "PRE", "rec": "REC", "fpr": "FPR", "fnr": "FNR"},
    "threshold": "threshold",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command, of the command line or of `arguments`; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except RoadsegError as error:
        print(f"roadseg: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"roadseg: interrupted: {str(error) or 'nothing half done is kept; start again.'}", file=sys.stderr)
        return INTERRUPTED


def parser() -> ArgumentParser:
    """The command line, with its help."""
    top = ArgumentParser(
        "python -m roadseg",
        description="Learn segmentation by building a road detector. The notebooks do the same step by step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"roadseg {roadseg.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_start, _add_status, _add_report, _add_doctor, _add_data, _add_train, _add_evaluate):
        add(commands)
    if find_spec("roadseg.course"):  # not in a copy that was handed out to a class
        from roadseg.course import commands as teach

        teach.add_commands(commands)
    return top


def _command(commands, run: Callable[[Namespace], int], description: str, *, example: str) -> ArgumentParser:
    """A parser for the command that `run` is named after."""
    name = run.__name__
    added = commands.add_parser(
        name,
        help=description,
        description=f"{description[0].upper()}{description[1:]}.",
        epilog=f"example:\n  python -m roadseg {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(command=run)
    return added


# --- start, status, report --------------------------------------------------------------------------------------------


def _add_folder(added: ArgumentParser) -> None:
    added.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="your notebooks (default: my_workbook)")


def _add_start(commands) -> None:
    added = _command(commands, start, "make your own blank notebooks, and open them", example="start --open")
    _add_folder(added)
    added.add_argument(
        "--open",
        nargs=argparse.REMAINDER,
        metavar="OPTION",
        help="open them in JupyterLab, with its own options",
    )


def start(options: Namespace) -> int:
    """Make the blank copies that are missing, say so, and run JupyterLab where that is asked for."""
    from roadseg.workbook import notebooks as workbook

    folder = (options.folder or workbook.default_folder()).absolute()
    print("\n".join(workbook.start(folder)))
    if options.open is None:
        print(f"They are in {folder}. Open them: python -m roadseg start --open")
        return 0
    settings = str(Path(__file__).parent / "jupyter")  # no question about news
    places = filter(None, [settings, os.environ.get("JUPYTER_CONFIG_PATH")])
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(places)}
    return _become([*_lab(folder), *options.open], environment)


def _become(command: list[str], environment: dict[str, str]) -> int:
    """Let a program take the place of this one, so that what ends this one ends it; on Windows, wait for it."""
    if os.name == "nt":
        return subprocess.call(command, env=environment)
    sys.stdout.flush()
    os.execve(command[0], command, environment)


def _lab(folder: Path) -> list[str]:
    """JupyterLab for this computer alone, behind its token."""
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.default_url=/lab/tree/00_road_data.ipynb"]
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # the only user of many containers; Jupyter wants to be told
    return command + ["--allow-root"] * as_root


def _add_status(commands) -> None:
    _add_folder(_command(commands, status, "say which tasks and questions are done", example="status"))


def status(options: Namespace) -> int:
    """Print the state of every task and question, as the notebooks were last saved."""
    from roadseg.workbook import notebooks as workbook

    print(workbook.summary(workbook.read(options.folder)))
    return 0


def _add_report(commands) -> None:
    added = _command(commands, report, "make the report to hand in: HTML, PDF and one zip", example="report --draft")
    _add_folder(added)
    added.add_argument("--out", type=Path, metavar="DIR", help="where to (default: report in the notebooks' folder)")
    added.add_argument("--name", default="", metavar="NAME", help="yours, for the first page")
    added.add_argument("--draft", action="store_true", help="mark what is missing instead of refusing")


def report(options: Namespace) -> int:
    """Write the report of executed notebooks and their runs."""
    from roadseg.report import build

    written = build.write(options.folder, out=options.out, name=options.name, draft=options.draft)
    print(f"Read {written.html} or {written.pdf}; hand in {written.zip}.")
    return 0


# --- doctor ----------------------------------------------------------------------------------------------------------


def _add_doctor(commands) -> None:
    _command(commands, doctor, "look at versions, machine, data and runs, and say what is missing", example="doctor")


def doctor(options: Namespace) -> int:
    """Print what the workbook needs and finds here; 1 where something essential is missing."""
    from roadseg.cli import doctor as examination

    return examination.examine()


# --- data ------------------------------------------------------------------------------------------------------------


def _add_data(commands) -> None:
    added = _command(
        commands,
        data,
        "say which road pictures are found; download, verify or render some",
        example="data --render data/more_scenes --seed 1",
    )
    action = added.add_mutually_exclusive_group()
    action.add_argument(
        "--download", choices=["kitti"], help="download KITTI road (495 MB) into the data folder, unpack and verify it"
    )
    action.add_argument(
        "--verify",
        nargs="?",
        const="",
        metavar="DIR",
        help="compare each file of KITTI road with its published digest (without DIR: of the KITTI road that is found)",
    )
    action.add_argument("--render", metavar="DIR", help="render 289 scenes in KITTI's layout into a new folder")
    added.add_argument("--seed", type=int, metavar="N", help="of the scenes: another seed, other streets (default 0)")


def data(options: Namespace) -> int:
    """Download, verify or render pictures; without an option say which are found. 1 where files are damaged."""
    if options.seed is not None and options.render is None:
        raise OptionError("--seed belongs to --render: add --render DIR, or leave --seed out.")
    if options.download:
        return _download()
    if options.verify is not None:
        return _verify(options.verify)
    if options.render is not None:
        return _render(options.render, options.seed or 0)
    return _show_location()


def _download() -> int:
    folder = roadseg.kitti.download(roadseg.kitti.project_root() / "data")
    print(f"{folder} holds KITTI road, and each file is as published.")
    return 0


def _verify(folder: str) -> int:
    """Print what differs from the published files; 1 where files are missing or damaged."""
    root = Path(folder) if folder else _kitti_found()
    found = roadseg.kitti.verify(root)
    for group in ("missing", "damaged", "unknown"):
        for name in getattr(found, group):
            print(f"{group:8} {name}")
    print(f"{root}: {found}.")
    return 0 if found.ok else 1


def _kitti_found() -> Path:
    location = roadseg.kitti.locate()
    if location.kind != "kitti":
        if location.chosen:
            raise DataError("ROADSEG_DATA points to scenes: unset it, or name KITTI's folder after --verify.")
        raise DataError(
            f"there is no KITTI road to verify (looked at {', '.join(location.looked[:3])}): "
            "download it, or name its folder after --verify."
        )
    return location.path


def _render(folder: str, seed: int) -> int:
    from roadseg.scenes import rendering

    root = rendering.write(folder, seed=seed, progress=_print_count if sys.stderr.isatty() else None)
    print(f"{root} holds the scenes of seed {seed}. To work with them, set ROADSEG_DATA to this folder.")
    return 0


def _print_count(done: int, count: int) -> None:
    print(f"\r{done} of {count} scenes", end="\n" if done == count else "", file=sys.stderr, flush=True)


def _show_location() -> int:
    location = roadseg.kitti.locate()
    print(location.why)
    print(f"Used: {location.path}")
    if location.to_render:
        print("The scenes are rendered when they are first needed, in about a minute.")
    print("\n".join(["Looked, in this order, at:", *(f"  {place}" for place in location.looked)]))
    return 0


def _load(folder: str | None, **options) -> RoadData:
    """The pictures of a folder, or those that are found; says when that takes a while."""
    return roadseg.load(folder, say=partial(print, file=sys.stderr, flush=True), **options)


# --- train -----------------------------------------------------------------------------------------------------------


def _add_train(commands) -> None:
    added = _command(
        commands,
        train,
        "train a network, or resume or reuse the run of the same settings",
        example="train unet --recipe fast --seed 1",
    )
    names = ", ".join(RECIPES)
    added.add_argument("model", choices=MODELS, metavar="MODEL", help=f"one of {', '.join(MODELS)}")
    added.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        metavar="NAME",
        default="reported",
        help=f"how it is trained: {names} (default: reported)",
    )
    _add_data_folder(added)
    added.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, order and flips (default 0)")
    added.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's number (12; fast 10, best 40)")
    added.add_argument("--out", metavar="DIR", help="folder of runs (default: ROADSEG_RUNS, else runs)")
    added.add_argument(
        "--split",
        choices=("course", "blocks"),
        default="course",
        help="what validates: the course's 15 pictures (default), or blocks of neighbouring frames",
    )
    added.add_argument(
        "--strategy",
        choices=("one", "mirrored"),
        default="one",
        help="one device (default), or all GPUs share each batch",
    )
    added.add_argument(
        "--mixed-precision",
        action="store_true",
        help="multiply in float16 on a GPU, in bfloat16 on a processor that can (doctor says)",
    )


def _add_data_folder(added: ArgumentParser) -> None:
    added.add_argument(
        "--data", metavar="DIR", help="pictures in KITTI's layout (default: KITTI if found, else scenes)"
    )


def train(options: Namespace) -> int:
    """Train a network, a line an epoch."""
    roads = _load(options.data)
    print(f"{len(roads)} pictures. {roads.source}", flush=True)
    run = roadseg.train(
        options.model,
        options.recipe,
        roads,
        split=options.split,
        seed=options.seed,
        epochs=options.epochs,
        out=options.out,
        strategy=options.strategy,
        mixed_precision=options.mixed_precision,
        watch=_print_epoch,
    )
    print(f"Evaluate it: python -m roadseg evaluate {run.path}")
    return 0


def _print_epoch(progress: Progress) -> None:
    """One line after each epoch: losses and accuracies, training then validation, seconds, time left."""
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


# --- evaluate --------------------------------------------------------------------------------------------------------


def _add_evaluate(commands) -> None:
    added = _command(
        commands,
        evaluate,
        "score a finished run by category and in all",
        example="evaluate runs/unet-fast-seed0-1a2b3c4d --images all --json",
    )
    added.add_argument("run", metavar="RUN", help="folder of a run, or its name in the runs folder")
    _add_data_folder(added)
    added.add_argument(
        "--images", choices=("all", "validation"), default="validation", help="which to score (default: validation)"
    )
    added.add_argument("--flip", action="store_true", help="average over each picture and its mirror image")
    added.add_argument("--json", action="store_true", help="as JSON, where null has no value (such as 0 / 0)")


def evaluate(options: Namespace) -> int:
    """Print the scores of a run's last weights, as a table or as JSON."""
    run = _named_run(options.run)
    roads = _load(options.data, size=tuple(run.settings["size"]))
    scores = roadseg.evaluate(run, roads, images=options.images, flip=options.flip)
    count = len(roads) if options.images == "all" else len(run.validation_names)
    if options.json:
        about = {"run": run.path.name, "images": options.images, "count": count, "source": roads.source}
        print(json.dumps({**about, "scores": _without_nan(scores)}, indent=1, allow_nan=False))
    else:
        print(f"{run.title}: {count} pictures ({options.images}). {roads.source}\n\n{score_table(scores)}")
    return 0


def _named_run(name: str) -> Run:
    """The run in a folder, or of that name in the runs folder."""
    path = Path(name)
    return roadseg.runs.open_run(path if path.is_dir() else roadseg.runs.place() / name)


def _without_nan(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        category: {name: None if math.isnan(value) else value for name, value in row.items()}
        for category, row in scores.items()
    }


def score_table(scores: dict[str, dict[str, float]]) -> str:
    """The scores as text, a column for each category and "all"; what has no value is a dash.

    scores : what `roadseg.metrics.report` gives.
    """
    lines = [f"{'':10}" + "".join(f"{category:>9}" for category in scores)]
    for title, names in (("at threshold 0.5", AT_HALF), ("at the threshold of MaxF", AT_BEST)):
        lines.append(title)
        for name, label in names.items():
            values = (f"{'-' if math.isnan(row[name]) else format(row[name], '.4f'):>9}" for row in scores.values())
            lines.append(f"{'  ' + label:<12}" + "".join(values)[2:])
    return "\n".join(lines)
