"""Frames cut off the ends of a clip, in all its columns: the MP4 is encoded anew, and the provenance says from what."""

from __future__ import annotations

import json
from typing import Any

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import FRAME_COLUMNS

from .store import canonical_json, sha256_bytes
from .video import decode_gray, encode_faithful, encoder_settings

MOST_PIXELS = 2**29  # of the frames that stay: they are encoded from memory
_RADIOMETRIC = (
    "radiometric", "frame_index", *FRAME_COLUMNS, "skin_bbox", "head_bbox", "landmarks_3d", "head_rotation",
    "head_translation", "expression_weights", "region_temperatures", "temperature", "segmentation", "depth",
)  # fmt: skip


def cut_clip(row: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """The row of ``video`` with the frames from ``first`` to ``last``, both inclusive.

    The frames are decoded and encoded again, each within 40 dB of the old one; ``provenance`` keeps what it says and
    adds the cut, with the SHA-256 of the MP4 it was made from and of the pixels that were encoded.

    Raises:
        UsageError: the clip has no such frames, an odd size, or too many pixels to be cut in memory.
        DamagedInputError: the MP4 does not decode.
    """
    count, size = row["num_frames"], row["width"] * row["height"]
    if not 0 <= first <= last < count:
        raise UsageError(f"{row['clip_id']} has frames 0 to {count - 1}; {first} to {last} cannot stay of it")
    if first == 0 and last == count - 1:
        return row
    if (last - first + 1) * size > MOST_PIXELS:
        raise UsageError(
            f"{row['clip_id']} would keep {last - first + 1} frames of {size} pixels; allowed: {MOST_PIXELS} pixels in"
            " all; reject the whole clip, or more of it"
        )
    if row["width"] % 2 or row["height"] % 2:
        raise UsageError(f"{row['clip_id']} is {row['width']} x {row['height']}; only even sizes can be encoded again")
    old = row["video"]["bytes"]
    frames = decode_gray(old, range(first, last + 1))
    data, crf = encode_faithful(frames, row["fps"] or 30.0)
    try:
        provenance = json.loads(row["provenance"] or "{}")
    except ValueError:
        provenance = {"unreadable": row["provenance"]}
    cut = {
        "first": first, "last": last, "video_sha256": sha256_bytes(old), "encoder": encoder_settings(crf),
        "pixels_sha256": sha256_bytes(frames.tobytes()),
    }  # fmt: skip
    # a clip that is cut twice keeps both cuts, the first one first
    provenance["cuts"] = [*provenance.get("cuts", ()), cut]
    labels = {name: row[name][first : last + 1] for name in FRAME_COLUMNS if row[name] is not None}
    video = {"bytes": data, "path": row["video"]["path"]}
    return {**row, **labels, "video": video, "num_frames": len(frames), "provenance": canonical_json(provenance)}


def cut_radiometric(row: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """The row of ``radiometric`` with those of its frames that stay in a clip cut to ``first`` to ``last``.

    >>> row = dict.fromkeys(_RADIOMETRIC) | {"frame_index": [0, 3, 6], "depth": ["a", "b", "c"]}
    >>> cut = cut_radiometric(row, 2, 5)
    >>> cut["frame_index"], cut["depth"]
    ([1], ['b'])
    """
    stay = [n for n, k in enumerate(row["frame_index"]) if first <= k <= last]
    cut = {name: [row[name][n] for n in stay] for name in _RADIOMETRIC if row.get(name) is not None}
    return {**row, **cut, "frame_index": [k - first for k in cut["frame_index"]]}
