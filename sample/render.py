"""A small software renderer: sphere tracing of the solids of `shapes.py`, part by part.

A ray asks only the parts whose bounding ball it meets, and pixels that look like their neighbours are not
sampled again, so that a view of 128 x 128 pixels takes a fraction of a second.
"""

from typing import NamedTuple

import numpy as np

from shapes import Finish, Part, Shape, length, rotation, solid

SAMPLES_PER_SIDE = 4  # rays per pixel, squared, where a pixel is not of one colour
FIELD_OF_VIEW_DEG = 30.0
HIT = 1.5e-3  # of the scene's radius: a ray this close has arrived
STEPS = 96
GRID = 33  # points a side of the grids that bound a part


class Body(NamedTuple):
    """A part ready to be drawn."""

    shape: Shape  # in its own frame
    finish: Finish
    at: np.ndarray
    turn: np.ndarray
    centre: np.ndarray  # of a ball around it, in the scene
    radius: float

    def local(self, points: np.ndarray) -> np.ndarray:
        return (points - self.at) @ self.turn

    def distance(self, points: np.ndarray) -> np.ndarray:
        return self.shape(self.local(points))


class Scene(NamedTuple):
    bodies: list[Body]
    centre: np.ndarray
    radius: float


def turntable(parts: list[Part], angles_deg: list[tuple[float, float]], pixels: int) -> list[np.ndarray]:
    """RGBA u8 pictures [pixels, pixels, 4] from pairs of azimuth and elevation: straight alpha, black where
    nothing is seen."""
    scene = _scene(parts)
    return [_view(scene, azimuth, elevation, pixels) for azimuth, elevation in angles_deg]


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(length(v), 1e-9)[..., None]


# --- The scene ---------------------------------------------------------------------------------------


def _grid(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, float]:
    """Points [GRID^3, 3] between two corners, and half the diagonal of a cell."""
    axes = [np.linspace(a, b, GRID, dtype=np.float32) for a, b in zip(low, high)]
    cell = (high - low) / (GRID - 1)
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3), float(length(cell) / 2)


def _inside(shape: Shape) -> np.ndarray:
    """Points of a grid in and just around a shape, which fits into [-3, 3]."""
    low, high = np.full(3, -3, np.float32), np.full(3, 3, np.float32)
    for _ in range(3):
        grid, reach = _grid(low, high)
        inside = grid[shape(grid) < reach]
        low, high = inside.min(axis=0), inside.max(axis=0)
    return inside


def _scene(parts: list[Part]) -> Scene:
    bodies, corners = [], []
    for part in parts:
        shape, at, turn = solid(part), np.array(part.at, np.float32), rotation(part.turn)
        points = _inside(shape) @ turn.T + at
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        bodies.append(Body(shape, part.finish, at, turn, centre, float(length(points - centre).max())))
        corners.append(points)
    points = np.concatenate(corners)
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    return Scene(bodies, centre, float(length(points - centre).max()))


# --- Rays --------------------------------------------------------------------------------------------


