"""Furniture and household things."""

import numpy as np

from objects.common import (
    BLACK,
    BLUE,
    CREAM,
    DARK_WOOD,
    FLAME,
    GOLD,
    GREY,
    RED,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
    around,
    pair,
)
from shapes import (
    Finish,
    Part,
    blend,
    box,
    cone,
    curve,
    cylinder,
    ellipsoid,
    lathe,
    rod,
    sphere,
    torus,
)


def table() -> list[Part]:
    legs = [Part(cone(0.06, 0.1, 0.5), DARK_WOOD, (x, y, -0.5)) for x in (-0.95, 0.95) for y in (-0.5, 0.5)]
    apple = [
        Part(sphere(0.2), RED, (0.35, 0.1, 0.27)),
        Part(cylinder(0.02, 0.08), DARK_WOOD, (0.35, 0.1, 0.49)),
    ]
    return [Part(box(1.15, 0.7, 0.07), WOOD), *legs, *apple]


def lamp() -> list[Part]:
    shade = Part(
        cone(0.62, 0.38, 0.36),
        Finish((0.98, 0.86, 0.55), 0.1, glow=0.35),
        (0, 0, 0.9),
        carve=(Part(cone(0.58, 0.34, 0.37), WHITE),),
    )
    foot = [Part(cylinder(0.42, 0.05, 0.04), GOLD, (0, 0, -0.75)), Part(cylinder(0.045, 0.75), GOLD)]
    return [
        *foot,
        Part(sphere(0.13), GOLD, (0, 0, -0.2)),
        Part(sphere(0.17), Finish((1, 0.95, 0.8), glow=0.8), (0, 0, 0.85)),
        shade,
    ]


def mug() -> list[Part]:
    glaze = Finish((0.13, 0.45, 0.55), 0.7, second=(0.93, 0.90, 0.82), stripes=(0, 0, 1.75))
    body = Part(cylinder(0.6, 0.7, 0.05), glaze, carve=(Part(cylinder(0.51, 0.7), WHITE, (0, 0, 0.15)),))
    handle = Part(
        torus(0.38, 0.09),
        glaze._replace(second=None),
        (0, 0.62, 0),
        (0, 90, 0),
        carve=(Part(cylinder(0.55, 2), WHITE, (0, -0.62, 0), (0, 90, 0)),),
    )
    coffee = Part(cylinder(0.52, 0.03, 0.01), Finish((0.20, 0.10, 0.05), 0.8), (0, 0, 0.56))
    return [body, handle, coffee]


def teapot() -> list[Part]:
    glaze = BLUE._replace(gloss=0.9)
    spout = curve([(0.5, 0, -0.25), (0.9, 0, -0.05), (1.05, 0, 0.35), (1.25, 0, 0.5)])
    handle = curve([(-0.6, 0, 0.35), (-1.1, 0, 0.4), (-1.2, 0, -0.05), (-0.65, 0, -0.35)])
    return [
        Part(blend(0.12, (ellipsoid(0.8, 0.8, 0.62), (0, 0, 0)), (rod(spout, 0.2, 0.09), (0, 0, 0))), glaze),
        Part(rod(handle, 0.09), glaze),
        Part(cylinder(0.48, 0.06), glaze, (0, 0, -0.6)),
        Part(ellipsoid(0.46, 0.46, 0.16), WHITE, (0, 0, 0.56)),
        Part(sphere(0.12), GOLD, (0, 0, 0.78)),
    ]


def armchair() -> list[Part]:
    cloth = Finish((0.16, 0.42, 0.24), 0.1)
    legs = [Part(cone(0.05, 0.09, 0.16), DARK_WOOD, (x, y, -0.82)) for x in (-0.5, 0.5) for y in (-0.6, 0.6)]
    return [
        Part(box(0.7, 0.85, 0.25, 0.1), cloth, (0, 0, -0.45)),
        Part(box(0.6, 0.58, 0.16, 0.1), cloth._replace(colour=(0.22, 0.52, 0.30)), (0.1, 0, -0.12)),
        Part(box(0.18, 0.8, 0.75, 0.14), cloth, (-0.58, 0, 0.15), (0, -8, 0)),
        *pair(box(0.62, 0.17, 0.45, 0.13), cloth, (0.05, 0.76, -0.15)),
        *legs,
    ]


