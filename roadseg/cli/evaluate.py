"""Score a finished run, by category and in all.

examples:
  python -m roadseg evaluate runs/unet-fast-seed0-1a2b3c4d --images all --json
  python -m roadseg evaluate runs/unet-fast-seed0-1a2b3c4d --view bird
"""

import json
import math
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

SCORES = {
    "at threshold 0.5": ("accuracy", "precision", "recall", "f1", "iou"),
    "at the threshold of MaxF": ("max_f", "average_precision", "pre", "rec", "fpr", "fnr", "threshold"),
}
LABELS = {  # what the table calls these scores
    **{"f1": "F1", "iou": "IoU", "max_f": "MaxF", "average_precision": "AP"},
    **{"pre": "PRE", "rec": "REC", "fpr": "FPR", "fnr": "FNR"},
}


def add_options(parser: ArgumentParser) -> None:
    """Add the run, what it is scored on, and the form of the output."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, or its name in the runs folder")
    parser.add_argument("--data", metavar="DIR", help="images in KITTI's layout (default: KITTI if found, else scenes)")
    text = "which to score (default: validation)"
    parser.add_argument("--images", choices=("all", "validation"), default="validation", help=text)
    text = "score on the images (default), or from above, as the benchmark's server does"
    parser.add_argument("--view", choices=("camera", "bird"), default="camera", help=text)
    text = "average over each image and its mirror image, at three sizes (test-time augmentation)"
    parser.add_argument("--tta", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="as JSON, where null has no value (such as 0 / 0)")


def run(options: Namespace) -> int:
    """Print the scores of a run's last weights, as a table or as JSON."""
    import roadseg
    from roadseg import download, runs

    trained = runs.open_run(options.run)
    progress = partial(print, file=sys.stderr, flush=True)  # JSON has the standard output to itself
    roads = roadseg.load(options.data, size=tuple(trained.settings["size"]), log=progress)
    if options.view == "bird":
        from roadseg.street import benchmark

        root = Path(options.data or download.locate().path)
        scores = benchmark.evaluate_bird_view(trained, roads, root, images=options.images, tta=options.tta)
    else:
        scores = roadseg.evaluate(trained, roads, images=options.images, tta=options.tta)
    count = len(roads) if options.images == "all" else len(trained.validation_names)
    if options.json:
        found = {"run": trained.path.name, "view": options.view, "images": options.images, "count": count}
        found["source"] = roads.source
        found["scores"] = {
            category: {name: None if math.isnan(value) else value for name, value in row.items()}
            for category, row in scores.items()
        }
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        scored = f"{count} images ({options.images}, {options.view} view)"
        print(f"{trained.title}: {scored}. {roads.source}\n\n{score_table(scores)}")
    return 0


def score_table(scores: dict[str, dict[str, float]]) -> str:
    """The scores as text, a column for each category and "all"; a dash is 0 / 0.

    scores : what `roadseg.metrics.report` returns.
    """
    lines = [" " * 10 + "".join(f"{category:>9}" for category in scores)]
    for title, names in SCORES.items():
        lines.append(title)
        for name in names:
            values = ("-" if math.isnan(row[name]) else f"{row[name]:.4f}" for row in scores.values())
            lines.append(f"  {LABELS.get(name, name):9}" + "".join(f"{value:>9}" for value in values)[1:])
    return "\n".join(lines)
