"""A small software renderer: solids described by signed distances, drawn by sphere tracing.

A scene is a list of `Part`s in a right-handed frame with z up, in any unit: the camera frames whatever is
there. Points are arrays [N, 3]; a shape maps them to distances [N], negative inside.
Formulas of the distances: Inigo Quilez, https://iquilezles.org/articles/distfunctions/
"""

from typing import Callable, NamedTuple

import numpy as np

Shape = Callable[[np.ndarray], np.ndarray]

SAMPLES_PER_SIDE = 3  # rays per pixel, squared: smooth edges
FIELD_OF_VIEW_DEG = 30.0
HIT = 2e-3  # of the scene's radius: a ray this close has arrived
STEPS = 96


class Finish(NamedTuple):
    """How a surface looks. Colours are sRGB, 0 to 1."""

    colour: tuple[float, float, float]
    gloss: float = 0.3  # strength of the highlight
    metal: float = 0.0  # share of the surroundings mirrored in the surface's own colour
    glow: float = 0.0  # light of its own
    second: tuple[float, float, float] | None = None  # of stripes, if it has them
    stripes: tuple[float, float, float] = (0.0, 0.0, 1.0)  # direction, times stripes per unit of length


class Part(NamedTuple):
    shape: Shape
    finish: Finish
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # degrees about x, then y, then z
    carve: tuple["Part", ...] = ()  # taken away, in this part's own frame


# --- Shapes, centred on the origin, axis along z -----------------------------------------------------


def _length(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...i,...i->...", v, v))


def sphere(radius: float) -> Shape:
    return lambda p: _length(p) - radius


def ellipsoid(x: float, y: float, z: float) -> Shape:
    """Half axes. The distance is an estimate, good near the surface."""
    axes = np.array([x, y, z], np.float32)

    def distance(p: np.ndarray) -> np.ndarray:
        k0, k1 = _length(p / axes), _length(p / axes**2)
        return k0 * (k0 - 1.0) / np.maximum(k1, 1e-6)

    return distance


def box(x: float, y: float, z: float, rounding: float = 0.03) -> Shape:
    """Half extents, rounding included."""
    half = np.array([x, y, z], np.float32) - np.float32(rounding)

    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p) - half
        return _length(np.maximum(q, 0)) + np.minimum(q.max(axis=-1), 0) - rounding

    return distance


def cylinder(radius: float, half_height: float, rounding: float = 0.02) -> Shape:
    def distance(p: np.ndarray) -> np.ndarray:
        q = np.stack([_length(p[:, :2]) - radius + rounding, np.abs(p[:, 2]) - half_height + rounding], -1)
        return np.minimum(q.max(axis=-1), 0) + _length(np.maximum(q, 0)) - rounding

    return distance


def cone(bottom: float, top: float, half_height: float) -> Shape:
    """A cone cut flat at both ends, of the two radii."""

    def distance(p: np.ndarray) -> np.ndarray:
        r, z = _length(p[:, :2]), p[:, 2]
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
        q = _length(p[:, :2]) - ring
        return np.sqrt(q**2 + p[:, 2] ** 2) - tube

    return distance


def capsule(a: tuple[float, float, float], b: tuple[float, float, float], radius: float) -> Shape:
    """A rod with round ends from `a` to `b`."""
    start = np.array(a, np.float32)
    axis = np.array(b, np.float32) - start

    def distance(p: np.ndarray) -> np.ndarray:
        along = np.clip((p - start) @ axis / (axis @ axis), 0, 1)
        return _length(p - start - along[:, None] * axis) - radius

    return distance


def prism(sides: int, radius: float, half_height: float, narrowing: float = 0.0) -> Shape:
    """A regular prism; `narrowing` leans its sides inward towards the top (1 is 45 degrees)."""
    angles = np.arange(sides) * 2 * np.pi / sides
    faces = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    shorten = float(1 / np.sqrt(1 + narrowing**2))

    def distance(p: np.ndarray) -> np.ndarray:
        side = ((p[:, :2] @ faces).max(axis=1) - radius + narrowing * p[:, 2]) * shorten
        return np.maximum(side, np.abs(p[:, 2]) - half_height)

    return distance


# --- The scene as one solid --------------------------------------------------------------------------