def _ball(body: Body, origins: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays come into the ball around a body and leave it; behind each other where they miss it."""
    to_centre = body.centre - origins
    middle = np.einsum("ni,ni->n", np.broadcast_to(to_centre, rays.shape), rays)
    half = body.radius**2 - (np.einsum("...i,...i->...", to_centre, to_centre) - middle**2)
    root = np.sqrt(np.maximum(half, 0))
    return np.where(half > 0, middle - root, np.inf), middle + root


def _march(scene: Scene, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far along each ray the scene is met (infinite: nowhere), and by which body (-1: none)."""
    nearest, owner = np.full(len(rays), np.inf, np.float32), np.full(len(rays), -1)
    close = HIT * scene.radius
    for index, body in enumerate(scene.bodies):
        enter, leave = _ball(body, eye, rays)
        active = np.flatnonzero((enter < leave) & (enter < nearest))
        start, along, travelled = body.local(eye), rays[active] @ body.turn, enter[active]
        end = np.minimum(leave[active], nearest[active])
        for _ in range(STEPS):
            near = body.shape(start + travelled[:, None] * along)
            hit = near < close
            nearest[active[hit]], owner[active[hit]] = travelled[hit], index
            travelled = travelled + 0.95 * near
            going = ~hit & (travelled < end)
            active, along, travelled, end = active[going], along[going], travelled[going], end[going]
            if not len(active):
                break
    return nearest, owner


def _lit(scene: Scene, points: np.ndarray, light: np.ndarray) -> np.ndarray:
    """1 in the light, 0 in the dark, soft in between."""
    lit = np.ones(len(points), np.float32)
    rays = np.broadcast_to(light, points.shape)
    for body in scene.bodies:
        wide = body._replace(radius=1.1 * body.radius + 0.06 * scene.radius)
        enter, leave = _ball(wide, points, rays)
        active = np.flatnonzero((enter < leave) & (leave > 0))
        travelled = np.maximum(enter[active], 0.03 * scene.radius).astype(np.float32)
        for _ in range(24):
            near = body.distance(points[active] + travelled[:, None] * light)
            lit[active] = np.minimum(lit[active], np.clip(0.5 + 6 * near / travelled, 0, 1))
            travelled = travelled + np.clip(near, 0.02 * scene.radius, 0.2 * scene.radius)
            going = (travelled < leave[active]) & (lit[active] > 0)
            active, travelled = active[going], travelled[going]
            if not len(active):
                break
    return lit


def _openness(scene: Scene, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Ambient occlusion: how much nearer the scene is than the height above the surface says."""
    closed = np.zeros(len(points), np.float32)
    for step, weight in ((0.04, 1.0), (0.10, 0.6), (0.2, 0.3)):
        height = step * scene.radius
        above = points + height * normals
        near = np.full(len(points), height, np.float32)
        for body in scene.bodies:
            reached = np.flatnonzero(length(above - body.centre) < body.radius + height)
            near[reached] = np.minimum(near[reached], body.distance(above[reached]))
        closed += weight * np.clip(1 - near / height, 0, 1)
    return 1 - 0.75 * np.clip(closed / 1.9, 0, 1)


# --- Light -------------------------------------------------------------------------------------------


def _linear(srgb: tuple[float, float, float]) -> np.ndarray:
    return (np.array(srgb, np.float32) ** 2.2).astype(np.float32)


def _surroundings(direction: np.ndarray) -> np.ndarray:
    """What a mirror would show: a dim floor, a bright band at the horizon, a blue-grey sky."""
    height = direction[:, 2:3]
    sky = np.clip(height, 0, 1) * np.array([0.35, 0.42, 0.55]) + 0.35
    floor = np.array([0.16, 0.14, 0.13])
    band = 0.75 * np.exp(-((height - 0.35) ** 2) / 0.02)
    return (np.where(height > 0, sky, floor) + band).astype(np.float32)


def _surface(scene: Scene, owner: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, ...]:
    """Normals [N, 3], the surface's own colour [N, 3], and its gloss, metal and glow [N, 3]."""
    normals, colour, nature = (np.zeros((len(points), 3), np.float32) for _ in range(3))
    offset = HIT * scene.radius
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    for index in np.unique(owner):
        mine, body = owner == index, scene.bodies[index]
        local, finish = body.local(points[mine]), body.finish
        slope = sum(c * body.shape(local + offset * c)[:, None] for c in corners)
        normals[mine] = _unit(slope @ body.turn.T)
        nature[mine] = (finish.gloss, finish.metal, finish.glow)
        colour[mine] = _linear(finish.colour)
        if finish.second is not None:
            phase = local @ np.array(finish.stripes, np.float32)
            share = np.clip(0.5 + 4 * np.sin(2 * np.pi * phase), 0, 1)[:, None]
            colour[mine] += share * (_linear(finish.second) - colour[mine])
    return normals, colour, nature


def _shade(
    scene: Scene, owner: np.ndarray, points: np.ndarray, ray: np.ndarray, side: np.ndarray
) -> np.ndarray:
    """Linear colour [N, 3]. `side` is the camera's right: the key light comes over its left shoulder."""
    normals, colour, nature = _surface(scene, owner, points)
    gloss, metal, glow = (nature[:, i : i + 1] for i in range(3))

    back = np.array([side[1], -side[0], 0], np.float32)  # horizontal, from the scene to the camera
    key = _unit(-0.7 * side + 0.75 * back + np.array([0, 0, 1.1], np.float32))
    rim = _unit(0.9 * side - 0.8 * back + np.array([0, 0, 0.5], np.float32))
    facing = np.clip(normals @ key, 0, 1)
    bright = np.flatnonzero(facing > 0)
    lifted = points[bright] + 1.5 * HIT * scene.radius * normals[bright]
    facing[bright] *= _lit(scene, lifted, key)
    open_ = _openness(scene, points, normals)[:, None]
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


class Camera(NamedTuple):
    eye: np.ndarray
    back: np.ndarray  # from the scene to the camera
    right: np.ndarray
    pixels: int

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Unit directions [N, 3] through places on the picture, in pixels from its upper left corner."""
        half = np.tan(np.radians(FIELD_OF_VIEW_DEG / 2))
        u, v = ((2 * place / self.pixels - 1) * half for place in (x, y))
        up = np.cross(self.back, self.right)
        return _unit(u[:, None] * self.right - v[:, None] * up - self.back).astype(np.float32)


def _camera(scene: Scene, azimuth_deg: float, elevation_deg: float, pixels: int) -> Camera:
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    flat = np.array([np.cos(azimuth), np.sin(azimuth), 0])
    back = (np.cos(elevation) * flat + np.array([0, 0, np.sin(elevation)])).astype(np.float32)
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0], np.float32)
    distance = 1.03 * scene.radius / np.sin(np.radians(FIELD_OF_VIEW_DEG / 2))
    return Camera((scene.centre + distance * back).astype(np.float32), back, right, pixels)


def _trace(scene: Scene, camera: Camera, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour and alpha [N, 4] at places on the picture, and the body seen there."""
    rays = camera.rays(x, y)
    travelled, owner = _march(scene, camera.eye, rays)
    met = owner >= 0
    seen = np.zeros((len(rays), 4), np.float32)
    if met.any():
        points = camera.eye + travelled[met, None] * rays[met]
        seen[met, :3] = np.clip(_shade(scene, owner[met], points, rays[met], camera.right), 0, 1)
        seen[met, 3] = 1
    return seen, owner


def _unlike_neighbours(seen: np.ndarray, owner: np.ndarray, pixels: int) -> np.ndarray:
    """Pixels beside one that shows another body or another shade."""
    shade = np.concatenate([seen ** (1 / 2.2) * 10, 100.0 * owner[:, None]], -1).reshape(pixels, pixels, 5)
    unlike = np.zeros((pixels, pixels), bool)
    for axis in (0, 1):
        step = np.abs(np.diff(shade, axis=axis)).max(axis=-1) > 0.5
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        unlike[tuple(first)] |= step
        unlike[tuple(second)] |= step
    return unlike.ravel()


def _view(scene: Scene, azimuth_deg: float, elevation_deg: float, pixels: int) -> np.ndarray:
    camera = _camera(scene, azimuth_deg, elevation_deg, pixels)
    y, x = (place.ravel() for place in np.mgrid[0:pixels, 0:pixels].astype(np.float32))
    mean, owner = _trace(scene, camera, x + 0.5, y + 0.5)
    again = np.flatnonzero(_unlike_neighbours(mean, owner, pixels))
    s = SAMPLES_PER_SIDE
    offsets = (np.arange(s, dtype=np.float32) + 0.5) / s
    down, across = (part.ravel() for part in np.meshgrid(offsets, offsets, indexing="ij"))
    many, _ = _trace(scene, camera, (x[again, None] + across).ravel(), (y[again, None] + down).ravel())
    mean[again] = many.reshape(len(again), s * s, 4).mean(axis=1)
    alpha = mean[:, 3:]
    colour = np.where(alpha > 0, mean[:, :3] / np.maximum(alpha, 1e-6), 0) ** (1 / 2.2)
    picture = np.concatenate([colour, alpha], -1).reshape(pixels, pixels, 4)
    return np.round(picture * 255).clip(0, 255).astype(np.uint8)
