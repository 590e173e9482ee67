"""The ground truth of one rendered frame: boxes, openness of eyes and mouth, and region temperatures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import REGIONS, SEGMENTS, FrameAnnotation
from thermvision.generation.engines.phantom.landmarks import TOLERANCE
from thermvision.generation.engines.phantom.layers import Floats, Head, HeadTopology
from thermvision.generation.engines.phantom.neck import make_neck
from thermvision.generation.engines.phantom.scene import SAMPLES, Observation, Scene
from thermvision.generation.engines.phantom.topology import load_topology

# the hairline stands this share of the brow-to-chin height above the brows
_FOREHEAD = 0.30
# share by which the ear-side jaw points move to the mouth in full profile: the box ends at the cheek, not at the ear
_PROFILE_PULL = 0.48
_PULLED = (0, 1, 2, 3, 4, 12, 13, 14, 15, 16)
_BROWS = slice(17, 27)
_MOUTH_AND_NOSE = (31, 35, 48, 54)
_FEWEST_VERTICES = 12
FACE_AWAY = 100.0  # degrees of yaw against the camera beyond which no face is there to be found


def face_box(landmarks: Floats, yaw: float) -> Floats:
    """The TFW face box [x, y, width, height]: hairline or brow-top to chin, cheek to cheek.

    The hull of the landmarks and of the brows raised to the hairline; in profile the ear-side points are pulled in by
    the square of the sine of yaw.

    Args:
        landmarks: (68, 2) in any pixel coordinates.
        yaw: degrees.
    """
    points = landmarks.copy()
    pull = _PROFILE_PULL * np.sin(np.deg2rad(yaw)) ** 2
    centre = points[list(_MOUTH_AND_NOSE), 0].mean()
    points[list(_PULLED), 0] += pull * (centre - points[list(_PULLED), 0])
    brows = landmarks[_BROWS]
    hairline = brows + _FOREHEAD * (brows.mean(0) - landmarks[8])
    return _box(np.concatenate([points, hairline]))


def _box(points: Floats) -> Floats:
    low, high = points.min(0), points.max(0)
    return np.array([*low, *(high - low)])


def _clip(box: Floats, size: float) -> Floats:
    low = np.clip(box[:2], 0, size)
    high = np.clip(box[:2] + box[2:], 0, size)
    return np.array([*low, *(high - low)])


def openness(landmarks: Floats) -> tuple[float, float]:
    """Eye openness (lid gap over eye width, mean of both eyes) and mouth openness (inner-lip gap over inner width).

    Args:
        landmarks: (68, 3) of the expressed head before head pose, +y up; lids that overlap count as closed.
    """

    def gap(upper: list[int], lower: list[int]) -> float:
        return float(np.clip(landmarks[upper, 1] - landmarks[lower, 1], 0, None).mean())

    def width(a: int, b: int) -> float:
        return float(np.linalg.norm(landmarks[a] - landmarks[b]))

    right = gap([37, 38], [41, 40]) / width(36, 39)
    left = gap([43, 44], [47, 46]) / width(42, 45)
    return (right + left) / 2, gap([61, 62, 63], [67, 66, 65]) / width(60, 64)


@lru_cache(1)
def _region_rows() -> dict[str, NDArray[np.int64]]:
    """Head vertices of each of `REGIONS`, ellipses about landmarks of the canonical face."""
    topology = load_topology()
    shape, mark = topology.canonical, topology.canonical[topology.landmarks]
    skin = topology.label == SEGMENTS.index("skin")
    front = topology.canonical_normals[:, 2] > 0.2
    lift = np.array([0, 1.0, 0])
    spots: dict[str, tuple[Floats, float, float]] = {
        "forehead": (mark[27] + 0.040 * lift, 0.030, 0.014),
        "canthus_left": (mark[42], 0.004, 0.004),
        "canthus_right": (mark[39], 0.004, 0.004),
        "nose": (mark[30], 0.010, 0.010),
        "cheek_left": (np.array([0.043, mark[30, 1] - 0.004, 0]), 0.014, 0.014),
        "cheek_right": (np.array([-0.043, mark[30, 1] - 0.004, 0]), 0.014, 0.014),
        "chin": (mark[8] + 0.014 * lift, 0.014, 0.009),
        "lips": ((mark[51] + mark[57]) / 2, 0.020, 0.009),
    }
    rows = {}
    for region in REGIONS:
        if region.startswith("ear"):
            side = 1.0 if region.endswith("left") else -1.0
            inside = (topology.ear > 0.5) & (shape[:, 0] * side > 0)
        else:
            centre, wide, high = spots[region]
            inside = ((shape[:, 0] - centre[0]) / wide) ** 2 + ((shape[:, 1] - centre[1]) / high) ** 2 < 1
            inside &= front
        rows[region] = np.flatnonzero(inside & skin)
    return rows


def region_temperatures(scene: Scene, seen: Observation) -> NDArray[np.float32]:
    """Mean skin temperature (°C) over what is in view of each of `REGIONS`; NaN where almost nothing of it is."""
    skin = SEGMENTS.index("skin")
    means = np.full(len(REGIONS), np.nan, np.float32)
    for i, rows in enumerate(_region_rows().values()):
        points = seen.surface[rows]
        at = np.floor(scene.view.project(points)).astype(int)
        inside = ((at >= 0) & (at < scene.view.window)).all(1)
        rows, points, at = rows[inside], points[inside], at[inside]
        nearest = seen.depth[at[:, 1], at[:, 0]]
        visible = scene.view.eye[2] - points[:, 2] < nearest + TOLERANCE
        visible &= seen.segment[at[:, 1], at[:, 0]] == skin
        if visible.sum() >= min(_FEWEST_VERTICES, len(rows)) > 0:
            means[i] = seen.skin[rows[visible]].mean()
    return means


@lru_cache(4)
def _box_rows(head: Head) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of the bare face (hairline to chin, ear to ear) and of the whole head above the chin."""
    topology: HeadTopology = head.topology
    shape, mark = topology.canonical, topology.canonical[topology.landmarks]
    skin = topology.label == SEGMENTS.index("skin")
    above_chin = shape[:, 1] > mark[8, 1] - 0.004
    hairline = mark[27, 1] + 0.062
    face = skin & above_chin & (shape[:, 1] < hairline) & (shape[:, 2] > mark[16, 2] - 0.004) & (topology.ear < 0.05)
    whole = skin & above_chin & (make_neck(head).weights(head.rest) > 0.98)
    return np.flatnonzero(face), np.flatnonzero(whole)


