"""What the numbers of a single-channel frame measure, decided from the numbers, and their conversion to °C.

The rule, on the 1st, 50th and 99th percentile of the finite values, first match wins:

=====================================================================  ===============================================
8-bit integers, or integers up to 255, or whole floats in 0..255        ``gray``
floats all in 0..1, or in 0..255 and spread over more than 150          ``gray``
1st ≥ 22315 (-50 °C), 99th ≤ 37315 (100 °C), median 26315..31815        ``centikelvin``
floats with the median in 200..400                                      ``kelvin``
floats with the median in 50..150, or -40..50 and the 99th above 70     ``fahrenheit``
floats with the median in -40..50                                       ``celsius``
anything else                                                           ``counts``: warmer is more, and no more is known
=====================================================================  ===============================================

It is a rule for pictures of people. A Fahrenheit frame of a cold place without anything at 70 °F reads as Celsius, a
Celsius frame with a hundredth of it above 70 °C as Fahrenheit, and raw counts of 26315..31815 as centikelvin: who knows
the unit says it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import ZERO_CELSIUS, fahrenheit_to_celsius, from_centikelvin

UNITS: tuple[str, ...] = ("gray", "celsius", "kelvin", "fahrenheit", "centikelvin", "counts")
_SAMPLE = 50_000


def percentiles(values: NDArray[np.generic], *ranks: float) -> list[float]:
    """Percentiles of the finite values of a frame (H, W), from an even sample of them."""
    flat = values.ravel()
    flat = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
    flat = flat[np.isfinite(flat)]
    if not flat.size:  # the sample met none
        flat = values[np.isfinite(values)].astype(np.float64)
    return [float(v) for v in np.percentile(flat, ranks)]


def guess_units(values: NDArray[np.generic]) -> str:
    """One of `UNITS` for a frame (H, W) of integers or floats with at least one finite value; see the module's rule.

    >>> guess_units(np.full((4, 4), 30715, np.uint16)), guess_units(np.full((4, 4), 98.6, np.float32))
    ('centikelvin', 'fahrenheit')
    """
    if values.dtype == np.uint8:
        return "gray"
    floats = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if floats else values
    least, most = float(finite.min()), float(finite.max())
    low, middle, high = percentiles(values, 1, 50, 99)
    if least >= 0 and most <= 255:
        whole = not floats or bool((finite == np.rint(finite)).all())
        if whole or most <= 1 or high - low > 150:
            return "gray"
    if low >= 22315 and high <= 37315 and 26315 <= middle <= 31815:
        return "centikelvin"
    if not floats:
        return "counts"
    if 200 <= middle <= 400:
        return "kelvin"
    if 50 < middle <= 150 or (-40 <= middle <= 50 and high > 70):
        return "fahrenheit"
    return "celsius" if -40 <= middle <= 50 else "counts"


def to_celsius(values: NDArray[np.generic], units: str) -> NDArray[np.float32]:
    """Temperatures (H, W) float32 in °C of values in ``celsius``, ``kelvin``, ``fahrenheit`` or ``centikelvin``.

    Raises:
        UsageError: other units.

    >>> to_celsius(np.array([[98.6]]), "fahrenheit").round(2).tolist()
    [[37.0]]
    """
    exact = values.astype(np.float64)
    if units == "celsius":
        celsius = exact
    elif units == "kelvin":
        celsius = exact - ZERO_CELSIUS
    elif units == "fahrenheit":
        celsius = fahrenheit_to_celsius(exact)
    elif units == "centikelvin":
        celsius = from_centikelvin(exact)
    else:
        raise UsageError(f"units are {units!r}; allowed here: celsius, kelvin, fahrenheit, centikelvin")
    return celsius.astype(np.float32)
