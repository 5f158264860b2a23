"""A plain training script, as a course hands it out: what `bench.py` compares the package with.

Pictures are decoded from disk and resized in every epoch, one after the other, and every step runs eagerly: a Python
loop, a GradientTape, no `tf.function`. The networks are the package's, so that only the way of training differs.

Data: FOLDER holds KITTI's layout; a sample is image float32 (256, 256, 3) in [0, 1] and mask float32 (256, 256, 1).
"""

from pathlib import Path

from roadseg import kitti, models
from roadseg.backend import keras, tf
from roadseg.data import Split, course_split

LEARNING_RATE = 1e-3
BATCH, VALIDATION_BATCH = 4, 8


class PlainTraining:
    """A network with its optimizer and running metrics, and the files that it learns from."""

    def __init__(self, name: str, root: Path, *, size: tuple[int, int] = (256, 256)):
        self.size, self.frames = size, kitti.list_frames(root)
        self.split: Split = course_split(len(self.frames))
        self.model = models.build(name, size=size)
        self.loss_fn = keras.losses.BinaryCrossentropy()
        self.optimizer = keras.optimizers.Adam(LEARNING_RATE)
        self.loss, self.accuracy = keras.metrics.Mean(), keras.metrics.BinaryAccuracy()

    def decode(self, image_file: tf.Tensor, label_file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Read, resize and scale one image and its label."""
        image = tf.io.decode_png(tf.io.read_file(image_file), channels=3)
        label = tf.io.decode_png(tf.io.read_file(label_file), channels=3)
        image = tf.image.resize(image, self.size) / 255
        label = tf.image.resize(label, self.size, method="nearest")
        return image, tf.cast(label[..., 2:] > 0, tf.float32)

    def batches(self, indices, batch_size: int, *, shuffle: bool = False) -> tf.data.Dataset:
        """The images at these positions, read as they are needed."""
        images, labels = ([str(getattr(self.frames[i], part)) for i in indices] for part in ("image", "label"))
        files = tf.data.Dataset.from_tensor_slices((images, labels))
        if shuffle:
            files = files.shuffle(len(indices))
        return files.map(self.decode).batch(batch_size)

    def train_step(self, image: tf.Tensor, mask: tf.Tensor) -> None:
        """Learn from one batch."""
        with tf.GradientTape() as tape:
            probability = self.model(image, training=True)
            loss = self.loss_fn(mask, probability)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables))
        self.loss.update_state(loss)
        self.accuracy.update_state(mask, probability)

    def val_step(self, image: tf.Tensor, mask: tf.Tensor) -> None:
        """Measure one batch."""
        probability = self.model(image, training=False)
        self.loss.update_state(self.loss_fn(mask, probability))
        self.accuracy.update_state(mask, probability)

    def train(self, steps: int | None = None) -> float:
        """One epoch of training, or its first `steps`; returns the accuracy."""
        self.loss.reset_state()
        self.accuracy.reset_state()
        for image, mask in self.batches(self.split.train, BATCH, shuffle=True).take(-1 if steps is None else steps):
            self.train_step(image, mask)
        return float(self.accuracy.result())

    def validate(self) -> float:
        """All validation images; returns the accuracy."""
        self.loss.reset_state()
        self.accuracy.reset_state()
        for image, mask in self.batches(self.split.validation, VALIDATION_BATCH):
            self.val_step(image, mask)
        return float(self.accuracy.result())
