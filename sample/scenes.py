"""The assets of the sample: for each its id, its caption and the parts it is built of."""

from typing import NamedTuple

import numpy as np

from render import Finish, Part, Shape, box, capsule, cone, cylinder, ellipsoid, prism, sphere, torus


class Asset(NamedTuple):
    id: str
    caption: str | None  # None: the views have no caption
    parts: list[Part]  # empty: the caption has no views
    suffix: str = "png"
    quality: int | None = None  # of a lossy format


WOOD = Finish((0.62, 0.40, 0.22), 0.25, second=(0.52, 0.32, 0.17), stripes=(0.6, 3.2, 0.4))
DARK_WOOD = Finish((0.36, 0.22, 0.13), 0.25, second=(0.30, 0.18, 0.10), stripes=(2.5, 0.4, 0.3))
STEEL = Finish((0.78, 0.80, 0.83), 0.5, metal=0.85)
GOLD = Finish((0.95, 0.74, 0.28), 0.5, metal=0.85)
WHITE = Finish((0.93, 0.93, 0.92))
BLACK = Finish((0.07, 0.07, 0.08), 0.5)
RED = Finish((0.82, 0.13, 0.12), 0.5)
ORANGE = Finish((0.95, 0.45, 0.08), 0.4)
YELLOW = Finish((0.97, 0.80, 0.15), 0.4)
GREEN = Finish((0.20, 0.50, 0.20), 0.2)
BLUE = Finish((0.15, 0.33, 0.75), 0.5)
STONE = Finish((0.60, 0.58, 0.55), 0.05, second=(0.54, 0.52, 0.49), stripes=(0, 0, 2.6))
GLASS = Finish((0.55, 0.75, 0.85), 0.9, metal=0.5)


def _around(count: int, radius: float) -> list[tuple[float, float, float]]:
    """x, y and the angle in degrees of evenly spread places on a circle."""
    angles = np.arange(count) * 2 * np.pi / count
    return [(float(radius * np.cos(a)), float(radius * np.sin(a)), float(np.degrees(a))) for a in angles]


def _table() -> list[Part]:
    legs = [Part(cone(0.06, 0.1, 0.5), DARK_WOOD, (x, y, -0.5)) for x in (-0.95, 0.95) for y in (-0.5, 0.5)]
    apple = [
        Part(sphere(0.2), RED, (0.35, 0.1, 0.27)),
        Part(cylinder(0.02, 0.08), DARK_WOOD, (0.35, 0.1, 0.49)),
    ]
    return [Part(box(1.15, 0.7, 0.07), WOOD), *legs, *apple]


def _lamp() -> list[Part]:
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


def _tree() -> list[Part]:
    crown = [Part(cone(0.85 - 0.2 * i, 0.08, 0.42), GREEN, (0, 0, 0.15 + 0.45 * i)) for i in range(4)]
    snow = [Part(torus(0.8 - 0.2 * i, 0.055), WHITE, (0, 0, -0.24 + 0.45 * i)) for i in range(4)]
    return [
        Part(cylinder(0.15, 0.3), DARK_WOOD, (0, 0, -0.5)),
        *crown,
        *snow,
        Part(sphere(0.11), GOLD, (0, 0, 2.0)),
    ]


def _snowman() -> list[Part]:
    body = [Part(sphere(r), WHITE, (0, 0, z)) for r, z in ((0.72, -0.7), (0.52, 0.25), (0.36, 0.95))]
    eyes = [Part(sphere(0.05), BLACK, (0.31, y, 1.05)) for y in (-0.13, 0.13)]
    buttons = [Part(sphere(0.055), BLACK, (x, 0, z)) for x, z in ((0.5, 0.4), (0.52, 0.2))]
    arms = [Part(capsule((0, s * 0.45, 0.35), (0.1, s * 1.0, 0.75), 0.035), DARK_WOOD) for s in (-1, 1)]
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


def _rocket() -> list[Part]:
    fins = [Part(box(0.26, 0.04, 0.3), RED, (x, y, -0.85), (0, 0, a)) for x, y, a in _around(3, 0.5)]
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


def _mug() -> list[Part]:
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


