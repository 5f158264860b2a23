"""Recipes: by name, with other fields, and in range."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from roadseg import recipes
from roadseg.errors import OptionError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", float("nan")),
        ("epochs", 1.5),
        ("batch_size", True),
        ("color_jitter", 2),
        ("random_zoom", -0.1),
        ("cosine_floor", 1.1),
        ("ema", 1),
        ("random_flip", "no"),
        ("name", "../x"),
        ("learning_rte", 1e-3),  # no field at all
    ],
)
def test_fields_out_of_range(field, value):
    with pytest.raises(OptionError, match=field):
        recipes.get_recipe("fast", **{"name": "own", field: value})


def test_recipes_by_name():
    assert set(recipes.RECIPES) == {"assigned", "reported", "fast", "best", "transfer", "transfer-best"}
    rates = [recipes.get_recipe(name).learning_rate for name in ("assigned", "reported")]
    assert rates == [1e-4, 1e-3] and recipes.get_recipe(recipes.FAST) is recipes.FAST
    with pytest.raises(OptionError, match=r"'slow'.* fast"):
        recipes.get_recipe("slow")
    with pytest.raises(OptionError, match="name"):  # of its own
        recipes.get_recipe("fast", random_flip=False)


def test_a_recipe_is_plain_data():
    ends = {"color_jitter": 1, "dice": 0, "progressive_resizing": 1, "epochs": np.int64(1), "batch_size": np.uint8(9)}
    recipe = recipes.get_recipe("fast", name="own-2.5+x", learning_rate=np.float32(0.5), **ends)
    assert json.loads(json.dumps(asdict(recipe))) == asdict(recipe)
    assert (recipe.learning_rate, recipe.batch_size, recipe.name) == (0.5, 9, "own-2.5+x")


def test_fields_that_came_later_rename_no_run_that_does_without_them():
    without = recipes.FAST.settings()
    assert len(without) == 13 and not {"camera_jitter", "random_zoom", "start", "cosine_floor", "ema"} & without.keys()
    assert recipes.get_recipe("fast", name="own", start="scenes").settings() == without | {
        "name": "own",
        "start": "scenes",
    }
