"""The wall: a process for student code that holds nothing of the teacher's, and is gone when its time is over.

With bubblewrap it sees the system's programs, Python, the road images and a copy of the package without solutions, all
of it read-only; an empty folder; no network, no other processes, no environment. With `unshare` alone it has neither
network nor other processes, but reads and writes the teacher's files; where neither works, it has limits only.
`walls` says which it is.
"""

import ast
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import psutil

import roadseg
from roadseg.course import inside
from roadseg.download import locate
from roadseg.errors import RoadsegError
from roadseg.storage import cache_folder

PACKAGE = Path(roadseg.__file__).parent
# What would do an answer's work, or judges it. Paths below the package, a folder or a file each.
LEFT_OUT = (
    *("__main__.py", "cli", "course", "report", "workbook/rubric.toml"),
    *(f"checks/{name}" for name in ("answers.py", "answers.toml", "grading.py", "judge.py")),
    *(f"checks/{name}" for name in ("step_mistakes.py", "steps.py", "steps.toml")),
)
EMPTIED = {  # functions and texts that lose what is in them
    "training.py": {"train_step", "val_step"},
    "models.py": {"unet"},
    "checks/unet_mistakes.py": {"RIGHT", "catalog", "right_rows"},
}
MISSING = "the package's own solution is not there while an answer is graded"
MEMORY = 8 * 2**30  # bytes of address space of a process; TensorFlow takes two
RESIDENT = 6 * 2**30  # bytes in memory, of all processes together
PROCESSES = 100
SCRATCH = 2**28  # bytes of a folder that can be written
LARGEST = 400 * 2**20  # bytes that may come out for an answer; a U-Net traced has about 60 MiB
STARTING = 180  # seconds in which TensorFlow has to load
PATIENCE = 20  # seconds more than an item has: the process in the sandbox ends it in time if it can
INTERVAL = 0.25  # seconds between two looks at memory and processes
WALLS = {
    "bwrap": "bubblewrap: no network, no files, no other processes",
    "unshare": "unshare: no network and no other processes, but your files are there; install bubblewrap (bwrap)",
    "none": "limits only: it has your rights; grade on Linux with bubblewrap (bwrap), or in a container",
}


class SandboxError(RoadsegError):
    """The sandbox cannot be started, which is no answer's fault."""


@dataclass(frozen=True)
class Outcome:
    """What came out for an item: the plain data that its process says, and the errors of its cells, by position.

    ended : time, memory, processes, output, died or error; empty where it came to its end. error : said with it; at :
    the position of the cell that ran then, -1 for none.
    """

    found: object
    errors: dict[int, str]
    ended: str
    error: str
    at: int
    seconds: float


@cache
def walls() -> str:
    """The best wall that works on this machine: a key of WALLS."""
    for kind in ("bwrap", "unshare"):
        if shutil.which(kind):
            command = [*_wall(kind, Path("/")), sys.executable, "-c", ""]
            with suppress(OSError, subprocess.TimeoutExpired):
                if not subprocess.run(command, capture_output=True, timeout=30).returncode:
                    return kind
    return "none"


