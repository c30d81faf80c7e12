"""Finishes and placements that many objects share."""

import numpy as np

from shapes import Finish, Part, Point3, Shape, cylinder

WOOD = Finish((0.62, 0.40, 0.22), 0.25, second=(0.52, 0.32, 0.17), stripes=(0.6, 3.2, 0.4))
DARK_WOOD = Finish((0.36, 0.22, 0.13), 0.25, second=(0.30, 0.18, 0.10), stripes=(2.5, 0.4, 0.3))
STEEL = Finish((0.78, 0.80, 0.83), 0.5, metal=0.85)
GOLD = Finish((0.95, 0.74, 0.28), 0.5, metal=0.85)
WHITE = Finish((0.93, 0.93, 0.92))
CREAM = Finish((0.93, 0.86, 0.70), 0.1)
BLACK = Finish((0.07, 0.07, 0.08), 0.5)
GREY = Finish((0.45, 0.46, 0.48))
RED = Finish((0.82, 0.13, 0.12), 0.5)
PINK = Finish((0.95, 0.50, 0.66), 0.5)
ORANGE = Finish((0.95, 0.45, 0.08), 0.4)
YELLOW = Finish((0.97, 0.80, 0.15), 0.4)
GREEN = Finish((0.20, 0.50, 0.20), 0.2)
BLUE = Finish((0.15, 0.33, 0.75), 0.5)
PURPLE = Finish((0.48, 0.22, 0.62), 0.4)
STONE = Finish((0.60, 0.58, 0.55), 0.05, second=(0.54, 0.52, 0.49), stripes=(0, 0, 2.6))
GLASS = Finish((0.55, 0.75, 0.85), 0.9, metal=0.5)
FLAME = Finish((1.0, 0.6, 0.1), glow=0.9)


def around(count: int, radius: float, start_deg: float = 0.0) -> list[Point3]:
    """x, y and the angle in degrees of evenly spread places on a circle."""
    angles = np.radians(start_deg) + np.arange(count) * 2 * np.pi / count
    return [(float(radius * np.cos(a)), float(radius * np.sin(a)), float(np.degrees(a))) for a in angles]


def pair(shape: Shape, finish: Finish, at: Point3, turn: Point3 = (0.0, 0.0, 0.0)) -> list[Part]:
    """A part on the left and its mirror image on the right."""
    x, y, z = at
    return [Part(shape, finish, (x, s * y, z), (s * turn[0], turn[1], s * turn[2])) for s in (1, -1)]


def wheels(xs: list[float], y: float, z: float, radius: float, width: float) -> list[Part]:
    """Black tyres with steel hubs on both sides."""
    sides = [(x, s * y, z) for x in xs for s in (-1, 1)]
    tyres = [Part(cylinder(radius, width, 0.05), BLACK, at, (90, 0, 0)) for at in sides]
    hubs = [Part(cylinder(0.5 * radius, width + 0.02), STEEL, at, (90, 0, 0)) for at in sides]
    return [*tyres, *hubs]
