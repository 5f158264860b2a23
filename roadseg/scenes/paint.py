"""Paint for the scenes: noise, colors, light, the canvas, and textured rectangles.

Colors are linear reflectances and light is linear, (N, 3) or (H, W, 3) float32, 1.0 being a white wall in full sun.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from roadseg.scenes.camera import CAMERA_HEIGHT, CENTER, FAR, FOCAL, HEIGHT, NEAR, WIDTH, Camera

OTHER, ROAD, BUILDINGS, CARS = range(4)
TILE, PERIOD = 1024, 64  # pixels: side of the noise tile, a wavelength in it; the side is a power of two
Texture = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | float]]


@cache
def noise_tile() -> np.ndarray:
    """Noise (TILE * TILE,) of one octave, PERIOD pixels long, that repeats; mean 0, standard deviation 1."""
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
    """Noise of several octaves, each half as long and 0.7 times as strong, faded out where a pixel is longer."""
    total = np.float32(0)
    for step in range(octaves):
        length = wavelength / 2**step
        strength = np.float32(0.7) ** step / (1 + np.square(2 * pixel / length))
        total = total + strength * octave(x / length + 17.3 * step, y / length - 9.1 * step)
    return total


def between(value, low, high, soft) -> np.ndarray:
    """1 inside [low, high], 0 outside, with edges `soft` wide: anti-aliasing."""
    return np.clip((value - low) / soft + 0.5, 0, 1) * np.clip((high - value) / soft + 0.5, 0, 1)


def palette(colors: str) -> np.ndarray:
    """Reflectances (n, 3) of sRGB colors such as "#8a4a33 #6f4436"."""
    return np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors.split()], np.float32) ** 2.2


def mix(first, second, fraction) -> np.ndarray:
    """Blend colors: `first` where the fraction is 0, `second` where it is 1."""
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return first + (second - first) * np.asarray(fraction, np.float32)[..., None]


@dataclass(frozen=True)
class Light:
    """Sun and sky of a scene."""

    sun: np.ndarray  # (3,) unit vector towards the sun
    sunlight: np.ndarray  # (3,) color
    skylight: np.ndarray  # (3,) color of the light in the shadow
    haze: np.ndarray  # (3,) color of the air at the horizon
    visibility: float  # meters after which haze has replaced 63 % of an object's light

    def illuminate(self, normal, *, sunlit=1.0) -> np.ndarray:
        """Light (3,) that a surface with this normal receives, a fraction `sunlit` of it in the sun."""
        direct = max(0.0, float(np.dot(normal, self.sun))) * sunlit
        return self.sunlight * direct + self.skylight * (0.6 + 0.4 * normal[1])

    def add_haze(self, color, distance) -> np.ndarray:
        """Color (..., 3) seen through this many meters of air."""
        return mix(color, self.haze, 1 - np.exp(-distance / self.visibility))


@dataclass(frozen=True)
class Canvas:
    """What is painted so far, as this camera sees it in this light."""

    camera: Camera
    light: Light
    image: np.ndarray  # (H, W, 3) float32, linear light
    classes: np.ndarray  # (H, W) uint8

    def cover(self, box: tuple[int, int, int, int], color, alpha, class_index: int = OTHER) -> None:
        """Lay color (h, w, 3) over a box with alpha (h, w); opaque pixels get the class."""
        left, top, right, bottom = box
        window = np.s_[top:bottom, left:right]
        under = self.image[window]
        under += (color - under) * alpha[..., None]
        self.classes[window][alpha > 0.5] = class_index

    def paint_rectangle(self, corner, along, up, texture: Texture, *, class_index: int = OTHER, sunlit=1.0) -> None:
        """Paint the rectangle spanned by `along` and `up` from `corner`, all (3,) in meters.

        `texture` maps meters along, meters up and the width of a pixel, each (N,), to reflectance (N, 3) and alpha.
        """
        box = bounding_box(self.camera.project(clip_near(corner + np.array([0 * along, along, along + up, up]))))
        to_surface = np.column_stack([along, up, corner - (0, CAMERA_HEIGHT, 0)])
        if box is None or abs(np.linalg.det(to_surface)) < 1e-6:
            return
        left, top, right, bottom = box
        x = ((np.arange(left, right, dtype=np.float32) + 0.5 - CENTER) / FOCAL)[None, :]
        y = ((self.camera.horizon - np.arange(top, bottom, dtype=np.float32) - 0.5) / FOCAL)[:, None]
        planes = np.linalg.inv(to_surface).astype(np.float32)
        a, b, w = (plane[0] * x + plane[1] * y + plane[2] for plane in planes)
        w = np.where(w > 1 / FAR, w, np.inf)
        alpha = edge_alpha(a / w, planes[0], planes[2], w) * edge_alpha(b / w, planes[1], planes[2], w)
        inside = alpha > 0
        if not inside.any():
            return
        depth = 1 / w[inside]
        length, height = np.linalg.norm(along), np.linalg.norm(up)
        normal = np.cross(along, up) / (length * height)
        normal = normal * -np.sign(normal @ (corner - (0, CAMERA_HEIGHT, 0)) or 1)
        s = np.clip(a[inside] * depth, 0, 1) * np.float32(length)
        h = np.clip(b[inside] * depth, 0, 1) * np.float32(height)
        reflectance, opacity = texture(s, h, depth / np.float32(FOCAL))
        alpha[inside] *= opacity
        color = np.zeros((*inside.shape, 3), np.float32)
        color[inside] = self.light.add_haze(reflectance * self.light.illuminate(normal, sunlit=sunlit), depth)
        self.cover(box, color, alpha, class_index)


def bounding_box(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the pixels (N, 2) inside the image, or None when there are none."""
    if not len(pixels):
        return None
    (left, top), (right, bottom) = np.floor(pixels.min(0)), np.ceil(pixels.max(0))
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
    return (int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None


def clip_near(points: np.ndarray) -> np.ndarray:
    """The part (M, 3) of a polygon (N, 3) in front of the camera."""
    kept = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)


def edge_alpha(fraction, plane, depth_plane, w) -> np.ndarray:
    """How much of each pixel lies where the fraction is 0 to 1, plus half a pixel: neighbors leave no gap."""
    across, down = ((plane[axis] - fraction * depth_plane[axis]) / (w * np.float32(FOCAL)) for axis in range(2))
    pixel = np.hypot(across, down) + np.float32(1e-9)
    return np.clip(np.minimum(fraction, 1 - fraction) / pixel + 1, 0, 1) * np.isfinite(w)
