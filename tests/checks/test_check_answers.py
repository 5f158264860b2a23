"""The checks of numbers and choices: the right ones pass, and each wrong one is told what leads to it."""

import re
import tomllib
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from roadseg import data, models, recipes
from roadseg.backend import keras, tf
from roadseg.checks import answers as check_answers
from roadseg.checks.answers import answer
from roadseg.checks.result import NOT_WRITTEN
from roadseg.errors import OptionError

TEXTS = tomllib.loads(Path(check_answers.__file__).with_suffix(".toml").read_text(encoding="utf-8"))
KINDS = (int, float, np.float32, np.array, tf.constant, Decimal, Fraction)
SOFTMAXES = [
    *("softmax", "Softmax", "soft-max", "keras.activations.softmax"),
    *(keras.activations.softmax, keras.ops.softmax, tf.nn.softmax),
    *(keras.layers.Softmax, keras.layers.Softmax(), keras.layers.Activation("softmax")),
]
RIGHT = {  # the first of each is the answer as the notebook asks for it
    3: [68, *(kind(68) for kind in KINDS), 68.00000000001, np.nextafter(68, 0)],
    4: [816, *(kind(816) for kind in KINDS)],
    8: [485_817, *(kind(485_817) for kind in KINDS)],
    9: [True, tf.constant(True), np.bool_(True), np.array(True), "yes", "Yes.", "TRUE", "the same"],
    10: [("softmax", 4), *((name, 4) for name in SOFTMAXES), ["softmax", np.int32(4)]],
}


class Unreadable:
    def __array__(self, *options, **more):
        raise RuntimeError

    __float__ = __repr__ = __array__


NO_NUMBERS = {
    NOT_WRITTEN: [None, ...],
    "text_given": ["68"],
    "truth_given": [True],
    "list_given": [[68], (68,), np.array([68, 68])],
    "not_called": [lambda: 68, models.unet],
    "no_number": [{68}, 68j, object(), Unreadable(), keras.Input((3,))],
    "not_finite": [float("nan"), Decimal("nan")],
    "not_positive": [0, -68, np.float32(-0.5)],
    "model_given": [keras.Sequential()],
}
WRONG = {  # besides the numbers in the table
    3: NO_NUMBERS
    | {
        "all_epochs": [816, 840, 810, 828, 852, 804, 864, 680, 884],
        "digits_swapped": [86],
        "not_whole": [66.6, 1e-9, 67.99999, 68.001],
        "other": [100, 45, 6800, 10**12, 10**400],
    },
    4: NO_NUMBERS
    | {
        "rounded_images": [840],
        "all_images": [864, 876, 867],
        "with_validation": [852, 861],
        "two_too_many": [828, 822],
        "other_batch": [204],
        "counted_from_0": [804],
        "split_by_fraction": [780],
        "one_epoch": [68, 67.99999, 70, 71.75, 72.25, 67, 17],
        "other_epochs": [748, 884, 680, 6800],
        "digits_swapped": [618],
        "not_whole": [816.5, 815.99999],
        "other": [900, 50_000],
    },
    8: NO_NUMBERS | {"digits_swapped": [458_817], "not_whole": [1234.5], "other": [400_001, 460_000, 700_000, 7]},
    9: {
        NOT_WRITTEN: [None, ...],
        "said_no": [False, tf.constant(False), "No"],
        "no_choice": [tf.constant([True]), "perhaps", 1, [True], Unreadable()],
    },
    10: {
        NOT_WRITTEN: [None, (None, None)],
        "no_pair": ["softmax, 4", 4, {"softmax": 4}, ("softmax", 4, 4)],
        "swapped": [(4, "softmax")],
        "no_name": [(None, 4), (Unreadable(), 4)],
        "no_channels": [("softmax", value) for value in (None, "four", True, -4, 0, float("nan"))],
        "left_as_it_was": [("sigmoid", 1)],
        "sigmoid": [("sigmoid", 4)],
        "log_softmax": [(tf.nn.log_softmax, 4)],
        "no_activation": [("linear", 4)],
        "other_activation": [("ReLU", 4)],
        "sparsemax": [("sparsemax", 4), (keras.activations.sparsemax, 4)],
        "loss_given": [
            ("categorical_crossentropy", 4),
            (keras.losses.SparseCategoricalCrossentropy(), 4),
            (tf.nn.softmax_cross_entropy_with_logits, 4),
        ],
        "misspelt": [("sotfmax", 4)],
        "unknown_activation": [("argmax", 4)],
        "one_channel": [("softmax", 1)],
        "two_channels": [("softmax", 2)],
        "three_channels": [("softmax", 3)],
        "background_added": [("softmax", 5)],
        "twice_as_many": [("softmax", 8)],
        "channels": [("softmax", 7)],
    },
}


