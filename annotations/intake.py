"""Input as it comes: any thermal picture as the gray frame, white-hot, that every model here takes.

8-bit gray, radiometric counts, temperatures and false colours are told apart by their type, shape and values; what was
found is in `Intake.notes`, and every part of it can be stated instead. ``docs/input.md`` says how each is recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.palette_inversion import (
    KNOWN,
    PaletteMap,
    colourful,
    estimate_palette,
    known_palette,
    recognise_palette,
)
from thermvision.annotations.polarity import guess_black_hot
from thermvision.annotations.radiometry import GainControl, flip_polarity
from thermvision.annotations.temperature_units import UNITS, guess_units, percentiles, to_celsius

Gray = NDArray[np.uint8]
BlackHot = Callable[[Gray], float | None]
POLARITIES = ("auto", "white-hot", "black-hot", "open")
_OVERLAY = 0.05  # of the pixels: so much colour is text or a logo on a gray picture
_REVERSED = 0.9  # probability of black-hot from which a model may say that a known palette was used in reverse
_SURE = 0.75  # probability of black-hot from which the weak guess inverts
_SCENE = (22.0, 34.0)  # °C that the 2nd and 98th percentile of raw counts stand for: gain control thinks in degrees
_FAR = 3.0  # ranges of the frame beyond its percentiles: dead pixels and suns are cut there before gain control


@dataclass(frozen=True, eq=False)
class Intake:
    """One frame, ready for the models.

    Attributes:
        gray: (H, W) uint8, warm is bright.
        celsius: (H, W) float32 temperatures in °C; None when the input holds none.
        notes: what was recognised, under ``input``, ``units``, ``palette``, ``polarity``.
        inverted: whether the input was black-hot.
        doubt: probability of black-hot above which a detector may still have the frame inverted; 1: never, it is known.
        decoder: reads the following frames of the same source in the same way, without looking again.

    >>> intake = to_gray(np.full((8, 8, 3), 90, np.uint8), polarity="black-hot")
    >>> int(intake.gray[0, 0]), intake.celsius, intake.notes["polarity"]
    (165, None, 'black-hot (stated), inverted')
    """

    gray: Gray
    celsius: NDArray[np.float32] | None
    notes: dict[str, str]
    inverted: bool
    doubt: float
    decoder: Decoder


@dataclass(eq=False)
class Decoder:
    """How the frames of one source are read: found on its first frame by `to_gray`, then called with the others.

    Gain control follows a source of temperatures from frame to frame without flicker (`GainControl`), so frames go in
    in their order, and each source has a decoder of its own.

    >>> first = to_gray(np.full((8, 8), 3000, np.uint16))
    >>> first.decoder(np.full((8, 8), 3001, np.uint16)).notes["units"]
    'counts (recognised)'
    """

    layout: tuple[str, int]  # type and number of channels of the source's frames
    units: str
    palette: PaletteMap | None = None
    inverted: bool = False
    doubt: float = 1.0
    notes: dict[str, str] = field(default_factory=dict)
    _scale: float = 1.0  # of gray and colours to 0..255
    _counts: tuple[float, float] = (0.0, 1.0)  # offset and degrees a count
    _gain: GainControl = field(default_factory=GainControl)

    def __call__(self, pixels: ArrayLike) -> Intake:
        """The next frame of the source.

        Raises:
            DamagedInputError: the frame has nothing to see, or another type or number of channels than the first.
        """
        values = _checked(pixels)
        if _layout(values) != self.layout:
            seen, first = _describe(_layout(values)), _describe(self.layout)
            raise DamagedInputError(f"a frame is {seen}, the source's first was {first}; read it without its decoder")
        return self._read(values)

    def _read(self, values: NDArray[np.generic]) -> Intake:
        celsius = None
        if self.units == "gray":
            gray = self._gray(values)
        else:
            values = _first_channel(values)
            if self.units == "counts":
                degrees = (values.astype(np.float64) - self._counts[0]) * self._counts[1] + _SCENE[0]
            else:
                celsius = to_celsius(values, self.units)
                degrees = celsius.astype(np.float64)
            gray = self._gain(_without_outliers(degrees))
        gray = flip_polarity(gray) if self.inverted else gray
        return Intake(np.ascontiguousarray(gray), celsius, dict(self.notes), self.inverted, self.doubt, self)

    def _gray(self, values: NDArray[np.generic]) -> Gray:
        eight = _eight_bit(values, self._scale)
        if eight.ndim == 2:
            return eight
        if self.palette is not None:
            return self.palette(eight)
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(eight), cv2.COLOR_RGB2GRAY), np.uint8)


def to_gray(
    pixels: ArrayLike,
    units: str = "auto",
    palette: str = "auto",
    polarity: str = "auto",
    *,
    black_hot: BlackHot | None = None,
) -> Intake:
    """Read one frame, or the first of a source, and say what it was.

    Args:
        pixels: (H, W), (H, W, 1), (H, W, 3) red green blue, or (H, W, 4) with an alpha that is dropped; integers or
            floats. Three equal channels count as one.
        units: ``auto`` or one of `temperature_units.UNITS`.
        palette: ``auto``, ``none`` (luminance of the colours), ``estimated`` (from the picture's own colours), or one
            of `palette_inversion.KNOWN`. Gray pictures have none, whatever is stated.
        polarity: ``auto``, ``white-hot``, ``black-hot`` or ``open``. Temperatures and counts are white-hot unless
            stated otherwise; of gray pictures and of colours it is found out, or with ``open`` left to whoever looks
            for faces, with `Intake.doubt` for how sure that should be.
        black_hot: the probability that a gray frame is black-hot; a detector's output. From 0.5 on the frame is
            inverted, with a known palette from 0.9 on. Without it, or where it gives None, known palettes are
            white-hot, and for the rest `guess_black_hot` decides, which inverts only when it is fairly sure.

    Raises:
        UsageError: an option has no such value.
        DamagedInputError: the array is no picture: empty, without a finite value, complex, or of another shape.

    >>> intake = to_gray(np.linspace(20, 36, 64 * 64).reshape(64, 64))
    >>> intake.notes["units"], bool(intake.gray[0, 0] < intake.gray[-1, -1])
    ('celsius (recognised)', True)
    """
    for name, value, allowed in (
        ("units", units, ("auto", *UNITS)),
        ("palette", palette, ("auto", "none", "estimated", *KNOWN)),
        ("polarity", polarity, POLARITIES),
    ):
        if value not in allowed:
            raise UsageError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    values = _checked(pixels)
    decoder = Decoder(_layout(values), units)
    decoder.notes["input"] = _describe(decoder.layout)
    colours = values.ndim == 3 and not _equal_channels(values)
    if colours and units not in ("auto", "gray"):
        raise UsageError(
            f"units are {units!r} for a picture in colours; allowed: auto, gray, or a frame of one channel"
        )
    _find_units(decoder, values, units, colours)
    _find_palette(decoder, values, palette, colours)
    _find_polarity(decoder, values, polarity, black_hot)
    return decoder._read(values)


def _find_units(decoder: Decoder, values: NDArray[np.generic], units: str, colours: bool) -> None:
    single = values if colours else _first_channel(values)
    decoder.units = units if units != "auto" else "gray" if colours else guess_units(single)
    decoder.notes["units"] = f"{decoder.units} ({'stated' if units != 'auto' else 'recognised'})"
    if decoder.units == "gray":
        most = float(np.max(values, initial=0, where=np.isfinite(values)))
        decoder._scale = 255.0 if most <= 1 and values.dtype.kind == "f" else 1.0 if most <= 255 else 1 / 257
    elif decoder.units == "counts":
        low, high = percentiles(single, 2, 98)
        decoder._counts = (low, (_SCENE[1] - _SCENE[0]) / (high - low) if high > low else 0.0)


def _find_palette(decoder: Decoder, values: NDArray[np.generic], palette: str, colours: bool) -> None:
    notes = decoder.notes
    notes["palette"] = "none (one channel)" if values.ndim == 2 else "none (equal channels)"
    if not colours:
        return
    eight = _eight_bit(values, decoder._scale)
    share = float(colourful(eight).mean())
    if palette == "none":
        notes["palette"] = "none (stated): luminance"
    elif palette in KNOWN:
        decoder.palette = known_palette(palette)
        notes["palette"] = f"{palette} (stated)"
    elif palette == "auto" and share < _OVERLAY:
        notes["palette"] = f"none (gray, colour in {share:.1%} of the pixels): luminance"
    else:
        decoder.palette = estimate_palette(eight) if palette == "estimated" else recognise_palette(eight)
        if decoder.palette is None:
            notes["palette"] = "none (natural colours, lying on no palette; perhaps no thermal picture): luminance"
        elif decoder.palette.name == "estimated":
            notes["palette"] = f"estimated ({'stated' if palette == 'estimated' else 'no known palette fits as well'})"
        else:
            notes["palette"] = f"{decoder.palette.name} (recognised)"


def _find_polarity(decoder: Decoder, values: NDArray[np.generic], polarity: str, black_hot: BlackHot | None) -> None:
    notes = decoder.notes
    if polarity in ("white-hot", "black-hot"):
        decoder.inverted = polarity == "black-hot"
        notes["polarity"] = f"{polarity} (stated)"
    elif decoder.units != "gray":
        notes["polarity"] = "white-hot (measured)"
    elif polarity == "open":
        decoder.doubt = _REVERSED if _known(decoder) else 0.5
        notes["polarity"] = "white-hot (of the palette)" if _known(decoder) else "open (left to the detector)"
    else:
        known = _known(decoder)
        gray = decoder._gray(values)
        probability, source = black_hot(gray) if black_hot is not None else None, "model"
        limit = _REVERSED if known else 0.5
        if probability is None and not known:
            probability, source, limit = guess_black_hot(gray), "weak guess", _SURE
        decoder.inverted = probability is not None and probability >= limit
        name = "black-hot" if decoder.inverted else "white-hot"
        told = "of the palette" if probability is None else f"{source}: black-hot with {probability:.2f}"
        notes["polarity"] = f"{name} ({told})"
    if decoder.inverted:
        notes["polarity"] += ", inverted"


def _known(decoder: Decoder) -> bool:
    return decoder.palette is not None and decoder.palette.name != "estimated"


def _checked(pixels: ArrayLike) -> NDArray[np.generic]:
    """The pixels as (H, W) or (H, W, 3), native byte order, without alpha."""
    values = np.asarray(pixels)
    if values.dtype.kind not in "uif":
        raise DamagedInputError(f"the pixels are of type {values.dtype}; allowed: integers and floats")
    if values.ndim == 3 and values.shape[2] in (1, 4):
        values = values[..., 0] if values.shape[2] == 1 else values[..., :3]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        shape = np.shape(pixels)
        raise DamagedInputError(f"a frame has shape {shape}; allowed: (H, W), (H, W, 1), (H, W, 3) and (H, W, 4)")
    if not values.size:
        raise DamagedInputError(f"a frame has shape {values.shape}, no pixels; allowed: 1 x 1 and more")
    if values.dtype.kind == "f":
        if values.dtype.itemsize > 8 or values.dtype.itemsize < 4:
            values = values.astype(np.float64)
        if not np.isfinite(values).any():
            raise DamagedInputError("no value of a frame is finite; allowed: NaN and infinity in parts of it")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _layout(values: NDArray[np.generic]) -> tuple[str, int]:
    return values.dtype.name, 1 if values.ndim == 2 else 3


def _describe(layout: tuple[str, int]) -> str:
    return f"{layout[0]}, {layout[1]} channel{'s' if layout[1] > 1 else ''}"


def _equal_channels(values: NDArray[np.generic]) -> bool:
    first = values[..., :1]
    return bool(np.array_equal(first, values[..., 1:2], equal_nan=values.dtype.kind == "f")) and bool(
        np.array_equal(first, values[..., 2:], equal_nan=values.dtype.kind == "f")
    )


def _first_channel(values: NDArray[np.generic]) -> NDArray[np.generic]:
    return values if values.ndim == 2 else values[..., 0]


def _eight_bit(values: NDArray[np.generic], scale: float) -> NDArray[np.uint8]:
    """Gray or colours as uint8, rounded and clipped to 0..255, NaN as 0."""
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    scaled = np.nan_to_num(values.astype(np.float64) * scale, nan=0.0, posinf=255.0, neginf=0.0)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _without_outliers(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values far from the others cut off, and no number for none: NaN becomes the coldest."""
    low, high = percentiles(degrees, 0.5, 99.8)
    reach = _FAR * max(high - low, 0.1)
    return np.clip(
        np.nan_to_num(degrees, nan=low - reach, posinf=high + reach, neginf=low - reach), low - reach, high + reach
    )
