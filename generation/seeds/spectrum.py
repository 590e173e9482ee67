"""Spectral augmentation: other power in each octave of spatial frequency, and another sensor.

The article names "spectral augmentation for LWIR domain alignment" and says no more. Thermal cameras differ in optics,
detector pitch and noise, hence in how power falls with spatial frequency; two of its parts are perturbed here, and no
structure is moved:

* `perturb_power`: the amplitude is multiplied by a smooth random function of the radial frequency alone. It is done on
  the discrete cosine transform, whose mirrored edges do not wrap around. Phases, and with them places, are kept.
* `perturb_sensor`: gain and offset, a tone exponent, blur, and noise of pixels and columns in kelvin.

Everything follows from one seed. Pictures are (H, W) float32 in 0..1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from .normalise import SPAN

Floats = NDArray[np.float32]

OCTAVES = 7  # knots of the random function, an octave apart, the last at the Nyquist frequency
DECIBEL = 2.0  # standard deviation at each knot
GAIN, OFFSET, TONE = 0.08, 0.04, 0.12  # standard deviations of gain and log exponent; of the offset in gray
BLUR = 0.8  # pixels of a 512 picture at most, standard deviation
NETD, COLUMNS = (0.01, 0.06), (0.0, 0.03)  # K: ranges of pixel and column noise; the article's sensor is of 45 mK


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one picture.

    Attributes:
        decibel: change of amplitude at each knot, lowest frequency first.
        gain, offset, tone: ``offset + gain * value ** tone``.
        blur: standard deviation in pixels of a 512 picture.
        netd, columns: noise in K.
        seed: of the noise.
    """

    decibel: tuple[float, ...]
    gain: float
    offset: float
    tone: float
    blur: float
    netd: float
    columns: float
    seed: int

    def record(self) -> dict[str, Any]:
        """What is written down about it."""
        return asdict(self)


def draw(seed: int | np.random.SeedSequence, strength: float = 1.0) -> Augmentation:
    """What to do to one picture; ``strength`` 0 is nothing, 1 the ranges of this module.

    >>> draw(3) == draw(3), draw(3) == draw(4)
    (True, False)
    """
    rng = np.random.default_rng(seed)
    decibel = rng.normal(0, DECIBEL * strength, OCTAVES)
    gain, tone = np.exp(rng.normal(0, 1, 2) * (GAIN * strength, TONE * strength))
    offset = rng.normal(0, OFFSET * strength)
    blur, netd, columns = (rng.uniform(low, high) * strength for low, high in ((0, BLUR), NETD, COLUMNS))
    gain, offset, tone, blur, netd, columns = (round(float(v), 6) for v in (gain, offset, tone, blur, netd, columns))
    knots = tuple(round(float(v), 6) for v in decibel)
    return Augmentation(knots, gain, offset, tone, blur, netd, columns, seed=int(rng.integers(2**31)))


def radial_frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Radial frequency (H, W) of the cosine transform's coefficients, cycles a pixel; 0.5 is Nyquist along an axis."""
    down, right = np.arange(height)[:, None] / (2 * height), np.arange(width)[None] / (2 * width)
    return np.hypot(down, right)


def perturb_power(picture: Floats, decibel: tuple[float, ...] | NDArray[np.float64]) -> Floats:
    """Multiply the amplitudes by ``decibel`` at knots an octave apart, the last at Nyquist, and linearly between them.

    The mean stays, and so do frequencies an octave below the lowest knot: a face keeps its overall tones.

    >>> picture = np.random.default_rng(0).random((32, 32), np.float32)
    >>> bool(np.allclose(perturb_power(picture, (0.0,) * 7), picture, atol=1e-6))
    True
    """
    frequency = radial_frequencies(*picture.shape)
    knots = np.arange(-len(decibel), 0, dtype=np.float64)  # log2 of the frequency: …, -3, -2, -1
    position = np.log2(np.maximum(frequency, 2.0 ** (knots[0] - 2)))
    change = np.interp(position, np.concatenate([[knots[0] - 1], knots]), np.concatenate([[0.0], decibel]))
    change[frequency <= 2.0 ** (knots[0] - 1)] = 0
    spectrum = dctn(picture.astype(np.float64), norm="ortho") * 10 ** (change / 20)
    return np.asarray(idctn(spectrum, norm="ortho"), np.float32)


def perturb_sensor(picture: Floats, what: Augmentation) -> Floats:
    """Another sensor's response, blur and noise; values stay in 0..1."""
    scale = max(picture.shape) / 512
    if what.blur * scale > 0.1:
        picture = np.asarray(
            cv2.GaussianBlur(picture, (0, 0), what.blur * scale, borderType=cv2.BORDER_REFLECT), np.float32
        )
    toned = what.offset + what.gain * np.clip(picture, 0, 1) ** what.tone
    rng = np.random.default_rng(what.seed)
    pixels = rng.standard_normal(picture.shape, np.float32) * np.float32(what.netd / SPAN)
    columns = rng.standard_normal((1, picture.shape[1]), np.float32) * np.float32(what.columns / SPAN)
    return np.clip(toned + pixels + columns, 0, 1).astype(np.float32)


def augment(picture: Floats, what: Augmentation) -> Floats:
    """Both perturbations."""
    return perturb_sensor(np.clip(perturb_power(picture, what.decibel), 0, 1), what)


def radial_power(picture: NDArray[np.floating[Any]], bands: int = 6) -> NDArray[np.float64]:
    """log10 of the mean power of a picture (H, W) in bands of equal width of radial frequency, 0 to Nyquist.

    >>> noise = np.random.default_rng(0).normal(size=(128, 128))
    >>> bool(np.abs(radial_power(noise)).max() < 0.2)
    True
    """
    values = np.asarray(picture, np.float64)
    power = dctn(values - values.mean(), norm="ortho") ** 2
    band = np.minimum((radial_frequencies(*values.shape) * 2 * bands).astype(int), bands)
    total = np.bincount(band.ravel(), power.ravel(), bands + 1)[:bands]
    count = np.bincount(band.ravel(), minlength=bands + 1)[:bands]
    return np.log10(np.maximum(total / np.maximum(count, 1), 1e-12))
