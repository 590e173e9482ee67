"""Make the pictures of this folder: a sheet of 64 stills, and one clip of each sequence.

    python docs/gallery.py

Writes docs/phantom_sheet.jpg (8 x 8: identities, poses, expressions, accessories, sensors) and docs/head_pose.mp4 and
docs/expression.mp4. The same commit and packages give the same pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from thermvision.annotations.schema import EXPRESSIONS
from thermvision.curation.video import encode_gray
from thermvision.generation.engines.phantom.engine import PhantomEngine
from thermvision.generation.specs import ClipSpec, StillSpec, Subject

COLUMNS, CELL, SEED = 8, 256, 12
POSES = ((-75, 0, 0), (-50, 5, -6), (-30, -15, 4), (0, 25, 0), (0, -25, 0), (30, 10, 10), (50, -5, 6), (75, 0, 0))


def subject(index: int) -> Subject:
    return Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], SEED)


def cells() -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Subject number, category and fixed parameters of the 64 stills, row by row."""
    yield from ((i, "frontal_pose", {}) for i in range(16))
    yield from (
        (16 + i, "head_poses", dict(zip(("yaw", "pitch", "roll"), p, strict=True))) for i, p in enumerate(POSES)
    )
    words = (*EXPRESSIONS, "smile")
    yield from ((24 + i, "frontal_pose", {"expression": e, "yaw": 8.0 * (i % 3 - 1)}) for i, e in enumerate(words))
    yield from ((32 + i, "facial_accessories", {}) for i in range(8))
    yield from ((2 * i + 41, "beard", {}) for i in range(8))
    yield from ((56 + i, "mix", {}) for i in range(8))
    yield from ((64 + i, "frontal_pose", sensor) for i, sensor in enumerate(sensors()))


def sensors() -> list[dict[str, Any]]:
    """Eight ways to see a face: sensors, gains, rooms, distances, fog."""
    return [
        {"preset": "qvga-12"},
        {"preset": "qqvga-12"},
        {"agc": "linear"},
        {"polarity": "black-hot"},
        {"ambient": 16.0, "yaw": 15.0},
        {"ambient": 31.0, "yaw": -15.0},
        {"distance": 1.6, "yaw": 25.0},
        {"fog": 0.6},
    ]


def sheet() -> Image.Image:
    engine, frames = PhantomEngine(), []
    for number, (index, category, fixed) in enumerate(cells()):
        spec = StillSpec(
            f"cell{number}", subject(index), "phantom", category, number, radiometric=False, parameters=fixed
        )
        frames.append(cv2.resize(engine.render(spec).frame, (CELL, CELL), interpolation=cv2.INTER_AREA))
    rows = [np.hstack(frames[k : k + COLUMNS]) for k in range(0, len(frames), COLUMNS)]
    return Image.fromarray(np.vstack(rows))


def clip(sequence: str, index: int, frames: int) -> bytes:
    spec = ClipSpec(sequence, subject(index), "phantom", sequence, 1, frames, size=256)
    return encode_gray(PhantomEngine().render(spec).frames, spec.fps, crf=23)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    sheet().save(out / "phantom_sheet.jpg", quality=85, optimize=True)
    (out / "head_pose.mp4").write_bytes(clip("head_pose", 1, 240))
    (out / "expression.mp4").write_bytes(clip("expression", 2, 240))


if __name__ == "__main__":
    main()
