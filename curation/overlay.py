"""Labels without pictures: what an annotator found on clips and stills that may not be passed on, joined when loading.

::

    README.md
    overlay.json                     what the labels are of, and by what; the last file written
    labels-00000.parquet             a row a frame: clip_id and frame_index (a still's: image_id and 0), annotations

A row's ``findings`` say what a reader should know of that frame: no face, several, or a box that disagrees with the one
that was published. Nothing in an overlay comes from a pixel but by way of these numbers.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import FRAME_COLUMNS, OUTSIDE, features, frame_columns

from .annotate import Summary, annotate_items, summarise
from .inputs import Input, Item
from .item_faces import Annotates, FrameFaces, Temporal
from .pack import Digest, RelativePath
from .parts import check_free, each_part, work_folder
from .release import describe_validation
from .store import atomic_path, atomic_write, read_json, sha256_bytes, sha256_file

if TYPE_CHECKING:
    from datasets import Features

MANIFEST, README = "overlay.json", "README.md"
BATCH = 64  # rows that are joined at once: a clip has some hundred frames of 68 points
MIN_IOU = 0.5  # below this two boxes are not of one face
LABELS = (*FRAME_COLUMNS, "annotation_source")
_KEYS = {"video": "clip_id", "frames": "item_id"}  # of a config's rows; stills: image_id


class LabelFile(BaseModel):
    """One Parquet file of an overlay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: RelativePath
    rows: Annotated[int, Field(ge=0)]
    sha256: Digest


class Overlay(BaseModel):
    """`overlay.json`; ``items`` holds each clip's or still's frames and the SHA-256 of the file it was read from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["thermvision-overlay/1"] = "thermvision-overlay/1"
    of: str
    annotation_source: str
    settings: dict[str, str | bool | int | float | None] = {}
    files: tuple[LabelFile, ...]
    items: dict[str, tuple[Annotated[int, Field(ge=1)], Digest]]


def label_features() -> Features:
    """The Hugging Face features of an overlay's rows."""
    from datasets import Features, Value

    frame = features("frames")
    columns = {name: frame[name] for name in LABELS}
    head = {"clip_id": Value("string"), "frame_index": Value("int32")}
    return Features({**head, **columns, "findings": _texts()})


def _texts() -> Any:
    from datasets import List, Value

    return List(Value("string"))


