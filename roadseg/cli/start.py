"""Make your own blank notebooks, and open them in JupyterLab.

example:
  python -m roadseg start --open
"""

import argparse
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_options(parser: ArgumentParser) -> None:
    """Add the notebooks' folder and JupyterLab's options."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="your notebooks (default: my_workbook)")
    parser.add_argument("--open", nargs=argparse.REMAINDER, metavar="OPTION", help="open JupyterLab, with its options")


def run(options: Namespace) -> int:
    """Make the blank copies that are missing, list all notebooks, and open JupyterLab where `--open` is given."""
    from roadseg import workbook

    folder = (options.folder or workbook.default_folder()).absolute()
    print("\n".join(workbook.start(folder)))
    if options.open is None:
        print(f"They are in {folder}. Open them: python -m roadseg start --open")
        return 0
    settings = str(Path(__file__).parent / "jupyter")  # JupyterLab then asks no question about news
    paths = filter(None, [settings, os.environ.get("JUPYTER_CONFIG_PATH")])
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}
    first = "--LabApp.default_url=/lab/tree/00_road_data.ipynb"
    return open_jupyterlab(f"--ServerApp.root_dir={folder}", first, *options.open, environment=environment)


def open_jupyterlab(*options: str, environment: dict[str, str]) -> int:
    """Replace this process by JupyterLab, so that what ends the one ends the other; on Windows, run it and wait.

    It serves this computer alone, behind its own token.
    """
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # the only user of many containers
        command.append("--allow-root")
    command += options
    if os.name == "nt":
        return subprocess.call(command, env=environment)
    sys.stdout.flush()
    os.execve(command[0], command, environment)
