"""How networks are trained, as data: the course's recipes, one that learns fast, one that goes far, and these two from
weights that ship."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import asdict, dataclass, fields, replace

from roadseg.errors import OptionError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are those of the course, with the learning rate that really ran.

    Raises OptionError where a field is out of its range."""

    name: str
    learning_rate: float = 1e-3  # constant, or the peak of the schedule
    cosine: bool = False  # warm up over the first epoch, then fall along a cosine
    cosine_floor: float = 0.01  # what is left of the peak at the end, in [0, 1]
    epochs: int = 12
    batch_size: int = 4
    initializer: str = "glorot_uniform"  # Keras's default
    standardize: bool = False  # zero-mean, unit-variance input
    random_flip: bool = False  # mirror half of the images, drawn anew in every epoch
    color_jitter: float = 0.0  # strength of random color changes, in [0, 1]
    mask_excluded: bool = False  # leave out the pixels that KITTI excludes; the course counts them as background
    dice: float = 0.0  # weight of the soft Dice loss beside cross-entropy
    muon: bool = False  # Muon for the kernels of convolutions, at the learning rate; Adam, at a tenth, for the rest
    progressive_resizing: float = 0.0  # fraction of the epochs, the first ones, at half the resolution, in [0, 1]
    camera_jitter: float = 0.0  # strength of random changes as other cameras and weather make them, in [0, 1]
    random_zoom: float = 0.0  # strength of random zoom, stretch and shift, in [0, 1]
    start: str = ""  # weights that ship, to start from: "scenes"
    ema: float = 0.0  # momentum, in [0, 1), of the moving average of the weights that the run ends with; 0: no average

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.+-]*", self.name):  # it names a folder
            raise OptionError(f"the recipe's name is {self.name!r}: expected letters, digits and hyphens.")
        whole, finite = numbers.Integral, numbers.Real
        strength = finite, lambda strength: 0 <= strength <= 1, "a strength from 0 to 1"
        for name, kind, fits, expected in (
            ("learning_rate", finite, lambda rate: 0 < rate < math.inf, "a number above 0, such as 1e-3"),
            ("epochs", whole, lambda count: count >= 1, "a whole number of at least 1"),
            ("batch_size", whole, lambda count: count >= 1, "a whole number of at least 1"),
            ("color_jitter", *strength),
            ("camera_jitter", *strength),
            ("cosine_floor", finite, lambda part: 0 <= part <= 1, "a fraction of the peak, from 0 to 1"),
            ("ema", finite, lambda momentum: 0 <= momentum < 1, "a momentum from 0 up to 1, such as 0.996"),
            ("random_zoom", *strength),
            ("dice", finite, lambda weight: 0 <= weight < math.inf, "a weight of at least 0"),
            ("progressive_resizing", finite, lambda part: 0 <= part <= 1, "a fraction of the epochs, from 0 to 1"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool) or not fits(value):
                raise OptionError(f"{name} is {value!r}: expected {expected}.")
            plain = int(value) if kind is whole else float(value)  # JSON cannot write NumPy's numbers
            object.__setattr__(self, name, plain)
        for field in fields(self):
            if isinstance(field.default, bool) and not isinstance(value := getattr(self, field.name), bool):
                raise OptionError(f"{field.name} is {value!r}: expected True or False.")

    def settings(self) -> dict:
        """The fields as JSON has them. Those that came later are left out where they are not used, so that runs keep
        their names."""
        later = ("camera_jitter", "random_zoom", "start", "cosine_floor", "ema")
        return {
            name: value for name, value in asdict(self).items() if name not in later or value != getattr(Recipe, name)
        }


ASSIGNED = Recipe("assigned", learning_rate=1e-4)  # what the course's script says
REPORTED = Recipe("reported")  # what the report's runs used: Keras ignored `lr=1e-4` and took Adam's default
FAST = Recipe(  # blocks of real images held out: MaxF 0.92 to 0.93 in less than a minute on two cores
    "fast",
    learning_rate=2e-2,
    cosine=True,
    epochs=10,
    initializer="he_normal",
    standardize=True,
    random_flip=True,
    mask_excluded=True,
    dice=1.0,
    muon=True,
    progressive_resizing=0.67,  # 7 of 10 epochs take a third of the time
)
BEST = replace(  # the same blocks: 0.94, and 0.943 to 0.947 with mirror images, in seven minutes
    FAST, name="best", epochs=40, color_jitter=1.0, progressive_resizing=0.0
)
# Three folds of blocks held out, three seeds each: median MaxF 0.936 (0.914 to 0.938), 0.940 with mirror images.
TRANSFER = replace(FAST, name="transfer", start="scenes", learning_rate=1e-2)
# The same folds and seeds, in bfloat16, without averages of weights: median 0.951 (0.935 to 0.954); with mirror images
# 0.953 (0.935 to 0.958). With averages, five runs on two of the folds: 0.952 to 0.955; with mirror images 0.9545 to
# 0.9561 (without averages, the same five: 0.950 to 0.954 and 0.953 to 0.958).
TRANSFER_BEST = replace(
    BEST, name="transfer-best", start="scenes", learning_rate=1e-2, random_zoom=1.0, cosine_floor=0.3, ema=0.99
)
RECIPES = {recipe.name: recipe for recipe in (ASSIGNED, REPORTED, FAST, BEST, TRANSFER, TRANSFER_BEST)}


def get_recipe(recipe: str | Recipe, **changes) -> Recipe:
    """The recipe of a name, or one with other fields: get_recipe("fast", name="no-flip", random_flip=False).

    Raises OptionError for an unknown name or field, for changes without a name of their own, and for a field out of
    its range."""
    if not isinstance(recipe, Recipe):
        if recipe not in RECIPES:
            raise OptionError(f"no recipe is called {recipe!r}: choose one of {', '.join(RECIPES)}.")
        recipe = RECIPES[recipe]
    if not changes:
        return recipe
    if "name" not in changes:
        raise OptionError("a changed recipe needs a name of its own: get_recipe('fast', name='...', ...).")
    known = [field.name for field in fields(Recipe)]
    if unknown := [name for name in changes if name not in known]:
        raise OptionError(f"a recipe has no {', '.join(unknown)}: its fields are {', '.join(known)}.")
    return replace(recipe, **changes)
