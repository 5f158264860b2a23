"""A drive through one street: scenes that are neighbors in time."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from roadseg.errors import OptionError
from roadseg.scenes.camera import FAR
from roadseg.scenes.objects import Barrier
from roadseg.scenes.planting import plant_sides, plant_traffic
from roadseg.scenes.rendering import CATEGORIES, Scene, draw, make_generator, set_scene

SPEED = 10.0  # meters a second
RATE = 10  # frames a second, as many as KITTI's cameras take
PIECE = 60.0  # meters of street that are planted at a time: a single scene thins out far away
FIRST = 10.0  # meters; a scene is not planted densely before
BEHIND = 30.0  # meters; what is farther behind casts no shadow into the view


def drive(category: str = "um", index: int = 0, *, seed: int = 0, seconds: float = 10.0) -> Iterator[Scene]:
    """Scenes of a drive, RATE a second, along the street of the scene that `render` makes of the same arguments.

    The car follows the road. Side roads are left out, and barriers, whose pattern would not stay in place. OptionError
    as in `render`.
    """
    street, camera, _ = set_scene(category, index, seed)
    if not seconds > 0:
        raise OptionError(f"seconds should be above 0, not {seconds!r}")
    street, camera = replace(street, junction=None), replace(camera, heading=0.0)
    key = seed, CATEGORIES.index(category), index
    for frame in range(ceil(seconds * RATE)):
        travel = frame * SPEED / RATE
        objects = plant_traffic(street, camera, make_generator(*key, 2), travel=travel)
        for piece in range(ceil((travel + FAR) / PIECE) + 1):
            since = travel - PIECE * (piece - 1)  # meters since what the piece has ahead was as far ahead as it says
            found = plant_sides(street, camera, make_generator(*key, 4, piece), travel=since)
            near, far = max(FIRST - since, -BEHIND), FIRST + PIECE - since
            objects += [thing for thing in found if near <= thing.foot[2] < far and not isinstance(thing, Barrier)]
        rng, grain = make_generator(*key, 3), make_generator(*key, 5, frame)
        yield draw(street, camera, objects, rng, travel=travel, grain=grain)
