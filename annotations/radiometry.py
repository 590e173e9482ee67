"""Thermal measurement: band radiance, 16-bit counts, degrees, and automatic gain control to 8 bit.

Counts are hundredths of a kelvin in uint16 (0 .. 655.35 K), as cameras with linear temperature output write them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import UsageError

ZERO_CELSIUS = 273.15
# first and second radiation constant for spectral radiance, CODATA 2018: 2 h c^2 (W m^2 / sr) and h c / k (m K)
_C1, _C2 = 1.191042972e-16, 1.438776877e-2
# response of a vanadium-oxide detector behind a germanium window, a trapezoid in µm: foot, shoulder, shoulder, foot
RESPONSE_UM = (7.6, 8.3, 13.1, 14.3)
TABLE_KELVIN = (220.0, 400.0, 0.05)
AgcMode = Literal["plateau", "linear", "fixed"]
AGC_MODES: tuple[AgcMode, ...] = ("plateau", "linear", "fixed")


@lru_cache(1)
def radiance_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Temperatures in kelvin, evenly spaced as in `TABLE_KELVIN`, and their band radiance in W / (m² sr).

    Planck's law times the response, integrated over wavelength by the trapezoid rule in steps of 0.05 µm.
    """
    low, high, step = TABLE_KELVIN
    kelvin = np.linspace(low, high, round((high - low) / step) + 1)
    micrometres = np.linspace(RESPONSE_UM[0], RESPONSE_UM[-1], 135)
    response = np.interp(micrometres, RESPONSE_UM, (0, 1, 1, 0))
    wavelength = micrometres * 1e-6
    planck = _C1 / wavelength**5 / np.expm1(_C2 / (wavelength * kelvin[:, None]))
    return kelvin, np.asarray(np.trapezoid(planck * response, wavelength, axis=1))


def band_radiance(celsius: ArrayLike) -> NDArray[np.float64]:
    """Radiance of a black body in the camera's band, W / (m² sr), any shape.

    Raises:
        ValueError: a temperature is outside -53 .. 126 °C, or not finite.

    >>> bool(band_radiance(37.0) > band_radiance(36.0))
    True
    """
    kelvin, radiance = radiance_table()
    value = np.asarray(celsius, np.float64) + ZERO_CELSIUS
    if value.size and not (value.min() >= kelvin[0] and value.max() <= kelvin[-1]):
        raise ValueError(f"temperatures {value.min():.1f}..{value.max():.1f} K; allowed: {kelvin[0]}..{kelvin[-1]} K")
    return np.interp(value, kelvin, radiance)


_MANY = 1000  # values from which a direct look-up is quicker than a search


@lru_cache(1)
def _inverse_table() -> tuple[NDArray[np.int32], NDArray[np.float64], float]:
    """For evenly spaced radiances the interval of `radiance_table` they lie in, to one interval; the slopes; spacing⁻¹.

    Cells are narrower than the narrowest interval, so that a value is in the interval of its cell's start or the next.
    """
    kelvin, table = radiance_table()
    cells = int(np.ceil((table[-1] - table[0]) / np.diff(table).min())) + 1
    starts = np.linspace(table[0], table[-1], cells + 1)
    guess = np.clip(np.searchsorted(table, starts, "right") - 1, 0, len(table) - 2).astype(np.int32)
    return guess, np.diff(kelvin) / np.diff(table), cells / float(table[-1] - table[0])


def brightness_temperature(radiance: ArrayLike) -> NDArray[np.float64]:
    """Temperature in °C of the black body with that band radiance: the inverse of `band_radiance`.

    Raises:
        ValueError: a radiance belongs to no temperature in -53 .. 126 °C.

    >>> float(brightness_temperature(band_radiance(34.0)).round(6))
    34.0
    """
    kelvin, table = radiance_table()
    value = np.asarray(radiance, np.float64)
    if value.size and not (value.min() >= table[0] and value.max() <= table[-1]):
        raise ValueError(f"radiance {value.min():.3g}..{value.max():.3g}; allowed: {table[0]:.3g}..{table[-1]:.3g}")
    if value.size < _MANY:
        return np.interp(value, table, kelvin) - ZERO_CELSIUS
    guess, slope, scale = _inverse_table()
    k = guess[((value - table[0]) * scale).astype(np.int32)]
    k += (value >= table[k + 1]) & (k < len(slope) - 1)
    k -= value < table[k]
    return slope[k] * (value - table[k]) + kelvin[k] - ZERO_CELSIUS


