"""The checks of numbers and choices: the right ones pass, and each wrong one is told what leads to it."""

import fractions
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from roadseg import data, models, recipes
from roadseg.backend import keras, tf
from roadseg.checks import answers as check_answers
from roadseg.checks.answers import answer
from roadseg.checks.result import NOT_WRITTEN
from roadseg.errors import OptionError

RIGHT = {3: 68, 4: 816, 8: 485_817, 9: True, 10: ("softmax", 4)}
TEXTS = tomllib.loads(Path(check_answers.__file__).with_suffix(".toml").read_text(encoding="utf-8"))


# --- right -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", RIGHT)
def test_right_answers_pass(question):
    result = answer(question, RIGHT[question])
    assert result.passed and result.cause is None and result.function is None
    assert (result.name, result.title) == (f"answer-{question}", f"Question {question}")


def test_right_numbers_are_those_of_the_package():
    train, validation = data.course_split(289)
    assert len(train) / recipes.get_recipe("assigned").batch_size == RIGHT[3] == check_answers.STEPS
    assert RIGHT[3] * recipes.get_recipe("reported").epochs == RIGHT[4]
    assert models.unet().count_params() == RIGHT[8] == check_answers.PARAMETERS
    assert len(validation) == check_answers.VALIDATION


@pytest.mark.parametrize("kind", [float, np.float32, np.array, tf.constant, Decimal, fractions.Fraction])
def test_numbers_of_any_kind_pass(kind):
    assert all(answer(question, kind(RIGHT[question])).passed for question in (3, 4, 8))
    assert answer(kind(3), 68).passed and answer(kind(10), ("softmax", 4)).title == "Question 10"


@pytest.mark.parametrize("value", [68.00000000001, np.nextafter(68, 0)])
def test_a_right_number_may_carry_an_error_of_rounding(value):
    assert answer(3, value).passed


@pytest.mark.parametrize(
    "value", [True, tf.constant(True), np.bool_(True), np.array(True), "yes", "Yes.", "TRUE", "the same"]
)
def test_a_yes_in_other_words_passes(value):
    assert answer(9, value).passed


SOFTMAXES = [
    *("Softmax", "soft-max", "keras.activations.softmax", keras.activations.softmax, keras.ops.softmax, tf.nn.softmax),
    *(keras.layers.Softmax, keras.layers.Softmax(), keras.layers.Activation("softmax")),
]


@pytest.mark.parametrize("activation", SOFTMAXES)
def test_a_softmax_in_other_words_passes(activation):
    assert answer(10, (activation, 4)).passed and answer(10, [activation, np.int32(4)]).passed


def test_the_answer_to_question_9_holds():
    model, pictures = models.unet((16, 16, 3), filters=(2, 2)), np.ones((2, 16, 16, 3), "float32")
    assert np.array_equal(model(pictures, training=True), model(pictures, training=False)) == RIGHT[9]


def test_the_answer_to_question_10_holds():
    head = models.unet((16, 16, 3), filters=(2, 2), classes=4).layers[-1]
    assert (head.activation.__name__, head.filters) == RIGHT[10]


# --- wrong numbers ---------------------------------------------------------------------------------------------------