def _donut(random: np.random.Generator) -> list[Part]:
    icing = Part(
        torus(0.72, 0.345),
        Finish((0.95, 0.50, 0.66), 0.6),
        (0, 0, 0.06),
        carve=(Part(box(2, 2, 1), WHITE, (0, 0, -0.93)),),
    )
    sprinkles = []
    for x, y, a in _around(22, 0.72):
        tilt, spin = random.uniform(-0.62, 0.62), random.uniform(0, 180)
        out, finish = 0.72 + 0.35 * np.sin(tilt), [WHITE, YELLOW, BLUE, GREEN][random.integers(4)]
        at = (x / 0.72 * out, y / 0.72 * out, 0.06 + 0.35 * np.cos(tilt))
        sprinkles.append(Part(capsule((-0.05, 0, 0), (0.05, 0, 0), 0.03), finish, at, (0, 0, a + spin)))
    return [Part(torus(0.72, 0.33), Finish((0.80, 0.55, 0.30), 0.15)), icing, *sprinkles]


def _pawn() -> list[Part]:
    steps = [
        (cylinder(0.62, 0.12, 0.06), -1.0),
        (cylinder(0.5, 0.09, 0.05), -0.82),
        (cone(0.42, 0.18, 0.55), -0.25),
    ]
    top = [(cylinder(0.34, 0.05, 0.04), 0.32), (sphere(0.36), 0.62)]
    return [Part(shape, BLACK._replace(gloss=0.9), (0, 0, z)) for shape, z in steps + top]


def _mushroom() -> list[Part]:
    cap = Part(ellipsoid(0.9, 0.9, 0.62), RED, (0, 0, 0.25), carve=(Part(box(2, 2, 1), WHITE, (0, 0, -1.0)),))
    spots = [Part(sphere(0.15), WHITE, (x, y, 0.58), (0, 0, a)) for x, y, a in _around(5, 0.66)]
    more = [Part(sphere(0.12), WHITE, (x, y, 0.36)) for x, y, _ in _around(7, 0.84)]
    return [
        Part(cone(0.36, 0.24, 0.55), Finish((0.93, 0.88, 0.76)), (0, 0, -0.35)),
        cap,
        Part(sphere(0.16), WHITE, (0, 0, 0.8)),
        *spots,
        *more,
        Part(cylinder(0.7, 0.05, 0.05), GREEN, (0, 0, -0.9)),
    ]


def _traffic_cone() -> list[Part]:
    body = ORANGE._replace(second=(0.95, 0.95, 0.95), stripes=(0, 0, 0.9))
    return [Part(box(0.75, 0.75, 0.07, 0.05), ORANGE, (0, 0, -0.95)), Part(cone(0.55, 0.1, 0.95), body)]


def _house() -> list[Part]:
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


def _robot() -> list[Part]:
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
    arms = [Part(capsule((0, s * 0.68, 0.3), (0.15, s * 0.75, -0.4), 0.11), STEEL) for s in (-1, 1)]
    hands = [Part(sphere(0.16), BLUE, (0.16, s * 0.76, -0.5)) for s in (-1, 1)]
    legs = [Part(cylinder(0.14, 0.32), STEEL, (0, s * 0.27, -0.75)) for s in (-1, 1)]
    feet = [Part(box(0.3, 0.2, 0.1, 0.06), BLUE, (0.1, s * 0.27, -1.1)) for s in (-1, 1)]
    return [*head, *eyes, *body, *arms, *hands, *legs, *feet]


def _car() -> list[Part]:
    body = [Part(box(1.15, 0.52, 0.24, 0.12), RED), Part(box(0.6, 0.45, 0.28, 0.15), RED, (-0.1, 0, 0.38))]
    glass = [
        Part(box(0.42, 0.47, 0.14, 0.03), GLASS, (-0.1, 0, 0.42)),
        Part(box(0.61, 0.36, 0.14, 0.03), GLASS, (-0.1, 0, 0.42)),
    ]
    wheels = [
        Part(cylinder(0.27, 0.1, 0.05), BLACK, (x, y, -0.2), (90, 0, 0))
        for x in (-0.68, 0.68)
        for y in (-0.5, 0.5)
    ]
    hubs = [
        Part(cylinder(0.13, 0.12), STEEL, (x, y, -0.2), (90, 0, 0))
        for x in (-0.68, 0.68)
        for y in (-0.5, 0.5)
    ]
    lights = [Part(sphere(0.1), Finish((1, 0.95, 0.7), 0.8, glow=0.4), (1.1, y, 0.05)) for y in (-0.32, 0.32)]
    return [*body, *glass, *wheels, *hubs, *lights, Part(box(0.06, 0.5, 0.06), STEEL, (1.13, 0, -0.14))]


