"""Caps and beanies: a taut shell around skull and hair, and what they leave of the hair beneath."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import HEADWEAR, SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import bell, random_field, smoothstep
from thermvision.generation.engines.phantom.lattice import Taut, sheet
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer, Strands
from thermvision.generation.engines.phantom.thermal import SkinTemperature

HAT = SEGMENTS.index("headwear")
HAT_EMISSIVITY = 0.93  # cotton, wool, acrylic
_PANELS = 6
_BRIM = 66.0  # degrees from the front to which a brim reaches on either side
# metres that pressed hair lifts a hat off the head
_BULK = {"bald": 0.0, "buzz": 0.001, "crew": 0.003, "short": 0.005, "side": 0.006, "back": 0.005}
_LONG_BULK = 0.008
_TUCK = 0.003  # metres inside a hat's edge where hair comes out


@dataclass(frozen=True)
class Rim:
    """The lower edge of a hat: ``front``, ``side`` and ``back`` are its heights in rest coordinates, metres.

    ``axis`` is z of the vertical line that the azimuth (0 at the front, ±π behind) is measured about.
    """

    front: float
    side: float
    back: float
    axis: float

    def height(self, azimuth: Floats) -> Floats:
        """y of the rim, metres."""
        return self._level(np.cos(azimuth))

    def _level(self, cosine: Floats) -> Floats:
        level = (self.front + self.back) / 4 + self.side / 2
        tilt, bow = (self.front - self.back) / 2, (self.front + self.back) / 4 - self.side / 2
        return level + tilt * cosine + bow * (2 * cosine * cosine - 1)

    def above(self, points: Floats) -> Floats:
        """(...) metres by which rest ``points`` (..., 3) lie above the rim."""
        forward = points[..., 2] - self.axis
        return points[..., 1] - self._level(forward / np.maximum(np.hypot(points[..., 0], forward), 1e-9))


@dataclass(frozen=True, eq=False)
class Hat:
    """Layers of a hat, rigid with the skull, its ``rim``, and the ``edge`` (k, 3): the cloth along the rim, from behind
    over the subject's right, the front and the left."""

    layers: list[Layer]
    rim: Rim
    edge: Floats


