"""One clip or still of the published archives to the rows of a release, with everything odd about it as findings."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import yolo
from thermvision.annotations.schema import (
    CATEGORIES,
    FRAME_COLUMNS,
    GENDERS,
    SEQUENCES,
    FrameAnnotation,
    attribute_columns,
    clip_columns,
)

from .archives import Archives, Member
from .raw_release import RawClip, RawStill, published_path
from .store import canonical_json, sha256_bytes
from .video import VideoInfo, probe

ANNOTATION_SOURCE = "yolo5face (published labels)"
MAX_FRAMES = 100_000  # an hour at 30 frames a second; every frame becomes a row
MAX_STILL_BYTES = 64 * 2**20
MAX_STILL_PIXELS = 32 * 2**20


@dataclass(frozen=True)
class ItemFacts:
    """What an import report says of one item; frame counts are 0 for a still."""

    item_id: str
    member: str
    num_frames: int = 0
    without_face: int = 0
    several_faces: int = 0
    unknown: int = 0
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A plain mapping that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ItemFacts:
        """The facts of a mapping that `to_json` wrote."""
        return cls(**{**value, "findings": tuple(Finding(**f) for f in value["findings"])})


@dataclass(frozen=True)
class ItemRows:
    """The rows of one item: one of ``video`` or of its category, and one of ``frames`` for each frame."""

    row: dict[str, Any]
    frames: list[dict[str, Any]]
    facts: ItemFacts


def clip_rows(archives: Archives, clip: RawClip, identity: int) -> ItemRows:
    """The rows of a clip. The MP4 is kept byte for byte and decoded once to its end.

    Boxes come from the labels: NaN where there is none; of several faces, the one that overlaps the box before it
    most. Where a label file cannot be read ``face_count`` is null; without any label file all boxes are.

    Raises:
        DamagedInputError: the MP4 cannot be read or does not decode.
    """
    data = archives.read(clip.member)
    try:
        info = probe(data)
    except DamagedInputError as error:
        raise DamagedInputError(f"{clip.member}: {error}") from error
    if info.num_frames > MAX_FRAMES:
        raise DamagedInputError(
            f"{clip.member} has {info.num_frames} frames; allowed: {MAX_FRAMES}; cut it or leave it out"
        )
    findings: list[Finding] = _about_video(clip, info)
    boxes = _read_boxes(archives, clip, info, findings)
    annotations, unknown = _annotations(boxes, info.num_frames)
    columns = clip_columns(annotations)
    for frame in unknown:
        columns["face_count"][frame] = None
    if not clip.labels:
        columns.update(bbox=None, face_count=None, extra_bboxes=None)
    subject = {
        "subject_id": clip.subject_id,
        "identity": identity,
        "gender": GENDERS.index(clip.gender),
        "sequence": SEQUENCES.index(clip.sequence),
    }
    size = {"width": info.width, "height": info.height}
    source = {**attribute_columns({}), "annotation_source": ANNOTATION_SOURCE if clip.labels else None}
    row = {
        "video": {"bytes": data, "path": f"{clip.clip_id}.mp4"},
        "clip_id": clip.clip_id,
        **subject,
        "fps": info.fps or None,
        "num_frames": info.num_frames,
        **size,
        **columns,
        **source,
        "provenance": _provenance(clip.member, data),
    }
    frames = [
        {
            "item_id": clip.clip_id,
            "frame_index": frame,
            **subject,
            "category": None,
            **size,
            **{name: None if values is None else values[frame] for name, values in columns.items()},
            **source,
        }
        for frame in range(info.num_frames)
    ]
    counts = [count for count in columns["face_count"] or [] if count is not None]
    facts = ItemFacts(
        clip.clip_id,
        str(clip.member),
        num_frames=info.num_frames,
        without_face=counts.count(0),
        several_faces=sum(count > 1 for count in counts),
        unknown=info.num_frames - len(counts),
        findings=tuple(sorted(findings)),
    )
    return ItemRows(row, frames, facts)


def _about_video(clip: RawClip, info: VideoInfo) -> list[Finding]:
    findings = []
    if clip.frame_images and len(clip.frame_images) != info.num_frames:
        message = (
            f"the MP4 has {info.num_frames} frames and there are {len(clip.frame_images)} frame images; used: the MP4"
        )
        findings.append(Finding(clip.clip_id, "frame-count", message))
    if not info.fps:
        findings.append(Finding(clip.clip_id, "no-frame-rate", "the MP4 does not say its frames a second; fps is null"))
    return findings


def _read_boxes(
    archives: Archives, clip: RawClip, info: VideoInfo, findings: list[Finding]
) -> dict[int, NDArray[np.float32] | None]:
    """Frame → (M, 4) boxes, or None where the file says nothing that could be read."""
    boxes: dict[int, NDArray[np.float32] | None] = {}
    for frame, member in clip.labels:
        if frame >= info.num_frames:
            message = f"labels frame {frame} of {clip.clip_id}, which has {info.num_frames}; the label is not used"
            findings.append(Finding(str(member), "label-beyond-end", message))
            continue
        try:
            text = archives.read(member, yolo.MAX_BYTES)
        except DamagedInputError as error:
            findings.append(Finding(str(member), "unreadable-label", str(error)))
            boxes[frame] = None
            continue
        found, odd = yolo.read_labels(text, info.width, info.height, str(member))
        findings.extend(odd)
        boxes[frame] = None if odd and not len(found) else found
    return boxes


def _annotations(
    boxes: Mapping[int, NDArray[np.float32] | None], num_frames: int
) -> tuple[list[FrameAnnotation], list[int]]:
    """One annotation a frame, and the frames whose number of faces is not known."""
    annotations, unknown = [], []
    before: NDArray[np.float32] | None = None
    for frame in range(num_frames):
        found = boxes.get(frame, np.zeros((0, 4), np.float32))
        if found is None:
            unknown.append(frame)
        if found is None or not len(found):
            annotations.append(FrameAnnotation.no_face(ANNOTATION_SOURCE))
            continue
        main = main_face(found, before)
        before = found[main]
        others = np.delete(found, main, axis=0)
        annotations.append(FrameAnnotation(before, len(found), ANNOTATION_SOURCE, extra_bboxes=others))
    return annotations, unknown


def main_face(boxes: NDArray[np.float32], before: NDArray[np.float32] | None) -> int:
    """Which of several faces goes on: the one with the largest intersection over union with the last box there was.

    Without a box before, or where none overlaps it, the largest face; among equals the first.

    Args:
        boxes: (M, 4) COCO ``[x, y, w, h]``, M ≥ 1.
        before: (4,) or None.

    >>> main_face(np.array([[0, 0, 9, 9], [50, 50, 5, 5]], np.float32), np.array([49, 49, 5, 5], np.float32))
    1
    """
    areas = boxes[:, 2] * boxes[:, 3]
    if before is None:
        return int(np.argmax(areas))
    low = np.maximum(boxes[:, :2], before[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], before[:2] + before[2:])
    shared = np.clip(high - low, 0, None).prod(1)
    overlap = shared / (areas + before[2] * before[3] - shared)
    return int(np.argmax(overlap if overlap.max() > 0 else areas))


def still_rows(archives: Archives, still: RawStill, identity: int) -> ItemRows:
    """The rows of a still. The file is kept byte for byte; nothing is known of its face.

    Raises:
        DamagedInputError: it cannot be read, does not decode or has too many pixels.
    """
    data = archives.read(still.member, MAX_STILL_BYTES)
    width, height, suffix = _still_size(data, still.member)
    subject = {"subject_id": still.subject_id, "identity": identity, "gender": GENDERS.index(still.gender)}
    known = {
        "category": CATEGORIES.index(still.category),
        "width": width,
        "height": height,
        **dict.fromkeys(FRAME_COLUMNS),
        **attribute_columns({}),
        "annotation_source": None,
    }
    row = {
        "image": {"bytes": data, "path": f"{still.image_id}{suffix}"},
        "image_id": still.image_id,
        **subject,
        **known,
        "provenance": _provenance(still.member, data),
    }
    frame = {"item_id": still.image_id, "frame_index": 0, **subject, "sequence": None, **known}
    return ItemRows(row, [frame], ItemFacts(still.image_id, str(still.member)))


def _still_size(data: bytes, member: Member) -> tuple[int, int, str]:
    """Width, height and file suffix of a PNG or JPEG that decodes; its size is judged before its pixels are read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                width, height = image.size
                if width * height > MAX_STILL_PIXELS:
                    raise DamagedInputError(
                        f"{member} has {width} x {height} pixels; allowed: {MAX_STILL_PIXELS} in all; leave it out"
                    )
                image.load()
                return width, height, ".png" if image.format == "PNG" else ".jpg"
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, Warning, Image.DecompressionBombError) as error:
        raise DamagedInputError(f"{member} does not decode ({error}); download it again or leave it out") from error


def _provenance(member: Member, data: bytes) -> str:
    archive = PurePosixPath(member.archive).name or None
    return canonical_json({"archive": archive, "member": published_path(member), "sha256": sha256_bytes(data)})


def all_findings(facts: Iterable[ItemFacts]) -> list[Finding]:
    """The findings of many items in one sorted list."""
    return sorted(f for item in facts for f in item.findings)
