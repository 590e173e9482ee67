"""One shard: render its items and write its files. The same job gives the same bytes, wherever it runs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, OutputError
from thermvision.annotations.schema import (
    ATTRIBUTES,
    CATEGORIES,
    FRAME_COLUMNS,
    GENDERS,
    SEQUENCES,
    FrameAnnotation,
    attribute_columns,
    clip_columns,
    frame_columns,
)
from thermvision.curation.assembly import fingerprint
from thermvision.curation.pack import write_shard
from thermvision.curation.release import Failed
from thermvision.curation.runners import Advance, Job, Outcome
from thermvision.curation.store import canonical_json
from thermvision.curation.video import encode_faithful, encoder_settings
from thermvision.generation.engines import Engine, engine_of
from thermvision.generation.plan import ItemSpec, ShardSpec
from thermvision.generation.specs import (
    Clip,
    ClipSpec,
    Radiometry,
    SceneSpec,
    SceneStill,
    Still,
    Subject,
    engine_settings,
    plain_spec,
)

PNG_LEVEL = 4
# ground truth of radiometric rows that is numbers
_NUMBERS = (
    "skin_bbox", "head_bbox", "landmarks_3d", "head_rotation", "head_translation", "expression_weights",
    "region_temperatures",
)  # fmt: skip
Rows = dict[str, list[dict[str, Any]]]
_NOT_ABOUT_ONE_ITEM = (OutputError, MissingDependencyError, MemoryError)


@functools.cache
def _models_digest(name: str, **settings: str) -> str:
    return fingerprint(engine_of(name, **settings).model_digests())


def run_shard(root: Path, job: Job, advance: Advance) -> Outcome:
    """Render the items of ``job`` and write their shards below ``root``.

    An item that cannot be made is reported in the outcome; the others are still made.
    """
    spec: ShardSpec = job.payload
    rows: Rows = {spec.config: [], "frames": [], "radiometric": []}
    failed = []
    for item in spec.items:
        try:
            made = _rows_of(item, spec, advance)
        except _NOT_ABOUT_ONE_ITEM:
            raise
        except Exception as error:  # one broken item must not cost the others
            code = "damaged-input" if isinstance(error, DamagedInputError) else "engine"
            failed.append(Failed(item_id=item.item_id, code=code, reason=f"{type(error).__name__}: {error}"[:2000]))
            continue
        for config, found in made.items():
            rows[config].extend(found)
    shards = []
    for config, found in rows.items():
        if found:
            number = spec.number if config == spec.config else spec.row_number
            place = (root, config, spec.split, spec.version, number)
            shards.append(write_shard(*place, found, spec.identities, job.fingerprint))
    return Outcome(tuple(shards), tuple(failed))


def _rows_of(item: ItemSpec, shard: ShardSpec, advance: Advance) -> Rows:
    engine = engine_of(item.engine, **engine_settings(item))
    if isinstance(item, SceneSpec):
        return _scene_rows(engine, engine.render_scene(item, advance), shard)
    subject = _subject_columns(item.subject, shard)
    if isinstance(item, ClipSpec):
        return _clip_rows(engine, engine.render(item, advance), subject)
    return _still_rows(engine, engine.render(item, advance), subject)


def _subject_columns(subject: Subject, shard: ShardSpec) -> dict[str, Any]:
    return {
        "subject_id": subject.subject_id,
        "identity": shard.identities.index(subject.subject_id),
        "gender": GENDERS.index(subject.gender),
    }


def _scene_rows(engine: Engine, scene: SceneStill, shard: ShardSpec) -> Rows:
    spec = scene.spec
    height, width = scene.frame.shape
    labels = labels_of(scene)
    identities = [shard.identities.index(subject.subject_id) for subject in scene.subjects]
    row = {
        "image": {"bytes": encode_png(scene.frame), "path": f"{spec.item_id}.png"},
        "image_id": spec.item_id,
        "width": width,
        "height": height,
        **labels,
        "faces": labels["faces"] | {"identity": identities},
        "provenance": _provenance(engine, scene, pixels_digest(scene.frame), {"codec": "png", "level": PNG_LEVEL}),
    }
    return {"scenes": [row]}


def _clip_rows(engine: Engine, clip: Clip, subject: Mapping[str, Any]) -> Rows:
    spec = clip.spec
    video, crf = encode_faithful(clip.frames, spec.fps)
    height, width = clip.frames.shape[1:]
    shared = {**subject, "sequence": SEQUENCES.index(spec.sequence)}
    size = {"width": width, "height": height}
    labels = labels_of(clip)
    closing = {name: labels[name] for name in (*ATTRIBUTES, "annotation_source")}
    provenance = _provenance(engine, clip, pixels_digest(clip.frames), encoder_settings(crf))
    row = {
        "video": {"bytes": video, "path": f"{spec.item_id}.mp4"},
        "clip_id": spec.item_id,
        **shared,
        "fps": spec.fps,
        "num_frames": len(clip.frames),
        **size,
        **labels,
        "provenance": provenance,
    }
    frames = [
        {"item_id": spec.item_id, "frame_index": n, **shared, "category": None, **size, **frame_columns(a), **closing}
        for n, a in enumerate(clip.annotations)
    ]
    identified = {"item_id": spec.item_id, **shared, "category": None}
    rows = _radiometric_rows(clip.radiometry, identified, clip.annotations, closing, provenance)
    return {"video": [row], "frames": frames, "radiometric": rows}


def _still_rows(engine: Engine, still: Still, subject: Mapping[str, Any]) -> Rows:
    spec = still.spec
    height, width = still.frame.shape
    shared = {**subject, "category": CATEGORIES.index(spec.category)}
    size = {"width": width, "height": height}
    labels = labels_of(still)
    closing = {name: labels[name] for name in (*ATTRIBUTES, "annotation_source")}
    provenance = _provenance(engine, still, pixels_digest(still.frame), {"codec": "png", "level": PNG_LEVEL})
    image = {"bytes": encode_png(still.frame), "path": f"{spec.item_id}.png"}
    row = {"image": image, "image_id": spec.item_id, **shared, **size, **labels, "provenance": provenance}
    frame = {"item_id": spec.item_id, "frame_index": 0, **shared, "sequence": None, **size, **labels}
    identified = {"item_id": spec.item_id, **shared, "sequence": None}
    rows = _radiometric_rows(still.radiometry, identified, [still.annotation], closing, provenance)
    return {spec.category: [row], "frames": [frame], "radiometric": rows}


def labels_of(made: Clip | Still | SceneStill) -> dict[str, Any]:
    """Columns of an item's row that say what is to be seen in it, as plain values; of a scene ``faces`` has them."""
    if isinstance(made, SceneStill):
        truths = [frame_columns(annotation) for annotation in made.annotations]
        of_a_frame = ("face_count", "extra_bboxes")
        return {
            "face_count": len(truths),
            "faces": {
                "subject_id": [subject.subject_id for subject in made.subjects],
                "gender": [GENDERS.index(subject.gender) for subject in made.subjects],
                **{name: [truth[name] for truth in truths] for name in FRAME_COLUMNS if name not in of_a_frame},
            },
            "annotation_source": made.annotations[0].source if truths else "ground_truth",
        }
    if isinstance(made, Clip):
        columns, source = clip_columns(made.annotations), made.annotations[0].source
    else:
        columns, source = frame_columns(made.annotation), made.annotation.source
    return {**columns, **attribute_columns(made.attributes), "annotation_source": source}