def _rotation(turn_deg: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(turn_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).astype(np.float32)


def _local(part: Part, points: np.ndarray) -> np.ndarray:
    return (points - np.array(part.at, np.float32)) @ _rotation(part.turn)


def _part_distance(part: Part, points: np.ndarray) -> np.ndarray:
    local = _local(part, points)
    distance = part.shape(local)
    for hole in part.carve:
        distance = np.maximum(distance, -_part_distance(hole, local))
    return distance


def _distances(parts: list[Part], points: np.ndarray) -> np.ndarray:
    """[parts, N]"""
    return np.stack([_part_distance(part, points) for part in parts])


def _distance(parts: list[Part], points: np.ndarray) -> np.ndarray:
    return _distances(parts, points).min(axis=0)


def _frame(parts: list[Part]) -> tuple[np.ndarray, float]:
    """Centre and radius of a ball around the scene, from a coarse grid over [-3, 3]."""
    axis = np.linspace(-3, 3, 81, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    inside = grid[_distance(parts, grid) < (axis[1] - axis[0]) / 2]
    centre = (inside.min(axis=0) + inside.max(axis=0)) / 2
    return centre, float(_length(inside - centre).max())


# --- Light -------------------------------------------------------------------------------------------


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(_length(v), 1e-9)[..., None]


def _linear(srgb: tuple[float, float, float]) -> np.ndarray:
    return (np.array(srgb, np.float32) ** 2.2).astype(np.float32)


def _surroundings(direction: np.ndarray) -> np.ndarray:
    """What a mirror would show: a dim floor, a bright band at the horizon, a blue-grey sky."""
    height = direction[:, 2:3]
    sky = np.clip(height, 0, 1) * np.array([0.35, 0.42, 0.55]) + 0.35
    floor = np.array([0.16, 0.14, 0.13])
    band = 0.75 * np.exp(-((height - 0.35) ** 2) / 0.02)
    return (np.where(height > 0, sky, floor) + band).astype(np.float32)


def _shadow(parts: list[Part], points: np.ndarray, light: np.ndarray, radius: float) -> np.ndarray:
    """1 in the light, 0 in the dark, soft in between."""
    lit = np.ones(len(points), np.float32)
    travelled = np.full(len(points), 0.03 * radius, np.float32)
    for _ in range(24):
        near = _distance(parts, points + travelled[:, None] * light)
        lit = np.minimum(lit, np.clip(0.5 + 6 * near / travelled, 0, 1))
        travelled += np.clip(near, 0.02 * radius, 0.2 * radius)
    return lit


def _openness(parts: list[Part], points: np.ndarray, normals: np.ndarray, radius: float) -> np.ndarray:
    """Ambient occlusion: how much nearer the solid is than the height above the surface says."""
    closed = np.zeros(len(points), np.float32)
    for step, weight in ((0.04, 1.0), (0.10, 0.6), (0.2, 0.3)):
        height = step * radius
        closed += weight * np.clip(1 - _distance(parts, points + height * normals) / height, 0, 1)
    return 1 - 0.75 * np.clip(closed / 1.9, 0, 1)


def _colours(parts: list[Part], owner: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface's own colour [N, 3], and its gloss, metal and glow [N, 3]."""
    colour = np.zeros((len(points), 3), np.float32)
    nature = np.zeros((len(points), 3), np.float32)
    for index, part in enumerate(parts):
        mine = owner == index
        finish = part.finish
        nature[mine] = (finish.gloss, finish.metal, finish.glow)
        colour[mine] = _linear(finish.colour)
        if finish.second is not None and mine.any():
            phase = _local(part, points[mine]) @ np.array(finish.stripes, np.float32)
            share = np.clip(0.5 + 4 * np.sin(2 * np.pi * phase), 0, 1)[:, None]
            colour[mine] += share * (_linear(finish.second) - colour[mine])
    return colour, nature


def _shade(
    parts: list[Part], points: np.ndarray, ray: np.ndarray, radius: float, side: np.ndarray
) -> np.ndarray:
    """Linear colour [N, 3]. `side` is the camera's right: the key light comes over its left shoulder."""
    offset = 0.7 * HIT * radius
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    normals = _unit(sum(c * _distance(parts, points + offset * c)[:, None] for c in corners))
    owner = _distances(parts, points).argmin(axis=0)
    colour, nature = _colours(parts, owner, points)
    gloss, metal, glow = (nature[:, i : i + 1] for i in range(3))

    back = np.array([side[1], -side[0], 0], np.float32)  # horizontal, from the scene to the camera
    key = _unit(-0.7 * side + 0.75 * back + np.array([0, 0, 1.1], np.float32))
    rim = _unit(0.9 * side - 0.8 * back + np.array([0, 0, 0.5], np.float32))
    facing = np.clip(normals @ key, 0, 1) * _shadow(parts, points + 2 * offset * normals, key, radius)
    open_ = _openness(parts, points, normals, radius)[:, None]
    ambient = 0.34 + 0.16 * normals[:, 2:3]
    light = facing[:, None] * np.array([1.0, 0.96, 0.9]) + ambient * open_ * np.array([0.92, 0.97, 1.08])
    light = light + 0.25 * np.clip(normals @ rim, 0, 1)[:, None]

    mirrored = ray - 2 * np.einsum("ni,ni->n", ray, normals)[:, None] * normals
    grazing = (1 - np.clip(-np.einsum("ni,ni->n", ray, normals), 0, 1))[:, None] ** 4
    highlight = np.clip(mirrored @ key, 0, 1)[:, None] ** 40 * np.sign(facing)[:, None]
    seen = _surroundings(mirrored) * open_
    matt = colour * light * (1 - 0.85 * metal) + gloss * (0.6 * highlight + 0.25 * grazing * seen)
    return matt + metal * (0.3 + 0.7 * colour) * seen * 0.9 * (colour + grazing) + glow * colour


# --- The camera --------------------------------------------------------------------------------------


def _rays(azimuth_deg: float, elevation_deg: float, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction to the camera from the scene, unit rays [(pixels * samples)^2, 3], the camera's right."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    back = np.array(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)],
        np.float32,
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0], np.float32)
    up = np.cross(back, right)
    count = pixels * SAMPLES_PER_SIDE
    screen = (np.arange(count, dtype=np.float32) + 0.5) / count * 2 - 1
    screen *= np.float32(np.tan(np.radians(FIELD_OF_VIEW_DEG / 2)))
    x, y = np.meshgrid(screen, -screen)
    return back, _unit(x[..., None] * right + y[..., None] * up - back).reshape(-1, 3), right


def _march(parts: list[Part], eye: np.ndarray, rays: np.ndarray, centre: np.ndarray, radius: float):
    """Which rays meet the scene [N] bool, and how far along [N]."""
    towards = (centre - eye) @ rays.T
    reach = radius**2 - (((centre - eye) ** 2).sum() - towards**2)
    half = np.sqrt(np.maximum(reach, 0))
    travelled, end = towards - half, towards + half
    met = np.zeros(len(rays), bool)
    active = np.flatnonzero(reach > 0)
    for _ in range(STEPS):
        near = _distance(parts, eye + travelled[active, None] * rays[active])
        met[active[near < HIT * radius]] = True
        travelled[active] += np.where(near < HIT * radius, 0, 0.95 * near)
        active = active[(near >= HIT * radius) & (travelled[active] < end[active])]
        if not len(active):
            break
    return met, travelled


def turntable(
    parts: list[Part], views: int, start_deg: float, elevation_deg: float, pixels: int
) -> list[np.ndarray]:
    """RGBA u8 pictures [pixels, pixels, 4], straight alpha, black where nothing is seen."""
    centre, radius = _frame(parts)
    radius *= 1.04
    eye_distance = radius / np.sin(np.radians(FIELD_OF_VIEW_DEG / 2))
    return [
        _view(parts, centre, radius, eye_distance, start_deg + 360 * view / views, elevation_deg, pixels)
        for view in range(views)
    ]


def _view(parts, centre, radius, eye_distance, azimuth_deg, elevation_deg, pixels) -> np.ndarray:
    back, rays, right = _rays(azimuth_deg, elevation_deg, pixels)
    eye = (centre + eye_distance * back).astype(np.float32)
    met, travelled = _march(parts, eye, rays, centre, radius)
    seen = np.zeros((len(rays), 4), np.float32)
    if met.any():
        points = eye + travelled[met, None] * rays[met]
        seen[met, :3] = np.clip(_shade(parts, points, rays[met], radius, right), 0, 1)
        seen[met, 3] = 1
    s = SAMPLES_PER_SIDE
    mean = seen.reshape(pixels, s, pixels, s, 4).mean(axis=(1, 3))
    alpha = mean[..., 3:]
    colour = np.where(alpha > 0, mean[..., :3] / np.maximum(alpha, 1e-6), 0) ** (1 / 2.2)
    return np.round(np.concatenate([colour, alpha], -1) * 255).clip(0, 255).astype(np.uint8)