def skin_and_head_box(scene: Scene, seen: Observation) -> tuple[Floats, Floats]:
    """Boxes [x, y, w, h] in window coordinates: of the face's skin in view, and of the head with its hair."""
    face, whole = _box_rows(scene.head)
    view = scene.view
    points = seen.surface[face]
    uv = view.project(points)
    at = np.clip(np.floor(uv * SAMPLES).astype(int), 0, view.window * SAMPLES - 1)
    visible = view.eye[2] - points[:, 2] < seen.seen.depth[at[:, 1], at[:, 0]] + TOLERANCE
    skin_box = _box(uv[visible]) if visible.any() else np.full(4, np.nan)

    head_box = _box(view.project(seen.surface[whole]))
    rows, columns = np.nonzero(seen.segment == SEGMENTS.index("hair"))
    low, high = head_box[:2], head_box[:2] + head_box[2:]
    # hair below the chin (long styles) does not lengthen the head
    keep = rows < high[1]
    if keep.any():
        low = np.minimum(low, [columns[keep].min(), rows[keep].min()])
        high = np.maximum(high, [columns[keep].max() + 1, 0])
    head_box = np.array([*low, *(high - low)])
    return _clip(skin_box, view.window), _clip(head_box, view.window)


def annotate(scene: Scene, seen: Observation, expression: str, size: int) -> FrameAnnotation:
    """The annotation of a frame of ``size`` pixels; a face that looks away by more than `FACE_AWAY` is none.

    Args:
        scene, seen: what was rendered.
        expression: label.
        size: side of the 8-bit frame.
    """
    zoom = size / scene.view.window
    landmarks = seen.landmarks * zoom
    pose_free = (seen.landmarks_3d - scene.neck.pivot) @ rotation_from_pose(seen.head_pose)
    eyes, mouth = openness(pose_free)
    shown = abs(seen.head_pose[0]) <= FACE_AWAY
    box = _clip(face_box(landmarks, float(seen.head_pose[0])), size) if shown else np.full(4, np.nan)
    return FrameAnnotation(
        bbox=box.astype(np.float32),
        face_count=int(shown),
        source="ground_truth",
        landmarks=landmarks.astype(np.float32),
        landmark_state=seen.landmark_state,
        head_pose=seen.head_pose.astype(np.float32),
        expression=expression,
        eye_openness=eyes,
        mouth_openness=mouth,
    )