@pytest.mark.parametrize("question", RIGHT)
def test_right_answers_pass_however_they_are_written(question):
    for value in RIGHT[question]:
        result = answer(question, value)
        assert result.passed and result.cause is None and result.function is None, value
        assert (result.name, result.title) == (f"answer-{question}", f"Question {question}")


@pytest.mark.parametrize("question", WRONG)
def test_wrong_answers_are_told_what_leads_to_them(question):
    for cause, value in ((cause, value) for cause, values in WRONG[question].items() for value in values):
        result = answer(question, value)
        assert (result.passed, result.cause) == (False, cause), value
        assert result.message and "{" not in result.message.replace("{68}", "")
        assert result.look and 2 <= len(result.hints) <= 3


@pytest.mark.parametrize("question", [3, 4, 8])
def test_every_mistake_has_a_number_of_its_own(question):
    """The first mistake that leads to a number takes it; none is left with numbers of others alone."""
    for cause, entry in TEXTS[f"question-{question}"]["mistakes"].items():
        if "numbers" in entry:
            assert cause in {answer(question, number).cause for number in entry["numbers"]}


@pytest.mark.parametrize(("question", "number"), [(3, 68), (4, 816), (8, 485817), (10, 4)])
def test_hints_do_not_give_the_number_away(question, number):
    texts = TEXTS[f"question-{question}"]
    assert str(number) not in re.findall(r"\w+", " ".join([texts["look"], *texts["hints"]]).replace(",", ""))


def test_what_tells_the_number_of_parameters_comes_last():
    texts = TEXTS["question-8"]
    earlier = " ".join([texts["look"], texts["mistakes"]["other"], *texts["hints"][:-1]])
    assert "summary()" not in earlier and "count_params()" not in earlier and "count_params()" in texts["hints"][-1]


@pytest.mark.parametrize("question", [0, 1, 5, 15, "3", None, 3.5, True, np.array([3, 4]), [3], {3: 4}])
def test_questions_without_a_number_or_a_choice_are_refused(question):
    with pytest.raises(OptionError, match="3, 4, 8, 9, 10"):
        answer(question, 68)


# --- the answers, and numbers of wrong networks -----------------------------------------------------------------------


def test_right_answers_are_those_of_the_package():
    train, validation = data.course_split(289)
    assert len(train) / recipes.get_recipe("assigned").batch_size == RIGHT[3][0] == check_answers.STEPS
    assert RIGHT[3][0] * recipes.get_recipe("reported").epochs == RIGHT[4][0]
    assert models.unet().count_params() == RIGHT[8][0] == check_answers.PARAMETERS
    assert len(validation) == check_answers.VALIDATION
    model, images = models.unet((16, 16, 3), filters=(2, 2), classes=4), np.ones((2, 16, 16, 3), "float32")
    assert np.array_equal(model(images, training=True), model(images, training=False)) == RIGHT[9][0]
    assert (model.layers[-1].activation.__name__, model.layers[-1].filters) == RIGHT[10][0]


def test_counts_are_those_of_networks():
    weights, levels = models.unet().trainable_weights, {}
    for layer in models.unet().layers:
        part = re.match(r"[a-z]+", layer.name)[0]
        levels[part] = levels.get(part, 0) + layer.count_params()
    inner = sum(9 * count * count + count for count in (8, 16, 32, 64, 128, 64, 32, 16, 8))
    for cause, count in (
        ("no_skips", models.unet(skip_connections=False).count_params()),
        ("one_level_less", models.unet(filters=(8, 16, 32, 64)).count_params()),
        ("bottleneck_too_narrow", models.unet(filters=(8, 16, 32, 64, 64)).count_params()),
        ("gray_input", models.unet((256, 256, 1)).count_params()),
        ("four_outputs", models.unet(classes=4).count_params()),
        ("simple_model", models.simple_model().count_params()),
        ("way_down_only", levels["encoder"] + levels["bottleneck"]),
        ("way_down_only", levels["encoder"]),
        ("bottleneck_only", levels["bottleneck"]),
        ("way_up_only", levels["decoder"]),
        ("head_left_out", RIGHT[8][0] - levels["probability"]),
        ("without_biases", sum(int(np.prod(weight.shape)) for weight in weights if len(weight.shape) == 4)),
        ("three_convolutions", RIGHT[8][0] + inner),
    ):
        assert answer(8, count).cause == cause