def annotate_overlay(
    found: Input,
    out: Path,
    annotator: Annotates,
    temporal: Temporal,
    *,
    settings: Mapping[str, Any] | None = None,
    draw: Path | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> Summary:
    """Annotate every clip and still of a release or of the archives into the overlay folder ``out``; resumable.

    Raises:
        UsageError: the items are files and belong to no release, or ``out`` holds something else.
        OutputError: no room or no permission.
    """
    if found.source is None:
        raise UsageError(f"--overlay needs a release or the published archives; {found.name} is neither: use --format")
    check_free(out, True)
    settings = {**(settings or {}), **asdict(temporal)}
    plan = {"does": "overlay", "by": annotator.source, "settings": settings, "draw": str(draw)}

    process = partial(annotate_items, annotator=annotator, temporal=temporal, draw=draw, plain=_item_labels)
    work = work_folder(out, True)
    parts = list(each_part(work, found, process, plan, workers=workers, quiet=quiet))
    summary = summarise(parts, found, annotator)
    _write(out, found.name, parts, summary, settings)
    shutil.rmtree(work)
    return summary


def _item_labels(item: Item, frames: Sequence[FrameFaces]) -> dict[str, Any]:
    row = item.row or {}
    published = row.get("bbox") if item.is_video else [row.get("bbox")]
    rows = []
    for k, frame in enumerate(frames):
        columns = frame_columns(frame.annotation)
        columns["bbox"] = [None if np.isnan(v) else v for v in columns["bbox"]]
        before = published[k] if published is not None and k < len(published) else None
        seen = frame_findings(frame, before)
        rows.append({**columns, "annotation_source": frame.annotation.source, "frame_index": k, "findings": seen})
    media = row.get("video") or row.get("image") or {}
    return {"item_id": item.item_id, "sha256": sha256_bytes(media.get("bytes") or b""), "rows": rows}


def frame_findings(frame: FrameFaces, published: Sequence[float] | None) -> list[str]:
    """Codes of what a reader should know of a frame, given the box (4,) that its source has, NaN: no face there."""
    annotation = frame.annotation
    found = annotation.face_count > 0 and bool(np.isfinite(annotation.bbox).all())
    codes = [] if found else ["no-face"]
    if annotation.face_count > 1:
        codes.append("several-faces")
    if published is not None:
        known = bool(np.isfinite(np.array(published, float)).all())
        if found and not known:
            codes.append("source-has-no-box")
        elif known and not found:
            codes.append("source-has-box")
        elif known and iou_matrix(annotation.bbox, published)[0, 0] < MIN_IOU:
            codes.append("box-disagrees")
    if annotation.landmark_state is not None and (annotation.landmark_state == OUTSIDE).any():
        codes.append("landmarks-outside")
    return codes


def _write(
    out: Path, name: str, parts: Sequence[Mapping[str, Any]], summary: Summary, settings: Mapping[str, Any]
) -> None:
    schema = label_features().arrow_schema
    files, items = [], {}
    codes: Counter[str] = Counter()
    for number, part in enumerate(parts):
        rows = []
        for item in part["items"]:
            items[item["item_id"]] = (len(item["rows"]), item["sha256"])
            for row in item["rows"]:
                codes.update(row["findings"])
                box = [np.nan if v is None else v for v in row["bbox"]]
                rows.append({**row, "clip_id": item["item_id"], "bbox": box})
        path = f"labels-{number:05d}.parquet"
        with atomic_path(out / path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
        files.append(LabelFile(path=path, rows=len(rows), sha256=sha256_file(out / path)))
    atomic_write(out / README, _readme(name, summary, codes))
    overlay = Overlay(
        of=name,
        annotation_source=summary.annotation_source,
        settings=dict(settings),
        files=tuple(files),
        items=items,
    )
    atomic_write(out / MANIFEST, overlay.model_dump_json(indent=1) + "\n")


def _readme(name: str, summary: Summary, codes: Mapping[str, int]) -> str:
    listed = "\n".join(f"| `{code}` | {count:,} |" for code, count in sorted(codes.items()))
    return f"""# Labels for {name}

{summary.frames:,} frames of {summary.items:,} clips and stills, annotated by `{summary.annotation_source}`.
No picture is in here: a row of `labels-*.parquet` belongs to the frame `frame_index` of the clip `clip_id` (of a still:
its image id and 0). Boxes are `[x, y, width, height]` in pixels, landmarks are iBUG 68, angles are degrees.

Join it to the data, wherever you have that from:

    import thermvision_db
    clips = thermvision_db.load("video", "path/of/the/archives/or/release", overlay="path/of/this/folder")

| finding | frames |
|---|---:|
{listed}

`no-face`: none was found. `several-faces`: more than one was. `source-has-no-box`, `source-has-box`: one was found
where the data set has no box, or the other way round. `box-disagrees`: both have one, with an intersection over union
below {MIN_IOU}. `landmarks-outside`: part of the face is outside the frame.
"""


def read_overlay(root: Path) -> tuple[Overlay, pa.Table]:
    """The manifest and all rows of an overlay folder.

    Raises:
        UsageError: there is no overlay.
        DamagedInputError: a file is missing or not what the manifest says.
    """
    path = root / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{root} is no label overlay, it has no {MANIFEST}; make one:"
            " thermvision annotate SOURCE --overlay --out DIR"
        )
    try:
        overlay = Overlay.model_validate(read_json(path))
    except ValidationError as error:
        raise DamagedInputError(f"{path} is damaged: {describe_validation(error)}; restore it") from error
    schema, tables = label_features().arrow_schema, []
    for file in overlay.files:
        if not (root / file.path).is_file() or sha256_file(root / file.path) != file.sha256:
            raise DamagedInputError(f"{root / file.path} is not what {MANIFEST} says; restore the overlay")
        try:
            tables.append(pq.read_table(root / file.path).cast(schema))
        except (pa.ArrowException, ValueError) as error:
            raise DamagedInputError(f"{root / file.path} has other columns than an overlay ({error})") from error
    return overlay, pa.concat_tables(tables) if tables else schema.empty_table()


def join(data: Any, config: str, root: Path) -> Any:
    """Rows of ``config`` (a dataset, or a dictionary of them, iterable or not) with an overlay's labels in place.

    The columns of `LABELS` are the overlay's wherever it has the frame, and a column ``findings`` is added. Rows of
    which the overlay knows nothing stay as they are. Media are not copied.

    Raises:
        UsageError: the config has no frames to label, or the overlay is of other files.
    """
    if config in ("radiometric", "scenes"):
        raise UsageError(f"an overlay labels clips, stills and frames; config {config!r} has none: leave overlay out")
    overlay, table = read_overlay(root)
    labels = _Labels(overlay, table)
    if isinstance(data, dict):
        return type(data)({split: _join_rows(rows, config, labels) for split, rows in data.items()})
    return _join_rows(data, config, labels)


class _Labels:
    """The rows of an overlay by clip, and the check that a row is what they were made of."""

    def __init__(self, overlay: Overlay, table: pa.Table) -> None:
        self.overlay, self.table = overlay, table
        self.places: dict[str, list[int]] = defaultdict(list)
        keys = zip(table["clip_id"].to_pylist(), table["frame_index"].to_pylist(), strict=True)
        for place, (clip, frame) in enumerate(keys):
            if len(self.places[clip]) != frame:
                raise DamagedInputError(f"{clip} has no frame {len(self.places[clip])} in the overlay; restore it")
            self.places[clip].append(place)

    def of(self, config: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Label columns of a row of ``config``, None where there are none."""
        key = row[_KEYS.get(config, "image_id")]
        places = self.places.get(key)
        if places is None:
            return None
        names = [*LABELS, "findings"]
        if config == "frames":
            if row["frame_index"] >= len(places):
                raise UsageError(f"the overlay has {len(places)} frames of {key}, and there is a frame"
                                 f" {row['frame_index']}: it was made of other files; make it anew")  # fmt: skip
            return self._rows([places[row["frame_index"]]], names)[0]
        if config != "video":
            return self._rows(places, names)[0]
        if row["num_frames"] != len(places):
            raise UsageError(
                f"the overlay has {len(places)} frames of {key}, and the clip has {row['num_frames']}: it was made of"
                " other files; make it anew"
            )
        rows = self._rows(places, names)
        columns: dict[str, Any] = {name: [r[name] for r in rows] for name in names}
        columns["annotation_source"] = rows[0]["annotation_source"]
        return {n: None if isinstance(v, list) and all(x is None for x in v) else v for n, v in columns.items()}

    def _rows(self, places: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.table.select(names).take(places).to_pylist()
        return found


def _join_rows(rows: Any, config: str, labels: _Labels) -> Any:
    from datasets import Dataset, Features, List, concatenate_datasets

    order = list(rows.features)
    found = _texts() if config != "video" else List(_texts())
    joined = Features({**rows.features, "findings": found})
    keys = [n for n in (_KEYS.get(config, "image_id"), "frame_index", "num_frames") if n in order]

    def one(row: Mapping[str, Any]) -> dict[str, Any]:
        known = {name: row[name] for name in LABELS} | {"findings": None}
        return known | (labels.of(config, row) or {})

    if not isinstance(rows, Dataset):  # streamed: rows are joined as they come
        return rows.map(one, features=joined)
    # beside the other columns and not through `map`, which would write every clip's bytes anew
    made = Features({name: joined[name] for name in (*LABELS, "findings")})
    few = rows.select_columns([*keys, *LABELS])
    tables = [pa.Table.from_pylist([], schema=made.arrow_schema)]
    for batch in few.iter(BATCH):
        listed = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        tables.append(pa.Table.from_pylist([one(row) for row in listed], schema=made.arrow_schema))
    table = pa.concat_tables(tables)
    rest = rows.select_columns([name for name in order if name not in LABELS])
    return concatenate_datasets([rest, Dataset(table)], axis=1).select_columns([*order, "findings"])