def _dumbbell() -> list[Part]:
    lay = (90, 0, 0)
    plates = [
        Part(cylinder(r, 0.14, 0.05), BLACK, (0, s * y, 0), lay)
        for s in (-1, 1)
        for r, y in ((0.52, 0.6), (0.4, 0.9))
    ]
    return [Part(cylinder(0.1, 1.15), STEEL, turn=lay), *plates]


def _planet() -> list[Part]:
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


def _castle() -> list[Part]:
    inside = Part(cylinder(0.5, 1), STONE, (0, 0, 1.75))
    gaps = tuple(Part(box(0.9, 0.09, 0.2, 0.01), STONE, (0, 0, 1.15), (0, 0, a)) for a in (0, 45, 90, 135))
    crown = Part(
        cylinder(0.72, 0.28),
        STONE,
        (0, 0, 0.85),
        carve=(inside._replace(at=(0, 0, 0.95)), *(g._replace(at=(0, 0, 0.22)) for g in gaps)),
    )
    door = Part(box(0.1, 0.2, 0.34, 0.02), DARK_WOOD, (0.6, 0, -0.72))
    slits = [
        Part(box(0.05, 0.05, 0.16, 0.01), BLACK, (x, y, 0.15), (0, 0, a)) for x, y, a in _around(4, 0.57)
    ]
    flag = [
        Part(cylinder(0.025, 0.5), DARK_WOOD, (0, 0, 1.3)),
        Part(box(0.02, 0.24, 0.14, 0.01), BLUE, (0, 0.26, 1.63)),
    ]
    return [Part(cone(0.68, 0.58, 0.95), STONE, (0, 0, -0.15)), crown, door, *slits, *flag]


def _spike(radius: float, height: float) -> Shape:
    """A six-sided column standing on the origin, with a pointed end."""
    column, point = prism(6, radius, height), prism(6, radius, 9.0, 0.7)
    up = np.array([0, 0, 1], np.float32)

    def distance(p: np.ndarray) -> np.ndarray:
        return np.maximum(column(p - 0.8 * height * up), point(p - (1.8 * height - 1.4 * radius) * up))

    return distance


def _crystal() -> list[Part]:
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


def assets(random: np.random.Generator) -> list[Asset]:
    """In the order of their ids. Odd on purpose: a caption without views, views without a caption, an empty
    caption. `random` places sprinkles."""
    return [
        Asset("0/10002", "A wooden table with four tapered legs and a red apple on top.", _table()),
        Asset("0/10017", "3D model of a gold table lamp with a glowing cream lampshade.", _lamp()),
        Asset("0/10041", "a small snow-covered pine tree with a gold ball on its tip.", _tree()),
        Asset("0/10096", "A snowman with a black top hat, a carrot nose and a red scarf.", _snowman()),
        Asset(
            "0/10113",
            "3D rendering of a white cartoon rocket with red fins and a round window.",
            _rocket(),
            "webp",
        ),
        Asset("1/10204", "A striped teal and cream mug filled with coffee.", _mug()),
        Asset("1/10238", "3D model of a donut with pink icing and colorful sprinkles.", _donut(random)),
        Asset("1/10255", "a black chess pawn with a polished finish.", _pawn()),
        Asset(
            "1/10301",
            "A red mushroom with white spots growing from a patch of grass.",
            _mushroom(),
            "jpg",
            92,
        ),
        Asset("1/10333", "3D model of a wooden rocking horse with a red saddle.", []),
        Asset("1/10377", "An orange traffic cone with a white stripe on a square base.", _traffic_cone()),
        Asset(
            "2/10410",
            "A small house with cream walls, a red tiled roof and a stone chimney.",
            _house(),
            "jpeg",
            92,
        ),
        Asset("2/10451", None, _crystal()),
        Asset("2/10476", "3D rendering of a blue and silver toy robot with glowing eyes.", _robot()),
        Asset("2/10502", "a red toy car with black wheels and tinted windows.", _car(), "webp", 90),
        Asset("2/10519", "", _dumbbell()),
        Asset("3/10608", "A ringed planet with tan cloud bands and a small gray moon.", _planet()),
        Asset(
            "3/10624", "3D model of a round stone castle tower with battlements and a blue flag.", _castle()
        ),
    ]
