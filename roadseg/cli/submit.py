"""Write the zip for the KITTI road benchmark's server, and check it.

It holds the probability of road for the 290 test images, from above: 400 x 800 pixels of 5 x 5 cm, 8 bits. Upload it at
https://www.cvlibs.net/datasets/kitti/eval_road.php.

example:
  python -m roadseg submit runs/unet-best-seed0-1a2b3c4d --data data/data_road
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_options(parser: ArgumentParser) -> None:
    """Add the network, the folder of KITTI road, and the zip."""
    text = "folder of a run, its name in the runs folder, a file of weights, or `scenes`"
    parser.add_argument("run", metavar="RUN", help=text)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="data_road, as published")
    text = "default: submission.zip"
    parser.add_argument("--out", type=Path, default=Path("submission.zip"), metavar="ZIP", help=text)
    text = "average over each image and its mirror image, at three sizes: better, at several times the time"
    parser.add_argument("--tta", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Predict the test images, write the zip and check it."""
    from roadseg import models
    from roadseg.street import benchmark, photos

    model = photos.open_network(options.run)
    model = models.with_test_time_augmentation(model) if options.tta else model
    benchmark.write_submission(model, options.data, options.out)
    print(f"{options.out} holds the {len(benchmark.test_names())} results that the server expects.")
    return 0
