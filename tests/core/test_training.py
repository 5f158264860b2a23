"""The two steps against Keras's own; the loop: what it leaves, reuse, resume, options; prediction and evaluation."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from roadseg import backend, data, metrics, models, recipes, runs, training
from roadseg.backend import keras, tf
from roadseg.checks import unet_mistakes
from roadseg.errors import OptionError, RunError
from roadseg.workbook.reference import reference_runs

ACCURACY = keras.metrics.BinaryAccuracy


def small(**changes):
    """A recipe that takes a second."""
    return recipes.get_recipe("reported", **{"name": "small", "epochs": 3, **changes})


def mixed(**changes):
    """A recipe that uses all that recipes have, and takes seconds."""
    return recipes.get_recipe("fast", **{"name": "mixed", "epochs": 3, "color_jitter": 0.5, **changes})


def train(model, recipe, roads, out, **options):
    return training.train(model, recipe, roads, out=out, **{"log": lambda line: None, **options})


@pytest.fixture(scope="module")
def trained(roads, tmp_path_factory):
    """A finished run of the simple model, not to be changed, what its callback received and what was logged."""
    received, log = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "TICK", 0.0)
        run = train("simple", small(), roads, tmp_path_factory.mktemp("runs"), callback=received.append, log=log.append)
    return SimpleNamespace(run=run, received=received, log=log)


# --- steps -----------------------------------------------------------------------------------------------------------


def twins():
    """Two small networks with equal weights."""
    one, two = (models.simple_model((32, 32, 3), filters=(2, 4)) for _ in range(2))
    two.set_weights(one.get_weights())
    return one, two


def test_the_steps_equal_train_on_batch_and_test_on_batch(roads):
    model, other = twins()
    other.compile(
        keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(), metrics=[ACCURACY()], run_eagerly=True
    )
    running = {"running_loss": keras.metrics.Mean(), "running_accuracy": ACCURACY()}
    optimizer, loss_fn = keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy()
    for start, validate in ((0, False), (4, False), (8, True)):
        image, mask, _ = data.arrays(roads, np.arange(start, start + 4))
        for metric in running.values():
            metric.reset_state()
        other.reset_metrics()
        if validate:
            probability = training.val_step(model, image, mask, loss_fn=loss_fn, **running)
            np.testing.assert_array_equal(probability, model(image, training=False))
            expected = other.test_on_batch(image, mask, return_dict=True)
        else:
            training.train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer, **running)
            expected = other.train_on_batch(image, mask, return_dict=True)
        found = [float(metric.result()) for metric in running.values()]
        assert found == pytest.approx([expected["loss"], expected["binary_accuracy"]], rel=1e-4)
        for one, two in zip(model.get_weights(), other.get_weights()):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=2e-5)


def test_excluded_pixels_do_not_teach(roads):
    """With weights, the label of an excluded pixel changes neither the loss, nor the accuracy, nor the weights."""
    image, mask, weight = data.arrays(roads, np.arange(4))
    assert 0 < (weight == 0).mean() < 0.2
    results = []
    for model, labels in zip(twins(), (mask, np.where(weight == 0, 1 - mask, mask))):
        loss, accuracy = keras.metrics.Mean(), ACCURACY()
        running = {"running_loss": loss, "running_accuracy": accuracy, "weight": weight}
        loss_fn = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
        training.train_step(model, image, labels, loss_fn=loss_fn, optimizer=keras.optimizers.Adam(1e-2), **running)
        results.append([float(loss.result()), float(accuracy.result()), *model.get_weights()])
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)


# --- what a training run makes ---------------------------------------------------------------------------------------


def test_a_run_leaves_what_it_promises(roads, trained):
    run = trained.run
    assert run.how == "trained" and len(trained.log) == 1 and run.title in trained.log[0]
    assert list(run.curves) == list(runs.CURVES) and run.curves["epoch"].tolist() == [1, 2, 3]
    assert run.steps["step"].tolist() == list(range(1, 10))  # of 24 images 9 train: three batches an epoch
    assert run.settings["data"] == roads.fingerprint and run.settings["versions"]["tensorflow"] == tf.__version__
    assert run.finished["best_epoch"] == run.curves["val_loss"].argmin() + 1 and run.finished["parameters"] == 53_761
    where = [roads.names.index(name) for name in run.validation_names]
    accuracy = metrics.confusion_counts(run.prediction(), roads.masks[where]).accuracy
    assert accuracy == pytest.approx(run.curves["val_accuracy"][-1], abs=2e-3)  # predictions are rounded to 8 bits
    for which, epoch in (("last", 3), ("best", run.finished["best_epoch"])):
        found = training.predict(run.model(which), roads.images[where])
        np.testing.assert_allclose(found, run.prediction(epoch) / 255, atol=3e-3)


def test_a_callback_receives_the_progress(trained):
    places = [(progress.epoch, progress.fraction) for progress in trained.received]  # three batches an epoch
    assert places == [(epoch, part / 3) for epoch in (0, 1, 2) for part in (0, 1, 2)] + [(3, 0)]
    assert trained.received[0].prediction is None and not len(trained.received[0].curves["loss"])
    for progress in trained.received[3:]:
        assert (progress.title, progress.epochs) == (trained.run.title, 3)
        assert len(progress.curves["val_loss"]) == progress.epoch
        np.testing.assert_array_equal(progress.prediction, trained.run.prediction(progress.epoch))
        left = 3 - progress.epoch - progress.fraction
        assert progress.seconds_left == pytest.approx(left * progress.seconds_per_epoch)


def test_tensorboard_shows_curves_and_predictions(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for part, column in (("train", "loss"), ("validation", "val_loss")):
        events = EventAccumulator(str(trained.run.path / "tensorboard" / part)).Reload()
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("loss")]
        np.testing.assert_allclose(values, trained.run.curves[column], rtol=1e-6)
    width, height, *images = events.Tensors("predicted road")[0].tensor_proto.string_val
    assert (int(width), int(height), len(images)) == (32, 32, training.TENSORBOARD_IMAGES)


def own_unet(*, skip_first):
    """A right U-Net of 32 x 32 in another hand: other names, and the skip before or after the decoder's features."""
    names = {"keras": keras, "layers": keras.layers}
    exec(unet_mistakes.RIGHT.replace(unet_mistakes.BOTH, "[skip, x]" if skip_first else "[x, skip]"), names)
    return names["build_unet"]((32, 32, 3))


