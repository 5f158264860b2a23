"""What stands along the streets of the scenes: trees, vehicles, houses, barriers, posts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from PIL import Image, ImageDraw

from roadseg.scenes.camera import CAMERA_HEIGHT, FOCAL, NEAR
from roadseg.scenes.paint import BUILDINGS, CARS, Canvas, Light, between, bounding_box, fractal, mix, octave


@dataclass(frozen=True)
class SceneObject:
    """Whatever stands on the ground: each kind has `paint(canvas)`, and those that cast one worth painting `shadow`.

    `shadow(sun, x, y, z)` is how deep points lie in the shadow: below 0 in the sun, 1 and more in full shadow.
    """

    foot: np.ndarray  # (3,) meters

    @property
    def order(self) -> float:
        """Objects are painted from large to small: what is far, then what is near; of the near, the outermost first."""
        return max(self.foot[2], 1) + 0.3 * abs(self.foot[0])


def box_shadow(corner, along, inward, height, sun, x, z) -> np.ndarray:
    """Shadow of a box on a parallelogram: the ray to the sun must cross it below its top."""
    basis = np.linalg.inv(np.array([[along[0], inward[0]], [along[2], inward[2]]]))
    direction = basis @ (sun[0] / sun[1], sun[2] / sun[1])  # a meter of height further up the ray
    enter, leave = np.zeros(np.shape(x), np.float32), np.full(np.shape(x), height, np.float32)
    for axis in range(2):
        start = basis[axis, 0] * (x - corner[0]) + basis[axis, 1] * (z - corner[2])
        step = direction[axis] if abs(direction[axis]) > 1e-6 else 1e-6
        one, other = -start / step, (1 - start) / step
        enter, leave = np.maximum(enter, np.minimum(one, other)), np.minimum(leave, np.maximum(one, other))
    return np.clip((leave - enter) / 0.25, -1, 1.5)


# --- trees -----------------------------------------------------------------------------------------------------------

SPRITE = 320  # pixels: side of a tree's sprite
CROWNS = {  # half width of a crown at height 0 to 1, as points to interpolate
    "round": ((0.18, 0.26, 0.45, 0.7, 0.88, 1.0), (0.0, 0.26, 0.42, 0.44, 0.3, 0.0)),
    "tall": ((0.1, 0.2, 0.5, 0.8, 1.0), (0.0, 0.22, 0.34, 0.26, 0.0)),
    "cone": ((0.04, 0.1, 0.4, 1.0), (0.0, 0.34, 0.24, 0.0)),
    "bush": ((0.0, 0.02, 0.5, 0.85, 1.0), (0.42, 0.46, 0.45, 0.3, 0.0)),
}
THROUGH_LEAVES = 0.09  # fraction of the sun's light that shines through a crown


@cache
def tree_sprite(shape: str, variant: int, factor: int = 1) -> Image.Image:
    """Alpha, normal to the right, normal up and openness of a tree: four bytes a pixel, `factor` times smaller."""
    if factor > 1:
        return tree_sprite(shape, variant).reduce(factor)
    side = np.linspace(-0.5, 0.5, SPRITE, dtype=np.float32)[None, :]
    height = np.linspace(1, 0, SPRITE, dtype=np.float32)[:, None]
    shift = 3.7 * variant + 11.3 * list(CROWNS).index(shape)
    lumps = fractal(side + shift, height + 2 * shift, 0.4, octaves=2)
    leaves = fractal(side + shift, height - shift, 0.11, octaves=4)
    half = np.interp(height, *CROWNS[shape]).astype(np.float32) * (1 + 0.15 * octave(height * 4, shift))
    relief = 1 - np.abs(side) / np.maximum(half, 1e-3) + 0.2 * lumps + 0.1 * leaves
    relief -= np.square(np.clip(np.abs(side) - 0.4, 0, 1) * 10)  # no crown grows over the sprite's edge
    crown = np.clip(relief * 6, 0, 1) * (half > 0.01) * np.clip(2.6 + 1.1 * lumps + 0.9 * leaves, 0, 1)
    trunk = between(side + 0.01 * lumps, -0.016, 0.016, 0.006) * (height < 0.45) * (shape in ("round", "tall"))
    bulge = np.sqrt(np.clip(relief, 0, 1)) * 0.3 + 0.05 * lumps + 0.006 * leaves
    slope_y, slope_x = np.gradient(bulge, 1 / SPRITE)
    length = np.sqrt(1 + np.square(slope_x) + np.square(slope_y))
    openness = np.clip(0.4 + 0.3 * height + 0.2 * lumps + 0.22 * leaves, 0.05, 1) * (1 - 0.5 * trunk * (crown < 0.5))
    normal = 0.5 - slope_x / length / 2, 0.5 + slope_y / length / 2
    planes = np.stack([np.maximum(crown, trunk), *normal, openness], axis=-1)
    return Image.fromarray((planes * 255).astype(np.uint8), "CMYK")  # four bands that `resize` keeps apart


@dataclass(frozen=True)
class Tree(SceneObject):
    """A tree or bush."""

    height: float
    width: float
    shape: str
    variant: int
    color: np.ndarray  # (3,) reflectance of its leaves

    def shadow(self, sun, x, y, z) -> np.ndarray:
        """Shadow of an egg-shaped crown: 1 and more in its middle, 0 at its rim."""
        radii = np.array([self.width * 0.45, self.height * 0.4, self.width * 0.45], np.float32)
        middle = (self.foot + np.array([0, 0.58 * self.height, 0])).astype(np.float32)
        ray = (sun / radii).astype(np.float32)
        x, y, z = (x - middle[0]) / radii[0], (y - middle[1]) / radii[1], (z - middle[2]) / radii[2]
        along = x * ray[0] + y * ray[1] + z * ray[2]
        return 1.6 * (1 - (x * x + y * y + z * z - along * along / (ray @ ray)))

    def paint(self, canvas: Canvas) -> None:
        if self.foot[2] < 2 * NEAR:
            return
        scale = FOCAL / float(self.foot[2])
        ((column, row),) = canvas.camera.project(self.foot[None])
        size = scale * np.array([self.width, self.height])
        corner = np.array([column - size[0] / 2, row - size[1]])
        box = bounding_box(np.array([corner, corner + size]))
        if box is None or box[2] - box[0] < 2 or box[3] - box[1] < 2:
            return
        left, top, right, bottom = box
        factor = 2 ** int(np.clip(np.log2(SPRITE / size[1]), 0, 4))
        source = (np.array(box) - np.tile(corner, 2)) / np.tile(size, 2) * (SPRITE // factor)
        sprite = tree_sprite(self.shape, self.variant, factor).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, box=tuple(np.clip(source, 0, SPRITE // factor))
        )
        alpha, across, up, openness = np.moveaxis(np.asarray(sprite, np.float32) / 255, -1, 0)
        x = np.arange(left, right, dtype=np.float32)[None, :] / scale + float(self.foot[0])
        y = np.arange(top, bottom, dtype=np.float32)[:, None] / scale
        grain = fractal(x, y, 0.3, octaves=4, pixel=1 / scale)
        color = self.reflect_leaves(2 * across - 1, 2 * up - 1, openness, grain, canvas.light)
        canvas.cover(box, canvas.light.add_haze(color, self.foot[2]), alpha)

    def reflect_leaves(self, across, up, openness, grain, light: Light) -> np.ndarray:
        """Light (h, w, 3) from leaves with these normals: the sun's, what shines through, the sky's."""
        facing = across * light.sun[0] + up * light.sun[1]
        facing -= light.sun[2] * np.sqrt(np.clip(1 - across**2 - up**2, 0, 1))
        direct = np.clip(facing + 0.1, 0, 1) * np.clip(1.5 * openness + 0.3 * grain - 0.25, 0, 1.5)
        direct += THROUGH_LEAVES * np.clip(openness + 0.2 * grain, 0, 1)
        shade = np.square(np.clip(openness + 0.15 * grain, 0.08, 1.2))
        sunlit, skylit = (np.float32(self.color * each) for each in (light.sunlight, light.skylight))
        return direct[..., None] * sunlit + shade[..., None] * skylit


# --- cars ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Body:
    """A kind of vehicle."""

    length: float
    width: float
    height: float
    outline: tuple[tuple[float, float, str], ...]  # fractions of length and height, and the part up to the next
    windows: tuple[float, float]  # where the side windows begin and end, fractions of the length
    taper: float = 0.2  # how much narrower the roof is than the belt line


NOSE = ((0.94, 0.57, "lamp"), (0.985, 0.46, "paint"), (1, 0.34, "bumper"), (0.985, 0.17, ""))
TAIL = ((0.01, 0.19, "bumper"), (0, 0.44, "tail"))
HATCH = ((0.03, 0.64, "glass"), (0.12, 0.94, "paint"), (0.2, 1, "paint"), (0.52, 0.985, "glass"), (0.76, 0.68, "paint"))
WAGON = ((0.02, 0.65, "glass"), (0.08, 0.95, "paint"), (0.2, 1, "paint"), (0.55, 0.98, "glass"), (0.75, 0.7, "paint"))
SEDAN_REAR = ((0.02, 0.66, "paint"), (0.15, 0.7, "glass"), (0.29, 0.97, "paint"))
SEDAN_FRONT = ((0.38, 1, "paint"), (0.53, 0.985, "glass"), (0.73, 0.68, "paint"))
VAN_REAR = ((0.01, 0.15, "bumper"), (0, 0.33, "tail"), (0.01, 0.55, "glass"), (0.03, 0.92, "paint"))
VAN_FRONT = ((0.08, 1, "paint"), (0.7, 0.985, "glass"), (0.86, 0.57, "paint"))
VAN_NOSE = ((0.96, 0.48, "lamp"), (1, 0.34, "bumper"), (0.99, 0.13, ""))
TRUCK_REAR = ((0, 0.16, "bumper"), (0, 0.25, "tail"), (0, 0.32, "paint"), (0, 1, "paint"))
TRUCK_FRONT = ((0.98, 1, "glass"), (1, 0.5, "lamp"), (1, 0.3, "bumper"), (1, 0.14, ""))
BODIES = {
    "hatchback": Body(4.1, 1.72, 1.47, TAIL + HATCH + NOSE, (0.13, 0.73)),
    "wagon": Body(4.6, 1.78, 1.5, TAIL + WAGON + NOSE, (0.08, 0.72)),
    "sedan": Body(4.6, 1.77, 1.43, TAIL + SEDAN_REAR + SEDAN_FRONT + NOSE, (0.2, 0.7)),
    "van": Body(4.9, 1.9, 1.95, VAN_REAR + VAN_FRONT + VAN_NOSE, (0.62, 0.84), 0.12),
    "truck": Body(7.5, 2.45, 3.3, TRUCK_REAR + TRUCK_FRONT, (0.85, 0.97), 0.01),
}
REFLECTANCE = {"bumper": 0.03, "tire": 0.012, "rim": 0.2, "lamp": 0.55, "plate": 0.6, "trim": 0.03}
FINE = 4  # samples a pixel, each way
BRIGHTEST = 4.0  # light that the eight bits of a car's image reach up to


@dataclass(frozen=True)
class Car(SceneObject):
    """A vehicle whose foot is below its middle."""

    turn: float  # radians from the camera's direction
    body: Body
    color: np.ndarray  # (3,) reflectance of its paint
    sunlit: float = 1.0

    def to_world(self, along, up, across) -> np.ndarray:
        """World points (N, 3): fractions of the length from the rear, meters up, meters to the right."""
        along, up, across = np.broadcast_arrays((np.asarray(along) - 0.5) * self.body.length, up, across)
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return self.foot + np.stack([across * cos + along * sin, up, along * cos - across * sin], axis=-1)

    def shadow(self, sun, x, y, z) -> np.ndarray:
        corner, front, right = self.to_world([0, 1, 0], 0, np.array([-0.47, -0.47, 0.47]) * self.body.width)
        return box_shadow(corner, front - corner, right - corner, 0.85 * self.body.height, sun, x, z)

    def hidden_sky(self, x, z) -> np.ndarray:
        """Fraction of the sky that the car hides from ground points: nearly all below it, none half a meter away."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        x, z = x - self.foot[0], z - self.foot[2]
        beside = np.abs(x * cos - z * sin) - self.body.width / 2
        behind = np.abs(x * sin + z * cos) - self.body.length / 2
        return 0.93 * np.clip(0.75 - 2 * np.maximum(beside, behind), 0, 1)

    def half_width(self, up):
        """Half of the width at height `up`: cabins narrow towards the roof."""
        belt, roof = 0.62 * self.body.height, self.body.height
        return self.body.width / 2 * (1 - self.body.taper * np.clip((up - belt) / (roof - belt), 0, 1))

    def faces(self, *, fine: bool) -> Iterator[tuple[np.ndarray, str]]:
        """Polygons (N, 3) in painting order, with the part each shows; without small parts unless fine."""
        along, up = np.array([point[:2] for point in self.body.outline]).T
        up = up * self.body.height
        half = self.half_width(up)
        bands = []
        for first, (_, _, part) in enumerate(self.body.outline[:-1]):
            ends = [first, first, first + 1, first + 1]
            bands.append((self.to_world(along[ends], up[ends], half[ends] * (-1, 1, 1, -1)), part))
        for corners, part in sorted(bands, key=lambda band: -band[0][:, 2].mean()):
            yield from self.band(corners, part) if fine else [(corners, part)]
        for side in (-1, 1):
            yield self.to_world(along, up, side * half), "paint"
            yield from self.flank(side) if fine else ()

    def band(self, corners, part: str) -> Iterator[tuple[np.ndarray, str]]:
        """One face across the car with its glass, lamps and license plate."""
        yield corners, "bumper" if part == "bumper" else "paint"
        if part == "glass":
            yield inset(corners, 0.06, 0.94, 0.1, 0.9), "glass"
        if part == "bumper":
            yield inset(corners, 0.0, 1.0, 0.4, 1.0), "paint"
        if part in ("tail", "lamp"):
            for low, high in ((0.02, 0.17), (0.83, 0.98)):
                yield inset(corners, low, high, 0.45 if part == "tail" else 0.1, 0.97), part
        if part == "tail":
            yield inset(corners, 0.36, 0.64, 0.15, 0.5), "plate"

    def flank(self, side: int) -> Iterator[tuple[np.ndarray, str]]:
        """Side windows with a pillar, sill and wheels."""
        h, outside = self.body.height, side * (self.body.width / 2 + 0.01)
        first, last = self.body.windows
        belt, top = 0.66 * h, 0.93 * h
        points = np.array([(first, belt), (first + 0.05, top), (max(last - 0.18, first + 0.06), top), (last, belt)])
        yield self.to_world(points[:, 0], points[:, 1], side * (self.half_width(points[:, 1]) + 0.005)), "glass"
        if last - first > 0.3:
            pillar = np.array([belt, top, top, belt])
            yield self.to_world([0.41, 0.415, 0.435, 0.44], pillar, side * (self.half_width(pillar) + 0.01)), "trim"
        yield self.to_world([0.03, 0.03, 0.97, 0.97], np.array([0.16, 0.25, 0.25, 0.16]) * h, outside), "trim"
        circle = np.linspace(0, 2 * np.pi, 18)[:-1]
        for axle in (0.19, 0.81):
            for radius, part in ((0.36, "tire"), (0.2, "rim"), (0.07, "tire")):
                along = axle + radius / self.body.length * np.cos(circle)
                yield self.to_world(along, 0.33 + radius * np.sin(circle), outside), part

    def paint(self, canvas: Canvas) -> None:
        """Paint the faces that the camera sees on a finer image, then reduce it."""
        along, up, across = np.array([0, 0, 1, 1] * 2), np.repeat([0, self.body.height], 4), np.tile([-0.5, 0.5], 4)
        hull = self.to_world(along, up, across * self.body.width)
        box = bounding_box(canvas.camera.project(hull)) if hull[:, 2].min() > NEAR else None
        if box is None:
            return
        left, top, right, bottom = box
        sheet = Image.new("RGBA", (FINE * (right - left), FINE * (bottom - top)))
        draw, middle = ImageDraw.Draw(sheet), self.to_world([0.5], self.body.height / 2, 0)[0]
        for points, part in self.faces(fine=right - left > 12):
            normal = outward_normal(points, middle)
            if normal @ (points[0] - (0, CAMERA_HEIGHT, 0)) < 0:  # it faces the camera
                light = np.clip(self.reflect_part(part, normal, canvas.light), 0, BRIGHTEST)
                pixels = (canvas.camera.project(points) - (left, top)) * FINE
                fill = (*(int(value) for value in 255 * np.sqrt(light / BRIGHTEST)), 255)
                draw.polygon([tuple(pixel) for pixel in pixels], fill=fill)
        sheet = np.asarray(sheet.reduce(FINE), np.float32) / 255
        color = canvas.light.add_haze(BRIGHTEST * np.square(sheet[..., :3]), self.foot[2])
        canvas.cover(box, color, sheet[..., 3], CARS)

    def reflect_part(self, part: str, normal, light: Light) -> np.ndarray:
        """Light (3,) that a part with this normal sends to the camera."""
        received, up = light.illuminate(normal, sunlit=self.sunlit), max(0.0, normal[1])
        if part == "glass":
            return 0.015 * received + light.haze * (0.003 + 0.07 * up**4)
        if part == "paint":
            return self.color * received + light.haze * (0.005 + 0.07 * up**2)
        if part == "tail":
            return np.array([0.3, 0.015, 0.012]) * received
        return REFLECTANCE[part] * received