WRONG = {  # besides the numbers in the table
    3: {
        "all_epochs": [816, 840, 810, 828, 852, 804, 864, 680, 884],
        "digits_swapped": [86],
        "not_whole": [66.6, 1e-9, 67.99999, 68.001],
        "other": [100, 45, 6800, 10**12, 10**400],
    },
    4: {
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
    8: {"digits_swapped": [458_817], "not_whole": [1234.5], "other": [400_001, 700_000, 7]},
}
NUMBERS = [
    (question, value, cause) for question in WRONG for cause, values in WRONG[question].items() for value in values
]


@pytest.mark.parametrize(("question", "value", "cause"), NUMBERS, ids=[f"{q}-{cause}" for q, _, cause in NUMBERS])
def test_wrong_numbers_are_told_what_leads_to_them(question, value, cause):
    result = answer(question, value)
    assert not result.passed and result.cause == cause, result
    assert "{" not in result.message and result.look and 2 <= len(result.hints) <= 3


@pytest.mark.parametrize("question", [3, 4, 8, 10])
def test_hints_do_not_give_the_number_away(question):
    right = RIGHT[question][1] if question == 10 else RIGHT[question]
    for text in (TEXTS[f"question-{question}"]["look"], *TEXTS[f"question-{question}"]["hints"]):
        assert str(right) not in re.findall(r"[\w]+", text.replace(",", ""))


@pytest.mark.parametrize(
    ("question", "value", "words"),
    [
        (3, 70, "280-odd.*do not train"),
        (3, 1000, "about 15 times too high"),
        (3, 45, "about 1.5 times too low"),
        (3, 10**400, "far too high"),
        (4, 840, "840 is 12 times 70.*280-odd"),
        (3, 67.99999, r"^67\.99999 is not a whole number"),
        (
            3,
            828,
            "too much for one epoch.* 12 times 69: the epochs are counted, but 69 is.* taken from all 289 images",
        ),
        (3, 810, "270 training images"),
        (3, 748, "the number of steps of 11 epochs"),
        (4, 680, "10 epochs"),
        (4, 72, "for one epoch it would not fit either. 72 is.* all 289 images are divided"),
        (4, 71.75, "71.75 looks like an answer for one epoch.* all 287 images"),
        (8, 529_457, "without skip connections"),
        (8, 460_000, "a little too low"),
    ],
)
def test_messages_tell_the_cause(question, value, words):
    assert re.search(words, answer(question, value).message)


# --- counts against networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "build"),
    [
        ("no_skips", lambda: models.unet(skip_connections=False)),
        ("one_level_less", lambda: models.unet(filters=(8, 16, 32, 64))),
        ("bottleneck_too_narrow", lambda: models.unet(filters=(8, 16, 32, 64, 64))),
        ("gray_input", lambda: models.unet((256, 256, 1))),
        ("four_outputs", lambda: models.unet(classes=4)),
        ("simple_model", models.simple_model),
    ],
)
def test_counts_are_those_of_networks(cause, build):
    assert answer(8, build().count_params()).cause == cause


def test_parts_of_the_network_have_their_counts():
    levels = {}
    for layer in models.unet().layers:
        part = re.match(r"[a-z]+", layer.name)[0]
        levels[part] = levels.get(part, 0) + layer.count_params()
    (bottleneck,) = (count for part, count in levels.items() if part.startswith("bott"))
    for cause, count in (
        ("way_down_only", levels["encoder"] + bottleneck),
        ("way_down_only", levels["encoder"]),
        ("bottleneck_only", bottleneck),
        ("way_up_only", levels["decoder"]),
        ("head_left_out", RIGHT[8] - levels["probability"]),
    ):
        assert answer(8, count).cause == cause


def test_kernels_alone_and_three_convolutions_have_their_counts():
    weights = models.unet().trainable_weights
    assert answer(8, sum(int(np.prod(w.shape)) for w in weights if len(w.shape) == 4)).cause == "without_biases"
    inner = sum(9 * count * count + count for count in (8, 16, 32, 64, 128, 64, 32, 16, 8))
    assert answer(8, RIGHT[8] + inner).cause == "three_convolutions"


@pytest.mark.parametrize("question", [3, 4, 8])
def test_every_mistake_has_a_number_of_its_own(question):
    """The first mistake that leads to a number takes it; none is left with numbers of others alone."""
    table = {
        c: entry["numbers"] for c, entry in TEXTS[f"question-{question}"]["mistakes"].items() if "numbers" in entry
    }
    for cause, numbers in table.items():
        assert cause in {answer(question, number).cause for number in numbers}


# --- other kinds of values -------------------------------------------------------------------------------------------


class Unreadable:
    def __array__(self, *options, **more):
        raise RuntimeError

    __float__ = __repr__ = __array__


