"""Toys, games and things for a party or a treasure."""

from objects.common import (
    BLACK,
    BLUE,
    DARK_WOOD,
    GOLD,
    ORANGE,
    PURPLE,
    RED,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
    around,
)
from shapes import (
    Finish,
    Part,
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


def snowman() -> list[Part]:
    body = [Part(sphere(r), WHITE, (0, 0, z)) for r, z in ((0.72, -0.7), (0.52, 0.25), (0.36, 0.95))]
    eyes = [Part(sphere(0.05), BLACK, (0.31, y, 1.05)) for y in (-0.13, 0.13)]
    buttons = [Part(sphere(0.055), BLACK, (x, 0, z)) for x, z in ((0.5, 0.4), (0.52, 0.2))]
    arms = [Part(rod([(0, s * 0.45, 0.35), (0.1, s * 1.0, 0.75)], 0.035), DARK_WOOD) for s in (-1, 1)]
    hat = [Part(cylinder(0.4, 0.03), BLACK, (0, 0, 1.26)), Part(cylinder(0.26, 0.2), BLACK, (0, 0, 1.46))]
    scarf = Part(torus(0.32, 0.1), RED, (0, 0, 0.67))
    return [
        *body,
        *eyes,
        *buttons,
        *arms,
        *hat,
        scarf,
        Part(cone(0.07, 0.01, 0.18), ORANGE, (0.5, 0, 0.93), (0, 90, 0)),
    ]


def pawn() -> list[Part]:
    steps = [
        (cylinder(0.62, 0.12, 0.06), -1.0),
        (cylinder(0.5, 0.09, 0.05), -0.82),
        (cone(0.42, 0.18, 0.55), -0.25),
    ]
    top = [(cylinder(0.34, 0.05, 0.04), 0.32), (sphere(0.36), 0.62)]
    return [Part(shape, BLACK._replace(gloss=0.9), (0, 0, z)) for shape, z in steps + top]


def robot() -> list[Part]:
    head = [
        Part(box(0.36, 0.42, 0.32, 0.08), STEEL, (0, 0, 0.95)),
        Part(sphere(0.08), RED, (0, 0, 1.6)),
        Part(cylinder(0.025, 0.2), STEEL, (0, 0, 1.4)),
    ]
    eyes = [Part(sphere(0.1), Finish((0.2, 0.9, 1.0), glow=0.7), (0.34, y, 1.0)) for y in (-0.18, 0.18)]
    body = [
        Part(box(0.42, 0.55, 0.5, 0.08), BLUE),
        Part(box(0.05, 0.25, 0.18), YELLOW, (0.42, 0, 0.1)),
        Part(cylinder(0.15, 0.1), STEEL, (0, 0, 0.58)),
    ]
    arms = [Part(rod([(0, s * 0.68, 0.3), (0.15, s * 0.75, -0.4)], 0.11), STEEL) for s in (-1, 1)]
    hands = [Part(sphere(0.16), BLUE, (0.16, s * 0.76, -0.5)) for s in (-1, 1)]
    legs = [Part(cylinder(0.14, 0.32), STEEL, (0, s * 0.27, -0.75)) for s in (-1, 1)]
    feet = [Part(box(0.3, 0.2, 0.1, 0.06), BLUE, (0.1, s * 0.27, -1.1)) for s in (-1, 1)]
    return [*head, *eyes, *body, *arms, *hands, *legs, *feet]


def dumbbell() -> list[Part]:
    lay = (90, 0, 0)
    plates = [
        Part(cylinder(r, 0.14, 0.05), BLACK, (0, s * y, 0), lay)
        for s in (-1, 1)
        for r, y in ((0.52, 0.6), (0.4, 0.9))
    ]
    return [Part(cylinder(0.1, 1.15), STEEL, turn=lay), *plates]


def traffic_cone() -> list[Part]:
    body = ORANGE._replace(second=(0.95, 0.95, 0.95), stripes=(0, 0, 0.9))
    return [Part(box(0.75, 0.75, 0.07, 0.05), ORANGE, (0, 0, -0.95)), Part(cone(0.55, 0.1, 0.95), body)]


def die() -> list[Part]:
    spots = {1: [(0, 0)], 2: [(-1, -1), (1, 1)], 3: [(-1, -1), (0, 0), (1, 1)]}
    spots[4] = [(a, b) for a in (-1, 1) for b in (-1, 1)]
    spots[5], spots[6] = [*spots[4], (0, 0)], [(a, b) for a in (-1, 1) for b in (-1, 0, 1)]
    faces = {1: (2, 1), 6: (2, -1), 2: (0, 1), 5: (0, -1), 3: (1, 1), 4: (1, -1)}
    holes = []
    for number, (axis, side) in faces.items():
        for a, b in spots[number]:
            at = [0.42 * a, 0.42 * b]
            at.insert(axis, 0.84 * side)
            holes.append(Part(sphere(0.16), BLACK, tuple(at)))
    return [
        Part(box(0.8, 0.8, 0.8, 0.15), WHITE._replace(gloss=0.7), carve=tuple(holes)),
        Part(box(0.75, 0.75, 0.75, 0.1), BLACK),
    ]


def gift() -> list[Part]:
    paper = Finish((0.20, 0.62, 0.60), 0.4)
    bow = [Part(torus(0.24, 0.07), RED, (0.0, s * 0.26, 0.86), (s * 20, 90, 0)) for s in (-1, 1)]
    tails = [
        Part(rod(curve([(0, 0, 0.72), (0.3, s * 0.2, 0.75), (0.5, s * 0.35, 0.64)]), 0.06), RED)
        for s in (-1, 1)
    ]
    return [
        Part(box(0.75, 0.75, 0.55), paper, (0, 0, -0.1)),
        Part(box(0.81, 0.81, 0.14), paper, (0, 0, 0.5)),
        Part(box(0.83, 0.14, 0.66, 0.02), RED, (0, 0, 0.0)),
        Part(box(0.14, 0.83, 0.66, 0.02), RED, (0, 0, 0.0)),
        *bow,
        *tails,
        Part(sphere(0.12), RED, (0, 0, 0.76)),
    ]


def crown() -> list[Part]:
    ring = Part(cylinder(0.82, 0.3, 0.02), GOLD, (0, 0, -0.35), carve=(Part(cylinder(0.74, 1), GOLD),))
    points = [
        Part(plate([(-0.27, 0), (0.27, 0), (0.0, 0.75)], 0.05), GOLD, (x, y, -0.15), (0, 0, a))
        for x, y, a in around(8, 0.78)
    ]
    pearls = [Part(sphere(0.1), WHITE, (x, y, 0.65)) for x, y, _ in around(8, 0.78)]
    jewels = [
        Part(ellipsoid(0.09, 0.11, 0.14), Finish(colour, 1.0, metal=0.3), (x, y, -0.33), (0, 0, a))
        for (x, y, a), colour in zip(around(8, 0.82), 4 * [(0.85, 0.08, 0.15), (0.10, 0.30, 0.85)])
    ]
    return [
        ring,
        *points,
        *pearls,
        *jewels,
        Part(torus(0.8, 0.06), GOLD, (0, 0, -0.62)),
        Part(ellipsoid(0.68, 0.68, 0.62), PURPLE, (0, 0, -0.3)),
    ]


def chest() -> list[Part]:
    bands = [
        Part(
            cylinder(0.58, 0.07),
            GOLD,
            (0, y, 0.15),
            (90, 0, 0),
            carve=(Part(box(2, 2, 2), GOLD, (0, -2.0, 0)),),
        )
        for y in (-0.7, 0.7)
    ]
    straps = [Part(box(0.58, 0.07, 0.4, 0.02), GOLD, (0, y, -0.25)) for y in (-0.7, 0.7)]
    return [
        Part(box(0.55, 0.95, 0.4), WOOD._replace(stripes=(0.3, 0.3, 3.2)), (0, 0, -0.25)),
        Part(cylinder(0.54, 0.95), WOOD._replace(stripes=(3.2, 0.3, 0.3)), (0, 0, 0.15), (90, 0, 0)),
        *bands,
        *straps,
        Part(box(0.57, 0.97, 0.05, 0.02), GOLD, (0, 0, 0.15)),
        Part(box(0.06, 0.16, 0.18), STEEL, (0.56, 0, 0.08)),
        Part(sphere(0.05), BLACK, (0.61, 0, 0.08)),
    ]


def anchor() -> list[Part]:
    iron = Finish((0.16, 0.22, 0.34), 0.6, metal=0.3)
    arms = curve([(0, -0.95, -0.45), (0, -0.6, -0.95), (0, 0, -1.15), (0, 0.6, -0.95), (0, 0.95, -0.45)])
    tips = [
        Part(
            plate([(-0.28, -0.12), (0.28, -0.12), (0.0, 0.4)], 0.08),
            iron,
            (0, s * 0.95, -0.4),
            (s * -28, 0, 0),
        )
        for s in (-1, 1)
    ]
    rope = curve(
        [
            (0.0, 0, 1.2),
            (0.25, 0.1, 0.9),
            (0.2, -0.2, 0.5),
            (-0.2, -0.15, 0.25),
            (-0.2, 0.2, 0.0),
            (0.2, 0.2, -0.3),
            (0.25, -0.1, -0.6),
        ]
    )
    return [
        Part(rod([(0, 0, 1.0), (0, 0, -1.1)], 0.12), iron),
        Part(rod([(0, -0.55, 0.65), (0, 0.55, 0.65)], 0.09), iron),
        *(Part(sphere(0.13), iron, (0, s * 0.57, 0.65)) for s in (-1, 1)),
        Part(torus(0.22, 0.07), iron, (0, 0, 1.2), (0, 90, 0)),
        Part(rod(arms, 0.13), iron),
        *tips,
        Part(rod(rope, 0.06), Finish((0.82, 0.66, 0.42), 0.05)),
    ]
