"""The contact sheet of a release: stills by category, strips of clips, annotations, temperatures, on one dark page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from thermvision.annotations import draw
from thermvision.annotations.schema import CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES, FrameAnnotation, class_name
from thermvision.curation.release import LICENCES, Manifest, describe
from thermvision.dataset_card import samples

WIDTH, MARGIN, GUTTER, GAP = 1600, 36, 200, 6
CONTENT = WIDTH - 2 * MARGIN
STRIP = 8  # tiles beside the gutter
ANNOTATED = 5  # larger tiles over the full width

BACKGROUND, PANEL, RULE = (13, 16, 22), (24, 28, 36), (42, 48, 60)
BRIGHT, TEXT, MUTED = (244, 246, 250), (206, 212, 222), (136, 146, 162)


@dataclass(frozen=True)
class Tile:
    """One picture and the lines below it."""

    pixels: NDArray[np.uint8]
    captions: tuple[str, ...]


def contact_sheet(root: Path, manifest: Manifest) -> Image.Image:
    """The page as an RGB image 1600 pixels wide; a section for which the release has no rows is left out."""
    stills = {c: samples.stills(root, manifest, c, STRIP) for c in manifest.configs if c in CATEGORIES}
    clips = samples.clips(root, manifest, subjects=2)
    blocks = [_header(manifest)]
    if stills:
        blocks += [_section("Stills", "one category a row"), *_still_rows(manifest, stills)]
    if clips:
        blocks += [_section("Clips", "frames at equal steps"), *(_clip_row(clip) for clip in clips)]
    if annotated := _annotated(stills, clips):
        tiles, annotations = zip(*annotated, strict=True)
        blocks += [
            _section("Annotations", "as stored in the release"),
            _tiles(tiles, "", (), ANNOTATED),
            _legend(annotations),
        ]
    if heat := _temperatures(root, manifest):
        blocks += [_section("Radiometric", "16-bit, 100 × kelvin, on the sensor's own pixel grid"), heat]
    shown = [*clips, *(row for items in stills.values() for row in items)]
    blocks.append(_footer(manifest, any(map(samples.is_black_hot, shown))))
    page = Image.new("RGB", (WIDTH, sum(b.height for b in blocks)), BACKGROUND)
    y = 0
    for block in blocks:
        page.paste(block, (0, y))
        y += block.height
    return page


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans in pixels."""
    return ImageFont.truetype(str(draw.font_path(bold)), size, layout_engine=ImageFont.Layout.BASIC)


def _block(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (WIDTH, height), BACKGROUND)
    return image, ImageDraw.Draw(image)


def _header(manifest: Manifest) -> Image.Image:
    image, pen = _block(150)
    facts = describe(manifest)
    pen.text((MARGIN, 30), manifest.name, font=font(46, bold=True), fill=BRIGHT)
    offset = MARGIN + pen.textlength(manifest.name, font=font(46, bold=True)) + 18
    pen.text((offset, 50), f"version {manifest.version}", font=font(22), fill=MUTED)
    pen.text((MARGIN, 94), " · ".join(figures(facts)), font=font(19), fill=TEXT)
    licence = LICENCES[manifest.licence]
    pen.text((WIDTH - MARGIN, 54), licence, font=font(17), fill=MUTED, anchor="ra")
    image.paste(_gradient(CONTENT, 4), (MARGIN, 134))
    return image


def figures(facts: dict[str, Any]) -> list[str]:
    """What `describe` counts, as short phrases.

    >>> figures({"subjects": {"total": 2, "female": 1, "male": 1}, "configs": {"video": {"rows": {"train": 4}}}})
    ['2 subjects (1 female, 1 male)', '4 clips']
    """
    people = facts["subjects"]
    lines = [f"{count(people['total'], 'subject')} ({people['female']} female, {people['male']} male)"]
    for config, noun in (
        ("video", "clip"),
        ("image", "still"),
        ("frames", "annotated frame"),
        ("radiometric", "16-bit item"),
    ):
        if config in facts["configs"]:
            lines.append(count(sum(facts["configs"][config]["rows"].values()), noun))
    return lines


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "clip"), count(30200, "frame")
    ('1 clip', '30,200 frames')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _section(title: str, note: str) -> Image.Image:
    image, pen = _block(58)
    pen.text((MARGIN, 40), title, font=font(25, bold=True), fill=BRIGHT, anchor="ls")
    offset = MARGIN + pen.textlength(title, font=font(25, bold=True)) + 14
    pen.text((offset, 40), note, font=font(16), fill=MUTED, anchor="ls")
    return image


