"""Buildings, and what stands in a street."""

import numpy as np

from objects.common import (
    BLACK,
    BLUE,
    CREAM,
    DARK_WOOD,
    GLASS,
    GOLD,
    GREEN,
    RED,
    STONE,
    WHITE,
    around,
)
from shapes import (
    Finish,
    Part,
    Point3,
    box,
    cone,
    cylinder,
    ellipsoid,
    lathe,
    plate,
    prism,
    rod,
    sphere,
    torus,
)


def house() -> list[Part]:
    wall = Finish((0.93, 0.86, 0.70), 0.05)
    roof = Finish((0.62, 0.20, 0.15), 0.15, second=(0.52, 0.15, 0.11), stripes=(0, 0, 4.0))
    windows = [
        Part(box(0.04, 0.17, 0.17, 0.01), GLASS, (s * 0.8, y, 0.05)) for s in (-1, 1) for y in (-0.32, 0.32)
    ]
    chimney = Part(box(0.13, 0.13, 0.35), STONE, (0.45, 0.35, 1.2))
    door = [
        Part(box(0.18, 0.04, 0.33, 0.01), DARK_WOOD, (0, -0.7, -0.3)),
        Part(sphere(0.035), GOLD, (0.11, -0.76, -0.3)),
    ]
    return [
        Part(box(0.8, 0.7, 0.62, 0.01), wall),
        Part(prism(4, 1.0, 0.4, 0.9), roof, (0, 0, 0.98)),
        *windows,
        *door,
        chimney,
        Part(box(1.15, 1.05, 0.05), GREEN, (0, 0, -0.65)),
    ]


def castle() -> list[Part]:
    inside = Part(cylinder(0.5, 1), STONE, (0, 0, 1.75))
    gaps = tuple(Part(box(0.9, 0.09, 0.2, 0.01), STONE, (0, 0, 1.15), (0, 0, a)) for a in (0, 45, 90, 135))
    crown = Part(
        cylinder(0.72, 0.28),
        STONE,
        (0, 0, 0.85),
        carve=(inside._replace(at=(0, 0, 0.95)), *(g._replace(at=(0, 0, 0.22)) for g in gaps)),
    )
    door = Part(box(0.1, 0.2, 0.34, 0.02), DARK_WOOD, (0.6, 0, -0.72))
    slits = [Part(box(0.05, 0.05, 0.16, 0.01), BLACK, (x, y, 0.15), (0, 0, a)) for x, y, a in around(4, 0.57)]
    flag = [
        Part(cylinder(0.025, 0.5), DARK_WOOD, (0, 0, 1.3)),
        Part(box(0.02, 0.24, 0.14, 0.01), BLUE, (0, 0.26, 1.63)),
    ]
    return [Part(cone(0.68, 0.58, 0.95), STONE, (0, 0, -0.15)), crown, door, *slits, *flag]


def lighthouse() -> list[Part]:
    tower = Finish((0.93, 0.93, 0.92), 0.3, second=(0.82, 0.13, 0.12), stripes=(0, 0, 1.0))
    posts = [Part(cylinder(0.03, 0.22), BLACK, (x, y, 1.25)) for x, y, _ in around(6, 0.26)]
    return [
        Part(ellipsoid(0.95, 0.9, 0.35), STONE, (0, 0, -1.2)),
        Part(cone(0.55, 0.34, 1.05), tower),
        Part(cylinder(0.5, 0.06, 0.03), BLACK, (0, 0, 1.05)),
        Part(torus(0.48, 0.03), BLACK, (0, 0, 1.22)),
        Part(cylinder(0.22, 0.22), Finish((1.0, 0.92, 0.55), 0.5, glow=0.6), (0, 0, 1.28)),
        *posts,
        Part(cone(0.38, 0.02, 0.18), RED, (0, 0, 1.66)),
        Part(sphere(0.06), GOLD, (0, 0, 1.86)),
        Part(box(0.1, 0.14, 0.25, 0.02), DARK_WOOD, (0.48, 0, -0.78)),
    ]


