"""Planted image faults: what cameras, codecs, screens and careless tools do to thermal frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.palettes import PALETTES, palette
from thermvision.curation.video import decode_gray, encode_gray

from . import Fault, Row

Gray = NDArray[np.uint8]
Rng = np.random.Generator
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def _clip(values: NDArray[Any]) -> Gray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _clipped_hot(gray: Gray, row: Row, rng: Rng) -> Gray:
    """The face's median and all that is warmer goes to 255."""
    level = float(np.median(_face(gray, row)))
    return _clip(gray.astype(np.float32) * (255 / max(level, 1.0)))


def _clipped_cold(gray: Gray, row: Row, rng: Rng) -> Gray:
    level = float(np.percentile(_face(gray, row), rng.uniform(30, 50)))
    return _clip((gray.astype(np.float32) - level) * (255 / max(255 - level, 1.0)))


def _face(gray: Gray, row: Row) -> Gray:
    x, y, w, h = (float(v) for v in row["bbox"])
    found = gray[max(int(y + 0.2 * h), 0) : int(y + 0.85 * h), max(int(x + 0.2 * w), 0) : int(x + 0.8 * w)]
    return found if found.size else gray


def _washed_out(gray: Gray, row: Row, rng: Rng) -> Gray:
    return _clip(rng.uniform(60, 160) + gray.astype(np.float32) * rng.uniform(0.02, 0.08))


def _empty(gray: Gray, row: Row, rng: Rng) -> Gray:
    return np.full_like(gray, int(rng.integers(0, 256)))


def _posterised(gray: Gray, row: Row, rng: Rng) -> Gray:
    step = 255 / (int(rng.integers(6, 15)) - 1)
    return _clip(np.rint(gray / step) * step)


def _row_banding(gray: Gray, row: Row, rng: Rng) -> Gray:
    rows = np.arange(len(gray))
    wave = np.sin(2 * np.pi * rows / rng.uniform(4, 14) + rng.uniform(0, 6)) * rng.uniform(4, 8)
    return _clip(gray + wave[:, None])


def _column_pattern(gray: Gray, row: Row, rng: Rng) -> Gray:
    return _clip(gray + rng.normal(0, rng.uniform(3.5, 6), gray.shape[1]))


def _fixed_pattern(frames: Gray, row: Row, rng: Rng) -> Gray:
    return _clip(frames + rng.normal(0, rng.uniform(3, 5), frames.shape[1:]).astype(np.float32))


def _dead_pixels(gray: Gray, row: Row, rng: Rng) -> Gray:
    out = gray.copy()
    count = int(rng.integers(25, 60))
    y, x = (rng.integers(2, n - 2, count) for n in gray.shape)
    out[y, x] = np.where(out[y, x] > 127, 0, 255)
    return out


def _stuck_line(gray: Gray, row: Row, rng: Rng) -> Gray:
    out, level = gray.copy(), int(rng.choice((0, 255)))
    lines = out if rng.random() < 0.5 else out.T
    # a line of the background's own level would not be seen
    level = level if abs(level - float(np.median(gray))) > 60 else 255 - level
    lines[int(rng.integers(8, len(lines) - 8))] = level
    return out


def _salt_and_pepper(gray: Gray, row: Row, rng: Rng) -> Gray:
    drawn = rng.random(gray.shape)
    share = rng.uniform(0.01, 0.03)
    return np.where(drawn < share / 2, 0, np.where(drawn > 1 - share / 2, 255, gray)).astype(np.uint8)


def _noisy(frames: Gray, row: Row, rng: Rng) -> Gray:
    sigma = rng.uniform(9, 16)
    return np.stack([_noisy_frame(f, rng, sigma) for f in frames])


def _noisy_frame(gray: Gray, rng: Rng, sigma: float) -> Gray:
    return _clip(gray + sigma * rng.standard_normal(gray.shape, np.float32))


def _defocused(gray: Gray, row: Row, rng: Rng) -> Gray:
    sigma = rng.uniform(0.022, 0.035) * max(row["bbox"][2:])
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), float(sigma)), np.uint8)


def _motion_blurred(gray: Gray, row: Row, rng: Rng) -> Gray:
    length, angle = float(rng.uniform(0.13, 0.18) * max(row["bbox"][2:])), float(rng.uniform(0, np.pi))
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    end = np.rint(length / 2 * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    cv2.line(kernel, (half - int(end[0]), half - int(end[1])), (half + int(end[0]), half + int(end[1])), 1.0)
    return np.asarray(cv2.filter2D(gray, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)


def _jpeg(gray: Gray, row: Row, rng: Rng) -> Gray:
    coded = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(8, 30))])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


def _low_bitrate(frames: Gray, row: Row, rng: Rng) -> Gray:
    return decode_gray(encode_gray(frames, crf=int(rng.integers(36, 46))))


