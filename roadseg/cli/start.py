"""Make your own blank notebooks, and open them in JupyterLab.

example:
  python -m roadseg start --open
"""

import argparse
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from roadseg.errors import RoadsegError, explained


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
    settings = Path(__file__).parent / "jupyter"  # no question about news; a kernel that knows the package's errors
    environment = dict(os.environ)
    for name in ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH"):
        environment[name] = os.pathsep.join(filter(None, [str(settings), os.environ.get(name)]))
    layout = folder / ".jupyterlab"  # what was open, for the next time; at first notebook 00 beside its contents
    if not layout.exists():
        with explained(RoadsegError, layout, "choose another folder for your notebooks, or free space"):
            shutil.copytree(settings / "workspaces", layout)
    places = (f"--ServerApp.root_dir={folder}", f"--LabApp.workspaces_dir={layout}")
    return open_jupyterlab(*places, *options.open, environment=environment)


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
