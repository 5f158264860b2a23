"""Paint for the scenes: a pin-hole camera, light, noise, textured rectangles, shade and film.

Lengths are metres, x to the right, y up, z forward from the camera's foot; light is linear, (N, 3) or (H, W, 3)
float32, 1.0 being a white wall in full sun.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

WIDTH, HEIGHT = 621, 188  # pixels, half of KITTI's
FOCAL, CENTRE, HORIZON = 721.5 / 2, 609.6 / 2, 172.9 / 2  # pixels; KITTI's colour camera after rectification, halved
CAMERA_HEIGHT = 1.65  # metres, as KITTI's car carries it
NEAR, FAR = 0.8, 260.0  # metres; what lies outside is not painted
OTHER, ROAD, BUILDINGS, CARS = range(4)
TILE, PERIOD = 1024, 64  # pixels: side of the noise tile, a wavelength in it; the side is a power of two
Texture = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | float]]


# --- camera ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Camera:
    """Where the road runs, seen from the car: all that turns metres into pixels and back."""

    horizon: float  # row of a flat road's horizon
    offset: float  # metres from the camera to the road's reference line, at the car
    heading: float  # radians between car and road
    curvature: float  # 1 / metres
    crest: float  # 1 / metres; a hilltop ahead when negative, a dip when positive

    def line(self, z):
        """x of the road's reference line at distance z."""
        return self.offset + self.heading * z + self.curvature * z * z / 2

    def rise(self, z):
        """Height of the ground at distance z."""
        return self.crest * np.square(z) / 2

    def place(self, lateral, z):
        """Point (3,) on the ground, `lateral` metres right of the road's reference line."""
        return np.array([self.line(z) + lateral, self.rise(z), z])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Columns and rows (N, 2) of points (N, 3) in front of the camera."""
        x, y, z = points.T
        return np.stack([CENTRE + FOCAL * x / z, self.horizon + FOCAL * (CAMERA_HEIGHT - y) / z], axis=1)

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """Distance z (n,) of the ground that is seen at these rows; infinite above the ground's edge."""
        z = np.geomspace(NEAR, FAR, 2000)
        row = self.horizon + FOCAL * (CAMERA_HEIGHT - self.rise(z)) / z
        seen = slice(0, int(row.argmin()) + 1)  # beyond a hilltop the ground hides itself
        return np.interp(rows, row[seen][::-1], z[seen][::-1], left=np.inf).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """Sun and sky of a scene."""

    sun: np.ndarray  # (3,) unit vector towards the sun
    sunlight: np.ndarray  # (3,) colour
    skylight: np.ndarray  # (3,) colour of the light in the shade
    haze: np.ndarray  # (3,) colour of the air at the horizon
    visibility: float  # metres after which haze has replaced 63 % of a thing's light

    def on(self, normal, *, sunlit=1.0) -> np.ndarray:
        """Light (3,) that a surface with this normal receives."""
        direct = max(0.0, float(np.dot(normal, self.sun))) * sunlit
        return self.sunlight * direct + self.skylight * (0.6 + 0.4 * normal[1])


@dataclass
class Canvas:
    """What is painted so far."""

    light: np.ndarray  # (H, W, 3) float32, linear
    classes: np.ndarray  # (H, W) uint8

    def cover(self, window, colour, alpha, kind: int) -> None:
        """Lay colour (h, w, 3) over a window with alpha (h, w); where it is opaque the class becomes kind."""
        under = self.light[window]
        under += (colour - under) * alpha[..., None]
        self.classes[window][alpha > 0.5] = kind


# --- noise -----------------------------------------------------------------------------------------------------------


@cache
def noise_tile() -> np.ndarray:
    """Noise (TILE * TILE,) of one octave, PERIOD pixels long, that repeats; mean 0, deviation 1."""
    white = np.random.Generator(np.random.PCG64(7)).standard_normal((TILE, TILE))
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)) * PERIOD
    smooth = np.fft.irfft2(np.fft.rfft2(white) * frequency * np.exp(-np.square(frequency)), s=(TILE, TILE))
    return (smooth / smooth.std()).astype(np.float32).ravel()


def octave(x, y) -> np.ndarray:
    """Noise at coordinates (broadcast against each other) whose unit is one wavelength."""
    column = (np.asarray(x, np.float32) * PERIOD).astype(np.int32) & (TILE - 1)
    row = (np.asarray(y, np.float32) * PERIOD).astype(np.int32) & (TILE - 1)
    return noise_tile().take(row * TILE + column)


def fractal(x, y, wavelength: float, *, octaves: int, pixel=0.0) -> np.ndarray:
    """Noise of several octaves, each half as long and 0.7 times as strong, faded out once a pixel swallows it."""
    total = np.float32(0)
    for step in range(octaves):
        length = wavelength / 2**step
        strength = np.float32(0.7) ** step / (1 + np.square(2 * pixel / length))
        total = total + strength * octave(x / length + 17.3 * step, y / length - 9.1 * step)
    return total


def between(value, low, high, soft) -> np.ndarray:
    """1 inside [low, high], 0 outside, with edges `soft` wide: a line painted without stairs."""
    return np.clip((value - low) / soft + 0.5, 0, 1) * np.clip((high - value) / soft + 0.5, 0, 1)


def palette(*colours: str) -> np.ndarray:
    """Reflectances (n, 3) of colours as painters write them, "#rrggbb"."""
    return np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours], np.float32) ** 2.2


def mix(first, second, share) -> np.ndarray:
    """Blend colours: `first` where share is 0, `second` where it is 1."""
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return first + (second - first) * np.asarray(share, np.float32)[..., None]


