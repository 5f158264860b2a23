"""How networks are trained, as data: the course's recipes, and one that learns fast."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import OptionError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are those of the course, with the learning rate that really ran."""

    name: str
    learning_rate: float = 1e-3  # constant, or the peak of the schedule
    cosine: bool = False  # warm up over the first epoch, then fall along a cosine to 1 % of the peak
    epochs: int = 12
    batch_size: int = 4
    initializer: str = "glorot_uniform"  # Keras's default
    standardize: bool = False  # zero-mean, unit-variance input
    flip: bool = False  # mirror half of the pictures, anew every epoch
    colour: float = 0.0  # strength of random colour changes, in [0, 1]
    count_excluded: bool = True  # the course counts the pixels that KITTI excludes


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("assigned", learning_rate=1e-4),  # what the course's script says
        Recipe("reported"),  # what the report's runs used: Keras threw `lr=1e-4` away and took Adam's default
        Recipe(
            "fast",
            learning_rate=2e-3,
            cosine=True,
            initializer="he_normal",
            standardize=True,
            flip=True,
            count_excluded=False,
        ),
    )
}


def named(name: str | Recipe) -> Recipe:
    """The recipe of that name; a Recipe of your own passes through."""
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise OptionError(f"no recipe is called {name!r}: choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def changed(base: str | Recipe, **changes) -> Recipe:
    """A recipe with other fields, for experiments: changed("fast", name="no-flip", flip=False).

    Raises OptionError without a name of its own."""
    if "name" not in changes:
        raise OptionError("a changed recipe needs a name of its own: changed('fast', name='...', ...).")
    return replace(named(base), **changes)
