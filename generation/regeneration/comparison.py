"""Rendered pixels and labels against stored ones: ``exact``, ``close`` or ``mismatch``, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.picture_file import picture_from_bytes
from thermvision.annotations.schema import FRAME_COLUMNS
from thermvision.curation.store import sha256_bytes
from thermvision.curation.video import (
    MIN_PSNR,
    decode_gray,
    each_frame,
    encode_gray,
    encoder_settings,
    min_psnr,
)
from thermvision.generation.run import labels_of, numbers_of, pixels_digest
from thermvision.generation.specs import Clip, Radiometry, SceneStill, Still

from .provenance import Provenance

CLOSE_PSNR = 45.0
MEASURED = ("radiometric", "temperature", "segmentation", "depth")  # image columns of a `radiometric` row
_WORST_CRF = 51
_ROUNDING = {"rel_tol": 1e-5, "abs_tol": 1e-3}  # processors round differently; far below a pixel, degree or kelvin


def compare_picture(told: Provenance, frame: NDArray[np.uint8], data: bytes) -> tuple[str, str]:
    """Of a still or scene; PNG keeps every level, so that stored and rendered pixels are compared as they are."""
    try:
        stored = picture_from_bytes(data, "its picture")
    except DamagedInputError as error:
        return "mismatch", str(error)
    if stored.shape != frame.shape or stored.dtype != frame.dtype:
        return "mismatch", f"stored are {stored.dtype} {stored.shape}, rendered {frame.dtype} {frame.shape}"
    if np.array_equal(stored, frame):
        if pixels_digest(frame) == told.pixels:
            return "exact", ""
        return "mismatch", "the digest in its provenance is not that of its pixels"
    return _by_psnr(min_psnr(frame[None], stored.astype(np.uint8)[None]), "pixels differ")


def compare_clip(told: Provenance, clip: Clip, data: bytes) -> tuple[str, str]:
    """Of a clip: its frames are encoded as they were, and then the bytes are equal or the decoded frames compared."""
    same = pixels_digest(clip.frames) == told.pixels
    expected, note = _encoded_again(clip, told)
    if same and expected == data:
        return "exact", ""
    what = "its video is another encoding of the same pixels" if same else "raw pixels have another digest"
    what += f", {note}" if note else ""
    try:
        worst = _worst_psnr(data, decode_gray(expected))
        if same and not told.cuts and worst is not None and worst < CLOSE_PSNR:
            # two encoders that are each within 40 dB of the frames may be farther from each other
            raw = _worst_psnr(data, clip.frames)
            if raw is not None and raw >= MIN_PSNR:
                return "close", f"{what}, {raw:.1f} dB from them"
    except DamagedInputError as error:
        return "mismatch", str(error)
    if worst is None:
        return "mismatch", "the stored video has another number or size of frames"
    return _by_psnr(worst, what)


def _by_psnr(psnr: float, what: str) -> tuple[str, str]:
    return ("close" if psnr >= CLOSE_PSNR else "mismatch"), f"{what}: {psnr:.1f} dB at the worst frame"


def _encoded_again(clip: Clip, told: Provenance) -> tuple[bytes, str]:
    """The MP4 that the frames of a clip become by the recorded settings and cuts, and where that is not as it was."""
    notes = []

    def encode(frames: NDArray[np.uint8], settings: Mapping[str, Any]) -> bytes:
        crf = settings.get("crf")
        if isinstance(crf, bool) or not isinstance(crf, int) or not 0 <= crf <= _WORST_CRF:
            raise DamagedInputError(f"its provenance is refused: crf {crf!r}; allowed: 0 to {_WORST_CRF}")
        if dict(settings) != encoder_settings(crf):
            notes.append("it was encoded with other settings")
        return encode_gray(frames, clip.spec.fps, crf)

    data = encode(clip.frames, told.encoder)
    for cut in told.cuts:
        if sha256_bytes(data) != cut.video_sha256:
            notes.append("it was cut from another video")
        data = encode(decode_gray(data, range(cut.first, cut.last + 1)), cut.encoder)
    return data, next(iter(notes), "")


def _worst_psnr(data: bytes, frames: NDArray[np.uint8]) -> float | None:
    """PSNR in dB of the worst frame of a stored video against (N, H, W); None where number or shape differ."""
    worst = float("inf")
    for stored, frame in zip_longest(each_frame(data), frames):
        if stored is None or frame is None or stored.shape != frame.shape or stored.dtype != frame.dtype:
            return None
        worst = min(worst, min_psnr(frame[None], stored[None]))
    return worst


def compare_labels(told: Provenance, made: Clip | Still | SceneStill, row: Mapping[str, Any]) -> tuple[str, str]:
    """Of the labels in the row of an item, beside those that come with the render.

    Labels that a person or a network has set since say so in ``annotation_source``; they are not compared.
    """
    labels = labels_of(made)
    if row.get("annotation_source") != labels["annotation_source"]:
        return "exact", ""
    for cut in told.cuts:
        labels |= {n: labels[n][cut.first : cut.last + 1] for n in FRAME_COLUMNS if labels.get(n) is not None}
    differ = _differing(labels, row)
    return ("mismatch", f"its labels are not those of the render: {', '.join(differ)}") if differ else ("exact", "")


def _differing(made: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Columns of ``made`` with another value in ``row``; an older release lacks some."""
    return [name for name, value in made.items() if name in row and not _alike(value, row[name])]


def _alike(made: Any, stored: Any) -> bool:
    if isinstance(made, Mapping):
        return isinstance(stored, Mapping) and not _differing(made, stored)
    if isinstance(made, list):
        return isinstance(stored, list) and len(made) == len(stored) and all(map(_alike, made, stored))
    if isinstance(made, float) and isinstance(stored, float):
        return math.isclose(made, stored, **_ROUNDING) or (math.isnan(made) and math.isnan(stored))
    return bool(made == stored)


def compare_measurement(radiometry: Radiometry | None, row: Mapping[str, Any]) -> tuple[str, str]:
    """Of the `radiometric` row of an item: its 16-bit frames and the pictures of its truth, by the span of each; and
    its numbers."""
    if radiometry is None or list(row.get("frame_index") or ()) != radiometry.frame_index.tolist():
        return "mismatch", "its 16-bit frames are of other frames than those rendered"
    made = {"radiometric": radiometry.frames, **{n: radiometry.truth[n] for n in MEASURED if n in radiometry.truth}}
    for name, frames in made.items():
        try:
            stored = [picture_from_bytes(image["bytes"], f"its {name}") for image in row.get(name) or ()]
        except (DamagedInputError, TypeError, KeyError) as error:
            return "mismatch", str(error)
        if [(a.shape, a.dtype) for a in stored] != [(b.shape, b.dtype) for b in frames]:
            return "mismatch", f"its {name} has other frames than those rendered"
        error_of = [np.mean((a.astype(np.float64) - b) ** 2) for a, b in zip(stored, frames, strict=True)]
        if worst := max(error_of, default=0.0):
            span = max(float(np.ptp(frames)), 1.0)
            return _by_psnr(float(10 * np.log10(span**2 / worst)), f"its {name} differs")
    differ = _differing(numbers_of(radiometry), row)
    return ("mismatch", f"its radiometric row has another {', '.join(differ)}") if differ else ("exact", "")
