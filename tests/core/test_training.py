"""The two steps against Keras's own, and the loop: recipes, resuming, reusing, locking, evaluating."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from roadseg import data, metrics, models, recipes, runs, training
from roadseg.backend import keras, tf
from roadseg.errors import OptionError, RunError

LOSS = keras.losses.BinaryCrossentropy


HARD = {"colour": 0.5, "zoom": 0.3, "average": 0.9, "dice": 1.0}  # all that a recipe may add


def quiet(text):
    """Swallow what a training says."""


def small(**changes):
    """A recipe that takes a second."""
    return recipes.changed("reported", **{"name": "small", "epochs": 3, **changes})


def twins():
    """Two small U-Nets with equal weights."""
    keras.utils.set_random_seed(1)
    one, two = (models.unet((32, 32, 3), filters=(2, 4, 4, 4, 4)) for _ in range(2))
    two.set_weights(one.get_weights())
    return one, two


@pytest.mark.parametrize(
    "compiled", [pytest.param(False, marks=pytest.mark.slow, id="eager"), pytest.param(True, id="compiled")]
)
def test_train_step_equals_train_on_batch(roads, compiled):
    ours, keras_own = twins()
    keras_own.compile(keras.optimizers.Adam(1e-2), LOSS(), metrics=[keras.metrics.BinaryAccuracy()])
    optimizer, loss, accuracy = keras.optimizers.Adam(1e-2), keras.metrics.Mean(), keras.metrics.BinaryAccuracy()
    optimizer.build(ours.trainable_variables)

    def step(image, road):
        return training.train_step(
            ours, image, road, loss_fn=LOSS(), optimizer=optimizer, running_loss=loss, running_accuracy=accuracy
        )

    call = tf.function(step) if compiled else step
    for start in (0, 4, 8):
        image, road, _ = data.arrays(roads, np.arange(start, start + 4))
        for metric in (loss, accuracy, keras_own):
            metric.reset_metrics() if metric is keras_own else metric.reset_state()
        call(tf.constant(image), tf.constant(road))
        expected = keras_own.train_on_batch(image, road, return_dict=True)
        assert float(loss.result()) == pytest.approx(expected["loss"], rel=1e-4)
        assert float(accuracy.result()) == pytest.approx(expected["binary_accuracy"], abs=1e-3)
    for one, two in zip(ours.get_weights(), keras_own.get_weights()):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=2e-5)


def test_val_step_changes_nothing_and_equals_test_on_batch(roads):
    ours, keras_own = twins()
    keras_own.compile(loss=LOSS(), metrics=[keras.metrics.BinaryAccuracy()])
    image, road, _ = data.arrays(roads, np.arange(6))
    loss, accuracy = keras.metrics.Mean(), keras.metrics.BinaryAccuracy()
    probability = training.val_step(ours, image, road, loss_fn=LOSS(), running_loss=loss, running_accuracy=accuracy)
    expected = keras_own.test_on_batch(image, road, return_dict=True)
    assert float(loss.result()) == pytest.approx(expected["loss"], rel=1e-5)
    assert float(accuracy.result()) == pytest.approx(expected["binary_accuracy"], abs=1e-6)
    np.testing.assert_array_equal(probability, ours(image, training=False))
    for one, two in zip(ours.get_weights(), keras_own.get_weights()):
        np.testing.assert_array_equal(one, two)


def test_excluded_pixels_do_not_teach(roads):
    """With weights, what an excluded pixel's label says changes neither the loss nor the weights."""
    image, road, weight = data.arrays(roads, np.arange(4))
    assert 0 < (weight == 0).mean() < 0.2
    results = []
    for labels in (road, np.where(weight == 0, 1 - road, road)):
        model, _ = twins()
        loss, accuracy = keras.metrics.Mean(), keras.metrics.BinaryAccuracy()
        options = {"running_loss": loss, "running_accuracy": accuracy, "weight": weight}
        loss_fn = LOSS(reduction="mean_with_sample_weight")
        training.train_step(model, image, labels, loss_fn=loss_fn, optimizer=keras.optimizers.Adam(1e-2), **options)
        results.append([float(loss.result()), float(accuracy.result()), *model.get_weights()])
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)


