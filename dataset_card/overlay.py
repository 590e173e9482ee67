"""Clips with their boxes, landmarks and head pose drawn over them, as one MP4 that every browser plays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from thermvision.annotations.draw import draw_annotation, draw_label
from thermvision.curation.video import decode_gray
from thermvision.dataset_card.samples import annotation_of, scaled

PANEL = 512  # pixels, square
MAX_FRAMES = 300  # a clip's: ten seconds at 30 frames a second
CRF = 20
BATCH = 32  # frames decoded at a time
BACKGROUND = (13, 16, 22)


def overlay_clip(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """MP4 of clips, two beside each other: H.264 yuv420p, BT.709 limited range, ready to stream.

    ``rows`` are rows of the config ``video``; a subject's two clips make a pair. The shorter holds its last frame.

    Raises:
        ValueError: there is no row.
        DamagedInputError: a clip does not decode.
    """
    if not rows:
        raise ValueError("there is no clip; allowed: one or more")
    pairs = _pairs(rows)
    width = PANEL * max(map(len, pairs))
    fps = Fraction(rows[0]["fps"] or 30).limit_denominator(1001)
    with tempfile.TemporaryDirectory() as folder:  # faststart moves bytes within a real file
        path = Path(folder) / "overlay.mp4"
        with av.open(
            str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
        ) as container:
            stream = container.add_stream("libx264", fps, options={"crf": str(CRF)})
            stream.width, stream.height, stream.pix_fmt = width, PANEL, "yuv420p"
            context = stream.codec_context
            context.thread_count = 1  # x264's bytes change with the number of threads
            context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
            context.color_primaries, context.color_trc = 1, 1
            for number, image in enumerate(image for pair in pairs for image in _played(pair, width)):
                rgb = av.VideoFrame.from_ndarray(image, "rgb24")
                frame = rgb.reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                frame.pts, frame.time_base = number, 1 / fps
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()


def _pairs(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    pairs: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if pairs and len(pairs[-1]) == 1 and pairs[-1][0]["subject_id"] == row["subject_id"]:
            pairs[-1].append(row)
        else:
            pairs.append([row])
    return pairs


def _played(pair: Sequence[Mapping[str, Any]], width: int) -> Iterator[NDArray[np.uint8]]:
    players = [_drawn(row) for row in pair]
    count = max(min(row["num_frames"], MAX_FRAMES) for row in pair)
    canvas = np.full((PANEL, width, 3), BACKGROUND, np.uint8)
    left = (width - PANEL * len(pair)) // 2
    for _ in range(count):
        for place, player in enumerate(players):
            if (image := next(player, None)) is not None:
                canvas[:, left + place * PANEL : left + (place + 1) * PANEL] = image
        yield canvas


def _drawn(row: Mapping[str, Any]) -> Iterator[NDArray[np.uint8]]:
    count = min(row["num_frames"], MAX_FRAMES)
    for start in range(0, count, BATCH):
        indices = range(start, min(start + BATCH, count))
        for index, gray in zip(indices, decode_gray(row["video"]["bytes"], indices), strict=True):
            yield _panel(gray, row, index)


def _panel(gray: NDArray[np.uint8], row: Mapping[str, Any], index: int) -> NDArray[np.uint8]:
    """One frame, enlarged or reduced to fit the panel, with its annotation and the clip's name."""
    height, width = gray.shape
    factor = PANEL / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    resized = cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)
    panel = np.full((PANEL, PANEL, 3), BACKGROUND, np.uint8)
    y, x = (PANEL - size[1]) // 2, (PANEL - size[0]) // 2
    panel[y : y + size[1], x : x + size[0]] = draw_annotation(resized, scaled(annotation_of(row, index), factor))
    draw_label(panel, f"{row['clip_id']}  frame {index}", (8, PANEL - 32))
    return panel