def _pixelated(gray: Gray, row: Row, rng: Rng) -> Gray:
    factor = int(rng.integers(3, 9))
    height, width = gray.shape
    small = cv2.resize(gray, (max(width // factor, 8), max(height // factor, 8)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _black_hot(gray: Gray, row: Row, rng: Rng) -> Gray:
    return 255 - gray


def _coloured(gray: Gray, row: Row, rng: Rng) -> Gray:
    names = [name for name in PALETTES if not name.endswith("-hot")]
    return palette(names[int(rng.integers(len(names)))])[gray]


def _scale_bar(gray: Gray, row: Row, rng: Rng) -> Gray:
    out = gray.copy()
    height, width = gray.shape
    thick, top, bottom = max(width // 24, 4), height // 8, height - height // 8
    left = width - 2 * thick - 2 if rng.random() < 0.7 else thick
    out[top:bottom, left : left + thick] = np.linspace(255, 0, bottom - top)[:, None].astype(np.uint8)
    cv2.rectangle(out, (left - 1, top - 1), (left + thick, bottom), 255, 1)
    for celsius, y in ((rng.uniform(34, 39), top - 6), (rng.uniform(17, 22), bottom + height // 36)):
        _write(out, f"{celsius:.1f}", (max(left - thick // 2, 0), y))
    return out


def _crosshair(gray: Gray, row: Row, rng: Rng) -> Gray:
    out = gray.copy()
    height, width = gray.shape
    x, y, arm = int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.4, 0.6)), width // 24
    for level, thick in ((0, 3), (255, 1)):
        cv2.line(out, (x - arm, y), (x + arm, y), level, thick)
        cv2.line(out, (x, y - arm), (x, y + arm), level, thick)
    _write(out, f"{rng.uniform(33, 37):.1f} C", (x + arm + 2, y - 4))
    return out


def _caption(gray: Gray, row: Row, rng: Rng) -> Gray:
    out = gray.copy()
    height, width = gray.shape
    text = ("CAM 02 LWIR", "2024-05-17 10:32:08", "e=0.98 Tr=22.0 C", "SAMPLE 0417")[int(rng.integers(4))]
    _write(out, text, (width // 40, (height // 18, height - height // 40)[int(rng.integers(2))]))
    return out


def _write(out: Gray, text: str, at: tuple[int, int]) -> None:
    for level, thick in ((0, 3), (255, 1)):  # outlined, as cameras write
        cv2.putText(out, text, at, _FONT, max(out.shape[1] / 1000, 0.5), level, thick, cv2.LINE_8)


def _bars(gray: Gray, row: Row, rng: Rng) -> Gray:
    out, level = gray.copy(), (0, 0, 128, 255)[int(rng.integers(4))]
    lines = out if rng.random() < 0.5 else out.T
    count = int(len(lines) * rng.uniform(0.05, 0.15))
    lines[:count] = lines[-count:] = level
    return out


def _half_missing(gray: Gray, row: Row, rng: Rng) -> Gray:
    out = gray.copy()
    lines = out if rng.random() < 0.5 else out.T
    part = slice(len(lines) // 2) if rng.random() < 0.5 else slice(len(lines) // 2, None)
    lines[part] = int(rng.choice((0, 255)))
    return out


def _torn(gray: Gray, row: Row, rng: Rng) -> Gray:
    """Rows of the face are displaced sideways."""
    out = gray.copy()
    y, h = float(row["bbox"][1]), float(row["bbox"][3])
    top = int(np.clip(y + h * rng.uniform(0.2, 0.7), 8, len(gray) - 16))
    bottom = min(top + int(len(gray) * rng.uniform(0.1, 0.5)), len(gray))
    shift = int(gray.shape[1] * rng.uniform(0.08, 0.3)) * (1 if rng.random() < 0.5 else -1)
    out[top:bottom] = np.roll(out[top:bottom], shift, axis=1)
    return out


def _garbage_blocks(gray: Gray, row: Row, rng: Rng) -> Gray:
    """Runs of macroblocks at the head show what belongs elsewhere."""
    out = gray.copy()
    height, width = gray.shape
    x, y, w, h = (float(v) for v in row["bbox"])
    wide, high = width // 4 // 16 * 16, max(height // 8 // 16 * 16, 16)
    for _ in range(4):
        to_y = int(np.clip(y + h * rng.uniform(0, 0.8), 0, height - high)) // 16 * 16
        to_x = int(np.clip(x + w * rng.uniform(-0.2, 0.6), 0, width - wide)) // 16 * 16
        from_y, from_x = (int(rng.integers(0, n)) for n in (height - high, width - wide))
        out[to_y : to_y + high, to_x : to_x + wide] = gray[from_y : from_y + high, from_x : from_x + wide]
    return out


def _mirrored(gray: Gray, row: Row, rng: Rng) -> Gray:
    out = gray.copy()
    half = gray.shape[1] // 2
    out[:, -half:] = out[:, :half][:, ::-1]
    return out


def _repeated(frames: Gray, row: Row, rng: Rng) -> Gray:
    out = frames.copy()
    for start in rng.choice(np.arange(1, len(frames)), min(6, len(frames) - 1), replace=False):
        out[start] = out[start - 1]
    return out


def _frozen_stretch(frames: Gray, row: Row, rng: Rng) -> Gray:
    out, length = frames.copy(), max(len(frames) // 3, 2)
    start = int(rng.integers(1, max(len(frames) - length, 2)))
    out[start : start + length] = out[start - 1]
    return out


def _frozen(frames: Gray, row: Row, rng: Rng) -> Gray:
    return np.repeat(frames[len(frames) // 2][None], len(frames), axis=0)


def _half_rate(frames: Gray, row: Row, rng: Rng) -> Gray:
    return np.repeat(frames[::2], 2, axis=0)[: len(frames)]


def _seen(row: Mapping[str, Any]) -> bool:
    """Whether the face has a box, large enough to judge its sharpness."""
    box = np.asarray(row["bbox"], np.float64)
    return bool(np.isfinite(box).all() and box[..., 2:].min() >= 64)


def _on_frame(
    name: str,
    codes: str,
    meaning: str,
    change: Callable[[Gray, Row, Rng], Gray],
    needs: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Fault:
    return Fault(name, tuple(codes.split()), meaning, on_frame=change, needs=needs)


def _on_clip(name: str, codes: str, meaning: str, change: Callable[[Gray, Row, Rng], Gray]) -> Fault:
    return Fault(name, tuple(codes.split()), meaning, on_frames=change, media=("clip",))


FAULTS: tuple[Fault, ...] = (
    _on_frame("clipped-hot", "clipped-hot", "Half of the skin is clipped at 255.", _clipped_hot, _seen),
    _on_frame("clipped-cold", "clipped-cold", "The cooler third of the face is clipped at 0.", _clipped_cold, _seen),
    _on_frame("washed-out", "low-contrast", "All levels are squeezed into 2 to 8 % of the range.", _washed_out),
    _on_frame("empty-frame", "low-contrast", "The frame is one level.", _empty),
    _on_frame("posterised", "posterised", "6 to 14 levels are left.", _posterised),
    _on_frame("row-banding", "row-stripes", "Waves of 4 to 8 levels run down the rows.", _row_banding),
    _on_frame("column-pattern", "column-stripes", "Each column has an offset of 3.5 to 6 levels.", _column_pattern),
    _on_clip(
        "fixed-pattern", "fixed-pattern noise", "Each pixel has an offset of 3 to 5 levels, for ever.", _fixed_pattern
    ),
    _on_frame("dead-pixels", "dead-pixels", "25 to 60 pixels are 0 or 255.", _dead_pixels),
    _on_frame("stuck-line", "stuck-line", "A row or column is 0 or 255.", _stuck_line),
    _on_frame("salt-and-pepper", "salt-and-pepper", "1 to 3 % of the pixels are 0 or 255.", _salt_and_pepper),
    Fault(
        "noisy-still",
        ("noise",),
        "Noise of 9 to 16 levels.",
        on_frame=lambda gray, row, rng: _noisy_frame(gray, rng, rng.uniform(9, 16)),
        media=("still",),
    ),
    _on_clip("noisy-clip", "noise", "Noise of 9 to 16 levels, new in each frame.", _noisy),
    _on_frame("defocused", "blur", "Blurred by 2.2 to 3.5 % of the face box.", _defocused, _seen),
    _on_frame("motion-blurred", "motion-blur blur", "Smeared by 13 to 18 % of the face box.", _motion_blurred, _seen),
    _on_frame("jpeg", "compression-blocks", "JPEG of quality 8 to 29.", _jpeg),
    _on_clip("low-bitrate", "carried-over-blocks", "H.264 at a rate factor of 36 to 45.", _low_bitrate),
    _on_frame("pixelated", "pixelated", "Pixels repeated 3 to 8 times.", _pixelated),
    _on_frame("black-hot", "black-hot", "The negative.", _black_hot, _seen),
    Fault(
        "colour-palette",
        ("coloured",),
        "Iron, rainbow or ember colours.",
        on_frame=_coloured,
        media=("still",),
    ),
    _on_frame("scale-bar", "burned-in cut-edges", "A temperature scale at the side.", _scale_bar),
    _on_frame("crosshair", "burned-in", "A crosshair with a temperature.", _crosshair),
    _on_frame("caption", "burned-in", "A line of text.", _caption),
    _on_frame("bars", "border", "Flat bars at two sides.", _bars),
    _on_frame("half-missing", "border", "One half is 0 or 255.", _half_missing),
    _on_frame("torn-rows", "torn", "Rows are displaced sideways.", _torn, _seen),
    _on_frame("garbage-blocks", "cut-edges", "Macroblocks of elsewhere lie in the face.", _garbage_blocks, _seen),
    _on_frame("mirrored-half", "mirrored-halves", "The right half is the left one's mirror image.", _mirrored),
    _on_clip("repeated-frames", "repeated-frames", "Six frames repeat the one before.", _repeated),
    _on_clip("frozen-stretch", "repeated-frames", "A third of the clip stands still.", _frozen_stretch),
    _on_clip("frozen-clip", "frozen-clip", "All frames are the middle one.", _frozen),
    _on_clip("half-rate", "repeated-frames", "Every other frame repeats the one before.", _half_rate),
)