def candle() -> list[Part]:
    drip = [
        Part(rod([(x, y, 0.62), (x, y, 0.62 - d)], 0.07), CREAM)
        for (x, y, _), d in zip(around(5, 0.24), (0.3, 0.55, 0.2, 0.42, 0.25))
    ]
    return [
        Part(lathe([(0.75, -0.95), (0.8, -0.85), (0.35, -0.8), (0.32, -0.6), (0.0, -0.6)], 0.03), GOLD),
        Part(torus(0.2, 0.05), GOLD, (0.85, 0, -0.75), (90, 0, 0)),
        Part(cylinder(0.27, 0.62, 0.06), CREAM, (0, 0, 0.03)),
        *drip,
        Part(cylinder(0.025, 0.1), BLACK, (0, 0, 0.72)),
        Part(blend(0.1, (sphere(0.11), (0, 0, 0.88)), (cone(0.1, 0.01, 0.17), (0, 0, 1.05))), FLAME),
    ]


def vase() -> list[Part]:
    china = Finish((0.94, 0.95, 0.97), 0.9, second=(0.14, 0.28, 0.70), stripes=(0, 0, 1.6))
    profile = [
        (0.32, -1.1),
        (0.5, -0.8),
        (0.68, -0.3),
        (0.66, 0.05),
        (0.42, 0.45),
        (0.24, 0.75),
        (0.26, 0.95),
        (0.42, 1.1),
    ]
    return [Part(lathe(profile, 0.03), china, carve=(Part(cone(0.15, 0.34, 0.3), WHITE, (0, 0, 0.95)),))]


def umbrella() -> list[Part]:
    shell = Part(
        sphere(1.15),
        RED,
        (0, 0, 0),
        carve=(Part(sphere(1.1), WHITE), Part(box(2, 2, 1), WHITE, (0, 0, -0.6))),
    )
    scallops = tuple(
        Part(cylinder(0.42, 2), WHITE, (x, y, 0.28), (0, 90, a)) for x, y, a in around(8, 0, 22.5)
    )
    panels = shell._replace(carve=(*shell.carve, *scallops))
    hook = curve([(0, 0, -1.0), (0.03, 0, -1.2), (0.16, 0, -1.3), (0.29, 0, -1.2), (0.32, 0, -1.08)])
    ribs = [
        Part(rod([(0, 0, 1.1), (0.62 * x, 0.62 * y, 0.9), (x, y, 0.45)], 0.02), STEEL)
        for x, y, _ in around(8, 1.03)
    ]
    return [
        panels,
        *ribs,
        Part(cylinder(0.035, 1.15), STEEL, (0, 0, 0.05)),
        Part(cone(0.05, 0.01, 0.1), STEEL, (0, 0, 1.24)),
        Part(rod(hook, 0.06), DARK_WOOD),
    ]


def hourglass() -> list[Part]:
    glass = Finish((0.72, 0.86, 0.92), 0.9, metal=0.3)
    sand = Finish((0.90, 0.72, 0.40), 0.05)
    bulb = [(0.5, 0.85), (0.52, 0.6), (0.4, 0.3), (0.07, 0.05)]
    lower = [(r, -z) for r, z in bulb]
    posts = [Part(cylinder(0.05, 0.85), DARK_WOOD, (x, y, 0)) for x, y, _ in around(3, 0.66, 60)]
    return [
        *(Part(cylinder(0.8, 0.09, 0.05), DARK_WOOD, (0, 0, z)) for z in (-0.95, 0.95)),
        *posts,
        Part(lathe([*lower, *reversed(bulb)]), glass),
        Part(lathe([(0.54, -0.86), (0.56, -0.6), (0.44, -0.32), (0.0, -0.22)]), sand),
        Part(lathe([(0.09, 0.05), (0.3, 0.2), (0.36, 0.27)], 0.01), sand),
    ]


def alarm_clock() -> list[Part]:
    red = RED._replace(gloss=0.8)
    face = (0, 90, 0)
    marks = [
        Part(box(0.02, 0.02, 0.07, 0.01), BLACK, (0.27, 0.5 * x / 0.5, y), (90 - a + 90, 0, 0))
        for x, y, a in around(12, 0.5)
    ]
    return [
        Part(cylinder(0.75, 0.25, 0.08), red, (0, 0, 0), face),
        Part(cylinder(0.63, 0.02, 0.01), WHITE, (0.25, 0, 0), face),
        *marks,
        Part(rod([(0.29, 0, 0), (0.29, 0.22, 0.24)], 0.035), BLACK),
        Part(rod([(0.29, 0, 0), (0.29, -0.12, 0.44)], 0.025), BLACK),
        *pair(ellipsoid(0.3, 0.3, 0.2), GOLD, (0, 0.45, 0.82), (-32, 0, 0)),
        Part(rod([(0, -0.15, 0.75), (0, -0.15, 1.12), (0, 0.15, 1.12), (0, 0.15, 0.75)], 0.035), STEEL),
        *pair(cone(0.05, 0.1, 0.18), STEEL, (0, 0.42, -0.78), (32, 0, 0)),
    ]