def _wall(kind: str, package: Path, *seen: Path) -> list[str]:
    """The command that puts another one behind a wall. package : folder of the package's copy; seen : other folders
    that may be read."""
    if kind == "unshare":
        return ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if kind == "none":
        return []
    system = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
    command = ["bwrap", "--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    scratch = ["--size", str(SCRATCH), "--tmpfs"]
    command += ["--proc", "/proc", "--dev", "/dev", *scratch, "/dev/shm", "--remount-ro", "/dev", *scratch, "/tmp"]
    command += ["--chdir", "/tmp"]
    for path in (*system, sys.base_prefix, sys.prefix, *seen):
        command += ["--ro-bind-try", str(path), str(path)]
    if PACKAGE.is_relative_to(sys.prefix):
        command += ["--tmpfs", str(PACKAGE)]  # the installed one, with solutions
    return [*command, "--ro-bind", str(package), "/package"]


def run_behind_wall(
    items: list[dict], *, seconds: float, meanwhile: Callable[[], None] = lambda: None
) -> Iterator[Outcome]:
    """Run items behind the wall, one after the other, each for at most so many seconds; see `inside.run_item`.

    Where an item ends the whole sandbox, the next one gets a new one. meanwhile : called while TensorFlow loads there.
    """
    if not hasattr(os, "fork"):
        raise SandboxError("student code cannot be run on this system: grade on Linux or macOS, on Windows in WSL")
    place = 0
    while place < len(items):
        with _package_copy() as folder, _process(folder, items[place:], seconds) as process:
            meanwhile()
            read = partial(inside.read_outcome, process.stdout.fileno(), largest=LARGEST + 2**20, interval=INTERVAL)
            _, ended = read(until=time.monotonic() + STARTING)
            if ended:
                said = (folder / "stderr.txt").read_text("utf-8", "replace").strip().rpartition("\n")[2] or ended
                raise SandboxError(f"the process for student code did not start: {said}")
            while place < len(items) and not ended:
                started = time.monotonic()
                content, ended = read(until=started + seconds + PATIENCE, look=partial(_excess, process))
                yield _outcome(items[place], content, ended, time.monotonic() - started)
                place += 1


@contextmanager
def _package_copy() -> Iterator[Path]:
    """A folder with `inside.py` and the package as it may be seen, and an empty folder `home`."""
    with tempfile.TemporaryDirectory(prefix="roadseg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)

        def left_out(place: str, names: list[str]) -> set[str]:
            below = Path(place).relative_to(PACKAGE)
            return {name for name in names if (below / name).as_posix() in LEFT_OUT or name == "__pycache__"}

        shutil.copytree(PACKAGE, folder / "package" / "roadseg", ignore=left_out)
        for path, names in EMPTIED.items():
            copied = folder / "package" / "roadseg" / path
            copied.write_text(_emptied(copied.read_text("utf-8"), names), "utf-8")
        shutil.copyfile(inside.__file__, folder / "package" / "inside.py")
        (folder / "home").mkdir()
        yield folder


def _emptied(source: str, names: set[str]) -> str:
    """A module's code in which these functions raise an error instead, and these texts are empty."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            node.decorator_list, node.body = [], ast.parse(f"raise NotImplementedError({MISSING!r})").body
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names:
            node.value = ast.Constant("")
    return ast.unparse(tree)


@contextmanager
def _process(folder: Path, items: list[dict], seconds: float) -> Iterator[subprocess.Popen]:
    """The process of a sandbox at work on its task; nothing of it is left afterwards."""
    kind, mark, data = walls(), secrets.token_hex(8), locate().path
    package, home = ("/package", "/tmp") if kind == "bwrap" else (str(folder / "package"), str(folder / "home"))
    environment = {
        **{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "-1", "ROADSEG_SANDBOX": mark},
        **{"ROADSEG_DATA": str(data), "ROADSEG_CACHE": str(cache_folder())},
        **dict.fromkeys(("HOME", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR", "ROADSEG_HOME", "ROADSEG_RUNS"), home),
    }
    wall = _wall(kind, folder / "package", data, cache_folder())
    command = [*wall, sys.executable, "-s", "-B", f"{package}/inside.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": folder / "home", "env": environment}
    with open(folder / "stderr.txt", "wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, start_new_session=True, **pipes)
    try:
        cpu = int(seconds * max(4, os.cpu_count() or 1)) + 1
        task = {"items": items, "seconds": seconds, "memory": MEMORY, "cpu": cpu, "largest": LARGEST}
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(task).encode())
            process.stdin.close()
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the wall falls with whoever is behind it
        if kind == "none":
            _end_marked(mark)
        process.stdout.close()
        process.wait()


def _end_marked(mark: str) -> None:
    """End the processes with this mark in their environment: without a wall they outlive the one that started them."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("ROADSEG_SANDBOX") == mark:
                process.kill()


def _excess(process: subprocess.Popen) -> str:
    """What a sandbox has too much of: processes or memory; empty where it has not."""
    family, used = [], 0
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    for member in family:
        with suppress(psutil.Error):
            used += member.memory_info().rss
    return "processes" if len(family) > PROCESSES else "memory" if used > RESIDENT else ""


def _outcome(item: dict, content: bytes, ended: str, seconds: float) -> Outcome:
    """What came out for an item, if it can be read."""
    try:
        said = inside.decode(content) if not ended else {"ended": ended}
        told = dict(said.get("errors", {}))
        errors = {place: _without_paths(str(told[str(place)])) for place, _ in item["cells"] if str(place) in told}
        ended, error, at = str(said.get("ended", "")), str(said.get("error", "")), int(said.get("at", -1))
        return Outcome(said.get("found"), errors, ended, error, at, seconds)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return Outcome(None, {}, "output", "", -1, seconds)


def _without_paths(text: str) -> str:
    """What a student may read of an error: folders of this machine by their own names alone."""
    for path in map(Path, (cache_folder(), locate().path, PACKAGE.parent, sys.prefix, sys.base_prefix, Path.home())):
        if path.name:  # in some containers home is the root
            text = text.replace(str(path), path.name)
    return text
