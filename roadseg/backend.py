"""TensorFlow and Keras, loaded quietly, with oneDNN and with threads that share the cores; devices and precision.

TensorFlow's C++ parts log lines that bypass Python: Jupyter would show them red under the first cell of every notebook.
They are kept back, and shown if loading fails.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from roadseg.errors import OptionError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # later on, too, only what went wrong
# TensorFlow's wheels turn oneDNN on only where the processor has AVX512_VNNI or newer instructions; with AVX2 alone, as
# on most laptops, a training step takes twice as long without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else is set, or left over in ~/.keras/keras.json
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several notebooks share a GPU

STRATEGIES = ("one", "mirrored")
CPUINFO = Path("/proc/cpuinfo")


@contextmanager
def _stderr_kept_back() -> Iterator[None]:
    """Send file descriptor 2 to a temporary file; show what it holds when the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept_back:
        stderr = os.dup(2)
        os.dup2(kept_back.fileno(), 2)
        try:
            yield
        except BaseException:
            kept_back.seek(0)
            os.write(stderr, kept_back.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


# On Linux, this process is batch work, which the threads that TensorFlow starts later inherit. For interactive work the
# scheduler may keep two worker threads that wake each other on one core for seconds while another core idles: epochs
# then take almost twice as long.
if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
gc.disable()  # there is hardly any garbage while modules load, and to look for it takes a third of the time
with _stderr_kept_back():
    import keras
    import tensorflow as tf

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    tf.config.list_physical_devices()  # looks for a GPU, and logs at length that there is none
gc.freeze()  # what has been loaded stays
gc.enable()


# --- precision -------------------------------------------------------------------------------------------------------


def onednn_is_on() -> bool:
    """Whether TensorFlow computes with oneDNN."""
    return os.environ["TF_ENABLE_ONEDNN_OPTS"].lower() not in ("0", "false")


def fast_precision() -> str | None:
    """The 16-bit numbers in which this machine multiplies faster than in float32: float16 on a GPU, bfloat16 on a
    processor with instructions for it (known on Linux alone); None where there is neither."""
    if tf.config.list_physical_devices("GPU"):
        return "float16"
    flags = CPUINFO.read_text() if CPUINFO.is_file() else ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bfloat16" if fast and onednn_is_on() else None  # without oneDNN bfloat16 is slow


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Layers made inside compute in float32, float16 or bfloat16, unless they say otherwise; weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if dtype == "float32" else f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


# --- devices ---------------------------------------------------------------------------------------------------------


def get_strategy(name: str) -> tf.distribute.Strategy:
    """TensorFlow's strategy for `one` device or `mirrored`: all GPUs, or all logical CPUs where there is no GPU.

    Mirrored training keeps the network on every device, gives each a part of every batch, and adds up the gradients:
    a step learns what one device would learn from the whole batch. Raises OptionError for another name."""
    if name not in STRATEGIES:
        raise OptionError(f"no strategy is called {name!r}: choose one of {', '.join(STRATEGIES)}.")
    if name == "one":
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices, None if gpus else tf.distribute.ReductionToOneDevice())


def run_on_devices(
    strategy: tf.distribute.Strategy, step: Callable, batch: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run a step on every device with its part of the batch.

    Parameters
    ----------
    step : gives a tensor (n, ...) for a part of the batch and the whole batch, tuples of tensors (n, H, W, channels).

    Returns
    -------
    The results in the batch's order, (n, ...), and how often each sample was there, int32 (): once, or once for each
    device where there are fewer samples than devices, since TensorFlow's convolutions fail with an empty part.
    """
    devices, rows = strategy.num_replicas_in_sync, tf.shape(batch[0])[0]
    if devices == 1:
        return step(batch, batch), tf.constant(1)
    copies = tf.where(rows < devices, devices, 1)
    batch = tuple(tf.tile(part, [copies, 1, 1, 1]) for part in batch)

    def step_on_part(*batch):
        place, count = tf.distribute.get_replica_context().replica_id_in_sync_group, tf.shape(batch[0])[0]
        part = slice(place * count // devices, (place + 1) * count // devices)
        return step(tuple(tensor[part] for tensor in batch), batch)

    results = strategy.experimental_local_results(strategy.run(step_on_part, batch))
    return tf.concat(results, axis=0)[:rows], copies
