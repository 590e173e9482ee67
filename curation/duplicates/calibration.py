"""From which likeness on a picture is a copy: asked of copies that are made, and of pairs that are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Floats = NDArray[np.float64]
# of the copies and strangers of a phantom release, see docs/dedupe.md
DEFAULT_LIKENESS = 0.905
FALSE_POSITIVES = 0.01  # share of strangers that may pass where copies and strangers overlap
FEWEST = 20  # strangers that a threshold can be drawn from
Alter = Callable[[Gray, np.random.Generator], Gray]


def jpeg(gray: Gray, rng: np.random.Generator) -> Gray:
    """JPEG of quality 30 to 60."""
    data = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 61))])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def noise(gray: Gray, rng: np.random.Generator) -> Gray:
    """Gaussian noise of 4 to 10 gray levels."""
    noisy = gray + rng.normal(0, rng.uniform(4, 10), gray.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def tones(gray: Gray, rng: np.random.Generator) -> Gray:
    """Another automatic gain: up to 5 % clipped at either end, and an exponent of 0.6 to 1.6."""
    low, high = np.percentile(gray, [rng.uniform(0, 5), rng.uniform(95, 100)])
    scaled = np.clip((gray - low) / max(high - low, 1), 0, 1) ** rng.uniform(0.6, 1.6)
    return np.rint(scaled * 255).astype(np.uint8)


def mirror(gray: Gray, rng: np.random.Generator) -> Gray:
    """The mirror image."""
    return np.ascontiguousarray(gray[:, ::-1])


def window(gray: Gray, rng: np.random.Generator) -> Gray:
    """Up to 10 % cut off at each side."""
    height, width = gray.shape
    top, bottom, left, right = rng.uniform(0, 0.1, 4)
    cut = gray[int(top * height) : int((1 - bottom) * height), int(left * width) : int((1 - right) * width)]
    return np.ascontiguousarray(cut)


def shrunk(gray: Gray, rng: np.random.Generator) -> Gray:
    """Half as many pixels a side, or a little more or less."""
    scale = rng.uniform(0.4, 0.7)
    return np.asarray(cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def everything(gray: Gray, rng: np.random.Generator) -> Gray:
    """Mirrored, cut, other tones and JPEG."""
    return jpeg(tones(window(mirror(gray, rng), rng), rng), rng)


ALTERED: dict[str, Alter] = {
    "jpeg": jpeg, "noise": noise, "tones": tones, "mirror": mirror, "window": window, "shrunk": shrunk,
    "everything": everything,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Calibration:
    """A threshold of likeness, and what it was drawn from.

    Attributes:
        threshold: from it on a picture is called a copy.
        source: "copies and strangers", "default" or "given".
        copies: likeness of altered copies to what they were made from, by the kind of alteration; -1: not found.
        strangers: of each picture, its likeness to the most alike picture of anybody else.
        same_person: of each picture, its likeness to the most alike other picture of the same person.
    """

    threshold: float
    source: str
    copies: Mapping[str, Floats]
    strangers: Floats
    same_person: Floats

    def facts(self) -> dict[str, Any]:
        """Rates at the threshold, the curve and the distributions, as plain values."""
        facts: dict[str, Any] = {"threshold": round(self.threshold, 4), "threshold_from": self.source}
        every = np.concatenate([*self.copies.values()]) if self.copies else np.zeros(0)
        if len(self.strangers):
            passed = int((self.strangers >= self.threshold).sum())
            facts["strangers"] = {"pictures": len(self.strangers), "passed": passed, **_spread(self.strangers)}
            facts["false_positive_rate"] = round(passed / len(self.strangers), 5)
            facts["false_positive_rate_upper_95"] = round(upper_bound(passed, len(self.strangers)), 5)
        if len(every):
            facts["true_positive_rate"] = round(float((every >= self.threshold).mean()), 5)
            facts["copies"] = {
                name: {"pictures": len(v), "found": int((v >= self.threshold).sum()), **_spread(v)}
                for name, v in self.copies.items() if len(v)
            }  # fmt: skip
        if len(every) and len(self.strangers):
            curve = roc(every, self.strangers)
            facts["area_under_curve"] = round(area(curve), 5)
            facts["roc"] = [[round(v, 5) for v in point] for point in curve]
        if len(self.same_person):
            passed = int((self.same_person >= self.threshold).sum())
            facts["other_pictures_of_the_same_person"] = {
                "pictures": len(self.same_person), "passed": passed, **_spread(self.same_person)
            }  # fmt: skip
        return facts


def calibrate(
    copies: Mapping[str, Floats], strangers: Floats, same_person: Floats, given: float | None = None
) -> Calibration:
    """The threshold for these scores.

    Where the least like 1 % of copies are still above all strangers it lies half way; else at most
    `FALSE_POSITIVES` of the strangers pass. With fewer than `FEWEST` strangers or no copies it is the default.

    >>> near, far = {"jpeg": np.full(30, 0.96)}, np.full(30, 0.5)
    >>> calibrate(near, far, np.zeros(0)).threshold
    0.73
    """
    every = np.concatenate([*copies.values()]) if copies else np.zeros(0)
    if given is not None:
        return Calibration(given, "given", copies, strangers, same_person)
    if len(strangers) < FEWEST or not len(every):
        return Calibration(DEFAULT_LIKENESS, "default", copies, strangers, same_person)
    highest, lowest = float(strangers.max()), float(np.quantile(every, 0.01))
    if lowest > highest:
        threshold = (lowest + highest) / 2
    else:
        allowed = int(FALSE_POSITIVES * len(strangers))
        threshold = float(np.nextafter(np.sort(strangers)[len(strangers) - 1 - allowed], 2))
    return Calibration(threshold, "copies and strangers", copies, strangers, same_person)


def upper_bound(passed: int, count: int) -> float:
    """The share that is not exceeded with 95 % confidence when ``passed`` of ``count`` were seen (Clopper and Pearson).

    >>> round(upper_bound(0, 300), 4)
    0.0099
    """
    from scipy.stats import beta

    return 1.0 if passed >= count else float(beta.ppf(0.95, passed + 1, count - passed))


def roc(copies: Floats, strangers: Floats) -> list[tuple[float, float, float]]:
    """Points (threshold, false positive rate, true positive rate), from strict to lax.

    >>> roc(np.array([0.9, 0.8]), np.array([0.7, 0.1]))
    [(0.9, 0.0, 0.5), (0.8, 0.0, 1.0), (0.7, 0.5, 1.0), (0.1, 1.0, 1.0)]
    """
    levels = np.unique(np.concatenate([copies, strangers]))[::-1]
    if len(levels) > 200:
        levels = levels[np.linspace(0, len(levels) - 1, 200).astype(int)]
    near, far = np.sort(copies), np.sort(strangers)
    return [
        (
            float(level),
            float((len(far) - np.searchsorted(far, level)) / len(far)),
            float((len(near) - np.searchsorted(near, level)) / len(near)),
        )
        for level in levels
    ]


def area(curve: Sequence[tuple[float, float, float]]) -> float:
    """Area under a curve of `roc`.

    >>> area(roc(np.array([0.9, 0.8]), np.array([0.7, 0.1])))
    1.0
    """
    x = [0.0, *(p[1] for p in curve), 1.0]
    y = [0.0, *(p[2] for p in curve), 1.0]
    return float(np.trapezoid(y, x))


def _spread(values: Floats) -> dict[str, float]:
    names = {"least": 0.0, "1 %": 0.01, "median": 0.5, "99 %": 0.99, "greatest": 1.0}
    return {name: round(float(np.quantile(values, q)), 4) for name, q in names.items()}