def to_centikelvin(celsius: ArrayLike) -> NDArray[np.uint16]:
    """Counts of 0.01 K, rounded, of temperatures in °C.

    >>> int(to_centikelvin(34.126))
    30728

    Raises:
        ValueError: a temperature is below 0 K, above 655.35 K or not finite.
    """
    counts = np.rint((np.asarray(celsius, np.float64) + ZERO_CELSIUS) * 100)
    if counts.size and not (counts.min() >= 0 and counts.max() <= 65535):
        raise ValueError(f"temperatures give counts {counts.min():g}..{counts.max():g}; allowed: 0..65535")
    return counts.astype(np.uint16)


def from_centikelvin(counts: ArrayLike) -> NDArray[np.float64]:
    """Temperatures in °C of counts of 0.01 K.

    >>> float(from_centikelvin(30728).round(2))
    34.13
    """
    return np.asarray(counts, np.float64) / 100 - ZERO_CELSIUS


def celsius_to_fahrenheit(celsius: ArrayLike) -> NDArray[np.float64]:
    """°F of °C.

    >>> float(celsius_to_fahrenheit(37.0).round(1))
    98.6
    """
    return np.asarray(celsius, np.float64) * 1.8 + 32


def fahrenheit_to_celsius(fahrenheit: ArrayLike) -> NDArray[np.float64]:
    """°C of °F."""
    return (np.asarray(fahrenheit, np.float64) - 32) / 1.8


