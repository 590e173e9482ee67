"""Clips of a face that turns and wanders, as rows with exact labels and as frames: the mean face, drawn in dots."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import VISIBLE
from thermvision.curation.checks.kinds import FrameView, ItemView
from thermvision.curation.checks.mean_face import MEAN_FACE
from thermvision.curation.checks.points import openness_of

SIZE, SCALE = 256, 55.0


def poses(frames: int, fps: float = 30.0) -> np.ndarray:
    """(N, 3) yaw, pitch, roll of a head that looks about, once to each side in about two seconds."""
    t = np.arange(frames) / fps
    return np.stack([40 * np.sin(3.1 * t + 0.5), 10 * np.sin(2.3 * t), 6 * np.sin(1.7 * t + 1)], 1).astype(np.float32)


def landmarks_at(pose: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(68, 2) of the mean face under weak perspective; the jaw is half an ellipse below it."""
    turned = MEAN_FACE @ rotation_from_pose(pose).T
    inner = centre + SCALE * turned[:, :2] * (1, -1)
    angle = np.linspace(0, np.pi, 17)
    jaw = centre + SCALE * np.stack([-0.7 * np.cos(angle), 1.15 * np.sin(angle) - 0.1], 1)
    return np.concatenate([jaw, inner]).astype(np.float32)


def clip_row(frames: int = 60, fps: float = 30.0) -> dict[str, Any]:
    """A row of ``video`` without its medium; the head wanders as it turns."""
    pose, t = poses(frames, fps), np.arange(frames) / fps
    centres = np.stack([128 + 18 * np.sin(5.3 * t) + 6 * np.sin(11 * t), 120 + 9 * np.cos(4.1 * t)], 1)
    points = np.stack([landmarks_at(p, c) for p, c in zip(pose, centres, strict=True)])
    low, high = points.min(1), points.max(1)
    low[:, 1] -= 0.3 * (high - low)[:, 1]  # the forehead
    boxes = np.concatenate([low, high - low], 1)
    eyes, mouth = openness_of(points.astype(np.float64))
    states = np.full((frames, 68), VISIBLE)
    for n, (yaw, *_) in enumerate(pose):
        if abs(yaw) > 25:
            states[n, [*range(22, 27), *range(42, 48)] if yaw > 0 else [*range(17, 22), *range(36, 42)]] = 1
    return {
        "clip_id": "P_000001_S1", "subject_id": "P_000001", "identity": 1, "gender": 1, "sequence": 0, "fps": fps,
        "num_frames": frames, "width": SIZE, "height": SIZE, "bbox": boxes.tolist(),
        "bbox_score": None, "face_count": [1] * frames, "extra_bboxes": [[] for _ in range(frames)],
        "landmarks": points.tolist(), "landmark_state": states.tolist(), "head_pose": pose.tolist(),
        "expression": [0] * frames, "eye_openness": eyes.tolist(), "mouth_openness": mouth.tolist(),
        "annotation_source": "ground_truth",
    }  # fmt: skip


def still_row(yaw: float = 38.0) -> dict[str, Any]:
    """A row of a category without its medium, its face straight up or nearly."""
    row = clip_row(200)
    frame = int(np.abs(np.array(row["head_pose"])[:, :2] - (yaw, 0)).sum(1).argmin())
    over = [k for k, v in row.items() if isinstance(v, list)]
    one = {**row, **{name: row[name][frame] for name in over}, "image_id": "P_000001_mix_000", "category": 3}
    return {name: v for name, v in one.items() if name not in ("clip_id", "fps", "num_frames", "sequence")}


def view(row: dict[str, Any]) -> ItemView:
    """The row as the checks see it."""
    clip = "clip_id" in row

    def array(name: str, dtype: Any) -> np.ndarray:
        return np.array(row[name] if clip else [row[name]], dtype)

    return ItemView(
        row["clip_id"] if clip else row["image_id"], "video" if clip else "mix", "train", clip, row, row.get("fps"),
        row.get("num_frames", 1), row["width"], row["height"], array("bbox", np.float32),
        array("landmarks", np.float32), array("landmark_state", np.uint8), array("head_pose", np.float32),
        array("face_count", np.uint8),
    )  # fmt: skip


def draw(row: dict[str, Any]) -> np.ndarray:
    """Frames (N, 256, 256) uint8 of a clip: a warm oval with a dot at each landmark before a mottled wall."""
    wall = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 60, (SIZE, SIZE)), (0, 0), 6) + 50
    noise, frames = np.random.default_rng(2), []
    for box, points in zip(row["bbox"], row["landmarks"], strict=True):
        frame = wall.copy()
        centre = (box[0] + box[2] / 2, box[1] + 0.45 * box[3])
        axes = (round(8 * 0.55 * box[2]), round(8 * 0.65 * box[3]))
        cv2.ellipse(frame, (round(8 * centre[0]), round(8 * centre[1])), axes, 0, 0, 360, 170.0, -1, cv2.LINE_AA, 3)
        for k, (x, y) in enumerate(points):
            cv2.circle(frame, (round(8 * x), round(8 * y)), 40, 110.0 + k, -1, cv2.LINE_AA, 3)
        frames.append(np.clip(frame + noise.normal(0, 1.5, frame.shape), 0, 255).round().astype(np.uint8))
    return np.stack(frames)


def frame_views(item: ItemView, frames: np.ndarray) -> list[FrameView]:
    """The frames with the labels of the item, as far as those reach."""
    assert item.bbox is not None
    assert item.landmarks is not None
    assert item.states is not None
    assert item.pose is not None
    return [
        FrameView(n, g, g, item.bbox[n], item.landmarks[n], item.states[n], item.pose[n])
        for n, g in enumerate(frames[: len(item.bbox)])
    ]
