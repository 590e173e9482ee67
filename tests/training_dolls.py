"""An engine that draws dolls: heads simple enough to render in milliseconds, true enough to train on. Never shipped."""

from __future__ import annotations

import cv2
import numpy as np
from fake_engine import WaveEngine

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.radiometry import GainControl, to_centikelvin
from thermvision.annotations.schema import REGIONS, SEGMENTS, SELF_OCCLUDED, VISIBLE, FrameAnnotation
from thermvision.generation.specs import Radiometry, Still

SENSOR = 103  # half of the corpus's grid: the scale is exactly 2
CENTRE, RADIUS = np.array([51.5, 48.0]), 24.0  # of the head, sensor pixels; half of its height
AMBIENT, SKIN = 22.0, 34.0
POSES = ((0, 0, 0), (38, -6, 8), (-38, 5, -12), (165, 0, 0))  # by the number of the item; the last: from behind
RECIPE = """
name = "dolls"
version = "1.0"
seed = 3
[subjects]
female = 3
male = 3
[stills]
size = 64
head_poses = 24
"""


def doll_face() -> np.ndarray:
    """The 68 landmarks (68, 3) of a doll's head: x its left, y up, z out of the face; it is 2 high."""

    def arc(x: float, y: float, wide: float, high: float, angles: np.ndarray) -> np.ndarray:
        turn = np.radians(angles)
        return np.stack([x + wide * np.cos(turn), y + high * np.sin(turn)], 1)

    def ring(x: float, y: float, wide: float, high: float, count: int) -> np.ndarray:
        return arc(x, y, wide, high, 180 - 360 / count * np.arange(count))

    flat = np.concatenate([
        arc(0, 0.05, 0.66, 0.98, np.linspace(180, 360, 17)),
        *(arc(x, 0.34, 0.2, 0.1, np.linspace(180, 0, 5)) for x in (-0.32, 0.32)),
        np.stack([np.zeros(4), np.linspace(0.24, -0.1, 4)], 1),
        np.stack([np.linspace(-0.13, 0.13, 5), [-0.17, -0.2, -0.22, -0.2, -0.17]], 1),
        *(ring(x, 0.2, 0.12, 0.05, 6) for x in (-0.31, 0.31)),
        ring(0, -0.5, 0.24, 0.1, 12),
        ring(0, -0.5, 0.18, 0.03, 8),
    ])  # fmt: skip
    depth = 0.8 * np.sqrt(np.clip(1 - (flat[:, 0] / 0.72) ** 2 - (flat[:, 1] / 1.02) ** 2, 0, 1))
    depth[27:36] += np.array([0.02, 0.08, 0.14, 0.2, 0.06, 0.1, 0.12, 0.1, 0.06])
    return np.concatenate([flat, depth[:, None]], 1)


class DollEngine(WaveEngine):
    """Dolls under the name of the engine whose place it takes; the pose depends on the item alone."""

    def render(self, spec, progress=None):
        pose = POSES[spec.item % len(POSES)]
        rng = np.random.default_rng([spec.subject.index, spec.item])
        landmarks = _projected(doll_face(), pose)
        celsius, segment = _drawn(landmarks, pose, spec.subject.index, rng)
        scale = spec.size / SENSOR
        frame = GainControl()(cv2.resize(celsius, (spec.size, spec.size), interpolation=cv2.INTER_AREA))
        annotation = _annotation(landmarks, pose, scale)
        if progress:
            progress(1)
        worn = {"hairstyle": "short", "beard": ("none", "full")[spec.subject.index % 2]}
        worn |= {"glasses": "none", "mask": "none", "headwear": "none"}
        return Still(spec, frame, annotation, worn, {}, _radiometry(celsius, segment, scale))


def _projected(points, pose):
    turned = points @ rotation_from_pose(pose).T
    return np.concatenate([CENTRE + RADIUS * turned[:, :2] * [1, -1], turned[:, 2:]], 1)


def _annotation(landmarks, pose, scale):
    facing = abs(pose[0]) < 90
    flat = landmarks[:, :2]
    top = flat[:, 1].min() - 0.2 * RADIUS
    low, high = np.array([flat[:, 0].min(), top]), flat.max(0)
    return FrameAnnotation(
        bbox=scale * np.concatenate([low, high - low]) if facing else np.full(4, np.nan),
        face_count=int(facing),
        source="ground_truth",
        landmarks=scale * flat,
        landmark_state=np.where(landmarks[:, 2] > 0, VISIBLE, SELF_OCCLUDED),
        head_pose=pose,
        expression="neutral",
        eye_openness=0.25,
        mouth_openness=0.125,
    )


def _drawn(landmarks, pose, person, rng):
    """Temperatures (S, S) in °C and segments; eyes are warm, the nose is cold, and people differ in their cheeks."""
    celsius = np.full((SENSOR, SENSOR), AMBIENT, np.float32)
    segment = np.zeros((SENSOR, SENSOR), np.uint8)

    def put(name, kelvin, draw, *shape):
        for image, value in ((segment, SEGMENTS.index(name)), (celsius, SKIN + kelvin)):
            draw(image, *shape, value, -1)

    middle = tuple(np.round(CENTRE).astype(int).tolist())
    put("cloth", -6, cv2.ellipse, (middle[0], SENSOR + 6), (44, 34), 0, 0, 360)
    put("skin", -1, cv2.rectangle, (middle[0] - 9, middle[1] + 15), (middle[0] + 9, middle[1] + 32))
    axes = (round(0.72 * RADIUS), round(1.02 * RADIUS))
    put("skin", 0, cv2.ellipse, middle, axes, pose[2], 0, 360)
    put("hair", -4, cv2.ellipse, middle, axes, pose[2], 205, 335)
    if abs(pose[0]) > 90:
        put("hair", -4, cv2.ellipse, middle, axes, 0, 0, 360)
    else:
        for name, kelvin, part in (("eye", 2, range(36, 42)), ("eye", 2, range(42, 48)), ("mouth", -1, range(48, 60))):
            put(name, kelvin, _polygon, landmarks[list(part), :2])
        nose = tuple(np.round(landmarks[30, :2]).astype(int).tolist())
        put("skin", -3, cv2.circle, nose, 3)
        for k, sign in ((3, 1), (13, -1)):
            cheek = landmarks[k, :2] + [5 * sign, -4]
            put("skin", (person + k) % 4 - 1.5, cv2.circle, tuple(np.round(cheek).astype(int).tolist()), 4)
    return cv2.GaussianBlur(celsius + rng.normal(0, 0.05, celsius.shape).astype(np.float32), (0, 0), 0.7), segment


def _polygon(image, corners, value, _filled):
    cv2.fillPoly(image, [np.round(corners).astype(np.int32)], value)


def _radiometry(celsius, segment, scale):
    return Radiometry(
        frame_index=np.zeros(1, np.int32),
        frames=to_centikelvin(celsius)[None],
        sensor_to_frame=np.diag([scale, scale, 1.0]),
        ambient=AMBIENT,
        truth={
            "temperature": to_centikelvin(celsius)[None],
            "segmentation": segment[None],
            "depth": np.full((1, SENSOR, SENSOR), 6200, np.uint16),
            "skin_bbox": np.ones((1, 4)),
            "head_bbox": np.ones((1, 4)),
            "landmarks_3d": np.ones((1, 68, 3)),
            "expression_weights": np.zeros((1, 52)),
            "region_temperatures": np.full((1, len(REGIONS)), SKIN),
        },
    )
