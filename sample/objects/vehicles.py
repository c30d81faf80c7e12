"""What rides, sails and flies."""

from objects.common import (
    BLACK,
    BLUE,
    CREAM,
    GLASS,
    GOLD,
    GREY,
    PURPLE,
    RED,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
    around,
    pair,
    wheels,
)
from shapes import (
    Finish,
    Part,
    box,
    cone,
    curve,
    cylinder,
    ellipsoid,
    lathe,
    plate,
    rod,
    sphere,
    torus,
)


def rocket() -> list[Part]:
    fins = [Part(box(0.26, 0.04, 0.3), RED, (x, y, -0.85), (0, 0, a)) for x, y, a in around(3, 0.5)]
    flame = Part(cone(0.03, 0.22, 0.25), Finish((1.0, 0.6, 0.1), glow=0.9), (0, 0, -1.4))
    window = [
        Part(torus(0.2, 0.045), STEEL, (0.36, 0, 0.5), (0, 83, 0)),
        Part(sphere(0.17), GLASS, (0.29, 0, 0.5)),
    ]
    return [
        Part(ellipsoid(0.45, 0.45, 1.3), WHITE),
        Part(cone(0.34, 0.01, 0.36), RED, (0, 0, 1.14)),
        *fins,
        flame,
        *window,
        Part(cone(0.22, 0.3, 0.1), STEEL, (0, 0, -1.15)),
    ]


def car() -> list[Part]:
    body = [Part(box(1.15, 0.52, 0.24, 0.12), RED), Part(box(0.6, 0.45, 0.28, 0.15), RED, (-0.1, 0, 0.38))]
    glass = [
        Part(box(0.42, 0.47, 0.14, 0.03), GLASS, (-0.1, 0, 0.42)),
        Part(box(0.61, 0.36, 0.14, 0.03), GLASS, (-0.1, 0, 0.42)),
    ]
    lights = [Part(sphere(0.1), Finish((1, 0.95, 0.7), 0.8, glow=0.4), (1.1, y, 0.05)) for y in (-0.32, 0.32)]
    return [
        *body,
        *glass,
        *wheels([-0.68, 0.68], 0.5, -0.2, 0.27, 0.1),
        *lights,
        Part(box(0.06, 0.5, 0.06), STEEL, (1.13, 0, -0.14)),
    ]


def bus() -> list[Part]:
    paint = Finish((0.98, 0.72, 0.08), 0.5)
    windows = [Part(box(0.17, 0.53, 0.15, 0.02), GLASS, (x, 0, 0.35)) for x in (-0.95, -0.5, -0.05, 0.4)]
    return [
        Part(box(1.2, 0.52, 0.55, 0.12), paint, (-0.15, 0, 0.1)),
        Part(box(0.3, 0.48, 0.26, 0.1), paint, (1.25, 0, -0.18)),
        *windows,
        *(Part(box(0.04, 0.42, 0.17, 0.02), GLASS, (x, 0, 0.33)) for x in (1.03, -1.33)),
        *(Part(box(1.2, 0.53, 0.03, 0.01), BLACK, (-0.15, 0, z)) for z in (0.02, -0.2)),
        *wheels([-0.85, 0.95], 0.46, -0.45, 0.27, 0.1),
        *pair(sphere(0.09), Finish((1, 0.95, 0.7), 0.8, glow=0.4), (1.52, 0.3, -0.15)),
        *pair(sphere(0.07), RED, (0.98, 0.35, 0.64)),
        Part(box(0.05, 0.5, 0.06), BLACK, (1.55, 0, -0.4)),
    ]


def locomotive() -> list[Part]:
    boiler, along = Finish((0.12, 0.36, 0.20), 0.6), (0, 90, 0)
    bands = [Part(cylinder(0.44, 0.03, 0.01), GOLD, (x, 0, 0.15), along) for x in (0.0, 0.45, 0.9)]
    return [
        Part(cylinder(0.42, 0.85), boiler, (0.35, 0, 0.15), along),
        *bands,
        Part(cylinder(0.44, 0.06), BLACK, (1.2, 0, 0.15), along),
        Part(lathe([(0.12, 0.5), (0.13, 0.85), (0.24, 1.05), (0.22, 1.12)], 0.02), BLACK, (0.95, 0, 0)),
        Part(ellipsoid(0.18, 0.18, 0.2), GOLD, (0.35, 0, 0.6)),
        Part(box(0.45, 0.55, 0.6, 0.04), RED, (-0.85, 0, 0.35)),
        Part(box(0.55, 0.65, 0.06), BLACK, (-0.85, 0, 0.98)),
        Part(box(0.2, 0.57, 0.18, 0.02), GLASS, (-0.85, 0, 0.55)),
        Part(box(1.3, 0.45, 0.09), BLACK, (-0.05, 0, -0.33)),
        *wheels([-0.85, -0.25], 0.45, -0.42, 0.36, 0.07),
        *wheels([0.4, 0.9], 0.45, -0.54, 0.24, 0.07),
        Part(
            plate([(-0.5, -0.3), (0.5, -0.3), (0.3, 0.1), (-0.3, 0.1)], 0.18),
            RED,
            (1.3, 0, -0.45),
            (0, -20, 0),
        ),
        *(Part(rod([(-0.85, y, -0.42), (0.9, y, -0.5)], 0.035), STEEL) for y in (-0.56, 0.56)),
    ]


