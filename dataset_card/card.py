"""The dataset card: prose below the YAML that `thermvision.curation.release` wrote, with that release's own numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml

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
from thermvision.curation.release import (
    LICENCES,
    README,
    YAML_LOADER,
    Failed,
    Manifest,
    describe,
    front_matter,
    read_release,
    write_header,
)
from thermvision.curation.store import atomic_write
from thermvision.dataset_card import advice, quality
from thermvision.dataset_card.changes import changes, history_line, link
from thermvision.dataset_card.coverage import coverage_lines, measured
from thermvision.dataset_card.plots import read_plots
from thermvision.dataset_card.previews import CONTACT_SHEET, FOLDER, MOVING, OVERLAY, STRIP
from thermvision.dataset_card.reports import read_reports
from thermvision.dataset_card.responsible import from_cameras
from thermvision.dataset_card.sheet import count, figures
from thermvision.dataset_card.trust import Known, code, known_labels, label_rows, sources_text

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
    "provenance": "canonical JSON: what makes the item again, or the archive it comes from",
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


# column -> unit, of those that have one
UNITS = {
    **dict.fromkeys(("bbox", "extra_bboxes", "landmarks", "skin_bbox", "head_bbox", "width", "height"), "px"),
    **dict.fromkeys(("radiometric", "temperature"), "0.01 K"),
    **dict.fromkeys(("ambient", "region_temperatures"), "°C"),
    **dict.fromkeys(("landmarks_3d", "head_translation"), "m"),
    "head_pose": "°",
    "fps": "1/s",
    "depth": "0.1 mm",
}
ARTICLE = """\
@article{farooq2026thermvisiondb,
  title   = {ThermVision-DB: A synthetic LWIR thermal face dataset for privacy-preserving thermal vision research},
  author  = {Farooq, Muhammad Ali and Shariff, Waseem and Corcoran, Peter},
  journal = {Data in Brief},
  volume  = {65},
  pages   = {112506},
  year    = {2026},
  doi     = {10.1016/j.dib.2026.112506}
}"""
CITED = """\
@misc{farooq2025thermvisiondb,
  title     = {ThermVision-DB},
  author    = {Farooq, Muhammad Ali},
  publisher = {Hugging Face},
  year      = {2025},
  doi       = {10.57967/hf/7026}
}"""
MOST_FAILURES = 12  # codes of failed items that are listed


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


def renew_header(release_dir: Path, manifest: Manifest) -> bool:
    """Write the YAML of ``README.md`` anew where that changes neither configs nor columns; whether it did.

    A card may be older than a column, and then its YAML stays: shards without it would not load.

    Raises:
        DamagedInputError: the README has no YAML.
        OutputError: the file cannot be written.
    """
    head, wanted = split_front_matter(release_dir / README)[0].decode("utf-8", "replace"), front_matter(manifest)
    if head == f"---\n{wanted}---\n":
        return False
    try:
        seen = yaml.load(head.removeprefix("---\n").removesuffix("---\n"), YAML_LOADER)
    except (yaml.YAMLError, RecursionError, ValueError):
        return False
    expected = yaml.load(wanted, YAML_LOADER)
    if not isinstance(seen, dict) or any(seen.get(key) != expected[key] for key in ("configs", "dataset_info")):
        return False
    write_header(release_dir, manifest)
    return True


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
    """Markdown of the card below its YAML: facts of the release in ``root`` and of the reports in it, nothing else.

    Raises:
        DamagedInputError: a shard or a report does not read.
    """
    facts = describe(manifest)
    configs, folder = facts["configs"], root / FOLDER
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters |= {"megabytes": megabytes, "cell": quality.cell, "code": code}
    template = environment.from_string((files(__package__) / "templates" / "card.md.j2").read_text(encoding="utf-8"))
    video = configs.get("video", {}).get("rows", {})
    reports, known, seen = read_reports(root, manifest), known_labels(root, manifest), measured(root, manifest)
    text = template.render(
        release=manifest,
        configs=configs,
        figures=figures(facts),
        from_cameras=from_cameras(manifest),
        glance=list(_glance(manifest, facts, known, reports)),
        good_for=list(advice.good_for(manifest, known, seen)),
        not_for=list(advice.not_for(manifest, seen.poses)),
        labels=label_rows(known, quality.agreement(reports), manifest.source == "import"),
        splits=[s for s in SPLITS if any(s in c["rows"] for c in configs.values())],
        identities={s: n for s, n in facts["identities_by_split"].items() if n},
        first_video_split=next((s for s in SPLITS if s in video), "train"),
        columns=columns(manifest),
        coverage=coverage_lines(seen),
        plots={plot["name"]: plot for plot in read_plots(folder)},
        placed=("recognition", "landmark_error", "growth"),  # beside their tables; the others show the frames
        made=_made(manifest),
        audits=[{"facts": a, "rows": quality.audit_rows(a)} for a in reports.get("audit", ())],
        verdicts=quality.VERDICTS,
        checks=[{"line": quality.check_line(c), "rows": quality.check_rows(c)} for c in reports.get("check", ())],
        others=[
            *map(quality.dedupe_line, reports.get("dedupe", ())),
            *(line for s in reports.get("statistics", ()) for line in quality.statistics_lines(s)),
        ],
        protocols=[{"facts": p, "rows": quality.protocol_rows(p)} for p in reports.get("protocols", ())],
        limits=[*advice.limits(manifest), *quality.worst_lines(reports)],
        ethics=list(advice.ethics(manifest)),
        software=manifest.software,
        licence_text=f"{LICENCES[manifest.licence]} (`{manifest.licence}`).",
        failures=_failures(manifest),
        history=history_line(manifest),
        changes=changes(root, manifest),
        article=ARTICLE,
        cited=CITED,
        shown={name for name in (CONTACT_SHEET, OVERLAY, STRIP, MOVING) if (folder / name).is_file()},
    )
    return text.rstrip("\n") + "\n"


def _glance(manifest: Manifest, facts: dict[str, Any], known: Known, reports: Mapping[str, Any]) -> Iterator[list[str]]:
    """What and how much, as rows of two cells."""
    people = facts["subjects"]
    what = "" if from_cameras(manifest) else " synthetic"
    yield ["people", f"{people['total']:,}{what}: {people['female']:,} female, {people['male']:,} male"]
    nouns = {"video": "clips", "image": "stills", "scenes": "scenes", "radiometric": "16-bit items"}
    rows = advice.rows_of(manifest)
    if items := ", ".join(f"{rows[c]:,} {noun}" for c, noun in nouns.items() if c in rows):
        yield ["items", items]
    if known.frames:
        yield ["annotated frames", f"{known.frames:,}; {sources_text(known.by_source)}"]
    yield ["splits", ", ".join(f"{_persons(n)} in {s}" for s, n in facts["identities_by_split"].items() if n)]
    yield ["size", f"{megabytes(facts['bytes'])} in {count(facts['shards'], 'Parquet file')}"]
    yield ["licence", f"{LICENCES[manifest.licence]} (`{manifest.licence}`)"]
    yield ["version", manifest.version + (f", made from {manifest.parent}" if manifest.parent else "")]
    for audit in reports.get("audit", ()):
        told = quality.VERDICTS.get(audit["verdict"], quality.cell(audit["verdict"]))
        levels = Counter(answer["level"] for answer in audit["answers"])
        counts = ", ".join(f"{levels[level]} {level}" for level in quality.VERDICTS if levels[level])
        yield ["audit", f"{told}: [{counts}](#audit)"]


def _persons(number: int) -> str:
    return "1 person" if number == 1 else f"{number:,} people"


def _failures(manifest: Manifest) -> list[dict[str, str]]:
    """Items that could not be made, by code, with the first of each and its reason."""
    by_code: dict[str, list[Failed]] = {}
    for failed in manifest.failed:
        by_code.setdefault(failed.code, []).append(failed)
    return [
        {
            "code": quality.cell(code),
            "number": f"{len(found):,}",
            "example": f"{quality.cell(found[0].item_id)}: {quality.cell(found[0].reason[:160])}",
        }
        for code, found in sorted(by_code.items())[:MOST_FAILURES]
    ]


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
        {
            "name": name,
            "configs": "all" if len(found) == every else ", ".join(found),
            "unit": UNITS.get(name, ""),
            "note": COLUMNS[name],
        }
        for name, found in where.items()
    ]


def _made(manifest: Manifest) -> list[str]:
    lines = [f"Version {manifest.version}" + (f", extends {manifest.parent}" if manifest.parent else "")]
    for engine, models in sorted(manifest.engines.items()):
        digests = ", ".join(f"{quality.cell(name)} {code(digest[:12])}" for name, digest in sorted(models.items()))
        lines.append(f"Engine {code(engine)}" + (f" with {digests}" if len(models) <= 8 and digests else _many(models)))
    lines += [f"Recipe {link(path)}, SHA-256 `{digest}`" for path, digest in sorted(manifest.recipes.items())]
    lines.append(f"Plan, SHA-256 `{manifest.plan}`")
    lines.append(
        f"{len(manifest.shards):,} shards, each with its SHA-256 in `release.json`: `thermvision verify` checks them"
    )
    return lines


def _many(models: dict[str, str]) -> str:
    return f" with {len(models)} model files, whose SHA-256 are in `release.json`" if models else ""


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
