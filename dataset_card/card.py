"""The dataset card: prose below the YAML that `thermvision.curation.release` wrote, with that release's own numbers."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import (
    ATTRIBUTES,
    CATEGORIES,
    EXPRESSIONS,
    MAX_CLASS_NAMES,
    REGIONS,
    SEGMENTS,
    SPLITS,
    features,
)
from thermvision.curation.release import LICENCES, README, Manifest, describe, read_release
from thermvision.curation.store import atomic_write
from thermvision.dataset_card.coverage import coverage
from thermvision.dataset_card.previews import CONTACT_SHEET, FOLDER, OVERLAY
from thermvision.dataset_card.sheet import count, figures

# column -> what it holds, with units; shapes are of one frame
COLUMNS = {
    "video": "MP4 as `{bytes, path}`: H.264, gray in the luma plane",
    "image": "8-bit gray PNG",
    "radiometric": "16-bit PNGs, value = 100 × kelvin of apparent temperature, on the sensor's pixel grid",
    "clip_id": "name of the clip, unique in the release",
    "image_id": "name of the image, unique in the release",
    "item_id": "name of the clip or still",
    "frame_index": "number of the frame in its clip, from 0",
    "subject_id": "name of the identity",
    "identity": "the same as a class number",
    "gender": "female or male",
    "sequence": "head_pose or expression; null for a still",
    "category": f"{', '.join(CATEGORIES)}; null for a clip",
    "fps": "frames a second",
    "num_frames": "frames in the clip",
    "width": "pixels",
    "height": "pixels",
    "bbox": "face box (4,), pixels; NaNs where there is no face",
    "bbox_score": "score of the detector, null for ground truth",
    "face_count": "faces in the frame",
    "extra_bboxes": "boxes (M, 4) of further faces, pixels",
    "landmarks": "68 points (68, 2), pixels",
    "landmark_state": "visibility (68,), 0 to 3",
    "head_pose": "yaw, pitch, roll, degrees",
    "expression": ", ".join(EXPRESSIONS),
    "eye_openness": "lid gap over eye width, mean of both eyes",
    "mouth_openness": "inner-lip gap over inner-mouth width",
    **{name: ", ".join(allowed) for name, allowed in ATTRIBUTES.items()},
    "annotation_source": "`ground_truth`, or the model that made the annotations",
    "provenance": "canonical JSON: what is needed to make the item again",
    "sensor_to_frame": "(3, 3), sensor pixel coordinates to those of the 8-bit frame",
    "ambient": "air temperature, °C",
    "skin_bbox": "box (4,) of the visible skin, pixels",
    "head_bbox": "box (4,) of the whole head with hair, pixels",
    "landmarks_3d": "(68, 3), metres, axes of the camera",
    "head_rotation": "(3, 3), axes of the head to those of the camera",
    "head_translation": "(3,), metres, the neck's pivot in axes of the camera",
    "camera_matrix": "(3, 3), axes of the camera to homogeneous pixels of the 8-bit frame",
    "expression_weights": "weights of the facial action shapes, 0 to 1",
    "region_temperatures": f"°C, NaN: not in view; {', '.join(REGIONS)}",
    "temperature": "16-bit PNGs, 100 × kelvin of the object itself",
    "segmentation": f"8-bit PNGs of class numbers, from 0: {', '.join(SEGMENTS)}",
    "depth": "16-bit PNGs in 0.1 mm, 0: background",
    "faces": "annotations of every face, as lists over faces",
}


def write_card(release_dir: Path) -> Path:
    """(Re)write the prose of ``README.md``; its YAML stays byte for byte. The same release gives the same card.

    Raises:
        UsageError: there is no release.
        DamagedInputError: its README has no YAML, or a shard does not read.
        OutputError: the file cannot be written.
    """
    manifest = read_release(release_dir)
    path = release_dir / README
    atomic_write(path, split_front_matter(path)[0] + b"\n" + card_text(release_dir, manifest).encode())
    return path


def split_front_matter(path: Path) -> tuple[bytes, bytes]:
    """YAML of a dataset card with both its fences, and what follows.

    Raises:
        DamagedInputError: the file cannot be read or does not begin with YAML between two lines of dashes.
    """
    again = "restore it, or build into a new folder"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedInputError(f"{path} cannot be read ({error.strerror}); {again}") from error
    end = data.find(b"\n---\n", 3)
    if not data.startswith(b"---\n") or end < 0:
        raise DamagedInputError(f"{path} does not begin with YAML between two lines '---'; {again}")
    return data[: end + 5], data[end + 5 :]


def card_text(root: Path, manifest: Manifest) -> str:
    """Markdown of the card below its YAML."""
    facts = describe(manifest)
    configs = facts["configs"]
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["megabytes"] = megabytes
    template = environment.from_string((files(__package__) / "templates" / "card.md.j2").read_text(encoding="utf-8"))
    video = configs.get("video", {}).get("rows", {})
    text = template.render(
        release=manifest,
        configs=configs,
        figures=figures(facts),
        splits=[s for s in SPLITS if any(s in c["rows"] for c in configs.values())],
        identities={s: n for s, n in facts["identities_by_split"].items() if n},
        first_video_split=next((s for s in SPLITS if s in video), "train"),
        columns=columns(manifest),
        coverage=coverage(root, manifest),
        made=_made(manifest),
        limits=_limits(manifest, facts),
        software=manifest.software,
        licence_text=f"{LICENCES[manifest.licence]} (`{manifest.licence}`).",
        failures=dict(sorted(Counter(f.code for f in manifest.failed).items())),
        has_sheet=(root / FOLDER / CONTACT_SHEET).is_file(),
        has_overlay=(root / FOLDER / OVERLAY).is_file(),
    )
    return text.rstrip("\n") + "\n"


def columns(manifest: Manifest) -> list[dict[str, str]]:
    """Name, configs and meaning of every column of the release, in the order of its first appearance."""
    identities = manifest.subject_ids[: MAX_CLASS_NAMES + 1]
    where: dict[str, list[str]] = {}
    for config in manifest.configs:
        if config in CATEGORIES:  # the columns of `image`
            continue
        for name in features(config, identities):
            where.setdefault(name, []).append(config)
    every = len([c for c in manifest.configs if c not in CATEGORIES])
    return [
        {"name": name, "configs": "all" if len(found) == every else ", ".join(found), "note": COLUMNS[name]}
        for name, found in where.items()
    ]


def _made(manifest: Manifest) -> list[str]:
    lines = [f"Version {manifest.version}" + (f", extends {manifest.parent}" if manifest.parent else "")]
    for engine, models in sorted(manifest.engines.items()):
        digests = ", ".join(f"{name} `{digest[:12]}`" for name, digest in sorted(models.items()))
        lines.append(f"Engine `{engine}`" + (f" with {digests}" if len(models) <= 8 and digests else _many(models)))
    lines += [f"Recipe [{path}]({path}), SHA-256 `{digest}`" for path, digest in sorted(manifest.recipes.items())]
    lines.append(f"Plan, SHA-256 `{manifest.plan}`")
    lines.append(
        f"{len(manifest.shards):,} shards, each with its SHA-256 in `release.json`: `thermvision verify` checks them"
    )
    return lines


def _limits(manifest: Manifest, facts: dict[str, Any]) -> list[str]:
    rows = {c: sum(config["rows"].values()) for c, config in facts["configs"].items()}
    items = rows.get("video", 0) + rows.get("image", 0)
    gray = "Each item has its own gain: 8-bit gray is no temperature"
    kept = rows.get("radiometric", 0)
    lines = [f"{gray}; temperatures are in `radiometric`, for {kept:,} of {items:,} items." if kept else f"{gray}."]
    empty = [split for split, number in facts["identities_by_split"].items() if not number]
    if empty:
        lines.append(f"No identity is in {' or '.join(empty)}: {count(facts['subjects']['total'], 'subject')} in all.")
    return lines


def _many(models: dict[str, str]) -> str:
    return f" with {len(models)} model files" if models else ""


def megabytes(number: int) -> str:
    """A size to three digits.

    >>> megabytes(1234), megabytes(9_650_000_000)
    ('1.23 kB', '9.65 GB')
    """
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
