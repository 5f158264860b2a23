"""TensorFlow and Keras, loaded without the lines that their C++ parts log, and with threads that share the cores.

Those lines bypass Python, so Jupyter would show them red under the first cell of every notebook. They are kept aside,
and shown after all if loading fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # later on, too, only what went wrong
# TensorFlow's wheels turn oneDNN on only where the processor has AVX512_VNNI or newer instructions; with AVX2 alone, as
# on most laptops, a training step takes twice as long without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@contextmanager
def _stderr_aside() -> Iterator[None]:
    """Send file descriptor 2 to a temporary file; give what came back when the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _work_in_batches() -> None:
    """On Linux, call this process batch work, which the threads that TensorFlow starts later take over.

    For interactive work the scheduler may keep two worker threads that wake each other on one core for seconds while
    another core idles: epochs then take almost twice as long.
    """
    if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


_work_in_batches()
with _stderr_aside():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for a GPU, and says at length that there is none

__all__ = ["keras", "tf"]