@pytest.mark.slow
@pytest.mark.parametrize("skip_first", [pytest.param(True, marks=pytest.mark.long), False])
def test_a_network_of_your_own_is_trained_and_kept_as_the_package_has_it(roads, tmp_path, skip_first):
    built, recipe = [], small(epochs=1)

    def network():
        built.append(own_unet(skip_first=skip_first))
        return built[-1]

    run = train("unet", recipe, roads, tmp_path, network=network)
    found, expected = (training.predict(model, roads.images[:2]) for model in (run.model(), built[-1]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    count, package = len(built), train("unet", recipe, roads, tmp_path)  # whoever wrote the network
    assert (package.how, package.path) == ("reused", run.path) and len(built) == count
    if skip_first:  # the same start, the same batches
        plain = train("unet", recipe, roads, tmp_path / "package")
        np.testing.assert_allclose(plain.curves["loss"], run.curves["loss"], rtol=1e-4)


@pytest.mark.slow
def test_a_network_of_your_own_trains_in_16_bits_as_well(monkeypatch, roads, tmp_path):
    monkeypatch.setattr(backend, "fast_precision", lambda: "float16")
    network = partial(own_unet, skip_first=False)
    assert train("unet", small(epochs=1), roads, tmp_path, network=network, mixed_precision=True).how == "trained"


def test_a_network_of_your_own_that_is_not_the_model(roads, tmp_path):
    with pytest.raises(OptionError):
        train("unet", small(), roads, tmp_path, network=lambda: models.unet((32, 32, 3), skip_connections=False))
    with pytest.raises(OptionError):
        train("unet", small(initializer="he_normal"), roads, tmp_path, network=lambda: models.unet((32, 32, 3)))


@pytest.mark.slow
def test_progressive_resizing_starts_at_half_the_size(roads, tmp_path):
    traced = set()

    def step(model, image, mask, **options):
        traced.update(part.shape[1] for part in (image, mask, options["weight"]))
        assert model.input_shape[1:3] == image.shape[1:3]
        return training.train_step(model, image, mask, **options)

    recipe = mixed(progressive_resizing=2 / 3)
    assert train("simple", recipe, roads, tmp_path, step=step).prediction().shape[1:] == (32, 32)
    assert traced == {16, 32}


def test_a_run_ends_with_the_moving_average_of_its_weights(roads, tmp_path):
    one_step = small(batch_size=len(roads))  # an epoch
    after = [train("simple", one_step, roads, tmp_path, epochs=n).model().get_weights() for n in (1, 2, 3)]
    run = train("simple", replace(one_step, name="average", ema=0.75), roads, tmp_path)
    for found, first, second, last in zip(run.model().get_weights(), *after, strict=True):
        np.testing.assert_allclose(found, 0.75**2 * first + 0.75 * 0.25 * second + 0.25 * last, atol=1e-6)
    images = roads.images[[roads.names.index(name) for name in run.validation_names]]
    np.testing.assert_allclose(training.predict(run.model(), images), run.prediction() / 255, atol=0.51 / 255)


# --- reuse and resume ------------------------------------------------------------------------------------------------


def test_the_same_settings_reuse_the_run_and_write_nothing(roads, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.run.path.rglob("*")}
    received, log = [], []
    again = train("simple", small(), roads, trained.run.path.parent, callback=received.append, log=log.append)
    assert (again.path, again.how) == (trained.run.path, "reused")
    assert [progress.epoch for progress in received] == [3] and len(log) == 1
    assert {path: path.stat().st_mtime_ns for path in trained.run.path.rglob("*")} == before


def own_step(model, image, mask, **options):
    assert "weight" not in options  # the recipe counts excluded pixels
    return training.train_step(model, image, mask, **options)


def test_your_own_step_trains_a_run_of_its_own(roads, trained, tmp_path):
    own = train("simple", small(), roads, tmp_path, epochs=1, step=own_step)
    assert own.how == "trained" and own.settings["step"] != trained.run.settings["step"]
    assert own.curves["val_loss"] == trained.run.curves["val_loss"][:1]
    assert train("simple", small(), roads, tmp_path, epochs=1).path == own.path  # without a step, any will do


class Stop(Exception):
    """What ends a training run early."""


def stop(progress):
    if progress.epoch == 1:
        raise Stop


@pytest.mark.long  # the simple model in test_robustness
@pytest.mark.parametrize("recipe", [mixed(camera_jitter=0.5, ema=0.9), mixed(start="scenes")])
def test_a_stopped_unet_resumes_bit_for_bit(roads, tmp_path, recipe):
    with pytest.raises(Stop):
        train("unet", recipe, roads, tmp_path / "stopped", callback=stop)
    log = []
    resumed = train("unet", recipe, roads, tmp_path / "stopped", log=log.append)
    whole = train("unet", recipe, roads, tmp_path / "whole")
    assert (resumed.how, whole.how) == ("resumed", "trained") and "1 of 3" in log[0]
    assert resumed.finished["weights"] == whole.finished["weights"]
    np.testing.assert_equal(resumed.steps, whole.steps)


@pytest.mark.slow
def test_from_a_damaged_state_it_starts_again(roads, trained, tmp_path):
    with pytest.raises(Stop):
        train("simple", small(), roads, tmp_path, callback=stop)
    (state,) = tmp_path.rglob("state.npz")
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    log = []
    run = train("simple", small(), roads, tmp_path, log=log.append)
    assert run.how == "trained" and str(state) in log[0]
    np.testing.assert_array_equal(run.curves["val_loss"], trained.run.curves["val_loss"])


ELSEWHERE = """
import sys
from roadseg import data, recipes, training
roads = data.load(sys.argv[1], size=(32, 32), cache=False)
recipe = recipes.get_recipe("fast", name="mixed", epochs=3, color_jitter=0.5)
training.train("unet", recipe, roads, split="blocks", seed=5, out=sys.argv[2])
"""


@pytest.mark.long
def test_the_same_seed_gives_the_same_run_in_every_process(road_folder, roads, tmp_path):
    """To the last digit of every file of weights, whatever order Python's sets have."""
    command = [sys.executable, "-c", ELSEWHERE, road_folder, tmp_path / "elsewhere"]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run(command, check=True, timeout=500, env=environment, cwd=Path(__file__).parents[2])
    here = train("unet", mixed(), roads, tmp_path / "here", split="blocks", seed=5)
    elsewhere = runs.open_run(tmp_path / "elsewhere" / here.path.name)
    assert here.finished["weights"] == elsewhere.finished["weights"]
    assert (here.path / "steps.csv").read_bytes() == (elsewhere.path / "steps.csv").read_bytes()


# --- options and failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "found"),
    [
        ("net", {}, "'net'"),
        ("simple", {"split": "half"}, "'half'"),
        ("simple", {"strategy": "two"}, "'two'"),
        ("simple", {"epochs": True}, "epochs True"),
        ("simple", {"seed": 1.5}, "seed 1.5"),
        ("simple", {"recipe": small(initializer="unknown")}, "unknown"),
        ("unet", {"recipe": mixed(), "data": (48, 80)}, "24 x 40"),  # half of which the U-Net cannot halve
        ("simple", {"step": print}, "print"),
    ],
)
def test_options_out_of_range_leave_nothing(road_folder, roads, tmp_path, model, options, found):
    if size := options.get("data"):
        options = {**options, "data": data.load(road_folder, size=size, cache=False)}
    with pytest.raises(OptionError, match=found):
        training.train(model, **{"data": roads, **options}, out=tmp_path)
    assert not list(tmp_path.glob("simple-*")) and not list(tmp_path.glob("unet-*"))


def test_other_floats_are_named(roads, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.config, "floatx", lambda: "float64")
    with pytest.raises(OptionError, match="float64"):
        train("simple", small(), roads, tmp_path)


def test_epochs_can_be_capped_from_outside(roads, tmp_path, monkeypatch):
    monkeypatch.setenv("ROADSEG_EPOCHS", "1")
    log = []

    def stop_at_once(progress):
        assert progress.epochs == 1
        raise Stop

    with pytest.raises(Stop):
        train("simple", small(), roads, tmp_path, callback=stop_at_once, log=log.append)
    assert len(log) == 1 and "ROADSEG_EPOCHS" in log[0]
    monkeypatch.setenv("ROADSEG_EPOCHS", "two")
    with pytest.raises(OptionError, match="ROADSEG_EPOCHS is 'two'"):
        train("simple", small(), roads, tmp_path)


def test_a_device_without_memory_left_is_told_in_one_line(roads, tmp_path):
    def full(progress):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")

    with pytest.raises(RunError, match="batch_size"):
        train("simple", small(), roads, tmp_path, callback=full)


def test_errors_of_a_step_and_a_callback_are_shown_as_they_are(roads, tmp_path):
    def step(model, image, mask, **options):
        raise NotImplementedError("write me")

    with pytest.raises(NotImplementedError, match="write me"):
        train("simple", small(), roads, tmp_path, step=step)
    with pytest.raises(FileNotFoundError):
        train("simple", small(), roads, tmp_path, callback=lambda progress: (tmp_path / "nowhere").read_text())


def test_a_loss_that_is_nan_ends_the_run(roads, tmp_path):
    with pytest.raises(RunError, match="NaN in epoch 1"):
        train("simple", small(learning_rate=1e30), roads, tmp_path)
    assert not list(tmp_path.rglob("state.npz"))


def test_mixed_precision_needs_a_machine_for_it_and_one_device(roads, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "fast_precision", lambda: None)
    with pytest.raises(OptionError, match="bfloat16"):
        train("simple", small(), roads, tmp_path, mixed_precision=True)
    monkeypatch.setattr(backend, "fast_precision", lambda: "bfloat16")
    monkeypatch.setattr(backend, "get_strategy", lambda name: SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(OptionError, match="one device"):
        train("simple", small(), roads, tmp_path, mixed_precision=True, strategy="mirrored")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 5e-3), pytest.param("bfloat16", 2e-2, marks=pytest.mark.long)]
)
def test_mixed_precision_learns_what_float32_learns(monkeypatch, roads, tmp_path, dtype, tolerance):
    monkeypatch.setattr(backend, "fast_precision", lambda: dtype)
    recipe = mixed(epochs=1, ema=0.5)
    plain, fast = (train("simple", recipe, roads, tmp_path, mixed_precision=on) for on in (False, True))
    assert fast.title == f"simple, mixed-{dtype}, seed 0" and fast.path != plain.path
    assert 0 < np.abs(fast.steps["loss"] - plain.steps["loss"]).max() < tolerance
    assert keras.config.dtype_policy().name == "float32"
    assert {weight.dtype for weight in fast.model().get_weights()} == {np.dtype("float32")}
    assert train("simple", recipe, roads, tmp_path, mixed_precision=True).path == fast.path


