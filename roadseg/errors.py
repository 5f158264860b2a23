"""The errors that users meet: one line each, which says what was expected, what was found and what to do."""


class RoadsegError(Exception):
    """Base of all of them. Jupyter shows the line alone, not a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class DataError(RoadsegError, ValueError):
    """A file or folder of road images is missing, damaged or contradicts another."""


class OptionError(RoadsegError, ValueError):
    """An argument is out of its range or unknown."""


class RunError(RoadsegError):
    """The folder of a training run cannot be written, read or trusted."""