def bucket() -> list[Part]:
    water = Finish((0.25, 0.55, 0.85), 0.9, metal=0.3)
    tin = Finish((0.60, 0.66, 0.72), 0.5, metal=0.6)
    handle = curve([(0, -0.75, 0.6), (0, -0.6, 1.1), (0, 0, 1.35), (0, 0.6, 1.1), (0, 0.75, 0.6)])
    return [
        Part(cone(0.5, 0.75, 0.7), tin, carve=(Part(cone(0.46, 0.71, 0.7), tin, (0, 0, 0.06)),)),
        Part(torus(0.74, 0.045), tin, (0, 0, 0.7)),
        Part(torus(0.62, 0.035), tin, (0, 0, -0.05)),
        Part(cylinder(0.67, 0.02, 0.01), water, (0, 0, 0.5)),
        Part(rod(handle, 0.035), tin),
        Part(cylinder(0.07, 0.2), WOOD, (0, 0, 1.35), (90, 0, 0)),
    ]


def globe() -> list[Part]:
    sea = Finish((0.16, 0.42, 0.80), 0.6)
    land = Finish((0.35, 0.60, 0.25), 0.1)
    spots = [
        ((0.5, 0.4, 0.4), 0.4),
        ((0.1, -0.6, 0.42), 0.42),
        ((-0.62, -0.2, 0.3), 0.38),
        ((0.6, -0.25, -0.35), 0.34),
        ((-0.3, 0.62, -0.2), 0.4),
        ((-0.45, 0.35, 0.5), 0.3),
        ((-0.4, -0.5, -0.42), 0.3),
        ((0, 0, -0.76), 0.3),
    ]
    patches = [(sphere(r), at) for at, r in spots]
    outside = Part(sphere(2.0), land, carve=(Part(sphere(0.79), land),))
    continents = Part(blend(0.25, *patches), land, (0, 0, 0.25), carve=(outside,))
    arc = [(0.0, float(0.95 * np.sin(a)), float(0.95 * np.cos(a))) for a in np.linspace(0, np.pi, 14)]
    return [
        Part(sphere(0.77), sea, (0, 0, 0.25)),
        continents,
        Part(rod(arc, 0.045), GOLD, (0, 0, 0.25), (-20, 0, 0)),
        *(Part(sphere(0.08), GOLD, (0, s * 0.29, 0.25 + s * 0.8)) for s in (-1, 1)),
        Part(
            lathe([(0.55, -1.2), (0.55, -1.1), (0.12, -0.95), (0.08, -0.65), (0.0, -0.65)], 0.03), DARK_WOOD
        ),
    ]


def guitar() -> list[Part]:
    body = blend(
        0.3,
        (cylinder(0.62, 0.16, 0.04), (0, 0, -0.75), (0, 90, 0)),
        (cylinder(0.45, 0.16, 0.04), (0, 0, 0.0), (0, 90, 0)),
    )
    spruce = Finish((0.85, 0.56, 0.26), 0.6)
    strings = [
        Part(rod([(0.24, y, -0.95), (0.17, 0.6 * y, 1.7)], 0.008), STEEL) for y in (-0.1, -0.035, 0.035, 0.1)
    ]
    return [
        Part(body, spruce),
        Part(cylinder(0.2, 0.02, 0.01), BLACK, (0.16, 0, -0.2), (0, 90, 0)),
        Part(box(0.05, 0.25, 0.05), DARK_WOOD, (0.18, 0, -0.95)),
        Part(box(0.06, 0.1, 0.95), DARK_WOOD, (0.1, 0, 0.75)),
        Part(box(0.06, 0.17, 0.24), DARK_WOOD, (0.08, 0, 1.85)),
        *(Part(sphere(0.06), STEEL, (0.08, s * 0.22, z)) for s in (-1, 1) for z in (1.72, 1.87, 2.02)),
        *strings,
    ]