# --- prediction and evaluation ---------------------------------------------------------------------------------------


def test_time_left_counts_the_steps_of_fits_and_of_a_loop_of_ones_own(monkeypatch):
    lines = []
    line = SimpleNamespace(update=lambda bundle, raw: lines.append(bundle["text/plain"]))
    monkeypatch.setattr("IPython.display.display", lambda *bundle, **options: line)
    monkeypatch.setattr("IPython.get_ipython", object)
    monkeypatch.setattr(training, "TICK", 0)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    two_fits = training.TimeLeft("a", fits=2)
    for _ in range(2):
        model.fit(np.ones((8, 1)), np.ones((8, 1)), batch_size=4, verbose=0, callbacks=[two_fits])
    step = training.TimeLeft("b", steps=2).around(lambda value, *, twice: value * 2 if twice else value)
    assert [step(1, twice=True), step(3, twice=False)] == [2, 3]
    told = [text.partition(" in ")[0].partition(",")[0] for text in lines]
    assert told == ["a: 25%", "a: 50%", "a: 75%", "a: done", "b: 50%", "b: done"]
    assert ["left" in text for text in lines] == [True, True, True, False, True, False]
    step(1, twice=False)  # one more than announced
    assert len(lines) == 6


def test_in_a_script_there_is_no_line():
    assert training.TimeLeft("a", steps=1).around(lambda: 3)() == 3