def numbers_of(radiometry: Radiometry) -> dict[str, Any]:
    """Columns of a row of `radiometric` that are numbers and no annotation, as plain values."""
    truth, camera = radiometry.truth, radiometry.camera_matrix
    return {
        "sensor_to_frame": radiometry.sensor_to_frame.tolist(),
        "ambient": radiometry.ambient,
        "camera_matrix": None if camera is None else camera.tolist(),
        **{name: truth[name].tolist() if name in truth else None for name in _NUMBERS},
    }


def _radiometric_rows(
    radiometry: Radiometry | None,
    identified: Mapping[str, Any],
    annotations: Sequence[FrameAnnotation],
    closing: Mapping[str, Any],
    provenance: str,
) -> list[dict[str, Any]]:
    if radiometry is None or not len(radiometry.frame_index):
        return []
    truth, item = radiometry.truth, identified["item_id"]

    def images(name: str, frames: NDArray[Any] | None) -> list[dict[str, Any]] | None:
        if frames is None:
            return None
        stem = f"{item}_{name}"
        named = zip(radiometry.frame_index, frames, strict=True)
        return [{"bytes": encode_png(f), "path": f"{stem}_{n:04d}.png"} for n, f in named]

    kept = [annotations[int(n)] for n in radiometry.frame_index]
    row = {
        "radiometric": images("radiometric", radiometry.frames),
        **identified,
        "frame_index": radiometry.frame_index.tolist(),
        **numbers_of(radiometry),
        **clip_columns(kept),
        **{n: images(n, truth.get(n)) for n in ("temperature", "segmentation", "depth")},
        **closing,
        "provenance": provenance,
    }
    return [row]


def encode_png(frame: NDArray[Any]) -> bytes:
    """PNG bytes of a uint8 or uint16 gray frame (H, W)."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(frame), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise ValueError(
            f"a frame of {frame.dtype} {frame.shape} does not encode as PNG; allowed: uint8 or uint16 (H, W)"
        )
    return data.tobytes()


def pixels_digest(frames: NDArray[Any]) -> str:
    """SHA-256 of raw pixels in C order: the evidence that a regenerated item is the same."""
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()


def _provenance(engine: Engine, product: Clip | Still | SceneStill, pixels: str, encoder: Mapping[str, Any]) -> str:
    return canonical_json({
        "spec": plain_spec(product.spec),
        "engine": engine.engine_id,
        "resolved": dict(product.engine),
        "models": _models_digest(product.spec.engine, **engine_settings(product.spec)),
        "encoder": dict(encoder),
        "raw_pixels_sha256": pixels,
    })  # fmt: skip
