"""All checks under one roof: what training continues with, points, and versions that passed here and failed there."""

import pytest
from students import written

from roadseg import checks, models
from roadseg.backend import keras, tf
from roadseg.checks import step_mistakes, steps, unet_mistakes

train_step = written(step_mistakes.RIGHT["train_step"], "train_step")


def asks_for_lists(model, image, mask, **options):
    assert len(image.shape.as_list()) == 4
    return train_step(model, image, mask, **options)


class Called:
    def __call__(self, model, image, mask, **options):
        return train_step(model, image, mask, **options)


def in_a_cell_with_magic():
    """The function of a cell that begins with %%time, as IPython runs it."""
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    shell.user_ns["train_step"] = train_step
    shell.run_cell("%%time\nif True:\n    with open('/dev/null'):\n        own = lambda *a, **k: train_step(*a, **k)")
    return shell.user_ns["own"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [lambda: tf.function(train_step), lambda: asks_for_lists, in_a_cell_with_magic, Called],
    ids=["decorated", "asks for lists", "magic and blocks", "an object"],
)
def test_right_steps_of_all_kinds_pass_and_get_all_points(make):
    function = make()
    assert steps.train_step(function).passed and checks.points("train_step", function, 12, seed=3) == 12


@pytest.mark.slow
def test_other_policies_floats_and_orders_of_channels_are_set_aside():
    keras.mixed_precision.set_global_policy("mixed_float16")
    keras.config.set_floatx("float64")
    keras.config.set_image_data_format("channels_first")
    try:
        assert steps.train_step(train_step).passed
        assert (keras.config.floatx(), keras.config.image_data_format()) == ("float64", "channels_first")
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")


def test_a_number_earns_all_points_or_none():
    assert (checks.points(4, 816, 3), checks.points(4, 810, 3)) == (3, 0)


@pytest.mark.slow
def test_a_right_network_is_trained_where_the_function_itself_was_checked(capsys):
    names = {"layers": keras.layers, "keras": keras}
    exec(unet_mistakes.RIGHT, names)
    build_unet = names["build_unet"]
    results = [checks.unet(candidate) for candidate in (build_unet, build_unet(), models.simple_model)]
    assert [checks.own_network(result)["network"] for result in results] == [build_unet, None, None]
    own, given, wrong = capsys.readouterr().out.splitlines()
    assert own == "build_unet: your own" and "not the function" in given and "(not right yet)" in wrong


def test_every_check_is_here():
    assert all(callable(getattr(checks, name)) for name in checks.__all__)
