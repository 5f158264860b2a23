"""The commands, `python -m roadseg COMMAND`: a module each, whose docstring is the command's help.

start     the student's own notebooks, in JupyterLab
status    which tasks and questions are done
report    the report to hand in
doctor    versions, machine, data, runs, and how long training takes here
data      which images are found; download, verify, render
train     train a network
evaluate  score a run
predict   find the road on your own photos and videos
submit    the zip for the benchmark's server
course    the teacher's steps, from setup to points; left out of the copy for students

Each module has `run(options)` and, unless it takes no options, `add_options(parser)`. `run` returns the exit status: 0,
or 1 where what was examined is not as it should be. A RoadsegError, or what the file system refuses, ends a command
with one line on stderr and status 2. The modules import what computes inside their functions, so that help is instant
and TensorFlow loads only where it is needed.
"""

import argparse
import os
import sys
from argparse import ArgumentParser
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper

import roadseg
from roadseg.errors import RoadsegError, one_line, printable

COMMANDS = ("start", "status", "report", "doctor", "data", "train", "evaluate", "predict", "submit", "course")
EXAMPLES = """examples:
  python -m roadseg start --open
  python -m roadseg doctor
  python -m roadseg train unet --recipe fast
  python -m roadseg evaluate --help
"""
INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Run the command of `arguments`, by default of the command line; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal of Windows may lack a character
            stream.reconfigure(errors="replace")
    options = build_parser().parse_args(arguments)
    try:
        status = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still writes at its end
        return 1
    except (RoadsegError, OSError) as error:
        print(f"roadseg: error: {printable(one_line(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        message = str(error) or "nothing incomplete is kept; run the command again."
        print(f"roadseg: interrupted: {message}", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> ArgumentParser:
    """The parser of all commands that this copy of the package has."""
    parser = ArgumentParser(
        "python -m roadseg",
        description="Learn segmentation by building a road detector. The notebooks do the same, step by step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"roadseg {roadseg.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        if find_spec(f"roadseg.cli.{name}") is None:
            continue
        module = import_module(f"roadseg.cli.{name}")
        text = module.__doc__ or ""
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=module.run)
        if hasattr(module, "add_options"):
            module.add_options(command)
    return parser
