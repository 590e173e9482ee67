"""COCO: one JSON file a data set, with images, annotations and the categories that name the keypoints.

Boxes ``[x, y, width, height]`` are ours. Keypoints are written in the same coordinates as the boxes, pixel centres at
+0.5; a tool that takes them for indices of pixels, as detectron2 does when it adds 0.5 to them, is half a pixel off.
``score``, ``attributes`` and a category's ``convention`` are ours beside the format's own fields (which are those of
https://cocodataset.org/#format-data).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import POLYLINES, SCHEME_NAMES, SCHEMES
from thermvision.annotations.findings import Finding

from .records import SEEN, UNLABELLED, FaceRecord, FileFaces, Reading
from .text import DECIMALS, decoded, image_path, image_size, number

MAX_BYTES = 512 * 2**20
MAX_POINTS = 10_000
_EYES_AND_NOSE = ((0, 1), (0, 2), (1, 2), (3, 4))
# names that say in so many words that they are the five points of ours
_FIVE = ("eye_image_left", "eye_image_right", "nose", "mouth_image_left", "mouth_image_right")
_FLAGS = ("ignore", "iscrowd")


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The images of one file, in its order; images without annotations are there with no face.

    A keypoint of visibility 0 is unknown. Annotations of any category are faces, with the category's name as their
    ``label`` unless it starts with "face"; ``ignore`` and ``iscrowd`` are attributes "1" where set. Codes of findings:
    ``too-large``, ``encoding``, ``not-json``, ``not-coco``, ``image``, ``path``, ``category``,
    ``annotation``, ``box``, ``keypoints``, ``score``.

    Args:
        data: the file's content.
        path: of the label file, for findings.
        size: (width, height) of every image that does not say.
    """
    document, findings = json_object(data, path, MAX_BYTES)
    if document is None:
        return Reading([], findings)
    if not isinstance(document.get("images"), list) or not isinstance(document.get("annotations"), list):
        seen = ", ".join(sorted(map(str, document))[:8])
        findings.append(Finding(path, "not-coco", f"the keys are {seen}; allowed: lists images and annotations"))
        return Reading([], findings)
    categories = _categories(document.get("categories"), path, findings)
    faces: dict[Any, list[FaceRecord]] = {}
    images: dict[Any, tuple[str, int | None, int | None]] = {}
    for place, entry in enumerate(document["images"]):
        key, image = _image(entry, size)
        if isinstance(image, str) or key in images:
            seen = image if isinstance(image, str) else f"the id {key!r} is there twice"
            findings.append(Finding(path, "image", f"images[{place}]: {seen}; nothing was made of it"))
            continue
        name, complaint = image_path(image[0])
        if complaint:
            findings.append(Finding(path, "path", f"images[{place}]: {complaint}"))
        if name:
            images[key] = (name, *image[1:])
            faces[key] = []
    for place, entry in enumerate(document["annotations"]):
        if not isinstance(entry, dict) or not _is_key(entry.get("image_id")) or entry["image_id"] not in images:
            message = f"annotations[{place}]: no such image; allowed: an object whose image_id is an image's id"
            findings.append(Finding(path, "annotation", f"{message}; it was left out"))
            continue
        face, problems = _face(entry, categories)
        findings += [Finding(path, code, f"annotations[{place}]: {message}") for code, message in problems]
        if face is not None:
            faces[entry["image_id"]].append(face)
    return Reading([FileFaces(*image, faces[key]) for key, image in images.items()], findings)