def test_predict_by_batches(roads, trained):
    model = trained.run.model()
    plain = training.predict(model, roads.images)
    assert plain.shape == (24, 32, 32) and plain.dtype == np.float32
    np.testing.assert_allclose(plain, model(roads.images / np.float32(255)).numpy()[..., 0], atol=1e-6)
    for wrong in (roads.images / 255, roads.images[0], roads.images[:0]):
        with pytest.raises(OptionError, match="uint8"):
            training.predict(model, wrong)


def test_evaluate_scores_validation_images_or_all(roads, trained):
    model = trained.run.model()
    for images, network in (("validation", model), ("all", models.with_test_time_augmentation(model))):
        names = trained.run.validation_names if images == "validation" else roads.names
        where = np.array([roads.names.index(name) for name in names])
        probability = training.predict(network, roads.images[where])
        expected = metrics.report(probability, roads.masks[where], roads.valid[where], roads.categories[where])
        np.testing.assert_equal(
            training.evaluate(trained.run, roads, images=images, tta=network is not model), expected
        )
    other = replace(roads, fingerprint="other")
    for images, found in (("validation", trained.run.path.name), ("some", "'some'")):
        with pytest.raises(OptionError, match=found):
            training.evaluate(trained.run, other, images=images)


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "max_f"), [("reported", 0.77), ("assigned", 0.711)])
def test_the_simple_model_gets_as_far_on_scenes_as_on_real_images(all_scenes, tmp_path, recipe, max_f):
    """Beside the last four epochs of three seeds on 240 real images, split by the same rule, with as many steps; the
    best F1 beside what another program measured there."""
    run = train("simple", recipe, all_scenes, tmp_path)
    for quantity, tolerance in (("loss", 0.04), ("val_loss", 0.04), ("accuracy", 0.03), ("val_accuracy", 0.03)):
        real = [np.median(one["curves"][quantity][-4:]) for one in reference_runs("simple", f"{recipe}-14")]
        level = np.median(run.curves[quantity][-4:])
        assert min(real) - tolerance < level < max(real) + tolerance, (quantity, real)
    assert training.evaluate(run, all_scenes)["all"]["max_f"] == pytest.approx(max_f, abs=0.05)