def test_a_run_leaves_all_it_promises(roads, tmp_path):
    seen = []
    run = training.train("simple", small(), roads, out=tmp_path, watch=seen.append, say=quiet)
    assert run.how == "trained"
    assert [progress.epoch for progress in seen] == [0, 1, 2, 3]
    assert seen[0].prediction is None and seen[-1].prediction.shape == (15, 32, 32)
    assert seen[-1].seconds_left == 0 < seen[1].seconds_left
    assert list(run.curves) == list(runs.CURVES) and run.curves["epoch"].tolist() == [1, 2, 3]
    assert run.steps["step"].tolist() == list(range(1, 10))  # 9 pictures train: three batches an epoch
    assert run.prediction(2).shape == (15, 32, 32) and run.prediction().dtype == np.uint8
    assert sum(1 for _ in (run.path / "tensorboard").rglob("events*")) == 2
    assert run.settings["versions"]["tensorflow"] == tf.__version__
    assert run.settings["data"] == roads.fingerprint and run.finished["seconds"] > 0
    assert not list(run.path.glob("*.part*"))


def test_tensorboard_holds_curves_and_pictures(roads, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = training.train("simple", small(epochs=2), roads, out=tmp_path, say=quiet)
    for part, column in (("train", "loss"), ("validation", "val_loss")):
        events = EventAccumulator(str(run.path / "tensorboard" / part)).Reload()
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("loss")]
        np.testing.assert_allclose(values, run.curves[column], rtol=1e-6)
    width, height, *pictures = events.Tensors("predicted road")[0].tensor_proto.string_val
    assert (int(width), int(height), len(pictures)) == (32, 32, 3)
    picture = tf.io.decode_png(pictures[0]).numpy().astype(int)
    road = run.prediction(1)[0] >= 128
    shown = roads.images[list(roads.names).index(run.validation_names[0])].astype(int)
    np.testing.assert_array_equal(picture[~road], shown[~road])
    np.testing.assert_array_equal(picture[road], shown[road] // 2 + [127, 0, 0])


def test_curves_and_predictions_agree(roads, tmp_path):
    run = training.train("simple", small(), roads, out=tmp_path, say=quiet)
    where = [roads.names.index(name) for name in run.validation_names]
    counts = metrics.counts(run.prediction(), roads.road[where])
    assert counts.accuracy == pytest.approx(
        run.curves["val_accuracy"][-1], abs=2e-3
    )  # the prediction is rounded to 8 bits
    assert run.curves["val_loss"].argmin() + 1 == run.finished["best_epoch"]
    predicted = training.predict(run.model(), roads.images[where])
    assert np.abs(np.round(predicted * 255) - run.prediction().astype(int)).max() <= 1


def test_it_learns(roads, tmp_path):
    run = training.train("simple", small(epochs=15, learning_rate=3e-3), roads, out=tmp_path, say=quiet)
    assert run.curves["val_loss"][-1] < 0.6 * run.curves["val_loss"][0]
    scores = training.evaluate(run, roads)
    no_road = 1 - roads.road[[roads.names.index(name) for name in run.validation_names]].mean()
    assert scores["all"]["accuracy"] > no_road + 0.05
    assert set(scores) == {"um", "umm", "uu", "all"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["assigned", "reported", "fast", "best"])
def test_recipes_train(roads, tmp_path, name):
    run = training.train("unet", name, roads, epochs=2, out=tmp_path, say=quiet)
    rates = run.curves["learning_rate"]
    expected = {"assigned": [1e-4, 1e-4], "reported": [1e-3, 1e-3], "fast": [2e-2, 2e-4], "best": [2e-2, 2e-4]}[name]
    np.testing.assert_allclose(rates, expected, rtol=1e-4)
    layers = [layer.name for layer in run.model().layers]
    assert ("standardize" in layers) == (name in ("fast", "best"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "share", "sides"), [("unet", 2 / 3, "112"), ("simple", 1, "111"), ("simple", 0, "222")]
)
def test_the_first_epochs_see_pictures_of_half_the_size(roads, tmp_path, model, share, sides):
    traced = []

    def step(network, image, road, **options):
        traced.append((network.input_shape[1:3], image.shape[1:3], road.shape[1:3], options["weight"].shape[1:3]))
        return training.train_step(network, image, road, **options)

    chosen = recipes.changed("fast", name="own", epochs=3, half_size=share)
    run = training.train(model, chosen, roads, out=tmp_path, step=step, say=quiet)
    assert {shape for shapes in traced for shape in shapes} == {(16 * int(side),) * 2 for side in sides}
    assert run.prediction().shape[1:] == (32, 32) and run.model().input_shape == (None, 32, 32, 3)
    whole = training.train(model, recipes.changed(chosen, name="own", half_size=0.0), roads, out=tmp_path, say=quiet)
    assert (run.curves["loss"] == whole.curves["loss"]).tolist() == [sides == "222"] * 3


@pytest.mark.slow
def test_same_seed_same_curve_and_another_seed_another(roads, tmp_path):
    curves = [
        training.train("simple", small(), roads, seed=seed, out=tmp_path / folder, say=quiet).curves["val_loss"]
        for folder, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    np.testing.assert_array_equal(curves[0], curves[1])
    assert (curves[0] != curves[2]).all()


SAME = """
import sys
from roadseg import data, recipes, training
roads = data.load(sys.argv[1], size=(32, 32), cache=False)
recipe = recipes.changed("fast", name="own", epochs=2, colour=0.5)
training.train("unet", recipe, roads, split="blocks", seed=5, out=sys.argv[2])
"""


@pytest.mark.slow
def test_same_seed_same_curve_in_every_process(road_folder, tmp_path):
    """To the last digit of every file of weights, whatever order Python's sets have."""
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", SAME, road_folder, tmp_path / hash_seed]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run(command, check=True, timeout=120, env=environment, cwd=Path(__file__).parents[2])
    one, two = (runs.open_run(next((tmp_path / seed).glob("unet-*"))) for seed in ("1", "2"))
    assert one.finished["weights"] == two.finished["weights"]
    assert (one.path / "steps.csv").read_bytes() == (two.path / "steps.csv").read_bytes()
    np.testing.assert_array_equal(one.curves["val_loss"], two.curves["val_loss"])


@pytest.mark.slow
def test_the_average_of_the_weights_validates_and_is_kept(roads, tmp_path):
    everything = len(roads) - 15  # one step an epoch: weights after one, two and three steps
    chosen = small(batch_size=everything, average=0.75)
    plain = [
        training.train("simple", small(batch_size=everything, epochs=n), roads, out=tmp_path / str(n), say=quiet)
        for n in (1, 2, 3)
    ]
    averaged = training.train("simple", chosen, roads, out=tmp_path, say=quiet)
    expected = plain[0].model().get_weights()
    for run in plain[1:]:
        expected = [0.75 * mean + 0.25 * new for mean, new in zip(expected, run.model().get_weights())]
    for found, wanted in zip(averaged.model().get_weights(), expected):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    probability = training.predict(averaged.model(), roads.images[-15:])
    wanted = [roads.names[i] for i in range(len(roads) - 15, len(roads))]
    order = [wanted.index(name) for name in averaged.validation_names if name in wanted]
    kept = averaged.prediction()[[name in wanted for name in averaged.validation_names]] / 255
    np.testing.assert_allclose(kept, probability[order], atol=0.003)
    np.testing.assert_allclose(averaged.curves["loss"], plain[2].curves["loss"], rtol=1e-4)  # it trains as before


def test_a_finished_run_is_reused(roads, tmp_path):
    said = []
    first = training.train("simple", small(), roads, out=tmp_path, say=said.append)
    before = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    again = training.train("simple", small(), roads, out=tmp_path, say=said.append)
    assert again.path == first.path and again.how == "reused"
    assert [line.split(",")[0] for line in said] == ["Trained: simple", "Reused: simple"]
    assert said[1].endswith(f"minutes of training ({first.path.name}).")
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == before
    assert training.train("simple", small(), roads, seed=1, out=tmp_path, say=quiet).path != first.path


def another_train_step(model, image, road, *, loss_fn, optimizer, running_loss, running_accuracy):
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(road, probability)
    variables = model.trainable_variables
    optimizer.apply(tape.gradient(loss, variables), variables)
    running_loss(loss)
    running_accuracy(road, probability)
    return probability


def test_ones_own_step_trains_its_own_run(roads, tmp_path):
    own = training.train("simple", small(), roads, out=tmp_path, step=another_train_step, say=quiet)
    ours = training.train("simple", small(), roads, out=tmp_path, step=training.train_step, say=quiet)
    assert own.path != ours.path and (own.how, ours.how) == ("trained", "trained")
    np.testing.assert_allclose(own.curves["val_loss"], ours.curves["val_loss"], rtol=1e-4)
    # without a step of one's own, either will do
    assert training.train("simple", small(), roads, out=tmp_path, say=quiet).path in (own.path, ours.path)


def test_a_step_without_source_is_refused(roads, tmp_path):
    with pytest.raises(OptionError, match="the source of <built-in function print> cannot be read: define it with def"):
        training.train("simple", small(), roads, out=tmp_path, step=print, say=quiet)


class Stop(Exception):
    """Stands for whatever ends a training."""


def interrupted(epoch, roads, tmp_path, model="unet", recipe=None):
    """Start a training and end it after an epoch."""

    def stop(progress):
        if progress.epoch == epoch:
            raise Stop

    with pytest.raises(Stop):
        training.train(model, recipe or small(), roads, out=tmp_path, watch=stop, say=quiet)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["small", "fast"])
def test_a_stopped_run_resumes_with_equal_weights(roads, tmp_path, recipe):
    chosen = small() if recipe == "small" else recipes.changed("fast", name="small", epochs=3, **HARD)
    interrupted(1, roads, tmp_path / "stopped", recipe=chosen)
    said = []
    resumed = training.train("unet", chosen, roads, out=tmp_path / "stopped", say=said.append)
    whole = training.train("unet", chosen, roads, out=tmp_path / "whole", say=quiet)
    assert (resumed.how, whole.how) == ("resumed", "trained")
    assert said[0] == "Going on with unet, small, seed 0 after epoch 1 of 3."
    assert said[1].startswith("Resumed: unet, small, seed 0, ") and len(said) == 2
    for which in runs.WEIGHTS:
        for one, two in zip(resumed.model(which).get_weights(), whole.model(which).get_weights()):
            np.testing.assert_array_equal(one, two)
    assert resumed.finished["weights"].keys() == whole.finished["weights"].keys()
    np.testing.assert_array_equal(resumed.steps["loss"], whole.steps["loss"])


def test_an_unfinished_run_is_no_run(roads, tmp_path):
    interrupted(2, roads, tmp_path, model="simple")
    (path,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    with pytest.raises(RunError, match="has not finished: the same training command resumes it"):
        runs.open_run(path)


@pytest.mark.slow
def test_a_damaged_state_starts_anew(roads, tmp_path):
    interrupted(2, roads, tmp_path, model="simple")
    (state,) = tmp_path.rglob("state.npz")
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    said = []
    run = training.train("simple", small(), roads, out=tmp_path, say=said.append)
    assert run.how == "trained" and "is damaged; simple, small, seed 0 is trained from the start" in said[0]
    assert run.curves["epoch"].tolist() == [1, 2, 3]


@pytest.mark.slow
def test_a_finished_run_that_lost_files_is_trained_again(roads, tmp_path):
    run = training.train("simple", small(), roads, out=tmp_path, say=quiet)
    (run.path / "predictions" / "epoch-02.npz").unlink()
    with pytest.raises(RunError, match="has lost files or lines: delete it and train again"):
        runs.open_run(run.path)
    said = []
    again = training.train("simple", small(), roads, out=tmp_path, say=said.append)
    assert again.how == "trained" and "It is trained again now" in said[0]
    np.testing.assert_array_equal(again.curves["val_loss"], run.curves["val_loss"])


def test_weights_that_changed_are_not_loaded(roads, tmp_path):
    run = training.train("simple", small(), roads, out=tmp_path, say=quiet)
    with open(run.path / "last.weights.h5", "ab") as file:
        file.write(b"x")
    with pytest.raises(RunError, match=r"last\.weights\.h5 is missing or not what the training wrote"):
        run.model()
    assert run.model("best").count_params() == 53_761


def test_epochs_can_be_capped_from_outside(roads, tmp_path, monkeypatch):
    monkeypatch.setenv("ROADSEG_EPOCHS", "2")
    assert len(training.train("simple", small(), roads, out=tmp_path, say=quiet).curves["epoch"]) == 2
    monkeypatch.setenv("ROADSEG_EPOCHS", "two")
    with pytest.raises(OptionError, match="ROADSEG_EPOCHS is 'two': expected a whole number"):
        training.train("simple", small(), roads, out=tmp_path, say=quiet)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("net",), {}, "no model is called 'net': choose one of simple, unet, unet-no-skip"),
        (("simple", "slow"), {}, "no recipe is called 'slow': choose one of assigned, reported, fast"),
        (("simple",), {"split": "half"}, "no split is called 'half': choose course or blocks"),
        (("simple",), {"epochs": 0}, "epochs 0, seed 0: expected whole numbers"),
        (("simple",), {"seed": -1}, "seed -1: expected whole numbers"),
        (("simple",), {"seed": 1.5}, "seed 1.5: expected whole numbers"),
        (("simple", small(initializer="nope")), {}, "initializer is 'nope': expected a name that Keras knows"),
    ],
)
def test_options_out_of_range(roads, tmp_path, arguments, options, message):
    with pytest.raises(OptionError, match=message):
        training.train(arguments[0], *(arguments[1:] or ("reported",)), roads, out=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_explodes_is_told(roads, tmp_path):
    recipe = small(learning_rate=float("inf"))
    with pytest.raises(RunError, match="no longer a number in epoch 1: take a lower learning rate"):
        training.train("simple", recipe, roads, out=tmp_path, say=quiet)


def test_no_permission_for_runs(roads, tmp_path):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot be written .*: make it writable, or set ROADSEG_RUNS"):
        training.train("simple", small(), roads, out=tmp_path / "runs", say=quiet)
    assert (tmp_path / "runs").read_text() == "in the way"


def test_evaluate_on_other_images(roads, tmp_path):
    run = training.train("simple", small(), roads, out=tmp_path, say=quiet)
    other = data.RoadData(roads.images[::-1], roads.road, roads.evaluated, roads.names, "others", "0")
    with pytest.raises(OptionError, match="was trained on other images than these"):
        training.evaluate(run, other)
    with pytest.raises(OptionError, match="images is 'some': choose validation or all"):
        training.evaluate(run, roads, images="some")
    scores = training.evaluate(run, other, images="all")
    assert 0 <= scores["all"]["max_f"] <= 1


def test_the_mirror_image_has_its_say(roads, tmp_path):
    run = training.train("simple", small(), roads, out=tmp_path, say=quiet)
    plain, turned = (training.predict(run.model(), images) for images in (roads.images, roads.images[:, :, ::-1]))
    both = training.predict(run.model(), roads.images, flip=True)
    np.testing.assert_allclose(both, (plain + turned[:, :, ::-1]) / 2, atol=1e-6)
    np.testing.assert_allclose(training.predict(run.model(), roads.images[:, :, ::-1], flip=True), both[:, :, ::-1])
    scores = [training.evaluate(run, roads, flip=flip)["all"]["average_precision"] for flip in (False, True)]
    assert scores[0] != scores[1]


def train_in_process(folder, out, queue):
    """For another process: train, and tell how it went and what was said."""
    roads, said = data.load(folder, size=(32, 32), cache=False), []
    run = training.train("simple", small(epochs=4), roads, out=out, say=said.append, watch=lambda p: time.sleep(0.3))
    queue.put((os.getpid(), run.how, said))


@pytest.mark.slow
def test_two_processes_train_once(road_folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=train_in_process, args=(road_folder, tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    told = sorted([queue.get(timeout=120) for _ in processes], key=lambda row: row[1])
    for process in processes:
        process.join()
    assert [how for _, how, _ in told] == ["reused", "trained"]
    waited = [line for line in told[0][2] if line.startswith("Another process is training")]
    assert len(waited) <= 1 and any(line.startswith("Reused") for line in told[0][2])


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_resumes(road_folder, roads, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()  # kept: the child opens it by name
    process = context.Process(target=train_in_process, args=(road_folder, tmp_path, queue))
    process.start()
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("state.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.join()
    assert not list(tmp_path.rglob("finished.json"))
    killed = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    run = training.train("simple", small(epochs=4), roads, out=killed, say=quiet)
    assert run.how == "resumed" and len(run.curves["epoch"]) == 4


# --- as far as on real pictures --------------------------------------------------------------------------------------


def level(curves: dict, quantity: str) -> float:
    """Where a curve ends: the median of its last four epochs, as single ones jump."""
    return float(np.median(curves[quantity][-4:]))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("recipe", "max_f"), [("reported", 0.77), ("assigned", 0.711)])
def test_the_simple_model_gets_as_far_on_scenes_as_on_real_pictures(all_scenes, tmp_path, recipe, max_f):
    """Beside three seeds on 240 real pictures, split by the same rule, with as many steps; the best F1 beside what
    another program measured there."""
    run = training.train("simple", recipe, all_scenes, out=tmp_path, say=quiet)
    validation = [all_scenes.names.index(name) for name in run.validation_names]
    assert run.curves["val_accuracy"][0] == pytest.approx(1 - all_scenes.road[validation].mean(), abs=0.02)
    for quantity, apart in (("loss", 0.04), ("val_loss", 0.04), ("accuracy", 0.03), ("val_accuracy", 0.03)):
        real = [level(one["curves"], quantity) for one in runs.reference_runs("simple", f"{recipe}-14")]
        assert min(real) - apart < level(run.curves, quantity) < max(real) + apart, (quantity, real)
    assert training.evaluate(run, all_scenes)["all"]["max_f"] == pytest.approx(max_f, abs=0.05)


@pytest.mark.slow
@pytest.mark.long
def test_the_unet_gets_as_far_on_scenes_as_on_real_pictures(all_scenes, tmp_path):
    """Beside what another program measured on 287 real pictures by the course's split and recipe, with two seeds:
    accuracy 0.969 and 0.971, loss 0.081 and 0.074, best F1 0.911 and 0.923."""
    run = training.train("unet", "reported", all_scenes, out=tmp_path, say=quiet)
    assert level(run.curves, "val_accuracy") == pytest.approx(0.97, abs=0.02)
    assert level(run.curves, "val_loss") == pytest.approx(0.078, abs=0.05)
    assert training.evaluate(run, all_scenes)["all"]["max_f"] == pytest.approx(0.917, abs=0.05)