def outward_normal(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Unit normal (3,) of a polygon (N, 3), away from `middle`; `np.cross` is slow on so few numbers."""
    (ax, ay, az), (bx, by, bz) = points[1] - points[0], points[2] - points[1]
    normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    return normal / np.copysign(np.sqrt(normal @ normal) + 1e-12, normal @ (points[0] - middle))


def inset(corners: np.ndarray, left: float, right: float, low: float, high: float) -> np.ndarray:
    """Part (4, 3) of a quadrilateral (4, 3), in fractions of its width and height."""
    s, t = np.array([left, right, right, left])[:, None], np.array([low, low, high, high])[:, None]
    a, b, c, d = corners
    return (a + (b - a) * s) * (1 - t) + (d + (c - d) * s) * t


# --- houses, barriers, posts -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class House(SceneObject):
    """A house with its eaves along the road, on a parallelogram; its foot is the corner at the road near the car."""

    along: np.ndarray  # (3,) from the foot to the other corner at the road
    inward: np.ndarray  # (3,) from the foot to the corner at the back
    height: float
    ridge: float  # height of the roof above the eaves
    color: np.ndarray
    roof: np.ndarray  # (3,) reflectance
    windows: np.ndarray  # (floors, columns) brightness behind each
    spacing: float  # meters between windows

    @property
    def order(self) -> float:
        """The order of the middle of its front."""
        return max(self.foot[2], 1) + 0.3 * abs(self.foot[0] + self.along[0] / 2)

    def shadow(self, sun, x, y, z) -> np.ndarray:
        return box_shadow(self.foot, self.along, self.inward, self.height + self.ridge / 2, sun, x, z)

    def wall_texture(self, s, h, pixel, *, length: float, gable: bool):
        """Plaster, plinth, windows with frames and shutters; a gable ends in a triangle."""
        soft = 0.02 + 2 * pixel
        stain = 1 + 0.05 * fractal(s, h, 2.0, octaves=2, pixel=pixel) - 0.12 * np.clip(1 - h / 0.7, 0, 1)
        color = self.color * stain[..., None]
        column, floor = np.floor(s / self.spacing).astype(int), np.floor(h / 2.9).astype(int)
        x, y = s - (column + 0.5) * self.spacing, h - floor * 2.9
        whole = (column + 1) * self.spacing < length + 0.2
        room = self.windows[floor % self.windows.shape[0], column % self.windows.shape[1]]
        has_window = whole & (room > 0.12) & (h < self.height - 0.1)
        tall = 1.1 + 0.9 * (room > 0.9)
        frame = between(x, -0.62, 0.62, soft) * between(y, 2.4 - tall, 2.5, soft) * has_window
        pane = between(np.abs(x), 0.04, 0.52, soft) * between(y, 2.5 - tall, 2.4, soft) * has_window
        if self.spacing > 2.9 and self.windows[0, 0] > 0.5:
            shutter = between(np.abs(x), 0.66, 1.15, soft) * between(y, 1.3, 2.5, soft) * has_window
            color = mix(color, self.roof * 0.8, shutter)
        color = mix(color, np.full(3, 0.8), frame)
        glass = np.clip(0.02 + 0.1 * np.square(room - 0.3) + 0.05 * (y - 1.5), 0.01, 0.3)
        color = mix(color, glass[..., None] * np.array([0.8, 0.95, 1.1]), pane)
        color = mix(color, 0.45 * self.color, between(h, self.height - 0.35, self.height, soft) * (not gable))
        top = self.height + self.ridge * (1 - np.abs(2 * s / length - 1)) if gable else self.height
        return color, between(h, -1, top, soft)

    def roof_texture(self, s, h, pixel):
        rows = 1 + 0.15 * np.sin(h * 2 * np.pi / 0.35) / (1 + np.square(20 * pixel))
        stain = 1 + 0.15 * fractal(s, h, 3.0, octaves=3, pixel=pixel)
        return self.roof * (rows * stain)[..., None], 1.0

    def paint(self, canvas: Canvas) -> None:
        up, peak = np.array([0, self.height, 0]), np.array([0, self.height + self.ridge, 0])
        wide, deep = np.linalg.norm(self.along), np.linalg.norm(self.inward)
        gable = partial(self.wall_texture, length=deep, gable=True)
        front = partial(self.wall_texture, length=wide, gable=False)
        canvas.paint_rectangle(self.foot, self.inward, peak, gable, class_index=BUILDINGS)
        canvas.paint_rectangle(self.foot, self.along, up, front, class_index=BUILDINGS)
        if self.ridge > 0.3:
            eave = 0.25 / deep * self.inward + np.array([0, 0.1, 0])
            slope = self.inward * (0.5 + 0.25 / deep) + np.array([0, self.ridge + 0.1, 0])
            roof = self.foot + up - eave
            canvas.paint_rectangle(roof, self.along, slope, self.roof_texture, class_index=BUILDINGS)


@dataclass(frozen=True)
class Barrier(SceneObject):
    """A piece of fence, wall, hedge or rail along the road."""

    along: np.ndarray  # (3,)
    height: float
    kind: str
    color: np.ndarray
    sunlit: float = 1.0

    def paint(self, canvas: Canvas) -> None:
        canvas.paint_rectangle(self.foot, self.along, (0, self.height, 0), self.texture, sunlit=self.sunlit)

    def texture(self, s, h, pixel):
        texture = {"hedge": self.hedge, "wall": self.masonry, "rail": self.rail}.get(self.kind, self.bars)
        return texture(s + np.float32(31.7 * self.foot[2] % 50), h, pixel, 0.01 + 1.5 * pixel)

    def hedge(self, x, h, pixel, soft):
        leaves = fractal(x, h, 0.5, octaves=4, pixel=pixel)
        value = np.clip(0.55 + 0.35 * leaves + 0.35 * h / self.height, 0.06, 1.6)
        return self.color * value[..., None], between(h - 0.09 * leaves, -9, self.height - 0.12, 0.03 + pixel)

    def masonry(self, x, h, pixel, soft):
        row = np.floor(h / 0.25)
        stones = between(h % 0.25, 0.02, 0.25, soft) * between((x + 0.3 * row) % 0.6, 0.02, 0.6, soft)
        tone = 1 + 0.25 * octave(np.floor(x / 0.6 + 0.5 * row) * 0.37, row * 0.61) + 0.1 * octave(x, h)
        return self.color * (tone * (0.6 + 0.4 * stones))[..., None], 1.0

    def rail(self, x, h, pixel, soft):
        band, post = between(h, 0.45, 0.76, soft), between(x % 2.0, 0, 0.12, soft) * (h < 0.6)
        shine = 0.6 + 0.6 * between(h, 0.66, 0.76, soft) - 0.3 * between(h, 0.56, 0.64, soft)
        return self.color * shine[..., None], np.maximum(band, 0.9 * post)

    def bars(self, x, h, pixel, soft):
        period, width = {"pickets": (0.16, 0.1), "mesh": (0.12, 0.022)}[self.kind]
        low, high = between(h, 0.15, 0.22, soft), between(h, self.height - 0.15, self.height - 0.08, soft)
        upright = np.maximum(between(x % period, 0, width, 0.01 + pixel), between(x % 2.4, 0, 0.1, soft))
        return self.color + 0 * x[..., None], np.maximum(upright, np.maximum(low, high))


@dataclass(frozen=True)
class Post(SceneObject):
    """Something upright and narrow that faces the car: a pole, a sign, a marker post, a pedestrian."""

    kind: str
    height: float
    color: np.ndarray
    sunlit: float = 1.0

    @property
    def width(self) -> float:
        return {"pole": 0.14 + 0.012 * self.height, "marker": 0.14, "person": 0.6}.get(self.kind, 0.8)

    def paint(self, canvas: Canvas) -> None:
        if self.foot[2] >= 2:
            along, up = np.array([self.width, 0, 0]), (0, self.height, 0)
            canvas.paint_rectangle(self.foot - along / 2, along, up, self.texture, sunlit=self.sunlit)

    def texture(self, s, h, pixel):
        texture = {"pole": self.pole, "marker": self.marker, "person": self.person}.get(self.kind, self.sign)
        return texture(s - self.width / 2, h, 0.01 + pixel)

    def pole(self, x, h, soft):
        bright = 0.5 + 0.5 * np.cos(np.clip(x / self.width * 2.4 - 0.6, -1.5, 1.5))
        return self.color * bright[..., None], between(x, -self.width / 2, self.width / 2, soft)

    def marker(self, x, h, soft):
        white, black = np.full(3, 0.75), np.full(3, 0.02)
        return mix(white, black, between(h, 0.65, 0.85, soft)), between(x, -0.06, 0.06, soft)

    def person(self, x, h, soft):
        top = self.height
        head = between(np.hypot(x, h - top + 0.13), -1, 0.12, soft)
        body = between(np.abs(x), -1, 0.2 + 0.03 * np.sin(9 * h), soft) * between(h, 0.82, top - 0.27, soft)
        legs = between(np.abs(x), 0.02, 0.13 + 0.05 * h, soft) * between(h, 0, 0.85, soft)
        color = mix(mix(np.full(3, 0.03), self.color, body), np.array([0.35, 0.2, 0.14]), head)
        return color, np.maximum(np.maximum(head, body), legs)

    def sign(self, x, h, soft):
        y = h - self.height + 0.35
        within = {  # meters from the board's edge
            "round": 0.32 - np.hypot(x, y),
            "square": 0.32 - np.maximum(np.abs(x), np.abs(y)),
            "triangle": 0.2 - np.maximum(0.87 * np.abs(x) + 0.5 * y, -y),
        }[self.kind]
        board, rim = between(within, 0, 9, soft), between(within, -9, 9 if self.kind == "square" else 0.06, soft)
        color = mix(np.full(3, 0.25), mix(np.full(3, 0.7), self.color, rim), board)
        return color, np.maximum(board, between(x, -0.035, 0.035, soft))