def sailboat() -> list[Part]:
    hull = Part(
        ellipsoid(1.25, 0.45, 0.5),
        Finish((0.15, 0.30, 0.62), 0.5),
        (0, 0, -0.6),
        carve=(Part(box(2, 2, 1), WHITE, (0, 0, 1.0)),),
    )
    sail = plate([(-0.95, -0.35), (-0.08, -0.35), (-0.08, 1.45)], 0.03)
    jib = plate([(0.06, -0.3), (0.85, -0.4), (0.06, 1.25)], 0.03)
    return [
        hull,
        Part(box(0.95, 0.3, 0.05), WOOD, (0, 0, -0.6)),
        Part(ellipsoid(1.26, 0.455, 0.1), WHITE, (0, 0, -0.68)),
        Part(cylinder(0.045, 1.1), WOOD, (0, 0, 0.45)),
        Part(rod([(0, 0, -0.35), (-0.95, 0, -0.35)], 0.04), WOOD),
        Part(sail, WHITE, turn=(0, 0, -90), at=(0, 0, 0.05)),
        Part(jib, RED, turn=(0, 0, -90), at=(0, 0, 0.05)),
        Part(plate([(0, 0), (0.3, 0.1), (0, 0.2)], 0.02), RED, (0, 0, 1.5), (0, 0, 90)),
    ]


def balloon() -> list[Part]:
    colours = [(0.85, 0.15, 0.15), (0.98, 0.80, 0.15), (0.15, 0.45, 0.80)]
    gores = [
        Part(ellipsoid(0.62, 0.36, 1.0), Finish(colours[i % 3], 0.3), (x, y, 0.6), (0, 0, a))
        for i, (x, y, a) in enumerate(around(12, 0.4))
    ]
    ropes = [
        Part(rod([(0.6 * x, 0.6 * y, -0.98), (1.6 * x, 1.6 * y, -0.15)], 0.015), CREAM)
        for x, y, _ in around(4, 0.3, 45)
    ]
    return [
        *gores,
        Part(cone(0.3, 0.62, 0.25), Finish(colours[0], 0.3), (0, 0, -0.3)),
        *ropes,
        Part(box(0.23, 0.23, 0.2, 0.04), WOOD._replace(stripes=(0, 0, 5)), (0, 0, -1.15)),
        Part(box(0.26, 0.26, 0.04), Finish((0.40, 0.25, 0.13)), (0, 0, -0.97)),
    ]


def airplane() -> list[Part]:
    skin = Finish((0.92, 0.93, 0.95), 0.6)
    wing = plate([(0.05, 0.25), (1.35, -0.35), (1.35, -0.55), (0.05, -0.3)], 0.05)
    tail = plate([(0.02, 0.15), (0.55, -0.1), (0.55, -0.25), (0.02, -0.15)], 0.03)
    mirrored = [
        [(-y, z) for y, z in outline]
        for outline in (
            [(0.05, 0.25), (1.35, -0.35), (1.35, -0.55), (0.05, -0.3)],
            [(0.02, 0.15), (0.55, -0.1), (0.55, -0.25), (0.02, -0.15)],
        )
    ]
    fin = plate([(-1.35, 0.1), (-0.85, 0.1), (-1.2, 0.75), (-1.45, 0.75)], 0.04)
    windows = [
        Part(sphere(0.06), Finish((0.15, 0.3, 0.5), 0.8), (x, s * 0.25, 0.12))
        for x in (-0.7, -0.4, -0.1, 0.2, 0.5)
        for s in (-1, 1)
    ]
    engines = [Part(cylinder(0.14, 0.26, 0.05), RED, (0.2, s * 0.62, -0.2), (0, 90, 0)) for s in (-1, 1)]
    return [
        Part(ellipsoid(1.45, 0.29, 0.29), skin, (0, 0, 0.05)),
        Part(wing, BLUE, (0.1, 0, -0.05), (180, 90, 0)),
        Part(plate(mirrored[0], 0.05), BLUE, (0.1, 0, -0.05), (180, 90, 0)),
        Part(tail, BLUE, (-1.15, 0, 0.12), (180, 90, 0)),
        Part(plate(mirrored[1], 0.03), BLUE, (-1.15, 0, 0.12), (180, 90, 0)),
        Part(fin, RED, turn=(0, 0, -90)),
        Part(ellipsoid(0.28, 0.2, 0.14), Finish((0.15, 0.25, 0.4), 0.9, metal=0.3), (1.05, 0, 0.16)),
        *windows,
        *engines,
    ]


