"""Bright ovals that move, an annotator that finds them, and videos of them: what animation is tested on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from thermvision.annotations.faces import INVERTED, FaceShape
from thermvision.annotations.pipeline import Face
from thermvision.annotations.schema import FrameAnnotation

EYES, LIPS = 0.25, 0.125  # of `face_points`
Centre = tuple[int, int]


def face_points(box: Sequence[float], eyes: float = EYES, lips: float = LIPS) -> np.ndarray:
    """68 points of an upright face in a box ``[x, y, w, h]``, with these openings of eyes and lips."""
    points = np.full((68, 2), 0.5)
    turn = np.linspace(0, np.pi, 17)
    points[:17] = np.stack([0.5 - 0.5 * np.cos(turn), 0.4 + 0.6 * np.sin(turn)], 1)
    points[17:27] = np.stack([np.linspace(0.1, 0.9, 10), np.full(10, 0.2)], 1)
    for first, x in ((36, 0.2), (42, 0.6)):
        half = eyes * 0.2 / 2
        points[first : first + 6] = np.array([
            [x, 0.35], [x + 0.05, 0.35 - half], [x + 0.15, 0.35 - half],
            [x + 0.2, 0.35], [x + 0.15, 0.35 + half], [x + 0.05, 0.35 + half],
        ])  # fmt: skip
    points[48], points[54] = (0.3, 0.75), (0.7, 0.75)
    points[62], points[66] = (0.5, 0.75 - lips * 0.2), (0.5, 0.75 + lips * 0.2)
    # distances count in pixels: a box that is higher than wide would open eyes further
    return np.array(box[:2]) + points * min(box[2:])


def ovals(height: int, width: int, *centres: Centre, radius: int = 20) -> np.ndarray:
    """A dark frame with bright disks, each a few pixels smaller than the one before it."""
    frame = np.full((height, width), 30, np.uint8)
    for n, centre in enumerate(centres):
        cv2.circle(frame, centre, radius - 4 * n, 200, -1)
    return frame


class OvalAnnotator:
    """What `Annotates` asks for: a face in the box about each bright disk, the smallest first, four at most.

    With ``negative`` frames are looked at as their negative, as a detector does with what it takes for black-hot.
    """

    source = "ovals@0"
    tells_polarity = True

    def __init__(self, negative: bool = False) -> None:
        self.negative, self.frames = negative, 0

    def _faces(self, frame: np.ndarray) -> list[Face]:
        self.frames += 1
        seen = 255 - frame if self.negative else frame
        count, _, stats, _ = cv2.connectedComponentsWithStats((seen > 120).astype(np.uint8))
        boxes = sorted((stats[i, :4].astype(float) for i in range(1, count)), key=lambda b: b[2])[-4:]
        shapes = [FaceShape(np.float32(face_points(b)) + 0.5, np.full(68, 3, np.uint8)) for b in boxes]
        none = np.full((5, 2), np.nan, np.float32)
        return [Face(np.float32(b), 0.5, none, shape) for b, shape in zip(boxes, shapes, strict=True)]

    def all_faces(
        self, frames: Iterable[np.ndarray], *, video: bool = False, doubt: float = 0.5
    ) -> Iterator[tuple[list[Face], str]]:
        for frame in frames:
            yield self._faces(frame), self.source + (INVERTED if self.negative else "")

    def main_faces(
        self, frames: Iterable[np.ndarray], *, video: bool = False, doubt: float = 0.5
    ) -> Iterator[tuple[FrameAnnotation, dict[str, tuple[str, float]]]]:
        for frame in frames:
            faces = self._faces(frame)
            if not faces:
                yield FrameAnnotation.no_face(self.source), {}
                continue
            face = faces[-1]
            assert face.shape is not None
            yield FrameAnnotation(face.bbox, len(faces), self.source, landmarks=face.shape.landmarks), {}


def write_video(path: Path, frames: Iterable[np.ndarray], times: Sequence[int] | None = None, fps: int = 25) -> Path:
    """A lossless video of gray frames, shown at ``times`` in ticks of 1 / ``fps`` s; none: one a tick."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", fps)
        for number, frame in enumerate(frames):
            if not number:
                stream.height, stream.width = frame.shape
                stream.pix_fmt = "gray"
            picture = av.VideoFrame.from_ndarray(frame, format="gray")
            picture.pts, picture.time_base = times[number] if times else number, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def levels(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    """Flat frames that are told apart by their level: 10, 20, 30, …"""
    return [np.full((height, width), 10 * (n + 1), np.uint8) for n in range(count)]
