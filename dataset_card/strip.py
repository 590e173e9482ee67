"""The pictures at the top of a card: a handful of real frames in a row, and some clips that play beside each other."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, SEQUENCES, class_name
from thermvision.curation.release import Manifest
from thermvision.dataset_card import samples
from thermvision.dataset_card.sheet import BACKGROUND, TEXT, Tile, fitted, font, heat_picture

TILES, SIDE, GAP, CAPTION = 7, 240, 6, 34  # at most so many; pixels
QUALITY = 90  # of JPEG
PANEL, FRAMES, MILLISECONDS = 240, 32, 100  # of the moving picture
MOST_BYTES = 400_000  # of it: it is sent with every version
_QUALITIES = (60, 45, 30, 15)  # of WebP: the first that is small enough
_WORN = ("glasses", "mask", "headwear", "jewellery")


def strip(root: Path, manifest: Manifest) -> bytes | None:
    """JPEG of up to seven frames side by side, each with a word below it; None where the release has no picture.

    One still a category, each of another person, frames of clips far from frontal or neutral, and a 16-bit frame in
    false colours. The same release gives the same bytes.

    Raises:
        DamagedInputError: an item that was chosen does not decode.
    """
    heat = list(_heat(root, manifest))
    tiles = list(_stills(root, manifest))
    tiles = [*tiles, *_clips(root, manifest, TILES - len(tiles) - len(heat)), *heat][:TILES]
    if not tiles:
        return None
    page = Image.new("RGB", (len(tiles) * (SIDE + GAP) - GAP, SIDE + CAPTION), BACKGROUND)
    pen = ImageDraw.Draw(page)
    for place, tile in enumerate(tiles):
        x = place * (SIDE + GAP)
        page.paste(Image.fromarray(fitted(tile.pixels, SIDE)), (x, 0))
        size = 20
        while size > 12 and pen.textlength(tile.captions[0], font=font(size)) > SIDE:
            size -= 1
        pen.text((x + SIDE / 2, SIDE + CAPTION / 2), tile.captions[0], font=font(size), fill=TEXT, anchor="mm")
    data = io.BytesIO()
    page.save(data, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return data.getvalue()


def _stills(root: Path, manifest: Manifest) -> Iterator[Tile]:
    categories = [c for c in manifest.configs if c in (*CATEGORIES, "scenes")]
    if len(categories) >= len(CATEGORIES) and manifest.shards_of("video"):
        categories.remove("mix")  # what it shows the others show, and the room goes to clips
    for place, category in enumerate(categories):
        key = "image_id" if category == "scenes" else "subject_id"
        rows = list(samples.list_rows(root, manifest.shards_of(category), sorted({"image_id", key})))
        people = samples.spread(rows, 2 * TILES, key)
        row = samples.read_row(root, people[place * len(people) // len(categories)])  # another person each time
        yield Tile(samples.coloured(row, samples.still_gray(row)), (_said_of_still(category, row),))


def _said_of_still(category: str, row: Mapping[str, Any]) -> str:
    if category == "head_poses" and row["head_pose"]:
        return _turned(row["head_pose"])
    names = _WORN if category == "facial_accessories" else ("beard",) if category == "beard" else ()
    worn = [class_name(ATTRIBUTES[n], row[n]) for n in names if row.get(n)]  # class 0 is none
    said = {"both": "earrings, necklace", "full": "full beard"}
    return ", ".join(said.get(name, name) for name in worn) or category.replace("_", " ")


def _turned(pose: Sequence[float]) -> str:
    yaw, pitch = round(pose[0]), round(pose[1])
    return f"yaw {yaw:+d}°" if abs(yaw) >= abs(pitch) else f"pitch {pitch:+d}°"


def _clips(root: Path, manifest: Manifest, count: int) -> Iterator[Tile]:
    """Up to ``count`` frames of clips, each of another person: the head turned farthest, the mouth or brows in action.

    Where nothing is known of the frames, the middle one.
    """
    shards = manifest.shards_of("video")
    listed = [*samples.list_rows(root, shards, ["clip_id", "subject_id", "sequence"])] if shards and count > 0 else []
    left = {(row.shard.path, row.index): row for row in listed}
    for place, chosen in enumerate(reversed(samples.spread(listed, count))):
        wanted = place % len(SEQUENCES)
        own = [r for r in left.values() if r.values["subject_id"] == chosen.values["subject_id"]]
        taken = next((r for r in own if r.values["sequence"] == wanted), own[0])
        del left[taken.shard.path, taken.index]
        row = samples.read_row(root, taken)
        index, said = _telling(row)
        yield Tile(samples.coloured(row, samples.clip_gray(row, [index])[0]), (said,))


def _telling(row: Mapping[str, Any]) -> tuple[int, str]:
    """A frame of a clip that shows what the clip is about, and a word on it."""
    middle = row["num_frames"] // 2
    sequence = None if row["sequence"] is None else class_name(SEQUENCES, row["sequence"])
    poses, expressions = row["head_pose"], row["expression"]
    if sequence == "head_pose" and poses and all(p is not None for p in poses):
        index = int(np.argmax(np.abs(np.asarray(poses)[:, 0])))
        return index, _turned(poses[index])
    if sequence == "expression" and expressions and all(e is not None for e in expressions):
        acted = [k for k, e in enumerate(expressions) if e]  # class 0 is neutral
        if acted:
            run = [k for k in acted if expressions[k] == expressions[acted[0]]]
            index = run[len(run) // 2]
            return index, class_name(EXPRESSIONS, expressions[index])
    return middle, "a clip" if sequence is None else f"clip, {sequence.replace('_', ' ')}"


def _heat(root: Path, manifest: Manifest) -> Iterator[Tile]:
    shards = manifest.shards_of("radiometric")
    rows = samples.spread(list(samples.list_rows(root, shards, ["item_id", "subject_id"])), 2)
    for chosen in rows[-1:]:
        row = samples.read_row(root, chosen)
        if row["radiometric"]:
            values = samples.celsius(row["radiometric"][0], row["item_id"])
            low, high = np.floor(np.percentile(values, 1)), np.ceil(np.percentile(values, 99.9))
            yield Tile(heat_picture(values, low, high), (f"16 bit, {low:.0f} to {high:.0f} °C",))


def moving(root: Path, manifest: Manifest) -> bytes | None:
    """Animated WebP of up to four clips beside each other, their frames at equal steps; None where there is no clip.

    The same release gives the same bytes, at most 400 kB of them unless the clips resist.

    Raises:
        DamagedInputError: a clip does not decode.
    """
    rows = samples.clips(root, manifest, subjects=2)[:4]
    if not rows:
        return None
    count = min(FRAMES, max(row["num_frames"] for row in rows))
    tracks = [_track(row, count) for row in rows]
    frames = [Image.fromarray(np.concatenate([track[k] for track in tracks], 1)) for k in range(count)]
    data = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        frames[0].save(
            file, "WEBP", save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, quality=quality,
            method=2,
        )  # fmt: skip
        data = file.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data


def _track(row: Mapping[str, Any], count: int) -> list[NDArray[np.uint8]]:
    """``count`` panels of a clip; a shorter one holds its last frame."""
    places = samples.evenly(range(row["num_frames"]), count)
    panels = [fitted(samples.coloured(row, gray), PANEL) for gray in samples.clip_gray(row, places)]
    return [*panels, *[panels[-1]] * (count - len(panels))]
