"""A run for TensorBoard: its curves, and validation pictures with the predicted road in red."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from roadseg import runs
from roadseg.backend import tf

PICTURES = 3


class Board:
    """Writes `path`/tensorboard, anew each time: what a resumed run has done before is written from its files.

    images : uint8 (n, H, W, 3), the run's validation pictures, of which the first three are shown.
    """

    def __init__(self, path: Path, images: np.ndarray):
        shutil.rmtree(path / "tensorboard", ignore_errors=True)
        self.path, self.images = path, images[:PICTURES]
        with _disk_errors(path):
            self.train, self.validation = (
                tf.summary.create_file_writer(str(path / "tensorboard" / part)) for part in ("train", "validation")
            )

    def log(self, row: tuple) -> None:
        """Add one epoch: a row of `runs.CURVES`, and the predictions that the run's folder holds for it.

        Raises OSError where the files cannot be written."""
        with _disk_errors(self.path):
            self._log(*row)

    def _log(self, epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds) -> None:
        with self.train.as_default(step=int(epoch)):
            tf.summary.scalar("loss", loss)
            tf.summary.scalar("accuracy", accuracy)
            tf.summary.scalar("learning rate", learning_rate)
            tf.summary.scalar("seconds an epoch", seconds)
        with self.validation.as_default(step=int(epoch)):
            tf.summary.scalar("loss", val_loss)
            tf.summary.scalar("accuracy", val_accuracy)
            tf.summary.image("predicted road", self._in_red(int(epoch)), max_outputs=PICTURES)
        self.train.flush()
        self.validation.flush()

    def _in_red(self, epoch: int) -> np.ndarray:
        road = runs.read_prediction(self.path, epoch)[:PICTURES] >= 128
        return np.where(road[..., None], self.images // 2 + np.array([127, 0, 0], np.uint8), self.images)

    def close(self) -> None:
        """Close the files."""
        self.train.close()
        self.validation.close()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Raise what TensorFlow cannot write as OSError, like all else that writes."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's files in {path / 'tensorboard'}") from error
