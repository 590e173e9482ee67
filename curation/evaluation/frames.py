"""What is known of the faces of a frame, from whatever said so: a release, a Parquet table of frames or a label file.

Frames carry a key, so that truth, pictures and predictions meet: an image's path without its suffix, a still's id, or
``clip/frame_0007``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations import schema
from thermvision.annotations.conventions import NUM_LANDMARKS, SCHEMES, convert
from thermvision.annotations.detection_metrics import face_size
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.formats.records import FaceRecord, FileFaces
from thermvision.annotations.picture_file import SUFFIXES

from ..sources import Source

Floats = NDArray[np.float32]
LABELS: dict[str, tuple[str, ...]] = {"gender": schema.GENDERS, "expression": schema.EXPRESSIONS, **schema.ATTRIBUTES}
FRAME_TABLE = ("item_id", "frame_index", "bbox")  # what a table of frames has at least


@dataclass(frozen=True, eq=False)
class KnownFace:
    """One face; what is not known is None.

    Attributes:
        bbox: (4,) float32 ``[x, y, width, height]``, finite.
        score: of a detector; 1 where nobody says.
        keypoints: (5, 2) float32 in the order of `faces.KEYPOINTS`.
        landmarks, states: (68, 2) float32 and (68,) uint8.
        pose: (3,) float32 yaw, pitch, roll.
        labels: attribute to class name, see `LABELS`.
        subject: who it is.
        embedding: (D,) float32 unit vector.
        ignored: whether the labels say that it counts neither as found nor as missed.
    """

    bbox: Floats
    score: float = 1.0
    keypoints: Floats | None = None
    landmarks: Floats | None = None
    states: NDArray[np.uint8] | None = None
    pose: Floats | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None
    embedding: Floats | None = None
    ignored: bool = False


@dataclass(frozen=True, eq=False)
class KnownFrame:
    """One frame. ``session`` is the recording it belongs to, ``subject`` the person it shows, None for several."""

    key: str
    faces: tuple[KnownFace, ...]
    width: int | None = None
    height: int | None = None
    subject: str | None = None
    session: str | None = None

    @property
    def group(self) -> str:
        """What is drawn together in a bootstrap: the identity, else the image."""
        return self.subject if self.subject is not None else f"image {self.key}"

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(M, 4) boxes of the faces."""
        return np.array([f.bbox for f in self.faces], np.float64).reshape(-1, 4)

    def set_aside(self, min_face: float) -> NDArray[np.bool_]:
        """(M,) which faces do not count: those marked so, and those of a smaller √(width · height) in pixels."""
        marked = np.array([f.ignored for f in self.faces], bool)
        return marked | (face_size(self.boxes) < min_face)


