"""What runs behind the wall: the cells that an answer needs, then the probe. `sandbox` copies this file there.

A task comes in on stdin, as JSON; for each of its items one packed outcome goes out on stdout. Each item has a process
of its own, forked off one that has loaded TensorFlow and never runs what a student wrote. Whatever comes out is only
what a student's process says: `judging` looks at it from outside.
"""

import contextlib
import dataclasses
import json
import mmap
import os
import select
import signal
import struct
import sys
import time

LENGTH = struct.Struct("<Q")  # in front of each outcome, and of its JSON
PLACE = struct.Struct("<q")
LONGEST = 2**24  # bytes of its JSON, which takes fifty times as many when it is read
PR_SET_DUMPABLE = 4  # of Linux
KINDS = "biuf"  # of the arrays that may cross: numbers and truth values


# --- what crosses the wall: JSON, and behind it the bytes of its arrays ----------------------------------------------


def encode(thing) -> bytes:
    """Plain data, dataclasses and arrays as bytes that run nothing when they are read."""
    import numpy as np

    arrays = []

    def plain(part):
        if isinstance(part, np.ndarray) and part.dtype.kind in KINDS:
            arrays.append(np.ascontiguousarray(part).tobytes())
            return {"array": part.dtype.str, "shape": part.shape}
        if dataclasses.is_dataclass(part):
            return {field.name: plain(getattr(part, field.name)) for field in dataclasses.fields(part)}
        if isinstance(part, dict):
            return {str(name): plain(value) for name, value in part.items()}
        if isinstance(part, list | tuple):
            return [plain(value) for value in part]
        if isinstance(part, np.generic):
            return plain(part.item())
        return (
            part if isinstance(part, str | bool | int | float | None) else f"something of type `{type(part).__name__}`"
        )

    text = json.dumps(plain(thing)).encode()
    return b"".join([LENGTH.pack(len(text)), text, *arrays])