KINDS = [
    (NOT_WRITTEN, None),
    (NOT_WRITTEN, ...),
    ("text_given", "68"),
    ("truth_given", True),
    ("list_given", [68]),
    ("list_given", (68,)),
    ("list_given", np.array([68, 68])),
    ("not_called", lambda: 68),
    ("not_called", models.unet),
    ("no_number", {68}),
    ("no_number", 68j),
    ("no_number", object()),
    ("no_number", Unreadable()),
    ("no_number", keras.Input((3,))),
    ("not_finite", float("nan")),
    ("not_finite", Decimal("nan")),
    ("not_positive", 0),
    ("not_positive", -68),
    ("not_positive", np.float32(-0.5)),
]


@pytest.mark.parametrize(("cause", "value"), KINDS, ids=[cause for cause, _ in KINDS])
def test_what_is_no_number_is_told_so(cause, value):
    for question in (3, 4, 8):
        result = answer(question, value)
        assert result.cause == cause and not result.passed and result.hints


def test_a_model_is_no_number():
    assert answer(8, models.unet((16, 16, 3), filters=(2, 2))).cause == "model_given"


@pytest.mark.parametrize(
    ("cause", "value"),
    [
        (NOT_WRITTEN, None),
        ("said_no", False),
        ("said_no", tf.constant(False)),
        ("no_choice", tf.constant([True])),
        ("said_no", "No"),
        ("no_choice", "perhaps"),
        ("no_choice", 1),
        ("no_choice", [True]),
        ("no_choice", Unreadable()),
    ],
)
def test_what_is_no_yes_is_told_so(cause, value):
    assert answer(9, value).cause == cause


@pytest.mark.parametrize(
    ("cause", "value"),
    [
        (NOT_WRITTEN, None),
        (NOT_WRITTEN, (None, None)),
        ("no_pair", "softmax, 4"),
        ("no_pair", 4),
        ("no_pair", {"softmax": 4}),
        ("no_pair", ("softmax", 4, 4)),
        ("swapped", (4, "softmax")),
        ("no_name", (None, 4)),
        ("no_name", (Unreadable(), 4)),
        ("no_channels", ("softmax", None)),
        ("no_channels", ("softmax", "four")),
        ("no_channels", ("softmax", True)),
        ("left_as_it_was", ("sigmoid", 1)),
        ("sigmoid", ("sigmoid", 4)),
        ("log_softmax", (tf.nn.log_softmax, 4)),
        ("no_activation", ("linear", 4)),
        ("other_activation", ("ReLU", 4)),
        ("sparsemax", ("sparsemax", 4)),
        ("sparsemax", (keras.activations.sparsemax, 4)),
        ("loss_given", ("categorical_crossentropy", 4)),
        ("loss_given", (keras.losses.SparseCategoricalCrossentropy(), 4)),
        ("misspelt", ("sotfmax", 4)),
        ("unknown_activation", ("argmax", 4)),
        ("one_channel", ("softmax", 1)),
        ("two_channels", ("softmax", 2)),
        ("three_channels", ("softmax", 3)),
        ("background_added", ("softmax", 5)),
        ("twice_as_many", ("softmax", 8)),
        ("channels", ("softmax", 7)),
    ],
)
def test_what_does_not_fit_four_classes_is_told_so(cause, value):
    assert answer(10, value).cause == cause


@pytest.mark.parametrize("number", [-4, 0, float("nan")])
def test_channels_below_one_are_told_so(number):
    result = answer(10, ("softmax", number))
    assert result.cause == "no_channels" and "at least one" in result.message and "quotes" not in result.message


@pytest.mark.parametrize(
    "question", [0, 1, 5, 14, 15, "3", None, 3.5, True, np.array([3]), np.array([3, 4]), [3], {3: 4}]
)
def test_questions_without_a_number_or_a_choice_are_refused(question):
    with pytest.raises(OptionError, match="no number or choice to check: choose one of 3, 4, 8, 9, 10"):
        answer(question, 68)
