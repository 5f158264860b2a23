"""Road scenes rendered from a seed and written in KITTI's layout: data for whoever has no download.

camera     from meters to pixels and back, from light to an image
paint      noise, colors, light, canvas, textured rectangles
street     lanes, lines, sides, side roads, light
ground     materials of the ground and road markings
objects    trees, vehicles, houses, barriers, posts
planting   where the objects stand
rendering  one scene
driving    a drive through one street
folder     write a folder of scenes; load their classes
record     what is written beside them
"""

from roadseg.scenes.driving import RATE, drive
from roadseg.scenes.folder import SceneData, load_classes, write
from roadseg.scenes.record import RECORD, VERSION, read_record
from roadseg.scenes.rendering import CATEGORIES, CLASSES, COUNTS, Scene, calibration, render

__all__ = [
    "CATEGORIES",
    "CLASSES",
    "COUNTS",
    "RATE",
    "RECORD",
    "VERSION",
    "Scene",
    "SceneData",
    "calibration",
    "drive",
    "load_classes",
    "read_record",
    "render",
    "write",
]
