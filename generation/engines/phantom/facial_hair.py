"""Brows, lashes and beard: strands bound to the mesh, placed anew for every expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.assets import LASH_PARTS, load_assets
from thermvision.generation.engines.phantom.fields import (
    bell,
    polyline_distance,
    random_field,
    smooth_curve,
    smoothstep,
)
from thermvision.generation.engines.phantom.layers import Floats, Head, Strands
from thermvision.generation.engines.phantom.scatter import Roots, scatter
from thermvision.generation.engines.phantom.skin_texture import grain
from thermvision.generation.engines.phantom.thermal import SkinTemperature

BROW, BEARD = SEGMENTS.index("brow"), SEGMENTS.index("beard")


@dataclass(frozen=True, eq=False)
class BoundStrands:
    """Strands of three points rooted on triangles.

    Attributes:
        roots: where they grow.
        direction: (N, 3) before it is laid along the skin; axes of the rest pose.
        length: (N,) metres.
        lift: how far they stand off the skin relative to their length.
        temperature: (N, 3) kelvin above the skin's base. half_width: (N,) metres. label: index into `SEGMENTS`.
    """

    roots: Roots
    direction: Floats
    length: Floats
    lift: float
    temperature: Floats
    half_width: Floats
    label: int

    def at(self, vertices: Floats, normals: Floats, base: float) -> Strands:
        """The strands on deformed ``vertices`` (n, 3) with ``normals`` (n, 3)."""
        points = np.empty((len(self.length), 3, 3))
        _bound(
            self.roots.rows, self.roots.weights, self.direction, self.length, self.lift,
            np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(normals, np.float64), points,
        )  # fmt: skip
        return Strands(points, base + self.temperature, self.half_width, self.label, "skin")


@dataclass(frozen=True, eq=False)
class Lashes:
    """Strands of three points across the quads of the lash strips.

    Attributes:
        corners: (N, 4) rows of the hm08 mesh: root, root, tip, tip.
        across: (N,) 0..1, place along the root edge.
        reach: (N,) length relative to the strip's width.
        temperature: (N, 3) kelvin above the skin's base. half_width: (N,) metres.
    """

    corners: NDArray[np.int64]
    across: Floats
    reach: Floats
    temperature: Floats
    half_width: Floats

    def at(self, raw: Floats, base: float) -> Strands:
        """The lashes of a deformed hm08 mesh ``raw`` (V, 3), decimetres."""
        a, b, c, d = (raw[self.corners[:, k]] * 0.1 for k in range(4))
        root = a + (b - a) * self.across[:, None]
        tip = d + (c - d) * self.across[:, None]
        # the strip floats before the lid: start inside it
        root = root - 0.3 * (tip - root)
        end = root + (tip - root) * self.reach[:, None]
        points = np.stack([root, (root + end) / 2, end], 1)
        return Strands(points, base + self.temperature, self.half_width, BROW, "skin")


@dataclass(frozen=True, eq=False)
class FacialHair:
    """Everything that grows on the face.

    Attributes:
        bound: brows and beard. lashes: both eyes'.
        shade: (n,) kelvin by which the skin beneath a beard is cooler.
        base: °C, the session's skin level the strands are relative to.
    """

    bound: tuple[BoundStrands, ...]
    lashes: Lashes
    shade: Floats
    base: float

    def on(self, skin: SkinTemperature) -> tuple[FacialHair, SkinTemperature]:
        """This hair on ``skin``, and the skin beneath it."""
        return replace(self, base=skin.base), skin.changed(skin.temperature - self.shade)

    def strands(self, vertices: Floats, normals: Floats, raw: Floats) -> list[Strands]:
        """Strands for one expression, before head pose.

        Args:
            vertices: (n, 3) deformed mesh, metres, with ``normals`` (n, 3).
            raw: (V, 3) the same deformation of the whole hm08 mesh, decimetres.
        """
        return [self.lashes.at(raw, self.base), *(part.at(vertices, normals, self.base) for part in self.bound)]


@nb.njit(cache=True, fastmath=False)
def _bound(  # pragma: no cover - compiled
    rows: Any, weights: Any, direction: Any, length: Any, lift: float, vertices: Any, normals: Any, out: Any
) -> None:
    for s in range(len(rows)):
        px = py = pz = nx = ny = nz = 0.0
        for k in range(3):
            row, w = rows[s, k], weights[s, k]
            px += w * vertices[row, 0]
            py += w * vertices[row, 1]
            pz += w * vertices[row, 2]
            nx += w * normals[row, 0]
            ny += w * normals[row, 1]
            nz += w * normals[row, 2]
        dx, dy, dz = direction[s, 0], direction[s, 1], direction[s, 2]
        outward = dx * nx + dy * ny + dz * nz
        dx, dy, dz = dx - outward * nx, dy - outward * ny, dz - outward * nz
        scale = length[s] / max((dx * dx + dy * dy + dz * dz) ** 0.5, 1e-9)
        rise = lift * length[s]
        out[s, 0, 0], out[s, 0, 1], out[s, 0, 2] = px + 0.0003 * nx, py + 0.0003 * ny, pz + 0.0003 * nz
        out[s, 1, 0] = px + 0.5 * (dx * scale + rise * nx)
        out[s, 1, 1] = py + 0.5 * (dy * scale + rise * ny)
        out[s, 1, 2] = pz + 0.5 * (dz * scale + rise * nz)
        out[s, 2, 0] = px + dx * scale + 0.8 * rise * nx
        out[s, 2, 1] = py + dy * scale + 0.8 * rise * ny - 0.2 * length[s]
        out[s, 2, 2] = pz + dz * scale + 0.8 * rise * nz


def make_facial_hair(head: Head, beard: str, rng: np.random.Generator) -> FacialHair:
    """Brows, lashes and, if any, the beard of an identity; `FacialHair.on` gives it a session's temperature.

    The beard draws last: with or without, the brows are the same.

    Raises:
        UsageError: ``beard`` is neither none nor of `BEARD_STYLES`.
    """
    if beard not in ("none", *BEARD_STYLES):
        raise UsageError(f"beard {beard!r} is not available; allowed: none, {', '.join(BEARD_STYLES)}")
    bound = _brows(head, rng)
    lashes = _lashes(head, rng)
    shade = _shaven(head, rng.spawn(1)[0]) if head.gender == "male" else np.zeros(len(head.rest))
    if beard != "none":
        style = BEARD_STYLES[beard]
        coverage, strands = _beard(head, style, rng)
        shade = shade * (1 - coverage) + style.shade * coverage
        bound.append(strands)
    return FacialHair(tuple(bound), lashes, shade, 0.0)


# ---- brows


def _brows(head: Head, rng: np.random.Generator) -> list[BoundStrands]:
    male = head.gender == "male"
    place = anatomy(head.topology)
    density = rng.uniform(0.5, 1.0)
    half = rng.uniform(0.0042, 0.0062) if male else rng.uniform(0.0028, 0.0042)
    level = -rng.uniform(0.2, 1.0)
    count = int((800 if male else 450) * density)
    brows = []
    level_of_brows = np.abs(head.topology.canonical[:, 1] - place.points[17:27, 1].mean()) < 0.03
    near = np.flatnonzero(place.skin & level_of_brows & (head.topology.canonical[:, 2] > 0.02))
    for side, rows in ((1.0, range(22, 27)), (-1.0, range(21, 16, -1))):
        curve = smooth_curve(place.points[list(rows)], 8)
        distance, along = polyline_distance(head.topology.canonical[near], curve)
        # full at the nose, thin at the temple, and with soft borders
        band = half * (1 - 0.55 * along) * (0.75 + 0.25 * smoothstep(along, 0, 0.15))
        cover = np.zeros(len(head.rest))
        cover[near] = smoothstep(distance, 1.25 * band, 0.25 * band)
        roots = scatter(head, cover, count, rng)
        place_along = np.zeros(len(head.rest))
        place_along[near] = along
        t = roots.of(place_along)
        # hairs rise at the nose, lie flat in the middle and point down at the tail
        direction = np.stack([side * (0.55 + 0.4 * smoothstep(t, 0, 0.35)), 0.75 - 1.0 * t, np.full(len(t), 0.1)], 1)
        direction += rng.normal(0, 0.24, direction.shape)
        tone = rng.normal(0, 0.35, len(t))
        temperature = level + tone[:, None] + np.array([0.8, 0.0, -0.5])
        length = 0.007 * rng.uniform(0.6, 1.0, len(t)) * (1 - 0.25 * t)
        width = 0.00010 * rng.uniform(0.8, 1.2, len(t))
        brows.append(BoundStrands(roots, direction, length, 0.12, temperature, width, BROW))
    return brows


# ---- lashes


@lru_cache(1)
def _lash_quads() -> NDArray[np.int64]:
    """(Q, 4) quads of the lash strips, turned so that the first two corners lie on the lid."""
    assets = load_assets()
    turned = []
    for part in LASH_PARTS:
        quads = assets.faces[part].astype(np.int64)
        eyeball = assets.vertices[np.unique(assets.faces[f"helper-{part.split('-')[1]}-eye"])].mean(0)
        distance = np.linalg.norm(assets.vertices[quads] - eyeball, axis=2)
        root_edge = np.argmin(distance + np.roll(distance, -1, axis=1), axis=1)
        turned.append(np.take_along_axis(quads, (root_edge[:, None] + np.arange(4)) % 4, axis=1))
    return np.concatenate(turned)


def _lashes(head: Head, rng: np.random.Generator) -> Lashes:
    male = head.gender == "male"
    level = -rng.uniform(0.2, 0.9)
    quads = _lash_quads()
    each = 3 if male else 5
    n = each * len(quads)
    across = (np.tile(np.arange(each), len(quads)) + rng.uniform(0.2, 0.8, n)) / each
    reach = (0.75 if male else 1.0) * rng.uniform(0.75, 1.1, n)
    temperature = level + rng.normal(0, 0.2, (n, 1)) + np.array([0.4, 0.0, -0.3])
    width = (0.00010 if male else 0.00013) * rng.uniform(0.8, 1.2, n)
    return Lashes(np.repeat(quads, each, axis=0), across, reach, temperature, width)


# ---- beard


@dataclass(frozen=True)
class BeardStyle:
    """``cooler``: kelvin below the skin's level at the strands, ``shade``: at the skin beneath full cover.

    ``lip`` and ``cheeks`` tell whether it grows on the upper lip, and beside chin and mouth; ``chin`` on the chin.
    """

    strands: int
    length: float
    cooler: float
    half_width: float
    shade: float
    lip: bool = True
    chin: bool = True
    cheeks: bool = True


# what a man who shaves keeps: no strand that is seen, but a shadow
_SHAVEN_SHADE = 0.28  # kelvin, at most, with grain of the same size
BEARD_STYLES = {
    "stubble": BeardStyle(14000, 0.0025, 0.5, 0.00009, 0.5),
    "full": BeardStyle(24000, 0.0085, 2.2, 0.00016, 1.5),
    "moustache": BeardStyle(4200, 0.0070, 1.9, 0.00015, 1.2, chin=False, cheeks=False),
    "goatee": BeardStyle(9500, 0.0075, 2.0, 0.00015, 1.3, cheeks=False),
}


def _beard(head: Head, style: BeardStyle, rng: np.random.Generator) -> tuple[Floats, BoundStrands]:
    cover, lips = beard_region(head, rng)
    cover *= _trimmed(head, style, rng)
    roots = scatter(head, cover, style.strands, rng)
    points = roots.of(head.rest)
    n = len(points)
    # near the lips hair is trimmed and combed outward: straight down it would hang over the mouth like a comb
    trim = (0.38 + 0.62 * smoothstep(roots.of(lips), 1.3, 4.0)) * rng.uniform(0.7, 1.15, n)
    rim = 0.6 + 0.4 * smoothstep(roots.of(cover), 0.05, 0.7)
    direction = np.stack([np.sign(points[:, 0]) * 1.1 * np.clip(1 - trim, 0, 1), -np.ones(n), np.full(n, 0.2)], 1)
    direction += 0.35 * np.stack([random_field(rng, 0.010)(points) for _ in range(3)], 1)
    direction += rng.normal(0, 0.25, direction.shape)
    level = -style.cooler - rng.uniform(0, 0.8)
    tone = 0.3 * random_field(rng, 0.008)(points) + rng.normal(0, 0.3, n)
    temperature = (level + tone)[:, None] + np.array([0.8, 0.0, -0.5])
    width = style.half_width * rng.uniform(0.75, 1.15, n)
    return cover, BoundStrands(roots, direction, style.length * trim * rim, 0.55, temperature, width, BEARD)


def _shaven(head: Head, rng: np.random.Generator) -> Floats:
    """(n,) kelvin by which shaven skin is cooler: thicker skin, and hairs too short to be seen one by one."""
    cover, _ = beard_region(head, rng)
    return cover * rng.uniform(0.1, 1.0) * _SHAVEN_SHADE * np.maximum(0.7 + 0.6 * grain(head, rng), 0)


def _trimmed(head: Head, style: BeardStyle, rng: np.random.Generator) -> Floats:
    """(n,) 0..1, what a razor leaves of a full beard; each side has its own edge."""
    points = anatomy(head.topology).points
    x, y, _ = head.topology.canonical.T
    wavering = 0.0012 * random_field(rng, 0.005)(head.topology.canonical)
    reach = points[54, 0] + rng.uniform(0.001, 0.007)
    narrow = smoothstep(np.abs(x) + wavering, reach + 0.003, reach - 0.002)
    above = smoothstep(y + wavering, points[48, 1] - 0.003, points[48, 1] + 0.003)
    # without cheeks nothing is left below the jaw either
    kept = np.ones(len(x)) if style.cheeks else narrow * smoothstep(y, points[8, 1] - 0.012, points[8, 1] - 0.003)
    kept = kept * (1 - above * (not style.lip))
    return kept * (1 - (1 - above) * (not style.chin))


def beard_region(head: Head, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Where a beard grows, (n,) 0..1, and how far a vertex is from the mouth, 1 on an ellipse around the lips, (n,).

    Below a cheek line from the base of the nose over the mouth corner up to the sideburn; above a line below the jaw.
    """
    place = anatomy(head.topology)
    points = place.points
    x, y, z = head.topology.canonical.T
    x = np.abs(x)
    corner, ear = points[54], points[16]
    # 0 at the corner of the mouth, 1 at the sideburn
    back = np.clip((corner[2] - z) / (corner[2] - ear[2] - 0.010), 0, 1)
    cheek = corner[1] + 0.008 + 0.012 * back + (ear[1] + 0.012 - corner[1]) * smoothstep(back, 0.62, 1.0)
    cheek = np.where(x < corner[0] + 0.004, points[33, 1] - 0.004, cheek) + 0.0024 * random_field(rng, 0.008, 2)(
        head.topology.canonical
    )
    upper = y > points[62, 1]
    height = np.where(upper, points[51, 1] - points[62, 1] + 0.002, points[62, 1] - points[57, 1] + 0.001)
    lips = (x / (corner[0] + 0.0025)) ** 2 + ((y - points[62, 1] + 0.001) / height) ** 2

    soft = np.where(x < corner[0] + 0.004, 0.003, 0.006)
    cover = smoothstep(cheek - y, -soft, 0.005 + soft) * smoothstep(y, points[8, 1] - 0.026, points[8, 1] - 0.004)
    cover *= smoothstep(lips, 0.9, 1.25) * smoothstep(z, ear[2] - 0.004, ear[2] + 0.004)
    cover *= (head.topology.ear < 0.05) & place.skin & ~place.lining & (place.oral == 0)
    # thin beside the tuft below the lower lip, and in the groove of the upper lip
    cover *= 1 - 0.55 * bell(x - 0.016, 0.007) * bell(y - points[57, 1] + 0.003, 0.006)
    cover *= 1 - 0.35 * bell(x, 0.004) * (y > points[51, 1])
    cover *= np.clip(0.78 + 0.30 * random_field(rng, 0.010)(head.topology.canonical), 0.2, 1)
    return cover, lips
