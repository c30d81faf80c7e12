"""Things to eat."""

import numpy as np

from objects.common import BLUE, CREAM, FLAME, GREEN, PINK, RED, WHITE, YELLOW, around
from shapes import (
    Finish,
    Part,
    blend,
    box,
    cone,
    curve,
    cylinder,
    ellipsoid,
    plate,
    rod,
    sphere,
    torus,
)


def donut() -> list[Part]:
    random = np.random.default_rng(10238)
    icing = Part(
        torus(0.72, 0.345),
        Finish((0.95, 0.50, 0.66), 0.6),
        (0, 0, 0.06),
        carve=(Part(box(2, 2, 1), WHITE, (0, 0, -0.93)),),
    )
    sprinkles = []
    for x, y, a in around(22, 0.72):
        tilt, spin = random.uniform(-0.62, 0.62), random.uniform(0, 180)
        out, finish = 0.72 + 0.35 * np.sin(tilt), [WHITE, YELLOW, BLUE, GREEN][random.integers(4)]
        at = (x / 0.72 * out, y / 0.72 * out, 0.06 + 0.35 * np.cos(tilt))
        sprinkles.append(Part(rod([(-0.05, 0, 0), (0.05, 0, 0)], 0.03), finish, at, (0, 0, a + spin)))
    return [Part(torus(0.72, 0.33), Finish((0.80, 0.55, 0.30), 0.15)), icing, *sprinkles]


def pumpkin() -> list[Part]:
    skin = Finish((0.93, 0.45, 0.08), 0.3)
    ribs = [Part(ellipsoid(0.5, 0.34, 0.62), skin, (x, y, 0), (0, 0, a)) for x, y, a in around(10, 0.42)]
    stalk = curve([(0, 0, 0.45), (0.02, 0, 0.7), (0.18, 0.05, 0.9)])
    return [
        *ribs,
        Part(rod(stalk, 0.12, 0.07), Finish((0.35, 0.42, 0.15), 0.1)),
        Part(ellipsoid(0.34, 0.2, 0.05), GREEN, (-0.3, 0.3, 0.66), (10, 20, 130)),
    ]


def burger() -> list[Part]:
    bun = Finish((0.82, 0.52, 0.22), 0.4)
    seeds = [
        Part(ellipsoid(0.07, 0.04, 0.04), CREAM, (x, y, 0.62 - 0.25 * r), (0, 0, 3 * a + 20))
        for r, n in ((0.25, 4), (0.55, 9))
        for x, y, a in around(n, r)
    ]
    lettuce = [
        (sphere(0.16), (x, y, 0.03 if i % 2 else -0.05)) for i, (x, y, _) in enumerate(around(18, 0.88))
    ]
    return [
        Part(ellipsoid(0.95, 0.95, 0.55), bun, (0, 0, 0.12), carve=(Part(box(2, 2, 1), bun, (0, 0, -0.95)),)),
        *seeds,
        Part(cylinder(0.9, 0.06, 0.05), RED, (0, 0, 0.13)),
        Part(blend(0.08, *lettuce), Finish((0.40, 0.70, 0.20), 0.2)),
        Part(box(0.78, 0.78, 0.03, 0.02), YELLOW, (0, 0, -0.12), (0, 0, 20)),
        Part(cylinder(0.93, 0.15, 0.1), Finish((0.30, 0.15, 0.08), 0.2), (0, 0, -0.28)),
        Part(cylinder(0.92, 0.18, 0.14), bun, (0, 0, -0.58)),
    ]


def ice_cream() -> list[Part]:
    waffle = Finish((0.86, 0.62, 0.32), 0.1, second=(0.74, 0.48, 0.22), stripes=(1.6, 1.6, 3.0))
    scoops = [
        ((0.95, 0.55, 0.66), (0, 0.27, 0.25)),
        ((0.45, 0.25, 0.14), (0, -0.27, 0.25)),
        ((0.97, 0.92, 0.78), (0, 0, 0.68)),
    ]
    return [
        Part(cone(0.03, 0.5, 0.8), waffle, (0, 0, -0.75)),
        Part(torus(0.48, 0.06), waffle, (0, 0, 0.03)),
        *(Part(sphere(0.4), Finish(colour, 0.3), at) for colour, at in scoops),
        Part(sphere(0.13), RED, (0, 0, 1.15)),
        Part(rod(curve([(0, 0, 1.2), (0.03, 0, 1.35), (0.12, 0, 1.48)]), 0.02), GREEN),
    ]


def cake() -> list[Part]:
    icing = [Part(sphere(0.12), WHITE, (x, y, 0.02)) for x, y, _ in around(18, 0.88)]
    top = [Part(sphere(0.1), WHITE, (x, y, 0.62)) for x, y, _ in around(12, 0.52)]
    places = [*around(4, 0.32, 45), (0.0, 0.0, 0.0)]
    candles = [
        Part(cylinder(0.045, 0.22), finish, (x, y, 0.82))
        for (x, y, _), finish in zip(places, (BLUE, YELLOW, GREEN, RED, BLUE))
    ]
    flames = [Part(ellipsoid(0.05, 0.05, 0.1), FLAME, (x, y, 1.14)) for x, y, _ in places]
    return [
        Part(cylinder(1.2, 0.04, 0.02), Finish((0.85, 0.88, 0.92), 0.5, metal=0.3), (0, 0, -0.66)),
        Part(cylinder(0.92, 0.33, 0.06), PINK, (0, 0, -0.32)),
        Part(cylinder(0.6, 0.3, 0.06), PINK, (0, 0, 0.3)),
        *icing,
        *top,
        *candles,
        *flames,
    ]


def watermelon() -> list[Part]:
    angles = np.linspace(np.pi, 2 * np.pi, 15)

    def half(radius: float) -> list[tuple[float, float]]:
        return [(float(radius * np.cos(a)), float(radius * np.sin(a))) for a in angles]

    seeds = [
        Part(ellipsoid(0.23, 0.05, 0.08), Finish((0.08, 0.05, 0.04), 0.5), (0, y, z))
        for y, z in (
            (-0.55, 0.15),
            (-0.2, 0.2),
            (0.2, 0.18),
            (0.55, 0.15),
            (-0.38, -0.15),
            (0.02, -0.2),
            (0.4, -0.16),
            (-0.15, -0.45),
            (0.22, -0.45),
        )
    ]
    rind = Finish((0.12, 0.42, 0.16), 0.4, second=(0.35, 0.62, 0.25), stripes=(0, 3.0, 0))
    at = (0, 0, 0.4)
    return [
        Part(plate(half(1.2), 0.19), rind, at),
        Part(plate(half(1.1), 0.2), Finish((0.88, 0.94, 0.75)), (0, 0, 0.42)),
        Part(plate(half(1.02), 0.21), Finish((0.90, 0.20, 0.22), 0.3), (0, 0, 0.44)),
        *seeds,
    ]
