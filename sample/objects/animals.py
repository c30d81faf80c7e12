"""Animals, as toys have them."""

import numpy as np

from objects.common import BLACK, ORANGE, RED, WHITE, YELLOW, around, pair
from shapes import Finish, Part, blend, box, cone, curve, ellipsoid, rod, sphere, torus


def duck() -> list[Part]:
    body = blend(
        0.2,
        (ellipsoid(0.85, 0.62, 0.5), (0, 0, -0.3)),
        (sphere(0.45), (0.4, 0, 0.45)),
        (cone(0.3, 0.05, 0.25), (-0.75, 0, 0.02), (0, -50, 0)),
    )
    return [
        Part(body, YELLOW),
        *pair(ellipsoid(0.4, 0.12, 0.24), Finish((0.95, 0.70, 0.08), 0.4), (-0.1, 0.58, -0.22), (0, -15, 0)),
        Part(ellipsoid(0.24, 0.2, 0.08), ORANGE, (0.88, 0, 0.38)),
        *pair(sphere(0.075), BLACK, (0.72, 0.24, 0.58)),
    ]


def penguin() -> list[Part]:
    return [
        Part(blend(0.15, (ellipsoid(0.58, 0.6, 0.8), (0, 0, -0.15)), (sphere(0.46), (0, 0, 0.78))), BLACK),
        Part(ellipsoid(0.42, 0.46, 0.66), WHITE, (0.22, 0, -0.2)),
        *pair(sphere(0.22), WHITE, (0.28, 0.14, 0.8)),
        *pair(sphere(0.075), BLACK, (0.48, 0.15, 0.86)),
        Part(cone(0.12, 0.02, 0.14), ORANGE, (0.56, 0, 0.7), (0, 90, 0)),
        *pair(ellipsoid(0.2, 0.09, 0.48), BLACK, (0, 0.64, -0.05), (22, 0, 0)),
        *pair(ellipsoid(0.3, 0.2, 0.09), ORANGE, (0.28, 0.26, -0.95)),
    ]


def turtle() -> list[Part]:
    skin = Finish((0.45, 0.70, 0.30), 0.2)
    shell = Part(
        ellipsoid(0.85, 0.75, 0.6),
        Finish((0.40, 0.28, 0.12), 0.4),
        (0, 0, -0.15),
        carve=(Part(box(2, 2, 1), WHITE, (0, 0, -1.05)),),
    )
    scutes = [
        Part(ellipsoid(0.2, 0.2, 0.06), Finish((0.62, 0.46, 0.20), 0.4), (x, y, 0.2), (0, 52, a))
        for x, y, a in around(6, 0.6)
    ]
    legs = [
        Part(ellipsoid(0.26, 0.17, 0.15), skin, (x, y, -0.28), (0, 0, 40 * np.sign(x * y)))
        for x in (-0.6, 0.6)
        for y in (-0.62, 0.62)
    ]
    return [
        shell,
        *scutes,
        Part(ellipsoid(0.24, 0.24, 0.06), Finish((0.62, 0.46, 0.20), 0.4), (0, 0, 0.43)),
        Part(torus(0.72, 0.09), Finish((0.75, 0.66, 0.35), 0.2), (0, 0, -0.2)),
        *legs,
        Part(
            blend(
                0.1, (sphere(0.27), (1.12, 0, 0.1)), (rod([(0.7, 0, -0.15), (1.0, 0, 0.0)], 0.17), (0, 0, 0))
            ),
            skin,
        ),
        *pair(sphere(0.055), BLACK, (1.31, 0.14, 0.2)),
        Part(cone(0.1, 0.01, 0.15), skin, (-0.92, 0, -0.22), (0, -100, 0)),
    ]


def ladybird() -> list[Part]:
    spots = [(0.42, 0.45, 0.42), (-0.05, 0.6, 0.45), (-0.5, 0.42, 0.4), (0.15, 0.25, 0.66), (-0.4, 0.1, 0.66)]
    dots = [
        Part(ellipsoid(0.15, 0.15, 0.15), BLACK, (x, s * y, z - 0.28)) for x, y, z in spots for s in (-1, 1)
    ]
    legs = [
        Part(rod([(x, s * 0.4, -0.2), (1.2 * x, s * 0.85, -0.25), (1.4 * x, s * 1.0, -0.48)], 0.05), BLACK)
        for x in (-0.5, 0.0, 0.5)
        for s in (-1, 1)
    ]
    feelers = [
        Part(rod(curve([(0.95, s * 0.1, 0.15), (1.1, s * 0.2, 0.45), (1.3, s * 0.32, 0.5)]), 0.03), BLACK)
        for s in (-1, 1)
    ]
    return [
        Part(
            ellipsoid(0.85, 0.75, 0.62),
            RED,
            (0, 0, -0.2),
            carve=(Part(box(2, 2, 1), RED, (0, 0, -1.1)), Part(box(1, 0.02, 2, 0.005), RED, (-0.5, 0, 0))),
        ),
        *dots,
        Part(ellipsoid(0.8, 0.7, 0.2), BLACK, (0, 0, -0.25)),
        Part(sphere(0.34), BLACK, (0.78, 0, -0.05)),
        *pair(sphere(0.1), WHITE, (1.0, 0.2, 0.1)),
        *legs,
        *feelers,
    ]


