"""Recipes are data: what is out of range, or no field, is told before anything starts."""

import pytest

from roadseg import recipes
from roadseg.errors import OptionError


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("learning_rate", -1.0, "a number above 0"),
        ("learning_rate", 0, "a number above 0"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("learning_rate", "fast", "a number above 0"),
        ("epochs", 0, "a whole number from 1 on"),
        ("epochs", 1.5, "a whole number from 1 on"),
        ("batch_size", 0, "a whole number from 1 on"),
        ("batch_size", True, "a whole number from 1 on"),
        ("colour", 2, "a strength from 0 to 1"),
        ("zoom", 1, "from 0 to below 1"),
        ("average", 1.5, "a momentum from 0 to below 1"),
        ("dice", -0.1, "a weight from 0 on"),
        ("half_size", 2, "a share of the epochs, from 0 to 1"),
    ],
)
def test_fields_out_of_range(field, value, expected):
    with pytest.raises(OptionError, match=rf"^{field} is .*: expected .*{expected}"):
        recipes.changed("fast", name="mine", **{field: value})


@pytest.mark.parametrize("name", ["", "my/x", "../../y", "a b", ".hidden", 3])
def test_a_name_names_a_folder(name):
    with pytest.raises(OptionError, match=r"the recipe's name is .*: expected letters, digits and hyphens"):
        recipes.changed("fast", name=name)


def test_fields_that_recipes_do_not_have():
    with pytest.raises(OptionError, match="a recipe has no learning_rte: its fields are name, learning_rate"):
        recipes.changed("fast", name="mine", learning_rte=1e-3)


def test_the_borders_are_in_range():
    recipe = recipes.changed("fast", name="mine-2.5+x", colour=1, zoom=0, average=0, dice=0, half_size=1, epochs=1)
    assert (recipe.half_size, recipe.epochs, recipe.name) == (1, 1, "mine-2.5+x")
