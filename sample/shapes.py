"""Solids described by signed distances, in a right-handed frame with z up, in any unit.

Points are arrays [N, 3]; a shape maps them to distances [N], negative inside. Shapes stand on the origin's
middle, with their axis along z; a `Part` places one and says what it looks like.
Formulas of the distances: Inigo Quilez, https://iquilezles.org/articles/distfunctions/
"""

from typing import Callable, NamedTuple

import numpy as np

Shape = Callable[[np.ndarray], np.ndarray]
Point2 = tuple[float, float]
Point3 = tuple[float, float, float]


class Finish(NamedTuple):
    """How a surface looks. Colours are sRGB, 0 to 1."""

    colour: Point3
    gloss: float = 0.3  # strength of the highlight
    metal: float = 0.0  # share of the surroundings mirrored in the surface's own colour
    glow: float = 0.0  # light of its own
    second: Point3 | None = None  # of stripes, if it has them
    stripes: Point3 = (0.0, 0.0, 1.0)  # direction, times stripes per unit of length


class Part(NamedTuple):
    shape: Shape
    finish: Finish
    at: Point3 = (0.0, 0.0, 0.0)
    turn: Point3 = (0.0, 0.0, 0.0)  # degrees about x, then y, then z
    carve: tuple["Part", ...] = ()  # taken away, in this part's own frame


def rotation(turn_deg: Point3) -> np.ndarray:
    """Row vectors in the frame of the scene, times this, are in the frame of what is turned."""
    x, y, z = np.radians(turn_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).astype(np.float32)


def solid(part: Part) -> Shape:
    """The part in its own frame, with what is carved out of it."""
    if not part.carve:
        return part.shape
    holes = [placed(hole) for hole in part.carve]

    def distance(p: np.ndarray) -> np.ndarray:
        return np.maximum.reduce([part.shape(p), *(-hole(p) for hole in holes)])

    return distance


def placed(part: Part) -> Shape:
    """The part in the frame that it is placed in."""
    shape, at, turn = solid(part), np.array(part.at, np.float32), rotation(part.turn)
    return lambda p: shape((p - at) @ turn)


def length(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...i,...i->...", v, v))


def sphere(radius: float) -> Shape:
    return lambda p: length(p) - radius


def ellipsoid(x: float, y: float, z: float) -> Shape:
    """Half axes. The distance is an estimate, good near the surface."""
    axes = np.array([x, y, z], np.float32)

    def distance(p: np.ndarray) -> np.ndarray:
        k0, k1 = length(p / axes), length(p / axes**2)
        return k0 * (k0 - 1.0) / np.maximum(k1, 1e-6)

    return distance


def box(x: float, y: float, z: float, rounding: float = 0.03) -> Shape:
    """Half extents, rounding included."""
    half = np.array([x, y, z], np.float32) - np.float32(rounding)

    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p) - half
        return length(np.maximum(q, 0)) + np.minimum(q.max(axis=-1), 0) - rounding

    return distance


def cylinder(radius: float, half_height: float, rounding: float = 0.02) -> Shape:
    def distance(p: np.ndarray) -> np.ndarray:
        q = np.stack([length(p[:, :2]) - radius + rounding, np.abs(p[:, 2]) - half_height + rounding], -1)
        return np.minimum(q.max(axis=-1), 0) + length(np.maximum(q, 0)) - rounding

    return distance


def cone(bottom: float, top: float, half_height: float) -> Shape:
    """A cone cut flat at both ends, of the two radii."""

    def distance(p: np.ndarray) -> np.ndarray:
        r, z = length(p[:, :2]), p[:, 2]
        cap_r = r - np.minimum(r, np.where(z < 0, bottom, top))
        cap_z = np.abs(z) - half_height
        slope_r, slope_z = top - bottom, 2 * half_height
        along = ((top - r) * slope_r + (half_height - z) * slope_z) / (slope_r**2 + slope_z**2)
        along = np.clip(along, 0, 1)
        side_r = r - top + slope_r * along
        side_z = z - half_height + slope_z * along
        sign = np.where((side_r < 0) & (cap_z < 0), -1.0, 1.0)
        return sign * np.sqrt(np.minimum(cap_r**2 + cap_z**2, side_r**2 + side_z**2))

    return distance