def flip_polarity(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White-hot to black-hot and back."""
    return np.subtract(np.uint8(255), frame, dtype=np.uint8)


_BINS = 512
_STEPS = 4096  # levels of the tone curve over the same span: below a gray value each
_MARGIN = 0.2  # °C beyond the percentiles that the histogram covers
_PERCENTILES = (0.5, 99.8)
_PLATEAU, _FLOOR = 0.0075, 0.0004  # of the pixels: most and least that a bin counts
_EQUALISED, _DETAIL_GAIN, _DETAIL_LIMIT = 0.9, 2.2, 0.7
_CALM = 6.0  # K: the noise of a scene with less range than this is not raised any further
_COARSE = 128  # width on which the base's coefficients are found
_BASE_SIGMA = 1.4 / _COARSE  # of the frame's width
_NOISE_SIGMA = 0.3 / 512  # of the frame's width: less would leave speckled seams, more takes the edge off hair
_EDGE = 0.1  # K²: local variance from which on a structure belongs to the base
_BLACK, _SPAN = 3, 250


def base_and_detail(celsius: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A frame (H, W) in °C as edges and shapes, and as fine texture that stops at edges and so draws no rims.

    The guided filter of a frame by itself (He, Sun, Tang, TPAMI 2013) with Gaussian windows, its two coefficients
    found on a coarse grid (He, Sun, arXiv:1505.00996). Next to an edge the filter would leave all noise in the base,
    where equalisation makes it a speckled seam: there the base is the frame slightly blurred.
    """
    height, width = celsius.shape
    step = max(1, max(height, width) // _COARSE)
    coarse = (max(1, width // step), max(1, height // step))
    sigma = max(_BASE_SIGMA * max(height, width) / step, 0.5)
    level = np.float32(celsius.mean(dtype=np.float64))  # squares of small numbers keep their digits

    def average(image: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)

    small = np.asarray(cv2.resize(celsius - level, coarse, interpolation=cv2.INTER_AREA), np.float32)
    mean = average(small)
    variance = np.maximum(average(small * small) - mean * mean, 0)
    slope = variance / (variance + np.float32(_EDGE))
    a, b = (
        np.asarray(cv2.resize(average(c), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        for c in (slope, (1 - slope) * (mean + level))
    )
    blurred = cv2.GaussianBlur(celsius, (0, 0), max(_NOISE_SIGMA * width, 0.2), borderType=cv2.BORDER_REFLECT)
    return a * np.asarray(blurred, np.float32) + b, (1 - a) * celsius - b


@dataclass
class GainControl:
    """Automatic gain control of one sequence: temperature frames in, 8-bit frames out, without flicker.

    "plateau" mixes plateau-limited histogram equalisation with a linear stretch and adds back fine detail, which
    stops at edges (`base_and_detail`); "linear" stretches between percentiles; "fixed" maps
    ``limits`` in °C to the full range. Percentiles and histogram follow the scene by a first-order filter; the first
    frame sets them. ``equalised`` is the share of equalisation in "plateau", 0..1: it leaves few gray values to what
    covers few pixels, such as faces in a large room.

    >>> frames = np.linspace(20, 35, 64 * 64).reshape(64, 64)
    >>> GainControl("fixed", limits=(20, 35))(frames)[[0, -1], [0, -1]].tolist()
    [3, 253]

    Raises:
        UsageError: no such mode, or "fixed" without limits.
    """

    mode: AgcMode = "plateau"
    limits: tuple[float, float] | None = None
    inertia: float = 0.9
    equalised: float = _EQUALISED
    _range: NDArray[np.float64] | None = field(default=None, repr=False)
    _curve: NDArray[np.float64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in AGC_MODES:
            raise UsageError(f"gain control mode is {self.mode!r}; allowed: {', '.join(AGC_MODES)}")
        if self.mode == "fixed" and (self.limits is None or not self.limits[0] < self.limits[1]):
            raise UsageError(f"fixed gain has the limits {self.limits}; allowed: (low, high) in °C with low < high")

    def _follow(self, old: NDArray[np.float64] | None, new: NDArray[np.float64]) -> NDArray[np.float64]:
        return new if old is None else self.inertia * old + (1 - self.inertia) * new

    def __call__(self, celsius: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The 8-bit frame (H, W) of a temperature frame (H, W) in °C, values 3 .. 253, warm is bright."""
        frame = np.asarray(celsius, np.float32)
        if self.mode == "fixed" and self.limits is not None:
            low, high = self.limits
            return _to_byte((frame - np.float32(low)) / np.float32(high - low))
        self._range = self._follow(self._range, np.percentile(frame[::2, ::2], _PERCENTILES).astype(np.float64))
        low, high = float(self._range[0]), max(float(self._range[1]), float(self._range[0]) + 0.1)
        if self.mode == "linear":
            return _to_byte((frame - np.float32(low)) / np.float32(high - low))

        base, detail = base_and_detail(frame)
        detail = np.clip(detail, -_DETAIL_LIMIT, _DETAIL_LIMIT)
        first, span = low - _MARGIN, high - low + 2 * _MARGIN
        position = np.clip((base - np.float32(first)) * np.float32(_STEPS / span), 0, _STEPS - 1).astype(np.int32)
        counts = np.bincount(position.ravel(), minlength=_STEPS).reshape(_BINS, -1).sum(1)
        share = np.minimum(counts, _PLATEAU * base.size) + _FLOOR * base.size
        self._curve = self._follow(self._curve, np.cumsum(share) / share.sum())

        # within a bin the cumulative curve is linear: no steps in smooth skin
        step = (np.arange(_STEPS) + 0.5) / _STEPS
        equalised = np.interp(step, np.linspace(0, 1, _BINS + 1), np.concatenate([[0.0], self._curve]))
        linear = (first + step * span - low) / (high - low)
        tone = np.clip(self.equalised * equalised + (1 - self.equalised) * linear, 0, 1)
        return _to_byte(tone.astype(np.float32)[position] + np.float32(_DETAIL_GAIN / max(high - low, _CALM)) * detail)


def _to_byte(value: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(_BLACK + _SPAN * np.clip(value, 0, 1)).astype(np.uint8)