# --- flat things -----------------------------------------------------------------------------------------------------


def clip_near(points: np.ndarray) -> np.ndarray:
    """The part (M, 3) of a polygon (N, 3) in front of the camera."""
    kept = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)


def bounds(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the pixels inside the picture, or None when there are none."""
    if not len(pixels):
        return None
    (left, top), (right, bottom) = np.floor(pixels.min(0)), np.ceil(pixels.max(0))
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
    return (int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None


def paint_rectangle(canvas, camera, light, corner, along, up, texture: Texture, *, kind=OTHER, sunlit=1.0) -> None:
    """Paint the rectangle spanned by `along` and `up` from `corner`, all (3,).

    `texture` maps metres along, metres up and a pixel's width in metres, each (N,), to reflectance (N, 3) and alpha.
    """
    box = bounds(camera.project(clip_near(corner + np.array([0 * along, along, along + up, up]))))
    to_surface = np.column_stack([along, up, corner - (0, CAMERA_HEIGHT, 0)])
    if box is None or abs(np.linalg.det(to_surface)) < 1e-6:
        return
    left, top, right, bottom = box
    x = ((np.arange(left, right, dtype=np.float32) + 0.5 - CENTRE) / FOCAL)[None, :]
    y = ((camera.horizon - np.arange(top, bottom, dtype=np.float32) - 0.5) / FOCAL)[:, None]
    planes = np.linalg.inv(to_surface).astype(np.float32)
    a, b, w = (plane[0] * x + plane[1] * y + plane[2] for plane in planes)
    w = np.where(w > 1 / FAR, w, np.inf)
    cover = edge_cover(a / w, planes[0], planes[2], w) * edge_cover(b / w, planes[1], planes[2], w)
    inside = cover > 0
    if not inside.any():
        return
    depth = 1 / w[inside]
    length, height = np.linalg.norm(along), np.linalg.norm(up)
    normal = np.cross(along, up) / (length * height)
    normal = normal * -np.sign(normal @ (corner - (0, CAMERA_HEIGHT, 0)) or 1)
    s, h = np.clip(a[inside] * depth, 0, 1) * np.float32(length), np.clip(b[inside] * depth, 0, 1) * np.float32(height)
    colour, alpha = texture(s, h, depth / np.float32(FOCAL))
    colour = mix(colour * light.on(normal, sunlit=sunlit), light.haze, 1 - np.exp(-depth / light.visibility))
    cover[inside] *= alpha
    full = np.zeros((*inside.shape, 3), np.float32)
    full[inside] = colour
    canvas.cover(np.s_[top:bottom, left:right], full, cover, kind)


def edge_cover(share, plane, depth_plane, w) -> np.ndarray:
    """How much of each pixel lies where share is 0 to 1, half a pixel of overlap included: neighbours leave no gap."""
    across, down = ((plane[axis] - share * depth_plane[axis]) / (w * np.float32(FOCAL)) for axis in range(2))
    pixel = np.hypot(across, down) + np.float32(1e-9)
    return np.clip(np.minimum(share, 1 - share) / pixel + 1, 0, 1) * np.isfinite(w)


# --- shade -----------------------------------------------------------------------------------------------------------


def shade_of_box(corner, along, inward, height, sun, x, z) -> np.ndarray:
    """Depth of the shade of a box on a parallelogram: the ray to the sun must cross it below its top."""
    basis = np.linalg.inv(np.array([[along[0], inward[0]], [along[2], inward[2]]]))
    direction = basis @ (sun[0] / sun[1], sun[2] / sun[1])  # a metre of height further up the ray
    enter, leave = np.zeros(np.shape(x), np.float32), np.full(np.shape(x), height, np.float32)
    for axis in range(2):
        start = basis[axis, 0] * (x - corner[0]) + basis[axis, 1] * (z - corner[2])
        step = direction[axis] if abs(direction[axis]) > 1e-6 else 1e-6
        one, other = -start / step, (1 - start) / step
        enter, leave = np.maximum(enter, np.minimum(one, other)), np.minimum(leave, np.maximum(one, other))
    return np.clip((leave - enter) / 0.25, -1, 1.5)


# --- film ------------------------------------------------------------------------------------------------------------


def halve(picture: np.ndarray) -> np.ndarray:
    """Average blocks of 2 x 2 pixels."""
    return (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2]) / 4


def expose(light: np.ndarray, brightness: float) -> np.float32:
    """Exposure that gives a picture (h, w, 3) this mean brightness, 0 to 1, as a camera's automatic does."""
    sample, exposure = light[::3, ::3], 1.0
    for _ in range(8):
        exposure *= (brightness / np.mean(np.clip(sample * exposure, 0, 1) ** (1 / 2.2))) ** 1.6
    return np.float32(exposure)


def develop(light: np.ndarray, rng: np.random.Generator, *, brightness: float) -> np.ndarray:
    """Turn linear light (h, w, 3) into a picture (h, w, 3) uint8, with a camera's flaws."""
    picture = np.minimum(light * expose(light, brightness), 1.6)
    h, w = picture.shape[:2]
    radius = np.hypot(np.linspace(-0.3, 0.3, h)[:, None], np.linspace(-1, 1, w)[None, :])
    picture *= (1 - 0.18 * np.square(radius, dtype=np.float32))[..., None]
    picture *= rng.normal(1, 0.025, 3).astype(np.float32)  # white balance
    picture = np.clip(picture - rng.uniform(0.002, 0.008), 0, 1) ** np.float32(1 / rng.uniform(2.0, 2.35))
    picture += np.float32(0.008) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
