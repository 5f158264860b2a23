"""What a training runs on: one device or several, in float32 or in mixed precision.

Mirrored training (`tf.distribute.MirroredStrategy`) keeps the network on every device, gives each a part of every
batch, and adds up the gradients: what a step learns is what one device would learn from the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from roadseg.backend import keras, tf
from roadseg.errors import OptionError
from roadseg.losses import soft_dice

STRATEGIES = ("one", "mirrored")
CPUINFO = Path("/proc/cpuinfo")


def strategy(name: str) -> tf.distribute.Strategy:
    """What `one` (device) or `mirrored` (all GPUs, or all logical CPUs where there is no GPU) means to TensorFlow.

    Raises OptionError for another name."""
    if name not in STRATEGIES:
        raise OptionError(f"no strategy is called {name!r}: choose one of {', '.join(STRATEGIES)}.")
    if name == "one":
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices, None if gpus else tf.distribute.ReductionToOneDevice())


def short_float() -> str | None:
    """The 16-bit numbers in which this machine multiplies faster than in float32: float16 on a GPU, bfloat16 on a
    processor with instructions for it (asked of Linux alone); None where there is neither."""
    if tf.config.list_physical_devices("GPU"):
        return "float16"
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1").lower() in ("0", "false"):  # without oneDNN bfloat16 is slow
        return None
    flags = CPUINFO.read_text() if CPUINFO.is_file() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else None


def mixed_precision(strategy: tf.distribute.Strategy) -> str:
    """The numbers in which mixed precision multiplies here, as `short_float` gives them.

    Raises OptionError where there are none or, on several devices, where Keras may miss an overflow."""
    dtype = short_float()
    if dtype is None:
        raise OptionError(
            "mixed precision needs a GPU, or Linux and a processor that computes in bfloat16: leave it out here."
        )
    if strategy.num_replicas_in_sync > 1:
        raise OptionError("mixed precision is for one device only: leave it or the mirrored strategy out.")
    return dtype


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Layers made inside compute in float32, float16 or bfloat16, unless they say otherwise; weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if dtype == "float32" else f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def repeated(strategy: tf.distribute.Strategy, batch: tuple[tf.Tensor, ...]) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
    """The batch, once for each device where there are fewer pictures than devices, and how often it is there.

    Means and their gradients stay, and no device gets an empty part, with which TensorFlow's convolutions fail.
    """
    devices, rows = strategy.num_replicas_in_sync, tf.shape(batch[0])[0]
    if devices == 1:
        return batch, tf.constant(1)
    copies = tf.where(rows < devices, devices, 1)
    return tuple(tf.tile(part, [copies, 1, 1, 1]) for part in batch), copies


def on_each(strategy: tf.distribute.Strategy, step: Callable, batch: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """Run a step on every device with its part of the batch; give the results in the batch's order.

    batch : tensors (n, H, W, channels), n at least the number of devices; step : gives a tensor (n, ...) for them.
    """
    devices = strategy.num_replicas_in_sync
    if devices == 1:
        return step(*batch)

    def with_its_part(*batch):
        place, rows = tf.distribute.get_replica_context().replica_id_in_sync_group, tf.shape(batch[0])[0]
        part = slice(place * rows // devices, (place + 1) * rows // devices)
        return step(*(tensor[part] for tensor in batch))

    return tf.concat(strategy.experimental_local_results(strategy.run(with_its_part, batch)), axis=0)


@dataclass(frozen=True)
class PartLoss:
    """A recipe's loss for one device's part of a batch; called like a loss of Keras.

    The mean of its values over the devices, which running metrics take, is the loss of the whole batch; the sum of its
    gradients, which Keras's optimisers take, is the gradient of that loss.

    weight : (n, H, W, 1), of the whole batch; dice : as in `losses.RoadLoss`.
    """

    weight: tf.Tensor
    devices: int
    dice: float = 0.0

    def __call__(self, road, probability, sample_weight=None):
        """The loss, float32 (); without sample_weight all pixels count."""
        total = keras.losses.BinaryCrossentropy(reduction="sum")(road, probability, sample_weight)
        whole = tf.ones_like(self.weight) if sample_weight is None else self.weight
        loss = tf.math.divide_no_nan(total, tf.reduce_sum(whole))
        if self.dice:
            pictures = tf.cast(tf.shape(self.weight)[0], tf.float32)
            loss += self.dice * tf.reduce_sum(soft_dice(road, probability, sample_weight)) / pictures
        return scaled_gradient(self.devices * loss, 1 / self.devices)


@tf.custom_gradient
def scaled_gradient(value, factor):
    """The value as it is, with its gradient times a factor."""
    return tf.identity(value), lambda upstream: (factor * upstream, None)
