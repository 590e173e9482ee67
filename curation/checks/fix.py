"""Safe repairs of what a check found, as the next version of a release: what follows from other labels is put right.

Pixels are never changed, and nothing is guessed: a repair only restores what the release's own labels already say, and
gaps of boxes are filled between their neighbours only where no ground truth is, which ``annotation_source`` then says.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import FRAME_COLUMNS, OUTSIDE, FrameAnnotation, clip_columns
from thermvision.annotations.smoothing import temporal

from ..console import counted
from ..inputs import is_release
from ..pack import MEDIA
from ..release import next_version
from ..reviews.values import corrected
from ..revision import item_shards, revise
from ..sources import ReleaseSource
from ..store import canonical_json
from .catalogue import KINDS, Found

Row = dict[str, Any]
LONGEST_GAP = 5  # frames without a box that are filled
GROUND_TRUTH = "ground_truth"


def count_faces(row: Row) -> bool:
    """Set ``face_count`` to the number of boxes where there are any; says whether that changed something.

    >>> row = {"image_id": "a", "bbox": [1, 2, 3, 4], "extra_bboxes": [], "face_count": 3}
    >>> count_faces(row), row["face_count"]
    (True, 1)
    """
    changed = False
    for box, extra, count, put in _frames(row, "bbox", "extra_bboxes", "face_count"):
        boxes = len(extra or []) + _is_box(box)
        if boxes and count is not None and count != min(boxes, 255):
            put("face_count", min(boxes, 255))
            changed = True
    return changed


def drop_duplicate_boxes(row: Row) -> bool:
    """Drop further boxes that overlap the main one or an earlier one, as one face has one box; see `count_faces`."""
    changed, most = False, KINDS["box-duplicate"].threshold or 0.5
    for box, extra, _, put in _frames(row, "bbox", "extra_bboxes", "face_count"):
        kept: list[Any] = [box] if _is_box(box) else []
        for other in extra or []:
            overlaps = iou_matrix(np.array(kept, np.float32), np.array([other], np.float32)) if kept else np.zeros(1)
            if not _is_box(other) or overlaps.max() <= most:
                kept.append(other)
        further = kept[_is_box(box) :]
        if len(further) < len(extra or []):
            put("extra_bboxes", further)
            put("face_count", min(len(kept), 255))
            changed = True
    return changed


def hide_outside(row: Row) -> bool:
    """Set the ``landmark_state`` of points outside the frame to 0, which is what it means."""
    changed, size = False, np.array([row["width"], row["height"]])
    for points, states, _, put in _frames(row, "landmarks", "landmark_state", "bbox"):
        if points is None or states is None:
            continue
        where = np.asarray(points, np.float64)
        outside = ((where < 0) | (where > size)).any(1)
        wrong = outside & (np.asarray(states) != OUTSIDE)
        if wrong.any():
            put("landmark_state", [OUTSIDE if bad else int(s) for s, bad in zip(states, wrong, strict=True)])
            changed = True
    return changed


def fill_gaps(row: Row) -> bool:
    """Fill up to `LONGEST_GAP` frames of a clip without a box between two that overlap.

    Ground truth stays as it is, and so does what a person corrected: "no face" may be what was said there.
    """
    made_by = str(row.get("annotation_source"))
    if "clip_id" not in row or row["bbox"] is None or made_by.startswith(GROUND_TRUTH) or corrected(made_by):
        return False
    seen = [_annotation(row, k) for k in range(len(row["bbox"]))]
    filled = temporal(seen, smooth=False, fill_gaps=LONGEST_GAP, fps=row["fps"] or 30.0, cutoff=(row["fps"] or 30) / 4)
    gaps = [k for k, (a, b) in enumerate(zip(seen, filled, strict=True)) if not a.face_count and b.face_count]
    for k in gaps:
        plain = clip_columns([filled[k]])
        for name in FRAME_COLUMNS:
            if row[name] is not None and plain[name] is not None:
                row[name][k] = plain[name][0]
    if gaps:
        row["annotation_source"] = filled[gaps[0]].source
    return bool(gaps)


# what is done about a finding; a row that comes out as it was is not in the next version's changes
REPAIRS: dict[str, Callable[[Row], bool]] = {
    "box-count": count_faces,
    "box-duplicate": drop_duplicate_boxes,
    "state-place": hide_outside,
    "box-gap": fill_gaps,
}


def _frames(row: Row, *names: str) -> Iterable[tuple[Any, ...]]:
    """The values of columns for each frame of a row, with a setter."""
    if "clip_id" not in row:
        yield (*(row.get(name) for name in names), row.__setitem__)
        return
    columns = [row.get(name) for name in names]
    for k in range(max((len(c) for c in columns if c is not None), default=0)):

        def put(name: str, value: Any, k: int = k) -> None:
            row[name][k] = value

        yield (*(None if c is None or k >= len(c) else c[k] for c in columns), put)


def _is_box(value: Any) -> bool:
    return value is not None and bool(np.isfinite(np.asarray(value, np.float64)).all())


def _annotation(row: Row, frame: int) -> FrameAnnotation:
    def at(name: str) -> Any:
        values = row.get(name)
        return None if values is None or frame >= len(values) else values[frame]

    box = at("bbox")
    if not _is_box(box):
        return FrameAnnotation.no_face(str(row["annotation_source"]))
    arrays: dict[str, NDArray[Any] | None] = {
        name: None if at(name) is None else np.asarray(at(name))
        for name in ("landmarks", "landmark_state", "head_pose")
    }
    extra = np.asarray(at("extra_bboxes") or [], np.float32).reshape(-1, 4)
    return FrameAnnotation(
        bbox=np.asarray(box, np.float32), face_count=1 + len(extra), source=str(row["annotation_source"]),
        bbox_score=at("bbox_score"), extra_bboxes=extra, eye_openness=at("eye_openness"),
        mouth_openness=at("mouth_openness"), **arrays,  # type: ignore[arg-type]
    )  # fmt: skip


class Repairable:
    """Remembers which items have findings that a repair is known for, as `check` tells them."""

    def __init__(self) -> None:
        self.codes: dict[str, set[str]] = defaultdict(set)  # item id to codes
        self.anew: set[str] = set()  # items whose rows of `frames` are made anew
        self.files: set[str] = set()  # codes of files that any new version writes anew
        self.total = 0

    def add(self, found: Found) -> None:
        """Take note of a finding."""
        if found.code in REPAIRS and found.item_id:
            self.codes[found.item_id].add(found.code)
        elif KINDS[found.code].repair and found.item_id:
            self.anew.add(found.item_id)
        elif KINDS[found.code].repair:
            self.files.add(found.code)
        else:
            return
        self.total += 1


@dataclass(frozen=True)
class Fixed:
    """What was repaired.

    Attributes:
        out: folder of the new version.
        version: of it.
        repairs: items by what was done, in the words of the kinds' ``repair``.
        left: items with a finding for which a repair is known, and that needed none or that it does not apply to.
    """

    out: Path
    version: str
    repairs: Mapping[str, int] = field(default_factory=dict)
    left: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"out": str(self.out), "version": self.version, "repairs": dict(self.repairs), "left": self.left}

    def lines(self) -> list[str]:
        """For people."""
        if not self.version:
            return ["nothing that was found can be repaired safely; no version was made"]
        done = [f"  {counted(n, 'item')}: {what}" if n else f"  {what}" for what, n in self.repairs.items()]
        return [f"{self.out}: version {self.version}", *done, "all other findings stay; look at them"]


def check_fixable(source: str, out: Path) -> None:
    """Make sure before the work starts that ``out`` can become the next version of ``source``.

    Raises:
        UsageError: the source is no release, or ``out`` is the release or holds something else.
    """
    if not is_release(Path(source)):
        raise UsageError(f"--fix makes the next version of a release, and {source} is none; import or build it first")
    if out.resolve() == Path(source).resolve():
        raise UsageError(f"--fix {out} is the release itself, which is never edited; choose a new folder")
    if out.exists() and not (out.is_dir() and (is_release(out) or not any(out.iterdir()))):
        raise UsageError(f"--fix {out} holds something else; allowed: a folder that is new, empty or was started so")


def fix_release(root: Path, out: Path, found: Repairable, *, workers: int = 1, quiet: bool = False) -> Fixed:
    """Write the next version of the release in ``root`` with safe repairs; ``repairs/VERSION.json`` in it lists them.

    Raises:
        UsageError: ``out`` holds something else.
        DamagedInputError: the release's files are damaged.
        OutputError: no room or no permission.
    """
    source = ReleaseSource(root)
    repairs = dict(_planned(source, found.codes))
    done = Counter(code for codes in repairs.values() for code in codes)
    words = {KINDS[code].repair or code: count for code, count in sorted(done.items())}
    if found.anew:
        words["rows of frames made anew"] = len(found.anew)
    for code in sorted(found.files):
        words[KINDS[code].repair or code] = 0
    if not repairs and not found.anew and not found.files:
        return Fixed(out, "", left=len(found.codes))
    version = next_version(source.release.version)
    text = canonical_json({"repaired": repairs, "frames_anew": sorted(found.anew), "files": sorted(found.files)})
    revise(
        root, out, partial(repair_row, repairs=repairs), items={*repairs, *found.anew}, decides=["repairs/1", repairs],
        reason="repaired", files={f"repairs/{version}.json": text.encode()}, workers=workers, quiet=quiet,
    )  # fmt: skip
    return Fixed(out, version, words, len(found.codes) - len(repairs))


def _planned(source: ReleaseSource, codes: Mapping[str, Collection[str]]) -> Iterable[tuple[str, list[str]]]:
    """Items whose labels a repair really changes, with the findings it is for."""
    configs = {s.path: s.config for s in source.release.shards}
    for path, ids in item_shards(source, codes).items():
        key = "clip_id" if configs[path] == "video" else "image_id"
        names = [n for n in pq.read_schema(source.root / path).names if n not in MEDIA]
        if configs[path] == "scenes":  # their faces' labels are nested, and none of these repairs is for them
            continue
        for row in pq.read_table(source.root / path, columns=names).to_pylist():
            if row[key] in ids:
                trial = copy.deepcopy(row)
                if changed := [code for code in sorted(codes[row[key]]) if REPAIRS[code](trial)]:
                    yield row[key], changed


def repair_row(config: str, row: Row, *, repairs: Mapping[str, Collection[str]]) -> Row:
    """A row of ``video`` or a category with its repairs; see `thermvision.curation.revision.Edit`."""
    for code in repairs.get(row["clip_id" if config == "video" else "image_id"], ()):
        REPAIRS[code](row)
    return row
