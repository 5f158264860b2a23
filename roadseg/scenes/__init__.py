"""Road scenes rendered from a seed and written in KITTI's layout: data for whoever has no download.

camera     from meters to pixels and back, from light to an image
paint      noise, colors, light, canvas, textured rectangles
street     lanes, lines, sides, side roads, light
ground     materials of the ground and road markings
objects    trees, vehicles, houses, barriers, posts
planting   where the objects stand
rendering  one scene
driving    a drive through one street
folder     write a folder of scenes and what was rendered; load their classes
"""

from roadseg.scenes.driving import RATE, drive
from roadseg.scenes.folder import RECORD, VERSION, load_classes, read_record, write
from roadseg.scenes.rendering import CATEGORIES, CLASSES, COUNTS, Scene, render

__all__ = [
    "CATEGORIES",
    "CLASSES",
    "COUNTS",
    "RATE",
    "RECORD",
    "VERSION",
    "Scene",
    "drive",
    "load_classes",
    "read_record",
    "render",
    "write",
]