def json_object(data: str | bytes, path: str, limit: int) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The object that a JSON file of at most ``limit`` bytes holds; None, with a finding, where it holds none."""
    text, findings = decoded(data, path, limit)
    if findings:
        return None, findings
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, [Finding(path, "not-json", f"{error or 'too deep'}; allowed: JSON; nothing was read"[:300])]
    if not isinstance(document, dict):
        message = f"the file holds a {type(document).__name__}; allowed: an object; nothing was read"
        return None, [Finding(path, "not-json", message)]
    return document, []


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _image(entry: Any, size: tuple[int, int] | None) -> tuple[Any, tuple[str, int | None, int | None] | str]:
    """Id of an image, and (name, width, height) or what is wrong with it."""
    if not isinstance(entry, dict) or not _is_key(entry.get("id")) or not isinstance(entry.get("file_name"), str):
        return None, "there is no id or no file_name; allowed: an object with both"
    return entry["id"], (entry["file_name"], *image_size(entry.get("width"), entry.get("height"), size))


def _categories(entries: Any, path: str, findings: list[Finding]) -> dict[Any, tuple[str, str | None, Any]]:
    """Name, point scheme and own keypoint names of each category."""
    categories: dict[Any, tuple[str, str | None, Any]] = {}
    for place, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict) or not _is_key(entry.get("id")):
            findings.append(Finding(path, "category", f"categories[{place}]: no id; allowed: an object with one"))
            continue
        names = entry.get("keypoints")
        names = tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
        scheme = next((key for key, known in SCHEME_NAMES.items() if names == known), None)
        own = None if scheme else names
        if entry.get("convention") in tuple(SCHEMES):
            scheme = str(entry["convention"])
        elif names == _FIVE:
            scheme = "5"
        categories[entry["id"]] = (str(entry.get("name", "face")), scheme, own)
    return categories


def _face(entry: dict[str, Any], categories: Mapping[Any, Any]) -> tuple[FaceRecord | None, list[tuple[str, str]]]:
    problems = []
    box = entry.get("bbox")
    values = [number(value) for value in box] if isinstance(box, list) and len(box) == 4 else [None]
    if None in values:
        return None, [("box", f"the box is {str(box)[:80]}; allowed: [x, y, width, height]; it was left out")]
    bbox = np.array(values, np.float32)
    if not (bbox[2:] > 0).all():
        return None, [("box", f"the box is {str(box)[:80]}; allowed: an area above 0; it was left out")]
    score = number(entry.get("score"))
    if score is None and entry.get("score") is not None:
        problems.append(("score", f"the score is {str(entry['score'])[:40]!r}; allowed: a number; kept without it"))
    category = entry.get("category_id")
    name, scheme, names = categories.get(category if _is_key(category) else None, ("face", None, None))
    facts = entry.get("attributes")
    attributes = {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
    attributes |= {flag: "1" for flag in _FLAGS if entry.get(flag) in (1, True)}
    if not name.startswith("face"):
        attributes.setdefault("label", name)
    points, visibility, problem = _keypoints(entry.get("keypoints"))
    if problem:
        problems.append(("keypoints", f"{problem}; the box is kept"))
    if points is not None:
        expected = SCHEMES[scheme] if scheme else len(names or points)
        if expected != len(points) or len(names or points) != len(points):
            problems.append(("keypoints", f"{len(points)} points in a category of {expected}; kept nameless"))
            scheme = names = None
    if points is None:
        scheme = names = None
    return FaceRecord(bbox, score, points, visibility, scheme, names, attributes), problems


def _keypoints(flat: Any) -> tuple[NDArray[np.float32] | None, NDArray[np.uint8] | None, str]:
    """Points and visibility; None where every point is unlabelled."""
    if flat is None or flat == []:
        return None, None, ""
    values = [number(v) for v in flat] if isinstance(flat, list) and len(flat) <= 3 * MAX_POINTS else [None]
    if None in values or len(values) % 3:
        return None, None, f"keypoints are {str(flat)[:60]}; allowed: numbers x, y, v for each point"
    triples = np.array(values, np.float64).reshape(-1, 3)
    if not np.isin(triples[:, 2], (0, 1, 2)).all():
        return None, None, "a keypoint's visibility is none; allowed: 0, 1 or 2"
    visibility = triples[:, 2].astype(np.uint8)
    points = np.where(visibility[:, None] == UNLABELLED, np.nan, triples[:, :2]).astype(np.float32)
    return (points, visibility, "") if (visibility != UNLABELLED).any() else (None, None, "")


def write(files: Sequence[FileFaces]) -> bytes:
    """The file of a data set: image and annotation ids count from 1, a category for each point scheme.

    A face without box gets the extent of its points, one with neither is left out. What is not known (score, size,
    keypoints) is not there.

    >>> face = FaceRecord([10, 20, 30, 40], score=0.5)
    >>> json.loads(write([FileFaces("a.png", 64, 48, [face])]))["annotations"][0]["bbox"]
    [10.0, 20.0, 30.0, 40.0]
    """
    kinds: dict[Any, int] = {}
    for image in files:
        for face in image.faces:
            if face.points is not None:
                kinds.setdefault(_kind(face), len(kinds) + 1)
    if not kinds:
        kinds[None] = 1
    annotations: list[dict[str, Any]] = []
    images = []
    for number_, image in enumerate(files, start=1):
        extent = dict(zip(("width", "height"), image.size, strict=True)) if image.size else {}
        images.append({"id": number_, "file_name": image.path, **extent})
        for face in image.faces:
            entry = _annotation(face, kinds)
            if entry is not None:
                annotations.append({"id": len(annotations) + 1, "image_id": number_, **entry})
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [_category(kind, key) for kind, key in kinds.items()],
    }
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n").encode(
        "utf-8", "replace"
    )


def _kind(face: FaceRecord) -> tuple[str | None, tuple[str, ...] | None, int]:
    return face.convention, face.names, 0 if face.points is None else len(face.points)


def _category(kind: Any, key: int) -> dict[str, Any]:
    # a face without points belongs to the first category: detectors are scored on one class
    entry: dict[str, Any] = {"id": key, "name": "face" if key == 1 else f"face_{key}", "supercategory": "face"}
    if kind is None:
        return entry
    scheme, own, count = kind
    names = list(own or SCHEME_NAMES.get(scheme, [f"point_{i}" for i in range(count)]))
    lines: list[tuple[int, int]] = []
    if scheme in ("68", "70", "54"):
        in_scheme = 48 if scheme == "54" else 68
        lines = [pair for line in POLYLINES for pair in itertools.pairwise(line) if max(pair) < in_scheme]
    elif scheme == "5":
        lines = list(_EYES_AND_NOSE)
    # the skeleton of COCO counts keypoints from 1
    more = {"keypoints": names, "skeleton": [[a + 1, b + 1] for a, b in lines]}
    return {**entry, **more, **({"convention": scheme} if scheme in SCHEMES else {})}


def _annotation(face: FaceRecord, kinds: Mapping[Any, int]) -> dict[str, Any] | None:
    box = face.box_or_extent
    if box is None:
        return None
    bbox = np.round(box.astype(np.float64), DECIMALS).tolist()
    entry = {"category_id": 1, "bbox": bbox, "area": round(bbox[2] * bbox[3], DECIMALS), "iscrowd": 0}
    facts = dict(face.attributes)
    entry |= {flag: 1 for flag in _FLAGS if facts.get(flag) == "1" and facts.pop(flag)}
    if face.score is not None:
        entry["score"] = round(float(face.score), DECIMALS)
    if face.points is not None:
        entry["category_id"] = kinds[_kind(face)]
        points = np.round(face.points.astype(np.float64), DECIMALS)
        known = [bool(np.isfinite(point).all()) for point in points]
        visibility = np.full(len(points), SEEN) if face.visibility is None else face.visibility
        flat = [
            value
            for (x, y), v, there in zip(points.tolist(), visibility.tolist(), known, strict=True)
            for value in ((x, y, v) if there and v else (0, 0, 0))
        ]
        entry |= {"keypoints": flat, "num_keypoints": sum(v > 0 for v in flat[2::3])}
    if facts:
        entry["attributes"] = facts
    return entry
