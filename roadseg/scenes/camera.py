"""The camera of the scenes: from meters to pixels and back, and from light to an image.

Lengths are meters, x to the right, y up, z forward from the camera's foot. Light is linear,
(H, W, 3) float32, 1.0 being a white wall in full sun.
"""

from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 621, 188  # pixels, half of KITTI's
FOCAL, CENTER, HORIZON = 721.5 / 2, 609.6 / 2, 172.9 / 2  # pixels; KITTI's color camera after rectification, halved
CAMERA_HEIGHT = 1.65  # meters, as KITTI's car carries it
NEAR, FAR = 0.8, 260.0  # meters; what lies outside is not painted


@dataclass(frozen=True)
class Camera:
    """Where the road runs, seen from the car: all that turns meters into pixels and back."""

    horizon: float  # row of a flat road's horizon
    offset: float  # meters from the camera to the road's reference line, at the car
    heading: float  # radians between car and road
    curvature: float  # 1 / meters
    crest: float  # 1 / meters; a hilltop ahead when negative, a dip when positive

    def line(self, z):
        """x of the road's reference line at distance z."""
        return self.offset + self.heading * z + self.curvature * z * z / 2

    def rise(self, z):
        """Height of the ground at distance z."""
        return self.crest * np.square(z) / 2

    def project(self, points: np.ndarray) -> np.ndarray:
        """Columns and rows (N, 2) of points (N, 3) in front of the camera."""
        x, y, z = points.T
        return np.stack([CENTER + FOCAL * x / z, self.horizon + FOCAL * (CAMERA_HEIGHT - y) / z], axis=1)

    def calibration(self) -> str:
        """What KITTI's calibration file of this camera says: level above a flat ground, like all other cameras of the
        car at one place. KITTI counts pixels from the middle of the first one."""
        projection = [FOCAL, 0, CENTER - 0.5, 0, 0, FOCAL, self.horizon - 0.5, 0, 0, 0, 1, 0]
        matrices = {f"P{number}": projection for number in range(4)} | {
            "R0_rect": [1, 0, 0, 0, 1, 0, 0, 0, 1],
            "Tr_velo_to_cam": [0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0],  # from x ahead, y left, z up
            "Tr_imu_to_velo": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
            "Tr_cam_to_road": [1, 0, 0, 0, 0, 1, 0, -CAMERA_HEIGHT, 0, 0, 1, 0],
        }
        return "".join(f"{name}: {' '.join(f'{x:.12e}' for x in values)}\n" for name, values in matrices.items())

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """Distance z (n,) of the ground that is seen at these rows; infinite above the ground's edge."""
        z = np.geomspace(NEAR, FAR, 2000)
        row = self.horizon + FOCAL * (CAMERA_HEIGHT - self.rise(z)) / z
        seen = slice(0, int(row.argmin()) + 1)  # beyond a hilltop the ground hides itself
        return np.interp(rows, row[seen][::-1], z[seen][::-1], left=np.inf).astype(np.float32)


def develop(
    light: np.ndarray, rng: np.random.Generator, *, brightness: float, grain: np.random.Generator
) -> np.ndarray:
    """Turn linear light (h, w, 3) into an image (h, w, 3) uint8 of this mean brightness, with a camera's flaws.

    grain : draws the noise of the pixels."""
    sample, exposure = light[::3, ::3], 1.0
    for _ in range(8):  # automatic exposure
        exposure *= (brightness / np.mean(np.clip(sample * exposure, 0, 1) ** (1 / 2.2))) ** 1.6
    image = np.minimum(light * np.float32(exposure), 1.6)
    h, w = image.shape[:2]
    radius = np.hypot(np.linspace(-0.3, 0.3, h)[:, None], np.linspace(-1, 1, w)[None, :])
    image *= (1 - 0.18 * np.square(radius, dtype=np.float32))[..., None]
    image *= rng.normal(1, 0.025, 3).astype(np.float32)  # white balance
    image = np.clip(image - rng.uniform(0.002, 0.008), 0, 1) ** np.float32(1 / rng.uniform(2.0, 2.35))
    image += np.float32(0.008) * grain.standard_normal(image.shape, np.float32)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