def decode(content: bytes):
    """What `encode` made, tuples as lists. Raises ValueError for whatever else it is given."""
    import numpy as np

    place = LENGTH.size

    def array(part: dict):
        nonlocal place
        if "array" not in part:
            return part
        dtype, shape = np.dtype(str(part["array"])), part["shape"]
        count = int(np.prod(shape, dtype=np.int64))
        if dtype.kind not in KINDS or count < 0:
            raise ValueError(f"an array of {dtype}")
        values = np.frombuffer(content, dtype, count, place).reshape(shape)
        place += values.nbytes
        return values

    try:
        (length,) = LENGTH.unpack_from(content)
        if length > LONGEST:
            raise ValueError(f"{length} bytes of JSON")
        place += length
        return json.loads(content[LENGTH.size : LENGTH.size + length], object_hook=array)
    except (struct.error, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error


# --- one item --------------------------------------------------------------------------------------------------------


def run_item(item: dict, at: mmap.mmap) -> dict:
    """Run an item's cells, then try what they define: errors of cells, by position, and what was found.

    at : shared memory that holds which cell runs, and -1 afterwards.
    """
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    errors = {}
    for position, source in item["cells"]:
        at[:] = PLACE.pack(position)
        result = shell.run_cell(source, store_history=False)
        if error := result.error_before_exec or result.error_in_exec:
            errors[position] = f"{type(error).__name__}: {error}"[:500]
    at[:] = PLACE.pack(-1)
    value = shell.user_ns.get(item["defines"])
    found = observed(item["id"], value, item["seed"]) if item["code"] else plain_choice(value)
    return {"errors": errors, "found": found}


def observed(name: str, value, seed: int):
    """What the probe sees of a step or a network."""
    import numpy as np

    from roadseg.checks import network, probe

    with probe.aside(), np.errstate(all="ignore"):
        if name == network.NAME:
            return network.observe_network(value, seed)
        return probe.observe_step(value, name, probe.trials(seed))


def plain_choice(value):
    """A number, a choice or a pair as plain data: arrays of one number as numbers, functions and layers by name."""
    import numpy as np

    if isinstance(value, list | tuple):
        return [plain_choice(part) for part in value[:10]]
    if isinstance(value, str | bool | int | float | None):
        return value
    if hasattr(value, "numpy") or isinstance(value, np.ndarray | np.generic):
        return plain_choice(np.asarray(value).tolist())
    if callable(value):
        function = getattr(value, "activation", value)
        return getattr(function, "__name__", type(function).__name__)
    with contextlib.suppress(TypeError, ValueError):
        return float(value)  # fractions and decimals
    return f"something of type `{type(value).__name__}`"


# --- one process an item ---------------------------------------------------------------------------------------------


def in_child(item: dict, out: int, seconds: float, largest: int) -> bytes:
    """The packed outcome of an item, from a process of its own that is gone afterwards, with all that it started.

    out : the way out of the sandbox, which the process does not get.
    """
    reader, writer = os.pipe()
    at = mmap.mmap(-1, PLACE.size)
    child = os.fork()
    if not child:
        try:
            os.setsid()
            shut(False)
            os.close(reader)
            os.close(out)
            try:
                content = encode(run_item(item, at))
            except Exception as error:
                content = encode({"ended": "error", "error": f"{type(error).__name__}: {error}"[:500]})
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(LENGTH.pack(len(content)) + content)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        content, ended = read_outcome(reader, time.monotonic() + seconds, largest)
        return encode({"ended": ended, "at": PLACE.unpack(at)[0]}) if ended else content
    finally:
        os.close(reader)
        everyone = -1 if os.getpid() == 1 else -child  # with a namespace of its own, whatever else runs is theirs
        for process in (everyone, child):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        os.waitpid(child, 0)


def read_outcome(pipe: int, until: float, largest: int, look=lambda: "", interval: float = 60) -> tuple[bytes, str]:
    """The next bytes with their length in front; without any, why there are none: time, died, output, or what `look`
    says, which is asked after each interval of so many seconds."""
    content, length = bytearray(), LENGTH.size
    while len(content) < length:
        left = until - time.monotonic()
        if left <= 0:
            return b"", "time"
        if not select.select([pipe], [], [], min(left, interval))[0]:
            if ended := look():
                return b"", ended
            continue
        part = os.read(pipe, min(length - len(content), 1 << 20))
        if not part:
            return b"", "died"
        content += part
        if len(content) == LENGTH.size:
            length += LENGTH.unpack(content)[0]
            if length > largest:
                return b"", "output"
    return bytes(content[LENGTH.size :]), ""


def tolerant(run_line_magic):
    """IPython's lines with %: one that does not work here, such as `%matplotlib` or Colab's own, stops no cell."""

    def run(name, line, _stack_depth=1):
        with contextlib.suppress(Exception):
            return run_line_magic(name, line, _stack_depth=_stack_depth + 1)

    return run


def shut(closed: bool) -> None:
    """Say whether other processes, those that this one starts among them, are kept from its memory and open files."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # where there is no Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(not closed), 0, 0, 0)


def limit(memory: int, seconds: int) -> None:
    """Limit memory and processor time of a process and those that it starts, and the files that they write."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_all() -> None:
    """Read the task, load what every item needs, and write the outcome of each item as soon as it is there."""
    task = json.load(sys.stdin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, ValueError, OSError):  # not everywhere, not every limit
        limit(task["memory"], task["cpu"])
    with os.fdopen(os.dup(1), "wb") as out:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        from roadseg.checks import network, probe  # noqa: F401 (TensorFlow)

        shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
        shell.ast_node_interactivity, shell.run_line_magic = "none", tolerant(shell.run_line_magic)
        shut(True)  # or else an answer may write what comes out for the next ones
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        ready = encode({})
        out.write(LENGTH.pack(len(ready)) + ready)
        for item in task["items"]:
            out.flush()
            content = in_child(item, out.fileno(), task["seconds"], task["largest"])
            out.write(LENGTH.pack(len(content)) + content)


if __name__ == "__main__":
    run_all()
