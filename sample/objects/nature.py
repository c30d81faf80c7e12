"""What grows, and what is found."""

import numpy as np

from objects.common import DARK_WOOD, GOLD, GREEN, RED, STONE, WHITE, YELLOW, around
from shapes import (
    Finish,
    Part,
    Shape,
    blend,
    box,
    cone,
    curve,
    cylinder,
    ellipsoid,
    prism,
    rod,
    sphere,
    torus,
)

CLAY = Finish((0.72, 0.36, 0.20), 0.1)
SOIL = Finish((0.25, 0.16, 0.10))


def tree() -> list[Part]:
    crown = [Part(cone(0.85 - 0.2 * i, 0.08, 0.42), GREEN, (0, 0, 0.15 + 0.45 * i)) for i in range(4)]
    snow = [Part(torus(0.8 - 0.2 * i, 0.055), WHITE, (0, 0, -0.24 + 0.45 * i)) for i in range(4)]
    return [
        Part(cylinder(0.15, 0.3), DARK_WOOD, (0, 0, -0.5)),
        *crown,
        *snow,
        Part(sphere(0.11), GOLD, (0, 0, 2.0)),
    ]


def mushroom() -> list[Part]:
    cap = Part(ellipsoid(0.9, 0.9, 0.62), RED, (0, 0, 0.25), carve=(Part(box(2, 2, 1), WHITE, (0, 0, -1.0)),))
    spots = [Part(sphere(0.15), WHITE, (x, y, 0.58), (0, 0, a)) for x, y, a in around(5, 0.66)]
    more = [Part(sphere(0.12), WHITE, (x, y, 0.36)) for x, y, _ in around(7, 0.84)]
    return [
        Part(cone(0.36, 0.24, 0.55), Finish((0.93, 0.88, 0.76)), (0, 0, -0.35)),
        cap,
        Part(sphere(0.16), WHITE, (0, 0, 0.8)),
        *spots,
        *more,
        Part(cylinder(0.7, 0.05, 0.05), GREEN, (0, 0, -0.9)),
    ]


def _spike(radius: float, height: float) -> Shape:
    """A six-sided column standing on the origin, with a pointed end."""
    column, point = prism(6, radius, height), prism(6, radius, 9.0, 0.7)
    up = np.array([0, 0, 1], np.float32)

    def distance(p: np.ndarray) -> np.ndarray:
        return np.maximum(column(p - 0.8 * height * up), point(p - (1.8 * height - 1.4 * radius) * up))

    return distance


def crystal() -> list[Part]:
    violet = Finish((0.58, 0.30, 0.85), 0.9, metal=0.4, glow=0.1)
    sizes = [
        (0.3, 0.95, (0, 4, 0)),
        (0.2, 0.6, (32, 0, 20)),
        (0.22, 0.65, (-28, 14, 70)),
        (0.17, 0.45, (8, -42, 10)),
        (0.16, 0.5, (0, 44, 40)),
    ]
    spikes = [Part(_spike(radius, height), violet, (0, 0, -0.6), turn) for radius, height, turn in sizes]
    return [*spikes, Part(ellipsoid(0.7, 0.65, 0.25), STONE, (0, 0, -0.72))]


def planet() -> list[Part]:
    bands = Finish((0.85, 0.68, 0.45), 0.1, second=(0.72, 0.52, 0.34), stripes=(0, 0, 2.3))
    ring = Finish((0.80, 0.74, 0.62), 0.2)
    disc = Part(
        cylinder(1.45, 0.02, 0.01),
        ring,
        turn=(18, 8, 0),
        carve=(
            Part(cylinder(1.0, 1), ring),
            Part(cylinder(1.27, 1), ring, carve=(Part(cylinder(1.2, 2), ring),)),
        ),
    )
    return [Part(sphere(0.78), bands, turn=(18, 8, 0)), disc, Part(sphere(0.12), STONE, (1.2, -0.7, 0.75))]


def _pot(height: float) -> list[Part]:
    """A clay flowerpot whose soil is at this height."""
    return [
        Part(cone(0.38, 0.55, 0.38), CLAY, (0, 0, height - 0.45)),
        Part(cylinder(0.62, 0.11, 0.03), CLAY, (0, 0, height - 0.08)),
        Part(cylinder(0.54, 0.03, 0.01), SOIL, (0, 0, height + 0.02)),
    ]