def fish() -> list[Part]:
    scales = Finish((0.96, 0.48, 0.10), 0.6, second=(0.96, 0.95, 0.92), stripes=(1.05, 0, 0))
    fin = Finish((0.90, 0.36, 0.06), 0.4)
    return [
        Part(ellipsoid(0.95, 0.34, 0.6), scales),
        Part(
            blend(
                0.1,
                (ellipsoid(0.38, 0.06, 0.17), (-1.1, 0, 0.22), (0, 40, 0)),
                (ellipsoid(0.38, 0.06, 0.17), (-1.1, 0, -0.22), (0, -40, 0)),
            ),
            fin,
        ),
        Part(ellipsoid(0.45, 0.05, 0.25), fin, (-0.1, 0, 0.58), (0, -12, 0)),
        Part(ellipsoid(0.25, 0.05, 0.18), fin, (-0.15, 0, -0.6), (0, 15, 0)),
        *pair(ellipsoid(0.25, 0.05, 0.14), fin, (0.15, 0.38, -0.12), (25, 20, 25)),
        *pair(sphere(0.14), WHITE, (0.62, 0.2, 0.16)),
        *pair(sphere(0.08), BLACK, (0.67, 0.28, 0.17)),
        Part(ellipsoid(0.07, 0.12, 0.06), RED, (0.93, 0, -0.1)),
    ]


def elephant() -> list[Part]:
    grey = Finish((0.52, 0.55, 0.62), 0.15)
    trunk = curve([(0.95, 0, 0.4), (1.35, 0, 0.2), (1.4, 0, -0.3), (1.5, 0, -0.6), (1.75, 0, -0.6)], 3)
    legs = [(rod([(x, y, -0.2), (x, y, -0.85)], 0.22), (0, 0, 0)) for x in (-0.5, 0.42) for y in (-0.3, 0.3)]
    tusks = [
        Part(
            rod(curve([(1.22, s * 0.2, 0.15), (1.5, s * 0.24, 0.0), (1.68, s * 0.24, 0.12)]), 0.07, 0.02),
            WHITE,
        )
        for s in (-1, 1)
    ]
    body = blend(
        0.12,
        (ellipsoid(0.9, 0.62, 0.6), (0, 0, 0.05)),
        (sphere(0.5), (0.9, 0, 0.45)),
        (rod(trunk, 0.24, 0.1), (0, 0, 0)),
        *legs,
    )
    return [
        Part(body, grey),
        *pair(
            ellipsoid(0.1, 0.4, 0.45),
            grey._replace(colour=(0.60, 0.58, 0.66)),
            (0.72, 0.66, 0.5),
            (0, 0, -25),
        ),
        *pair(sphere(0.065), BLACK, (1.3, 0.22, 0.6)),
        *tusks,
        Part(rod(curve([(-0.85, 0, 0.2), (-1.05, 0, 0.0), (-1.08, 0, -0.3)]), 0.05), grey),
    ]


def octopus() -> list[Part]:
    skin = Finish((0.62, 0.25, 0.62), 0.5)
    arms = []
    for i, (x, y, _) in enumerate(around(8, 1.0, 22.5)):
        tip = 0.15 if i % 2 else -0.1
        line = curve(
            [
                (0.3 * x, 0.3 * y, -0.2),
                (0.7 * x, 0.7 * y, -0.55),
                (1.05 * x, 1.05 * y, -0.6),
                (1.3 * x, 1.3 * y, -0.45 + tip),
            ],
            3,
        )
        arms.append((rod(line, 0.2, 0.06), (0, 0, 0)))
    return [
        Part(blend(0.15, (ellipsoid(0.6, 0.6, 0.7), (0, 0, 0.35)), *arms), skin),
        *pair(sphere(0.19), WHITE, (0.48, 0.22, 0.35)),
        *pair(sphere(0.1), BLACK, (0.6, 0.23, 0.38)),
        Part(rod(curve([(0.58, -0.14, 0.08), (0.62, 0, 0.02), (0.58, 0.14, 0.08)]), 0.035), BLACK),
    ]


def bee() -> list[Part]:
    stripes = Finish((0.98, 0.78, 0.12), 0.3, second=(0.08, 0.06, 0.05), stripes=(1.6, 0, 0))
    wing = Finish((0.85, 0.93, 0.98), 0.8, metal=0.2)
    feelers = [
        Part(rod(curve([(0.9, s * 0.1, 0.3), (1.05, s * 0.18, 0.55), (1.22, s * 0.22, 0.62)]), 0.03), BLACK)
        for s in (-1, 1)
    ]
    return [
        Part(ellipsoid(0.85, 0.55, 0.55), stripes, (-0.15, 0, 0)),
        Part(sphere(0.42), YELLOW, (0.72, 0, 0.05)),
        *pair(sphere(0.09), BLACK, (1.06, 0.18, 0.15)),
        *feelers,
        *pair(ellipsoid(0.32, 0.62, 0.05), wing, (0.0, 0.6, 0.62), (35, 0, -15)),
        *pair(ellipsoid(0.22, 0.42, 0.05), wing, (-0.42, 0.48, 0.52), (30, 0, 20)),
        Part(cone(0.12, 0.01, 0.14), BLACK, (-1.08, 0, 0), (0, -90, 0)),
    ]
