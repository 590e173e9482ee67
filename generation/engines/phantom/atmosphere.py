"""Fog and smoke between lens and scene: Beer-Lambert transmission and the glow of the medium itself.

A ray that travels d metres through a medium with extinction k keeps the share τ = exp(-k d); the medium adds
(1 - τ) times the radiance of a black body at its own temperature. Scattering of other light into the ray is left out:
in the band, droplets and soot absorb most of what they take away (the gray, uniform case of Schwarzschild's equation
of radiative transfer; R. M. Goody, Y. L. Yung, Atmospheric Radiation, 2nd ed. 1989, chapter 2). The wall behind a head
is taken to stand `WALL_BEHIND` metres behind it.

Orders of magnitude: visible fog of visibility V has k = 3.9 / V (Koschmieder) and droplets large enough to stop both
bands alike, so that 10 m of visibility is about 0.4 a metre; fine smoke is several times clearer here than to the eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.radiometry import band_radiance

WALL_BEHIND = 1.5  # metres
Image = NDArray[np.float64]


@dataclass(frozen=True)
class Atmosphere:
    """What the air holds.

    Attributes:
        fog, smoke: extinction in the band, 1 / m; 0 is clear air.
        ambient: temperature of air and fog, °C.
        smoke_excess: kelvin by which smoke is warmer than the air.
    """

    fog: float
    smoke: float
    ambient: float
    smoke_excess: float = 0.0

    @property
    def clear(self) -> bool:
        """Whether nothing is in the way."""
        return self.fog + self.smoke == 0

    def transmission(self, metres: ArrayLike) -> NDArray[np.float64]:
        """τ, 1 .. 0, over a path in metres, any shape.

        >>> Atmosphere(0.25, 0.0, 20).transmission([0.0, 4.0]).round(4).tolist()
        [1.0, 0.3679]
        """
        return np.exp(-(self.fog + self.smoke) * np.asarray(metres, np.float64))

    def seen_through(self, radiance: Image, wall: Image, depth: NDArray[np.float32], coverage: Image) -> Image:
        """Radiance (h, w) at the lens of radiance (h, w) leaving the scene; the same array in clear air.

        Args:
            radiance: W / (m² sr), mean over each pixel.
            wall: radiance (h, w) of the wall alone.
            depth: (h, w) metres along the optical axis of the nearest thing in each pixel, taken for the path; 0
                where nothing stands before the wall.
            coverage: (h, w) share of each pixel that stands before the wall. On an outline head and wall are told
                apart by it: each fades over its own path.
        """
        if self.clear:
            return radiance
        share = self.smoke / (self.fog + self.smoke)
        glow_air, glow_smoke = band_radiance(self.ambient), band_radiance(self.ambient + self.smoke_excess)
        glow = (1 - share) * glow_air + share * glow_smoke
        far = float(self.transmission(float(depth.max()) + WALL_BEHIND))
        near = self.transmission(depth)
        behind = (1 - coverage) * (wall - glow)
        return glow + near * (radiance - glow - behind) + far * behind