def cactus() -> list[Part]:
    green = Finish((0.25, 0.55, 0.25), 0.1)
    arm = blend(
        0.1,
        (rod([(0, 0, -0.4), (0, 0, 1.0)], 0.3), (0, 0, 0)),
        (rod(curve([(0, 0, 0.1), (0, 0.5, 0.15), (0, 0.62, 0.35), (0, 0.62, 0.7)], 3), 0.16), (0, 0, 0)),
        (rod(curve([(0, 0, 0.35), (0, -0.45, 0.4), (0, -0.55, 0.55), (0, -0.55, 0.85)], 3), 0.14), (0, 0, 0)),
    )
    spikes = [
        Part(sphere(0.035), WHITE, (x, y, z))
        for i, z in enumerate((-0.2, 0.05, 0.3, 0.55, 0.8, 1.0))
        for x, y, _ in around(7, 0.3, 25 * i)
    ]
    flower = [
        Part(ellipsoid(0.13, 0.07, 0.05), Finish((0.95, 0.30, 0.55)), (x, y, 1.34), (0, -25, a))
        for x, y, a in around(6, 0.1)
    ]
    return [*_pot(-0.4), Part(arm, green), *spikes, *flower, Part(sphere(0.07), YELLOW, (0, 0, 1.36))]


def palm() -> list[Part]:
    bark = Finish((0.55, 0.40, 0.25), 0.1, second=(0.45, 0.31, 0.18), stripes=(0, 0, 2.8))
    leaves = []

    def place(out: float, up: float, angle_deg: float) -> tuple[float, float, float]:
        a = np.radians(angle_deg)
        return float(out * np.cos(a)), float(out * np.sin(a)), up

    for i, (_, _, a) in enumerate(around(8, 1.0)):
        droop = 0.1 if i % 2 else -0.25
        leaf = curve([(0, 0, 0), (0.45, 0, 0.25), (0.9, 0, 0.12), (1.15, 0, droop - 0.2)], 2)
        finish, at = GREEN if i % 2 else Finish((0.30, 0.62, 0.22), 0.2), (0.25, 0, 1.2)
        leaves.append(Part(rod(leaf, 0.06, 0.02), finish, at, (0, 0, a)))
        for (x1, _, z1), (x2, _, z2), width in zip(leaf, leaf[1:], np.linspace(0.1, 0.24, len(leaf))):
            lean = float(np.degrees(np.arctan2(z1 - z2, x2 - x1)))
            middle = place((x1 + x2) / 2, (z1 + z2) / 2, a)
            leaves.append(
                Part(
                    ellipsoid(0.13, width, 0.03),
                    finish,
                    (at[0] + middle[0], middle[1], at[2] + middle[2]),
                    (0, lean, a),
                )
            )
    trunk = curve([(-0.2, 0, -1.2), (-0.15, 0, -0.5), (0.0, 0, 0.3), (0.25, 0, 1.2)])
    nuts = [Part(sphere(0.13), DARK_WOOD, (0.25 + x, y, 1.06)) for x, y, _ in around(3, 0.17)]
    sand = Part(ellipsoid(0.95, 0.95, 0.22), Finish((0.93, 0.82, 0.55), 0.05), (-0.15, 0, -1.2))
    return [Part(rod(trunk, 0.17, 0.1), bark), *leaves, *nuts, sand]


def sunflower() -> list[Part]:
    middle = (0.15, 0, 1.0)
    petals = []
    for x, y, a in around(16, 0.55):
        petals.append(Part(ellipsoid(0.04, 0.28, 0.11), YELLOW, (0.12, x, 1.0 + y), (a, 0, 0)))
    leaves = [
        Part(ellipsoid(0.14, 0.36, 0.03), GREEN, (0, s * 0.36, z), (s * 25, 0, 0))
        for s, z in ((1, -0.1), (-1, 0.1))
    ]
    return [
        *_pot(-0.6),
        Part(rod(curve([(0, 0, -0.7), (-0.03, 0, 0.0), (0.0, 0, 0.6), (0.08, 0, 1.0)]), 0.055), GREEN),
        *leaves,
        *petals,
        Part(ellipsoid(0.12, 0.38, 0.38), Finish((0.30, 0.17, 0.07), 0.1), middle),
        Part(ellipsoid(0.09, 0.4, 0.4), GREEN, (0.05, 0, 1.0)),
    ]