def _tiles(tiles: Sequence[Tile], title: str, notes: Sequence[str], columns: int | None = None) -> Image.Image:
    """A row of square tiles with captions; with a title or notes they stand in a gutter at the left."""
    gutter = GUTTER if title or notes else 0
    columns = columns or len(tiles)
    side = (CONTENT - gutter - (columns - 1) * GAP) // columns
    lines = max(len(tile.captions) for tile in tiles)
    image, pen = _block(side + 14 + 20 * lines)
    if title:
        pen.text((MARGIN, 4), title, font=font(18, bold=True), fill=BRIGHT)
    for line, note in enumerate(notes):
        pen.text((MARGIN, 32 + 23 * line), note, font=font(15), fill=MUTED)
    for place, tile in enumerate(tiles):
        x = MARGIN + gutter + place * (side + GAP)
        image.paste(Image.fromarray(fitted(tile.pixels, side)), (x, 0))
        for line, caption in enumerate(tile.captions):
            text = _fitting(caption, side, pen)
            pen.text((x + side / 2, side + 6 + 20 * line), text, font=font(14), fill=MUTED, anchor="ma")
    return image


def _fitting(text: str, width: int, pen: ImageDraw.ImageDraw) -> str:
    while text and pen.textlength(text, font=font(14)) > width:
        text = text[:-2].rstrip(" ·…") + "…"
    return text


