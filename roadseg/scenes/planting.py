"""What stands along the streets of the scenes and drives on them: every object is put in its place here."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from roadseg.scenes.camera import Camera
from roadseg.scenes.objects import BODIES, Barrier, Car, House, Post, SceneObject, Tree
from roadseg.scenes.paint import palette
from roadseg.scenes.street import Street

ROOFS = palette("#8a4a33 #6f4436 #59463f #54504e #a35a3a")
CAR_PAINTS = palette(
    "#0c0d10 #15171b #b9bcc0 #8e9296 #e9ebec #1b2a4a #8c1713 #3c4046 "
    "#5a6066 #24382c #c8ccd0 #20344f #d8431f #a01a1a #27457a #dfe2e4"
)
BARRIERS = {  # heights in meters from, to, and colors; hedges have those of the street's leaves
    "hedge": (0.8, 2.2, ""),
    "wall": (0.5, 1.8, "#a98470 #a9a296 #8d6a58"),
    "pickets": (0.8, 1.3, "#4a3626 #6d5a48 #d8d6d0"),
    "mesh": (0.9, 1.4, "#39433f #6b7472"),
    "rail": (0.75, 0.8, "#a9adad"),
}
SIGN_PAINTS = palette("#b01818 #b01818 #1c4fa0 #e0b020 #e8e8e8")
AHEAD = {"um": 0.55, "umm": 0.65, "uu": 0.25}  # chance of a vehicle in the car's own lane
OTHERS = {"um": 0.5, "umm": 0.9, "uu": 0.15}  # mean number of others on the road


class Planter:
    """Puts objects along one side of a street; `outside` is meters beyond the road's edge there.

    travel : meters that the camera has come since the objects had the distances ahead that they are given."""

    def __init__(self, street: Street, camera: Camera, rng, side: int, travel: float = 0.0):
        self.street, self.camera, self.rng, self.side, self.travel = street, camera, rng, side, travel
        self.edge = street.right if side > 0 else -street.left
        self.name, self.strips = street.sides[side > 0].name, street.sides[side > 0].strips
        self.objects: list[SceneObject] = []

    def locate(self, outside: float, ahead: float) -> np.ndarray:
        """Point (3,) on the ground."""
        ahead = ahead - self.travel
        x = self.camera.line(ahead) + self.side * (self.edge + outside)
        return np.array([x, self.camera.rise(ahead), ahead])

    def add(self, outside: float, ahead: float, thing: SceneObject) -> None:
        """Add an object unless it stands in a side road."""
        if not self.street.junction or self.street.junction.clears(self.side * outside, ahead):
            self.objects.append(thing)

    def space_out(self, first: tuple, step: tuple, until: float, *, spread: float = 0.0) -> Iterator[float]:
        """Distances ahead of the members of a row, `spread` times wider apart at a hundred meters."""
        ahead = self.rng.uniform(*first)
        while ahead < until:
            yield ahead
            ahead += self.rng.uniform(*step) * (1 + spread * max(ahead, 0) / 100)

    def add_tree(self, outside: float, ahead: float, height: float, shape: str | None = None) -> None:
        """A tree, or a bush."""
        rng = self.rng
        shape = shape or str(rng.choice(["round", "tall", "cone"], p=[0.6, 0.28, 0.12]))
        width = height * {"round": 0.95, "tall": 0.8, "cone": 0.7, "bush": 1.6}[shape] * rng.uniform(0.8, 1.25)
        leaves = self.street.leaves[rng.integers(len(self.street.leaves))]
        color = leaves * rng.uniform(0.75, 1.3) * (1 + rng.normal(0, 0.05, 3))
        self.add(outside, ahead, Tree(self.locate(outside, ahead), height, width, shape, int(rng.integers(5)), color))

    def add_wood(self, outside: float, *, height: tuple[float, float] = (7, 15), gaps: float) -> None:
        """Trees and undergrowth from `outside` on, dense enough to close the view."""
        u = self.rng.uniform
        for ahead in self.space_out((2, 7), (2.5, 6), 220, spread=1.7):
            if self.rng.random() > gaps:
                self.add_tree(outside + u(1.5, 5), ahead, u(*height))
                self.add_tree(outside + u(0, 1.5), ahead + u(-3, 3), u(1.2, 4), "bush")
                self.add_tree(outside + u(6, 14), ahead + u(-4, 4), 1.15 * u(*height))
                self.add_tree(outside + u(3, 6), ahead + u(-3, 3), u(3, 6), "bush")

    def add_avenue(self, outside: float) -> None:
        """Single trees in a row."""
        height, step = self.rng.uniform(5, 11), self.rng.uniform(8, 16)
        for ahead in self.space_out((6, 11), (0.8 * step, 1.3 * step), 160):
            self.add_tree(outside + self.rng.normal(0, 0.3), ahead, height * self.rng.uniform(0.85, 1.15), "round")

    def add_barrier(self, outside: float, kind: str) -> None:
        """A fence, wall, hedge or rail in pieces that follow the road."""
        low, high, colors = BARRIERS[kind]
        colors = palette(colors) if colors else self.street.leaves * 1.1
        height, color = self.rng.uniform(low, high), colors[self.rng.integers(len(colors))]
        for near, far in pairwise(1.2 + 5 * np.cumsum(1.12 ** np.arange(-1, 13)) - 5 / 1.12):
            foot = self.locate(outside, near)
            self.add(outside, (near + far) / 2, Barrier(foot, self.locate(outside, far) - foot, height, kind, color))

    def add_fence(self, outside: float) -> None:
        """The barrier in front of gardens, or none."""
        kind = str(self.rng.choice(["hedge", "wall", "pickets", "mesh", ""], p=[0.4, 0.2, 0.15, 0.1, 0.15]))
        if kind:
            self.add_barrier(outside, kind)

    def add_houses(self, outside: float, *, terraced: bool) -> None:
        """Houses, wall to wall when terraced, with gables or flat roofs."""
        rng, ahead = self.rng, self.rng.uniform(-4, 1)
        while ahead < 150:
            length, front = rng.uniform(9, 16), outside + (0 if terraced else rng.uniform(0, 3))
            floors, near = int(rng.integers(2, 5) if terraced else rng.integers(1, 4)), self.locate(front, ahead)
            color = self.street.plaster[rng.integers(len(self.street.plaster))] * rng.uniform(0.7, 1.0)
            roof = ROOFS[rng.integers(len(ROOFS))] * rng.uniform(0.7, 1.2)
            ridge = 0.1 if rng.random() < 0.15 else rng.uniform(2, 5)
            along = self.locate(front, ahead + length) - near
            inward = self.locate(front + rng.uniform(8, 11), ahead) - near
            rooms, spacing = rng.random((5, 9)), rng.uniform(2.1, 3.6)
            house = House(near, along, inward, 2.9 * floors + 0.5, ridge, color, roof, rooms, spacing)
            self.add(front, ahead + length / 2, house)
            gap = 0 if terraced and rng.random() < 0.7 else rng.uniform(3, 12)
            if gap > 4:
                self.add_tree(front + rng.uniform(0, 5), ahead + length + gap / 2, rng.uniform(3, 9))
            ahead += length + gap

    def add_car(self, outside: float, ahead: float, *, turn=0.0, kind: str | None = None, away: bool = True) -> None:
        """A vehicle along the road, seen from behind when `away`."""
        rng = self.rng
        body = BODIES[kind or str(rng.choice(["hatchback", "wagon", "sedan", "van"], p=[0.45, 0.25, 0.18, 0.12]))]
        body = replace(body, length=body.length * rng.uniform(0.93, 1.06), height=body.height * rng.uniform(0.96, 1.06))
        color = CAR_PAINTS[rng.integers(len(CAR_PAINTS))] * rng.uniform(0.7, 1.1)
        course = np.arctan(self.camera.heading + self.camera.curvature * (ahead - self.travel)) + (0 if away else np.pi)
        self.add(outside, ahead, Car(self.locate(outside, ahead), course + turn, body, color))

    def add_parked_cars(self, outside: float, *, density: float, step: float = 5.6, turn: float = 0.0) -> None:
        """A row of parked cars, most of them in the direction of the traffic."""
        rng = self.rng
        for ahead in self.space_out((4, 10), (0.98 * step, 1.15 * step), 110):
            if rng.random() < density:
                away = rng.random() < (0.85 if self.side > 0 else 0.3)
                self.add_car(outside + rng.normal(0, 0.1), ahead, turn=turn + rng.normal(0, 0.02), away=away)

    def add_posts(self, outside: float) -> None:
        """Lamp posts, signs, marker posts and people, each on some streets."""
        rng = self.rng
        for kind, height, odds, step in (("pole", 7.5, 0.35, 32), ("sign", 2.7, 0.5, 35), ("marker", 1.0, 0.2, 25)):
            for ahead in self.space_out((6, step), (0.7 * step, 1.4 * step), 120 if rng.random() < odds else 0):
                if kind == "sign":
                    shape = str(rng.choice(["round", "square", "triangle"]))
                    color = SIGN_PAINTS[rng.integers(len(SIGN_PAINTS))]
                else:
                    shape, color = kind, np.full(3, rng.uniform(0.15, 0.6))
                top = height * rng.uniform(0.9, 1.1)
                self.add(outside, ahead, Post(self.locate(outside, ahead), shape, top, color))
        for _ in range(rng.poisson(0.4)):
            ahead, clothes = rng.uniform(8, 50), rng.uniform(0.02, 0.3) * (1 + rng.normal(0, 0.3, 3))
            foot, top = self.locate(outside + 0.8, ahead), rng.uniform(1.6, 1.85)
            self.add(outside, ahead, Post(foot, "person", top, np.clip(clothes, 0.01, 1)))

    def plant_side(self) -> list[SceneObject]:
        """Fill the side with what its name says."""
        inner = sum(width for _, width in self.strips[:-1])
        self.add_posts(max(0.5, min(inner, 2.5) - 0.3))
        {
            "woods": self.plant_wood,
            "path": self.plant_wood,
            "houses": self.plant_gardens,
            "bays": self.plant_gardens,
            "row": partial(self.add_houses, terraced=True),
            "lot": self.plant_lot,
            "tram": self.plant_tram,
            "twin": self.plant_twin,
            "open": self.plant_field,
        }[self.name](inner)
        if self.name == "bays":
            self.add_parked_cars(1.35, density=self.rng.uniform(0.4, 0.95))
        elif self.street.category == "uu" and self.rng.random() < 0.5:
            self.add_parked_cars(-0.7, density=self.rng.uniform(0.1, 0.7))
        return self.objects

    def plant_wood(self, inner: float) -> None:
        if self.rng.random() < 0.35:
            self.add_fence(inner + 0.2)
        self.add_wood(inner + self.rng.uniform(0.5, 5), gaps=self.rng.choice([0.02, 0.15, 0.5]))
        if self.rng.random() < 0.4:
            self.add_avenue(max(inner - 0.5, 1.2))

    def plant_gardens(self, inner: float) -> None:
        rng = self.rng
        self.add_fence(inner + 0.1)
        self.add_houses(inner + rng.uniform(1.5, 6), terraced=rng.random() < 0.3)
        for _ in range(rng.integers(3, 14)):
            shape = str(rng.choice(["bush", "round", "cone"]))
            self.add_tree(inner + rng.uniform(0.6, 3), rng.uniform(5, 80), rng.uniform(1, 7), shape)
        if rng.random() < 0.35:
            self.add_avenue(inner - 0.3)

    def plant_lot(self, inner: float) -> None:
        near = inner - self.strips[-2][1]
        self.add_parked_cars(near + 3, density=0.8, step=2.9, turn=np.pi / 2)
        self.add_avenue(inner + 1)
        self.add_houses(inner + 4, terraced=False)

    def plant_tram(self, inner: float) -> None:
        masts = self.strips[0][1] + self.strips[1][1] + 3.2
        for ahead in self.space_out((8, 30), (25, 40), 150):
            self.add(masts, ahead, Post(self.locate(masts, ahead), "pole", 8.0, np.full(3, 0.3)))
        self.add_wood(inner + self.rng.uniform(0, 8), gaps=self.rng.choice([0.05, 0.4]))

    def plant_twin(self, inner: float) -> None:
        rng, middle = self.rng, inner - 3.5
        for _ in range(rng.poisson(2)):
            self.add_car(middle + rng.choice([-1.6, 1.6]), rng.uniform(9, 110), away=False)
        if rng.random() < 0.35:
            self.add_barrier(0.8, str(rng.choice(["mesh", "rail"])))
        self.add_wood(inner + rng.uniform(1, 8), gaps=rng.choice([0.05, 0.4]))

    def plant_field(self, inner: float) -> None:
        if self.rng.random() < 0.45:
            self.add_barrier(self.rng.uniform(0.8, 1.6), "rail")
        self.add_wood(inner + self.rng.uniform(8, 50), height=(5, 12), gaps=0.3)


def plant_sides(street: Street, camera: Camera, rng, *, travel: float = 0.0) -> list[SceneObject]:
    """What stands on both sides."""
    return [thing for side in (-1, 1) for thing in Planter(street, camera, rng, side, travel).plant_side()]


def plant_traffic(street: Street, camera: Camera, rng, *, travel: float = 0.0) -> list[SceneObject]:
    """The vehicles on the road: those in the camera's direction keep their distance, the others come twice as fast."""
    street = replace(street, junction=None)
    right, left = Planter(street, camera, rng, 1), Planter(street, camera, rng, -1, 2 * travel)
    lane = 0.5 * street.right if street.category == "uu" else 1.6
    if rng.random() < AHEAD[street.category]:
        right.add_car(lane - street.right, rng.uniform(12, 70), kind="truck" if rng.random() < 0.12 else None)
    for _ in range(rng.poisson(OTHERS[street.category])):
        if street.category == "umm":
            right.add_car(-1.6 + 0.1 * rng.normal(), rng.uniform(14, 90))
        else:
            left.add_car(-1.6, rng.uniform(12, 90), away=False)
    return right.objects + left.objects
