"""Make the report to hand in: HTML, PDF and one zip.

example:
  python -m roadseg report --name "Your Name"
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_options(parser: ArgumentParser) -> None:
    """Add the folders, the name on the first page, and whether it is a draft."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="your notebooks (default: my_workbook)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: report, in the notebooks' folder")
    parser.add_argument("--name", default="", metavar="NAME", help="your name, for the first page")
    parser.add_argument("--draft", action="store_true", help="mark what is missing instead of refusing")


def run(options: Namespace) -> int:
    """Write the report of executed notebooks and their runs."""
    from roadseg import report

    written = report.write_report(options.folder, out=options.out, name=options.name, draft=options.draft)
    for remark in written.remarks:
        print(f"Look again: {remark}")
    print(f"Read {written.html} or {written.pdf}; hand in {written.zip}.")
    return 0