def windmill() -> list[Part]:
    sails = []
    for a in (20, 110, 200, 290):
        sails.append(Part(box(0.02, 0.035, 0.62, 0.01), DARK_WOOD, turn=(a, 0, 0), at=_spoke(a, 0.62)))
        sails.append(Part(box(0.015, 0.15, 0.48, 0.01), WHITE, turn=(a, 0, 0), at=_spoke(a, 0.76, 0.17)))
    return [
        Part(cone(0.75, 0.48, 0.95), CREAM, (0, 0, -0.3)),
        Part(lathe([(0.56, 0.62), (0.4, 0.95), (0.0, 1.2)], 0.03), Finish((0.55, 0.22, 0.14), 0.2)),
        Part(cylinder(0.08, 0.3), DARK_WOOD, (0.55, 0, 0.72), (0, 90, 0)),
        Part(sphere(0.12), DARK_WOOD, (0.85, 0, 0.72)),
        *sails,
        Part(box(0.1, 0.17, 0.32, 0.02), DARK_WOOD, (0.66, 0, -0.92)),
        *(Part(box(0.1, 0.12, 0.14, 0.02), GLASS, (s * 0.58, 0, 0.0)) for s in (-1, 1)),
        Part(cylinder(1.05, 0.05), GREEN, (0, 0, -1.28)),
    ]


def _spoke(angle_deg: float, out: float, aside: float = 0.0) -> Point3:
    """A place in the plane of the windmill's sails."""
    a = np.radians(angle_deg)
    y, z = -out * np.sin(a) + aside * np.cos(a), out * np.cos(a) + aside * np.sin(a)
    return 0.85, float(y), float(0.72 + z)


def tent() -> list[Part]:
    cloth = Finish((0.92, 0.55, 0.12), 0.1)
    outline = [(-0.85, -0.6), (0.85, -0.6), (0.0, 0.75)]
    opening = [(-0.42, -0.7), (0.42, -0.7), (0.0, 0.35)]
    pegs = [
        Part(rod([(x, s * 0.42, 0.1), (1.15 * x, s * 1.15, -0.58)], 0.02), CREAM)
        for x in (-1, 1)
        for s in (-1, 1)
    ]
    return [
        Part(plate(outline, 1.0), cloth, carve=(Part(plate(opening, 0.6), cloth, (0.9, 0, 0)),)),
        Part(
            plate([(-0.02, -0.62), (0.4, -0.62), (0.0, 0.36)], 0.03),
            Finish((0.98, 0.78, 0.45), 0.1),
            (1.0, 0.14, 0),
            (0, 0, 35),
        ),
        Part(box(1.3, 1.2, 0.05), GREEN, (0, 0, -0.66)),
        *(Part(cylinder(0.03, 0.75), DARK_WOOD, (s * 1.03, 0, 0.07)) for s in (-1, 1)),
        *pegs,
    ]


def igloo() -> list[Part]:
    snow = Finish((0.90, 0.95, 1.0), 0.3, second=(0.62, 0.76, 0.90), stripes=(0, 0, 3.0))
    ground = Part(box(3, 3, 1), WHITE, (0, 0, -1.0))
    hole = Part(cylinder(0.27, 0.8), BLACK, (0.9, 0, 0.12), (0, 90, 0))
    return [
        Part(sphere(0.95), snow, carve=(ground, hole)),
        Part(
            cylinder(0.42, 0.35),
            snow,
            (0.9, 0, 0.1),
            (0, 90, 0),
            carve=(Part(cylinder(0.28, 1), BLACK), Part(box(1, 1, 1), WHITE, (1.1, 0, 0))),
        ),
        Part(cylinder(0.3, 0.02, 0.01), Finish((0.08, 0.12, 0.2)), (0.72, 0, 0.12), (0, 90, 0)),
        Part(ellipsoid(1.35, 1.25, 0.12), WHITE, (0.15, 0, -0.02)),
    ]


def pagoda() -> list[Part]:
    tiles = Finish((0.15, 0.45, 0.38), 0.3)
    floors = []
    for i in range(4):
        size, z = 0.62 - 0.1 * i, -0.75 + 0.56 * i
        floors.append(Part(box(size, size, 0.24, 0.02), RED, (0, 0, z)))
        roof = lathe([(1.5 * size, 0.0), (1.53 * size, 0.03), (1.05 * size, 0.08), (0.75 * size, 0.15)], 0.01)
        floors.append(Part(roof, tiles, (0, 0, z + 0.17)))
        floors += [
            Part(box(0.03, 0.09, 0.12, 0.01), CREAM, (x, y, z), (0, 0, a)) for x, y, a in around(4, size)
        ]
        floors += [Part(sphere(0.05), GOLD, (x, y, z + 0.2)) for x, y, _ in around(8, 1.5 * size, 22.5)]
    return [
        Part(cylinder(1.1, 0.07), STONE, (0, 0, -1.02)),
        *floors,
        Part(lathe([(0.12, 1.25), (0.08, 1.4), (0.12, 1.45), (0.02, 1.8)], 0.01), GOLD),
    ]