def drum() -> list[Part]:
    zigzag = []
    for x, y, a in around(12, 0.85):
        x2, y2, _ = around(1, 0.85, a + 15)[0]
        x3, y3, _ = around(1, 0.85, a + 30)[0]
        zigzag.append(Part(rod([(x, y, 0.45), (x2, y2, -0.45), (x3, y3, 0.45)], 0.025), YELLOW))
    sticks = [Part(rod([(0.45, s * 0.5, 0.68), (-0.75, s * 0.3, 0.62)], 0.045), WOOD) for s in (-1, 1)]
    heads = [Part(sphere(0.09), WOOD, (-0.75, s * 0.3, 0.64)) for s in (-1, 1)]
    return [
        Part(cylinder(0.83, 0.5), RED),
        *(Part(cylinder(0.89, 0.08, 0.04), BLUE, (0, 0, z)) for z in (-0.48, 0.48)),
        Part(cylinder(0.8, 0.02, 0.01), CREAM, (0, 0, 0.56)),
        *zigzag,
        *sticks,
        *heads,
    ]


def hammer() -> list[Part]:
    claw = [
        Part(
            rod(curve([(-0.2, 0.04 * s, 1.15), (-0.5, 0.09 * s, 1.16), (-0.8, 0.14 * s, 0.98)]), 0.1, 0.04),
            STEEL,
        )
        for s in (-1, 1)
    ]
    return [
        Part(lathe([(0.15, -1.35), (0.17, -1.2), (0.1, -0.7), (0.09, 0.8), (0.12, 1.2)], 0.03), WOOD),
        Part(lathe([(0.17, -1.36), (0.19, -1.2), (0.14, -0.5)], 0.03), RED),
        Part(box(0.26, 0.16, 0.17, 0.04), STEEL, (0, 0, 1.15)),
        Part(cylinder(0.13, 0.2), STEEL, (0.35, 0, 1.15), (0, 90, 0)),
        Part(cylinder(0.21, 0.1, 0.04), STEEL, (0.58, 0, 1.15), (0, 90, 0)),
        *claw,
    ]


def camera() -> list[Part]:
    lens = (0, 90, 0)
    return [
        Part(box(0.32, 0.95, 0.55, 0.08), BLACK),
        Part(box(0.335, 0.97, 0.12, 0.05), STEEL, (0, 0, 0.46)),
        Part(box(0.26, 0.3, 0.16, 0.06), BLACK, (0, 0, 0.66)),
        Part(cylinder(0.45, 0.16, 0.03), BLACK, (0.42, 0, -0.05), lens),
        Part(cylinder(0.39, 0.14, 0.03), STEEL, (0.6, 0, -0.05), lens),
        Part(cylinder(0.33, 0.04, 0.01), BLACK, (0.74, 0, -0.05), lens),
        Part(ellipsoid(0.1, 0.26, 0.26), Finish((0.15, 0.25, 0.55), 1.0, metal=0.5), (0.74, 0, -0.05)),
        Part(cylinder(0.12, 0.06), RED, (0, -0.62, 0.6)),
        Part(cylinder(0.17, 0.06), STEEL, (0, 0.62, 0.6)),
        Part(box(0.03, 0.14, 0.09), Finish((1, 0.95, 0.8), glow=0.3), (0.33, 0.68, 0.42)),
    ]


def television() -> list[Part]:
    screen = Finish((0.50, 0.72, 0.68), 0.8, glow=0.25)
    return [
        Part(box(0.6, 1.05, 0.72, 0.1), WOOD),
        Part(box(0.25, 0.6, 0.45, 0.1), GREY, (-0.6, 0, 0)),
        Part(box(0.06, 0.68, 0.56, 0.05), CREAM, (0.58, 0.28, 0)),
        Part(box(0.1, 0.58, 0.46, 0.1), screen, (0.58, 0.28, 0)),
        *(Part(cylinder(0.12, 0.06), BLACK, (0.62, -0.72, z), (0, 90, 0)) for z in (0.1, 0.42)),
        *(Part(box(0.03, 0.18, 0.03, 0.01), BLACK, (0.6, -0.72, z)) for z in (-0.2, -0.32, -0.44)),
        *(Part(rod([(-0.1, 0, 0.7), (-0.1, s * 0.65, 1.5)], 0.025), STEEL) for s in (-1, 1)),
        *(Part(sphere(0.05), STEEL, (-0.1, s * 0.65, 1.5)) for s in (-1, 1)),
        *(Part(cone(0.05, 0.08, 0.18), DARK_WOOD, (x, y, -0.88)) for x in (-0.4, 0.4) for y in (-0.8, 0.8)),
    ]