def submarine() -> list[Part]:
    paint = Finish((0.96, 0.75, 0.10), 0.6)
    windows = [(x, s * 0.42) for x in (-0.45, 0.1, 0.65) for s in (-1, 1)]
    blades = [Part(box(0.02, 0.09, 0.22, 0.01), STEEL, (-1.5, 0, 0), (a, 0, 0)) for a in (0, 60, 120)]
    return [
        Part(ellipsoid(1.4, 0.5, 0.5), paint),
        Part(box(0.34, 0.2, 0.28, 0.12), RED, (0.05, 0, 0.62)),
        Part(rod(curve([(0.05, 0, 0.8), (0.05, 0, 1.2), (0.1, 0, 1.3), (0.28, 0, 1.32)], 4), 0.05), STEEL),
        *(Part(torus(0.15, 0.04), STEEL, (x, y, 0.12), (90, 0, 0)) for x, y in windows),
        *(Part(ellipsoid(0.14, 0.09, 0.14), GLASS, (x, y, 0.12)) for x, y in windows),
        Part(cylinder(0.06, 0.15), STEEL, (-1.42, 0, 0), (0, 90, 0)),
        *blades,
        Part(box(0.2, 0.55, 0.03), RED, (-1.1, 0, 0)),
        Part(box(0.2, 0.03, 0.45), RED, (-1.1, 0, 0)),
    ]


def ufo() -> list[Part]:
    lamps = [
        Part(sphere(0.1), Finish(colour, glow=0.8), (x, y, 0.16))
        for (x, y, _), colour in zip(around(9, 0.92), 3 * [(0.3, 1.0, 0.4), (1.0, 0.9, 0.2), (1.0, 0.3, 0.5)])
    ]
    alien = [
        Part(ellipsoid(0.18, 0.2, 0.24), Finish((0.35, 0.75, 0.25), 0.3), (0, 0, 0.66)),
        *pair(ellipsoid(0.06, 0.07, 0.1), BLACK, (0.15, 0.09, 0.7)),
    ]
    legs = [
        Part(rod([(0.5 * x, 0.5 * y, -0.25), (0.8 * x, 0.8 * y, -0.75)], 0.05), STEEL)
        for x, y, _ in around(3, 1.0, 30)
    ]
    return [
        Part(lathe([(0.35, -0.3), (1.2, -0.08), (1.22, 0.0), (0.5, 0.28)], 0.05), STEEL),
        *lamps,
        *alien,
        Part(torus(0.46, 0.05), PURPLE, (0, 0, 0.36)),
        Part(cylinder(0.2, 0.12), Finish((0.25, 0.45, 0.20)), (0, 0, 0.42)),
        *legs,
        *(Part(sphere(0.09), STEEL, (0.8 * x, 0.8 * y, -0.78)) for x, y, _ in around(3, 1.0, 30)),
    ]


def tractor() -> list[Part]:
    paint = Finish((0.15, 0.48, 0.18), 0.5)
    rims = [Part(cylinder(0.32, 0.17), YELLOW, (-0.55, s * 0.55, -0.1), (90, 0, 0)) for s in (-1, 1)]
    small = [Part(cylinder(0.17, 0.12), YELLOW, (0.85, s * 0.48, -0.4), (90, 0, 0)) for s in (-1, 1)]
    posts = [Part(cylinder(0.035, 0.42), BLACK, (x, y, 0.75)) for x in (-0.8, -0.15) for y in (-0.34, 0.34)]
    return [
        Part(box(0.62, 0.3, 0.26, 0.1), paint, (0.6, 0, 0.1)),
        Part(box(0.5, 0.38, 0.2, 0.06), paint, (-0.5, 0, 0.1)),
        Part(box(0.14, 0.26, 0.3, 0.08), BLACK, (-0.75, 0, 0.4)),
        *posts,
        Part(box(0.5, 0.46, 0.05), paint, (-0.48, 0, 1.18)),
        *(Part(cylinder(0.6, 0.15, 0.06), BLACK, (-0.55, s * 0.55, -0.1), (90, 0, 0)) for s in (-1, 1)),
        *rims,
        *(Part(cylinder(0.3, 0.1, 0.05), BLACK, (0.85, s * 0.48, -0.4), (90, 0, 0)) for s in (-1, 1)),
        *small,
        Part(cylinder(0.05, 0.35), GREY, (0.75, 0.12, 0.65)),
        Part(torus(0.15, 0.03), BLACK, (-0.1, 0, 0.5), (0, -60, 0)),
        *pair(sphere(0.07), Finish((1, 0.95, 0.7), 0.8, glow=0.4), (1.2, 0.18, 0.15)),
    ]
