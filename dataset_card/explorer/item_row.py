"""Where an item of a release lies and what little of it everybody asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ItemRow:
    """An item of the catalogue: a clip, a still or a scene.

    Attributes:
        key: its place in the catalogue, dense and from 0; valid for one generation of it.
        item_id: clip or image id, any text.
        config: "video", "image" or "scenes".
        kind: "clip", "still" or "scene".
        split: of the shard it lies in.
        shard: path of its Parquet file below the release, as the release lists it.
        row: its row in that file, from 0.
        subject_id: whose face it is; None of a scene and where the release does not know.
        num_frames: 1 but for clips.
        width, height: pixels of a frame.
        fps: frames a second of a clip; None otherwise.
        radiometric: shard and row of its 16-bit frames; None where there are none.
    """

    key: int
    item_id: str
    config: str
    kind: str
    split: str
    shard: str
    row: int
    subject_id: str | None
    num_frames: int
    width: int
    height: int
    fps: float | None
    radiometric: tuple[str, int] | None = None