def make_headwear(
    head: Head, kind: str, hairstyle: str, skin: SkinTemperature, ambient: float, rng: np.random.Generator
) -> Hat:
    """A cap or a beanie; fit, height and temperature are drawn from ``rng``.

    Args:
        head: the identity at rest.
        kind: "cap" or "beanie".
        hairstyle: of `HAIRSTYLES`; the hat lies over the hair.
        skin: sets how warm the cloth gets. ambient: air temperature, °C.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in HEADWEAR[1:]:
        raise UsageError(f"headwear {kind!r} is not available; allowed: {', '.join(HEADWEAR)}")
    bulk = _BULK.get(hairstyle, _LONG_BULK)
    return (_cap if kind == "cap" else _beanie)(head, bulk, skin, ambient, rng)


def hair_under(strands: Strands, hat: Hat) -> Strands:
    """What a hat leaves of ``strands``: hair starts where it comes out below the rim, what never does is gone."""
    rim = hat.rim
    below = rim.above(strands.points) < 0.002
    count = below.shape[1]
    first = below.argmax(1)
    # hair that stands up again after leaving the hat ends where it would enter it
    again = ~below & (np.arange(count) > first[:, None])
    last = np.where(again.any(1), again.argmax(1) - 1, count - 1)
    keep = below.any(1) & (last > first)
    order = np.clip(np.arange(count), first[:, None], last[:, None])[keep]
    return replace(
        strands,
        points=_pressed(np.take_along_axis(strands.points[keep], order[..., None], 1), hat),
        temperature=np.take_along_axis(strands.temperature[keep], order, 1),
        half_width=strands.half_width[keep],
    )


def _pressed(points: Floats, hat: Hat) -> Floats:
    """Strands (n, k, 3) that start within the hat's edge: held there, hair falls closer for a hand's breadth."""
    x, z = hat.edge[:, 0], hat.edge[:, 2] - hat.rim.axis
    start = points[:, 0] - np.array([0, 0, hat.rim.axis])
    radius = np.hypot(start[:, 0], start[:, 2])
    room = np.interp(np.arctan2(start[:, 0], start[:, 2]), np.arctan2(x, z), np.hypot(x, z), period=2 * np.pi)
    excess = np.maximum(radius - room + _TUCK, 0) / np.maximum(radius, 1e-6)
    fade = excess[:, None] * np.exp(-np.maximum(points[:, :1, 1] - points[..., 1], 0) / 0.06)
    inward = start[:, None] * np.array([1.0, 0.0, 1.0])
    pressed: Floats = points - fade[..., None] * inward
    return pressed


def _ear(head: Head, percentile: float) -> float:
    """Height of a percentile of both ears, metres."""
    return float(np.percentile(head.rest[head.topology.ear > 0.3, 1], percentile))


def _shell(head: Head, rim: Rim, azimuth: Floats, rise: Floats) -> tuple[Floats, Floats]:
    """Points and outward directions (rows, columns, 3) of cloth stretched over the skull.

    ``azimuth`` (columns,) radians; ``rise`` (rows,) 0 at the rim .. 1 on the crown.
    """
    centre = np.array([0.0, head.landmarks[24, 1] + 0.012, rim.axis])
    rows = np.flatnonzero(anatomy(head.topology).skin & (rim.above(head.rest) > -0.006))
    surface = head.rest[rows][::7]

    def towards(azimuth: Floats, elevation: Floats) -> Floats:
        flat = np.cos(elevation)
        return np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], -1)

    # the skull is smooth: a coarse lattice is enough, and the fine one is drawn through it
    around, up = np.linspace(-np.pi, np.pi, 49), np.linspace(0, 1, 13)
    taut = Taut(surface, centre)
    low = np.zeros(49)
    for _ in range(3):  # the elevation at which the skull has the rim's height
        low = np.arctan2(rim.height(around) - centre[1], taut.radius(towards(around, low)) * np.cos(low))
    coarse = taut.radius(towards(around, low + (np.pi / 2 - low) * up[:, None]))
    start = CubicSpline(around, np.append(low[:-1], low[0]), bc_type="periodic")(azimuth)
    coarse[:, -1] = coarse[:, 0]
    radius = CubicSpline(around, CubicSpline(up, coarse)(rise), axis=1, bc_type="periodic")(azimuth)
    directions = towards(azimuth, start + (np.pi / 2 - start) * rise[:, None])
    return centre + radius[..., None] * directions, directions


def _beanie(head: Head, bulk: float, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> Hat:
    brow = float(head.landmarks[[19, 24], 1].mean())
    covers_ears = rng.random() < 0.45
    low, high = (_ear(head, 35), _ear(head, 65)) if covers_ears else (_ear(head, 92), _ear(head, 100) + 0.008)
    side = float(rng.uniform(low, high))
    front = float(rng.uniform(brow + 0.012, brow + 0.042))
    rim = Rim(front, side, side - float(rng.uniform(0.008, 0.030)), float(head.landmarks[16, 2]) - 0.008)
    ribs, cuff = int(rng.integers(54, 84)), float(rng.uniform(0.20, 0.34)) * (rng.random() < 0.75)
    peak, slouch = float(rng.uniform(0.004, 0.038)), float(rng.uniform(0.0, 0.030))
    insulation = float(rng.uniform(0.30, 0.44))

    azimuth = np.linspace(-np.pi, np.pi, 5 * ribs + 1)
    rise = np.unique(np.concatenate([np.linspace(0, 1, 24), [0.012, cuff - 0.004, cuff + 0.008]]).clip(0, 1))
    points, outward = _shell(head, rim, azimuth, rise)
    up, t = outward[..., 1], rise[:, None]
    rib = np.cos(ribs * azimuth) * smoothstep(t, 1.0, 0.85)
    folded = smoothstep(t, cuff + 0.004, cuff - 0.004) if cuff else np.zeros((len(rise), 1))
    loose = smoothstep(t, 0.25, 1.0)
    wave = random_field(rng, 0.040, 2)(points.reshape(-1, 3)).reshape(t.shape[0], -1)
    gap = 0.004 + bulk * smoothstep(t, 0.0, 0.35) + 0.0032 * folded + peak * smoothstep(up, 0.55, 1.0)
    gap = gap + 0.0005 * rib + 0.0022 * wave * loose
    points = points + gap[..., None] * outward
    points[..., 2] -= slouch * smoothstep(up, 0.45, 1.0)

    level = ambient + insulation * (skin.base - ambient)
    grain = random_field(rng, 0.005, 2)(points.reshape(-1, 3)).reshape(gap.shape)
    temperature = level + 0.34 * rib + 0.30 * wave + 0.22 * grain - 0.7 * smoothstep(up, 0.5, 1.0)
    # thin cloth is warmer than a cuff of two layers; the edge lies on the skin, a shadow lies under the cuff's
    temperature += 0.9 * (1 - folded) * (cuff > 0) * bell(t - cuff, 0.2) + 1.2 * np.exp(-t / 0.025)
    if cuff:
        temperature = temperature + 0.6 * bell(t - cuff - 0.008, 0.008)
    return Hat([sheet(points, temperature, HAT, HAT_EMISSIVITY, "rigid")], rim, points[0])


def _cap(head: Head, bulk: float, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> Hat:
    brow = float(head.landmarks[[19, 24], 1].mean())
    top_of_ear = _ear(head, 99)
    front = float(rng.uniform(brow + 0.028, brow + 0.048))
    side = max(top_of_ear + float(rng.uniform(0.002, 0.010)), brow + 0.006)
    rim = Rim(front, side, side - float(rng.uniform(0.004, 0.018)), float(head.landmarks[16, 2]) - 0.006)
    crown, stiff = float(rng.uniform(0.004, 0.014)), float(rng.uniform(0.002, 0.012))
    insulation = float(rng.uniform(0.34, 0.46))
    length, slope, bow = float(rng.uniform(0.058, 0.074)), float(rng.uniform(0.20, 0.36)), float(rng.uniform(1.2, 3.4))
    brim_share = float(rng.uniform(0.10, 0.26))

    azimuth, rise = np.linspace(-np.pi, np.pi, 145), np.linspace(0, 1, 30) ** 0.9
    points, outward = _shell(head, rim, azimuth, rise)
    up, t = outward[..., 1], rise[:, None]
    panel = (azimuth / (2 * np.pi) * _PANELS + 0.5) % 1 - 0.5
    across = np.abs(panel) * 2 * np.pi / _PANELS * 0.095 * np.sqrt(np.clip(1 - up * up, 0, 1))  # metres from a seam
    forward = smoothstep(np.cos(azimuth), 0.2, 0.9)
    wave = random_field(rng, 0.050, 2)(points.reshape(-1, 3)).reshape(up.shape)
    gap = 0.004 + bulk * smoothstep(t, 0, 0.3) + crown * smoothstep(up, 0.4, 1.0)
    gap = gap + stiff * forward * bell(t - 0.4, 0.25)
    gap = gap - 0.0008 * bell(across, 0.004) + 0.0014 * wave * smoothstep(t, 0.15, 0.6)
    gap = gap + 0.004 * smoothstep(up, 0.992, 0.998)  # the button
    points = points + gap[..., None] * outward

    level = ambient + insulation * (skin.base - ambient)
    grain = random_field(rng, 0.006, 2)(points.reshape(-1, 3)).reshape(up.shape)
    temperature = level + 0.28 * wave + 0.15 * grain - 0.8 * bell(across, 0.0022) * smoothstep(t, 0.02, 0.1)
    temperature += 0.8 * np.exp(-t / 0.05) + 0.7 * smoothstep(t, 0.15, 0.11) - 0.4 * smoothstep(up, 0.5, 1.0)
    layers = [sheet(points, temperature, HAT, HAT_EMISSIVITY, "rigid")]

    # the brim grows out of the rim: forward, down, and bowed to the sides
    half = np.radians(_BRIM)
    around, out = np.linspace(-half, half, 61), np.linspace(0, 1, 12)[:, None]
    root = np.stack([np.interp(around, azimuth, points[1, :, k]) for k in range(3)], 1)
    reach = length * np.cos(around / half * np.pi / 2) ** 0.75
    brim = np.broadcast_to(root, (12, 61, 3)).copy()
    brim[..., 2] += out * reach
    brim[..., 0] *= 1 + 0.05 * out * smoothstep(np.abs(around), half, 0.3)
    brim[..., 1] -= slope * out * reach + bow * (root[:, 0] ** 2) * smoothstep(out, 0, 0.6) * (reach / length)
    edge = bell(out - 1, 0.04) + bell(np.abs(around) - half, 0.03)
    # 1: under the brim the face warms the cloth, more near the forehead
    shade = level + brim_share * (skin.base - level) * np.exp(-out / 0.35) - 1.1 * smoothstep(out, 0.1, 0.9)
    uneven = random_field(rng, 0.018, 2)(brim.reshape(-1, 3)).reshape(12, 61)
    stitched = 0.25 * np.cos(2 * np.pi * 5 * out)
    warmth = shade + 0.15 * uneven + stitched * smoothstep(out, 0.08, 0.2) - 0.4 * edge
    layers.append(sheet(brim, warmth, HAT, HAT_EMISSIVITY, "rigid"))
    return Hat(layers, rim, points[0])