def torus(ring: float, tube: float) -> Shape:
    def distance(p: np.ndarray) -> np.ndarray:
        q = length(p[:, :2]) - ring
        return np.sqrt(q**2 + p[:, 2] ** 2) - tube

    return distance


def rod(points: list[Point3], radius: float, end_radius: float | None = None) -> Shape:
    """A round rod along straight pieces, thinner or thicker towards its end if asked for."""
    corners = np.array(points, np.float32)
    starts, axes = corners[:-1], corners[1:] - corners[:-1]
    radii = np.linspace(radius, radius if end_radius is None else end_radius, len(corners))

    def distance(p: np.ndarray) -> np.ndarray:
        near = np.full(len(p), np.inf, np.float32)
        for i, (start, axis) in enumerate(zip(starts, axes)):
            along = np.clip((p - start) @ axis / (axis @ axis), 0, 1)
            thick = radii[i] + (radii[i + 1] - radii[i]) * along
            near = np.minimum(near, length(p - start - along[:, None] * axis) - thick)
        return near

    return distance


def curve(points: list[Point3], pieces: int = 5) -> list[Point3]:
    """A smooth line through the points (Catmull-Rom), so many pieces between two of them."""
    p = np.array([points[0], *points, points[-1]], np.float64)
    line = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        for t in np.arange(pieces) / pieces:
            line.append(
                0.5
                * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    return [tuple(map(float, q)) for q in [*line, p[-1]]]


def prism(sides: int, radius: float, half_height: float, narrowing: float = 0.0) -> Shape:
    """A regular prism; `narrowing` leans its sides inward towards the top (1 is 45 degrees)."""
    angles = np.arange(sides) * 2 * np.pi / sides
    faces = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    shorten = float(1 / np.sqrt(1 + narrowing**2))

    def distance(p: np.ndarray) -> np.ndarray:
        side = ((p[:, :2] @ faces).max(axis=1) - radius + narrowing * p[:, 2]) * shorten
        return np.maximum(side, np.abs(p[:, 2]) - half_height)

    return distance


def _polygon(corners: list[Point2]) -> Shape:
    """Distance in the plane, of points [N, 2]."""
    starts = np.array(corners, np.float32)
    axes = np.roll(starts, -1, axis=0) - starts

    def distance(p: np.ndarray) -> np.ndarray:
        near, sign = np.full(len(p), np.inf, np.float32), np.ones(len(p), np.float32)
        for start, axis in zip(starts, axes):
            w = p - start
            along = np.clip(w @ axis / max(axis @ axis, 1e-12), 0, 1)
            off = w - along[:, None] * axis
            near = np.minimum(near, np.einsum("ij,ij->i", off, off))
            above, below = p[:, 1] >= start[1], p[:, 1] < start[1] + axis[1]
            left = axis[0] * w[:, 1] > axis[1] * w[:, 0]
            crosses = (above & below & left) | ~(above | below | left)
            sign = np.where(crosses, -sign, sign)
        return sign * np.sqrt(near)

    return distance


def lathe(profile: list[Point2], rounding: float = 0.0) -> Shape:
    """What a lathe turns: the outline from bottom to top as (radius, height), closed along the axis."""
    outline = _polygon([(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])])
    return lambda p: outline(np.stack([length(p[:, :2]), p[:, 2]], -1)) - rounding


def plate(outline: list[Point2], half_thickness: float, rounding: float = 0.02) -> Shape:
    """A flat piece: its outline in y and z, thick along x."""
    flat = _polygon(outline)

    def distance(p: np.ndarray) -> np.ndarray:
        q = np.stack([flat(p[:, 1:]), np.abs(p[:, 0]) - half_thickness + rounding], -1)
        return np.minimum(q.max(axis=-1), 0) + length(np.maximum(q, 0)) - rounding

    return distance


def blend(softness: float, *parts: tuple[Shape, Point3] | tuple[Shape, Point3, Point3]) -> Shape:
    """Shapes at places (and turned), run together as if of clay."""
    pieces = [placed(Part(part[0], Finish((0, 0, 0)), *part[1:])) for part in parts]

    def distance(p: np.ndarray) -> np.ndarray:
        total = pieces[0](p)
        for piece in pieces[1:]:
            other = piece(p)
            near = np.maximum(softness - np.abs(total - other), 0) / softness
            total = np.minimum(total, other) - near**2 * softness / 4
        return total

    return distance