class KeyIndex:
    """Finds the frame that a path names: by its whole key, else by its last part where only one frame has that.

    >>> KeyIndex(["a/x", "b/x", "y"]).find("images/y.png"), KeyIndex(["a/x", "b/x"]).find("x.png")
    ('y', None)
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(keys)
        last = Counter(PurePosixPath(key).name for key in self._keys)
        self._last = {PurePosixPath(k).name: k for k in self._keys if last[PurePosixPath(k).name] == 1}

    def find(self, path: str) -> str | None:
        """The key of the frame, None when there is none or several."""
        key = key_of(path)
        if key in self._keys:
            return key
        if len(parts := PurePosixPath(key).parts) > 1 and (short := "/".join(parts[-2:])) in self._keys:
            return short
        return self._last.get(PurePosixPath(key).name)


def key_of(path: str) -> str:
    """An image's path without its suffix, posix.

    >>> key_of("walk/frame_0007.png")
    'walk/frame_0007'
    """
    pure = PurePosixPath(path.replace("\\", "/"))
    return str(pure.with_suffix("")) if pure.suffix.lower() in SUFFIXES else str(pure)


def evenly_spread(count: int, wanted: int) -> list[int]:
    """``wanted`` numbers below ``count``, first and last included; all of them when ``wanted`` is 0 or too large.

    >>> evenly_spread(10, 4), evenly_spread(3, 0)
    ([0, 3, 6, 9], [0, 1, 2])
    """
    if wanted == 0 or wanted >= count:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist() if wanted > 1 else [count // 2]


def release_frames(source: Source, split: str | None, per_clip: int = 0) -> tuple[list[KnownFrame], list[str]]:
    """The labelled frames of a release (or of the archives), scenes too, and notes on what was left out.

    Args:
        source: an opened release.
        split: one of its splits; None: all.
        per_clip: so many frames of each clip, evenly spread; 0: all.

    Raises:
        UsageError: it has no labelled frame in that split.
    """
    frames: list[KnownFrame] = []
    unlabelled = 0
    sources: Counter[str] = Counter()
    for config in ("frames", "scenes"):
        if config not in source.configs:
            continue
        for table in _tables(source, config, split):
            chosen = table.take(_spread_rows(table, per_clip)) if config == "frames" else table.drop(["image"])
            for row in chosen.to_pylist():
                sources[str(row.get("annotation_source"))] += 1
                frame = _frame(row) if config == "frames" else _scene(row)
                unlabelled += frame is None
                frames += [] if frame is None else [frame]
    if not frames:
        raise UsageError(
            f"{source.root} has no labelled frame in split {split or 'all'}; it offers"
            f" {', '.join(source.configs) or 'no config'} with {', '.join(_splits(source)) or 'no split'}: choose with"
            " --split, or annotate it first: thermvision annotate"
        )
    notes = [f"{unlabelled} frames without a label were left out"] if unlabelled else []
    made = {name: n for name, n in sources.items() if name != "ground_truth"}
    notes += [f"{n} frames carry labels made by {name!r}, taken for truth here" for name, n in sorted(made.items())]
    return frames, notes


def named_frames(source: Source, keys: Set[str]) -> dict[str, KnownFrame]:
    """The labelled frames of a release (or of the archives) that have these keys; others are not there."""
    items = pa.array(sorted({key.rpartition("/frame_")[0] or key for key in keys}), pa.string())
    found: dict[str, KnownFrame] = {}
    for config, column in (("frames", "item_id"), ("scenes", "image_id")):
        if config not in source.configs:
            continue
        for table in _tables(source, config, None):
            chosen = table.filter(pc.is_in(table[column], value_set=items))
            for row in (chosen if config == "frames" else chosen.drop(["image"])).to_pylist():
                frame = _frame(row) if config == "frames" else _scene(row)
                if frame is not None and frame.key in keys:
                    found[frame.key] = frame
    return found


def _splits(source: Source) -> list[str]:
    return list(dict.fromkeys(s for c in ("frames", "scenes") if c in source.configs for s in source.parts(c)))


def _tables(source: Source, config: str, split: str | None) -> Iterator[pa.Table]:
    for name, parts in source.parts(config).items():
        if split in (None, name):
            for part in parts:
                try:
                    yield from source.tables(config, part)
                except (pa.ArrowException, OSError) as error:
                    raise DamagedInputError(
                        f"{part} of {source.root} does not read ({error}); type: thermvision verify {source.root}"
                    ) from error


def is_frame_table(path: Path) -> bool:
    """Whether a Parquet file has the columns of the config `frames`; one with a face a row has not."""
    try:
        return set(FRAME_TABLE) <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{path} is no readable Parquet file ({error}); fetch or make it again") from error


def table_frames(path: Path) -> list[KnownFrame]:
    """The frames of a Parquet file with the columns of the config `frames`.

    Raises:
        DamagedInputError: it does not read.
        UsageError: it is no table of frames.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{path} is no readable Parquet file ({error}); fetch or make it again") from error
    if lacking := [name for name in FRAME_TABLE if name not in table.column_names]:
        raise UsageError(f"{path} lacks the columns {', '.join(lacking)}; allowed: a table with those of `frames`")
    frames = (_frame(row) for row in table.to_pylist())
    return [f for f in frames if f is not None]


def _spread_rows(table: pa.Table, per_clip: int) -> list[int]:
    rows: dict[str, list[tuple[int, int]]] = {}
    numbers = table["frame_index"].to_pylist()
    for row, item in enumerate(table["item_id"].to_pylist()):
        rows.setdefault(item, []).append((numbers[row] or 0, row))
    return sorted(sorted(found)[i][1] for found in rows.values() for i in evenly_spread(len(found), per_clip))


