"""List which tasks and questions are done, as the notebooks were last saved.

example:
  python -m roadseg status
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_options(parser: ArgumentParser) -> None:
    """Add the notebooks' folder."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="your notebooks (default: my_workbook)")


def run(options: Namespace) -> int:
    """Print the state of each task and question."""
    from roadseg import workbook

    print(workbook.summary(workbook.read_workbook(options.folder)))
    return 0
