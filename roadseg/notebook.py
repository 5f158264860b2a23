"""What the notebooks ask of Jupyter: a cell run out of order says so in one line, without a traceback."""

from __future__ import annotations

from types import TracebackType


def short_errors() -> None:
    """From now on a missing name tells which cells to run first. Outside of IPython there is nothing to do."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if shell := get_ipython():
        shell.set_custom_exc((NameError,), _out_of_order)


def _out_of_order(shell, kind: type, error: NameError, trace: TracebackType, tb_offset: int | None = None) -> list[str]:
    """Show one line where the cell itself lacks a name; a NameError in a function keeps its traceback."""
    last = trace
    while last.tb_next:
        last = last.tb_next
    if last.tb_frame.f_code.co_name == "<module>" and last.tb_frame.f_globals.get("__name__") == "__main__":
        lines = [f"{kind.__name__}: {error}. Run the cells above first: menu Run, Run All Above Selected Cell."]
    else:
        lines = shell.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=tb_offset)
    shell._showtraceback(kind, error, lines)
    return lines