def _array(value: Any, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    array = None if value is None else np.array(value, dtype)
    return array if array is not None and array.shape == shape else None


def _label(name: str, value: Any) -> str | None:
    known = LABELS[name]
    return known[value] if isinstance(value, int) and 0 <= value < len(known) else None


def _face(row: Mapping[str, Any], subject: str | None) -> KnownFace | None:
    box = _array(row.get("bbox"), (4,))
    if box is None or not np.isfinite(box).all():
        return None
    labels = {name: label for name in LABELS if (label := _label(name, row.get(name))) is not None}
    score, landmarks = row.get("bbox_score"), _array(row.get("landmarks"), (NUM_LANDMARKS, 2))
    states = _array(row.get("landmark_state"), (NUM_LANDMARKS,), np.uint8)
    pose = _array(row.get("head_pose"), (3,))
    return KnownFace(box, 1.0 if score is None else float(score), None, landmarks, states, pose, labels, subject)


def _frame(row: Mapping[str, Any]) -> KnownFrame | None:
    """The frame of a row of `frames`; None when nobody has labelled it."""
    if row["bbox"] is None:
        return None
    subject = row.get("subject_id")
    main = _face(row, subject)
    extra = [np.asarray(b, np.float32) for b in row.get("extra_bboxes") or () if np.isfinite(b).all()]
    is_clip = row.get("sequence") is not None or row.get("category") is None
    key = f"{row['item_id']}/frame_{row['frame_index'] or 0:04d}" if is_clip else str(row["item_id"])
    session = _session(row)
    others = [KnownFace(b) for b in extra]
    faces = (*([] if main is None else [main]), *others)
    return KnownFrame(key, faces, row.get("width"), row.get("height"), subject, session)


def _session(row: Mapping[str, Any]) -> str | None:
    for name, known in (("sequence", schema.SEQUENCES), ("category", schema.CATEGORIES)):
        value = row.get(name)
        if isinstance(value, int) and 0 <= value < len(known):
            return f"{0 if name == 'sequence' else 1}{value}-{known[value]}"  # sorts as the schema lists them
    return None


def _scene(row: Mapping[str, Any]) -> KnownFrame:
    columns = {name: values for name, values in (row["faces"] or {}).items() if values is not None}
    count = len(columns.get("bbox", ()))
    rows = [{name: values[i] for name, values in columns.items() if len(values) == count} for i in range(count)]
    found = (_face(r, r.get("subject_id")) for r in rows)
    faces = tuple(f for f in found if f is not None)
    return KnownFrame(row["image_id"], faces, row["width"], row["height"])


def file_frames(files: Sequence[FileFaces]) -> tuple[list[KnownFrame], list[str]]:
    """The frames of label files, and notes on the faces that have no box and were left out."""
    frames, boxless = [], 0
    for file in files:
        faces = [record_face(record) for record in file.faces]
        boxless += faces.count(None)
        known = tuple(f for f in faces if f is not None)
        frames.append(KnownFrame(key_of(file.path), known, file.width, file.height))
    return frames, [f"{boxless} faces with points and no box were left out"] if boxless else []


def record_face(record: FaceRecord) -> KnownFace | None:
    """The face of one record of a label file; None when it has no box."""
    if not record.has_box:
        return None
    points = record.points
    hidden = None if record.visibility is None or points is None else record.visibility == 0
    if points is not None and hidden is not None and hidden.any():
        points = np.where(hidden[:, None], np.float32(np.nan), points)
    scheme = record.convention if points is not None else None
    landmarks = None if points is None or scheme not in SCHEMES or scheme == "5" else convert(points, scheme, "68")
    states = None
    if scheme == "68" and record.visibility is not None:
        of_visibility = np.array([schema.OUTSIDE, schema.OBJECT_OCCLUDED, schema.VISIBLE], np.uint8)
        states = of_visibility[np.clip(record.visibility, 0, 2)]
    labels = {n: v for n, v in record.attributes.items() if v in LABELS.get(n, ())}
    return KnownFace(
        record.bbox,
        1.0 if record.score is None else float(record.score),
        points if scheme == "5" else None,
        landmarks,
        states,
        labels=labels,
        subject=record.attributes.get("subject_id"),
        ignored="1" in (record.attributes.get("ignore"), record.attributes.get("iscrowd")),
    )