def fitted(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """RGB (side, side, 3) uint8 of a gray or RGB frame, whole and centred on a panel."""
    rgb = draw.to_rgb(pixels)
    height, width = rgb.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    panel = np.full((side, side, 3), PANEL, np.uint8)
    y, x = (side - size[1]) // 2, (side - size[0]) // 2
    panel[y : y + size[1], x : x + size[0]] = small
    return panel


def _still_rows(manifest: Manifest, stills: dict[str, list[dict[str, Any]]]) -> list[Image.Image]:
    columns = max(4, max(map(len, stills.values())))
    rows = []
    for category, items in stills.items():
        total = sum(s.rows for s in manifest.shards_of(category))
        tiles = [Tile(samples.coloured(row, samples.still_gray(row)), (_still_caption(row),)) for row in items]
        rows.append(_tiles(tiles, category.replace("_", " "), [count(total, "still")], columns))
    return rows


def _still_caption(row: dict[str, Any]) -> str:
    gender = None if row["gender"] is None else class_name(GENDERS, row["gender"])
    return " · ".join(part for part in (row["subject_id"], gender) if part)


def _clip_row(row: dict[str, Any]) -> Image.Image:
    places = samples.evenly(range(row["num_frames"]), STRIP)
    frames = samples.clip_gray(row, places)
    tiles = [
        Tile(samples.coloured(row, gray), (_frame_caption(row, k),)) for gray, k in zip(frames, places, strict=True)
    ]
    sequence = None if row["sequence"] is None else class_name(SEQUENCES, row["sequence"]).replace("_", " ")
    notes = [sequence, count(row["num_frames"], "frame"), f"{row['fps']:g} fps", f"{row['width']} × {row['height']}"]
    return _tiles(tiles, row["clip_id"], [note for note in notes if note], STRIP)


def _frame_caption(row: dict[str, Any], index: int) -> str:
    pose = row["head_pose"] and row["head_pose"][index]
    expression = row["expression"] and row["expression"][index]
    if row["sequence"] is not None and class_name(SEQUENCES, row["sequence"]) == "head_pose" and pose:
        return f"{index} · yaw {round(pose[0]):+d}°"
    return f"{index}" if expression is None else f"{index} · {class_name(EXPRESSIONS, expression)}"


def _annotated(
    stills: dict[str, list[dict[str, Any]]], clips: list[dict[str, Any]]
) -> list[tuple[Tile, FrameAnnotation]]:
    """Up to five frames with all that is known of them: one a category, then of clips, then more stills."""
    side = 2 * ((CONTENT - (ANNOTATED - 1) * GAP) // ANNOTATED)  # twice the tile: lines come out smooth
    found = []

    def add_still(row: dict[str, Any]) -> None:
        found.append(_drawn(samples.still_gray(row), samples.annotation_of(row), side, row["image_id"]))

    # another subject in each category
    first = [items[place * len(items) // len(stills)] for place, items in enumerate(stills.values())]
    for row in first:
        add_still(row)
    for round_ in range(ANNOTATED):
        for row in clips:
            if len(found) >= ANNOTATED:
                return found
            index = (1 + 2 * round_) * row["num_frames"] // (2 * ANNOTATED)
            gray = samples.clip_gray(row, [index])[0]
            caption = f"{row['clip_id']} · {index}"
            found.append(_drawn(gray, samples.annotation_of(row, index), side, caption))
    chosen = {row["image_id"] for row in first}
    for row in (row for items in stills.values() for row in items if row["image_id"] not in chosen):
        if len(found) < ANNOTATED:
            add_still(row)
    return found[:ANNOTATED]


def _drawn(
    gray: NDArray[np.uint8], annotation: FrameAnnotation, side: int, caption: str
) -> tuple[Tile, FrameAnnotation]:
    factor = side / max(gray.shape)
    size = round(gray.shape[1] * factor), round(gray.shape[0] * factor)
    large = cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC)
    known = draw.describe(annotation)
    drawn = draw.draw_annotation(large, samples.scaled(annotation, factor), label=False)
    return Tile(drawn, (caption, known) if known else (caption,)), annotation


def _legend(annotations: Sequence[FrameAnnotation]) -> Image.Image:
    """The colours that occur in the annotations above, and no others."""
    image, pen = _block(40)
    x = float(MARGIN)
    entries = [("face box", draw.BOX_COLOUR)]
    if any(len(a.extra_bboxes) for a in annotations):
        entries.append(("further face", draw.EXTRA_BOX_COLOUR))
    states = {int(s) for a in annotations if a.landmark_state is not None for s in a.landmark_state}
    entries += [(draw.STATE_NAMES[s], colour) for s, colour in draw.STATE_COLOURS.items() if s in states]
    if any(a.head_pose is not None for a in annotations):
        entries += list(zip(("subject's left", "up", "toward the camera"), draw.AXIS_COLOURS, strict=True))
    for name, colour in entries:
        pen.rounded_rectangle((x, 11, x + 14, 25), radius=3, fill=colour)
        pen.text((x + 21, 18), name, font=font(15), fill=TEXT, anchor="lm")
        x += 21 + pen.textlength(name, font=font(15)) + 26
    return image


def _temperatures(root: Path, manifest: Manifest) -> Image.Image | None:
    shards = manifest.shards_of("radiometric")
    rows = list(samples.list_rows(root, shards, ["item_id", "subject_id"]))
    chosen = [samples.read_row(root, row) for row in samples.spread(rows, STRIP - 1)]
    frames = [samples.celsius(row["radiometric"][0], row["item_id"]) for row in chosen if row["radiometric"]]
    if not frames:
        return None
    values = np.concatenate([f.ravel() for f in frames])
    low, high = np.floor(np.percentile(values, 1)), np.ceil(np.percentile(values, 99.9))
    tiles = [Tile(heat_picture(frame, low, high), (row["item_id"],)) for frame, row in zip(frames, chosen, strict=True)]
    image = _tiles(tiles, "temperature", [count(sum(s.rows for s in shards), "item")], STRIP)
    _colour_bar(image, low, high)
    return image


def heat_picture(values: ArrayLike, low: float, high: float) -> NDArray[np.uint8]:
    """RGB of temperatures on the scale low..high °C."""
    level = np.clip((np.asarray(values, np.float32) - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    rgb: NDArray[np.uint8] = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return rgb


def _colour_bar(image: Image.Image, low: float, high: float) -> None:
    """An upright °C scale in the last tile's place."""
    pen = ImageDraw.Draw(image)
    side = (CONTENT - GUTTER - (STRIP - 1) * GAP) // STRIP
    x, top, bottom = WIDTH - MARGIN - side + 22, 10, side - 8
    ramp = np.repeat(np.linspace(high, low, bottom - top)[:, None], 26, axis=1)
    image.paste(Image.fromarray(heat_picture(ramp, low, high)), (x, top))
    for value in np.linspace(low, high, 5):
        y = bottom - (bottom - top) * (value - low) / max(high - low, 1e-6)
        pen.line((x + 26, y, x + 33, y), fill=MUTED, width=1)
        pen.text(
            (x + 39, y),
            f"{value:.0f} °C" if high - low >= 4 else f"{value:.1f} °C",
            font=font(15),
            fill=TEXT,
            anchor="lm",
        )


def _gradient(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.repeat(heat_picture(np.linspace(0.08, 1, width)[None], 0, 1), height, axis=0))


def gray_note(black_hot: bool) -> str:
    """What gray means in the pictures above; ``black_hot``: some of them are.

    >>> gray_note(False)
    '8-bit gray: warmer is brighter. Every item has its own gain, so gray is no temperature scale.'
    """
    warm = "warmer is brighter, in black-hot items darker" if black_hot else "warmer is brighter"
    return f"8-bit gray: {warm}. Every item has its own gain, so gray is no temperature scale."


def _footer(manifest: Manifest, black_hot: bool) -> Image.Image:
    image, pen = _block(104)
    pen.line((MARGIN, 22, WIDTH - MARGIN, 22), fill=RULE, width=1)
    ramp = np.repeat(np.repeat(np.arange(256, dtype=np.uint8)[None], 16, axis=0), 1, axis=1)
    image.paste(Image.fromarray(draw.to_rgb(ramp)), (MARGIN, 46))
    pen.rectangle((MARGIN - 1, 45, MARGIN + 256, 62), outline=RULE)
    pen.text((MARGIN, 68), "0", font=font(14), fill=MUTED)
    pen.text((MARGIN + 256, 68), "255", font=font(14), fill=MUTED, anchor="ra")
    pen.text((MARGIN + 280, 54), gray_note(black_hot), font=font(16), fill=TEXT, anchor="lm")
    made = ", ".join(sorted(manifest.engines)) or manifest.source
    pen.text(
        (WIDTH - MARGIN, 54),
        f"{manifest.source}: {made}" if manifest.engines else made,
        font=font(16),
        fill=MUTED,
        anchor="rm",
    )
    return image
