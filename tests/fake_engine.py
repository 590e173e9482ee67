"""An engine that draws waves: quick enough to test everything around engines. Never shipped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from thermvision.annotations.schema import REGIONS, FrameAnnotation
from thermvision.generation import engines, run
from thermvision.generation.specs import Clip, ClipSpec, Radiometry, Still

ATTRIBUTES = {"hairstyle": "short", "beard": "none", "glasses": "none", "mask": "none", "headwear": "none"}
WAVES = """
name = "waves"
version = "1.0"
seed = 3
[subjects]
female = 3
male = 3
[stills]
size = 64
frontal_pose = 6
facial_accessories = 6
beard = { count = 3, gender = "male" }
mix = 6
head_poses = 6
[clips]
size = 64
head_pose = 12
expression = 10
[radiometric]
clip_every = 5
[shards]
clips = 3
stills = 2
"""


@contextlib.contextmanager
def waves_for_phantom(name: str = "fake_engine:WaveEngine") -> Iterator[None]:
    """Within the block, recipes that say `phantom` are drawn by `WaveEngine` (in this process only)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(engines.ENGINES, "phantom", name)
        run.engine_of.cache_clear()
        run._models_digest.cache_clear()
        yield
    run.engine_of.cache_clear()
    run._models_digest.cache_clear()


class WaveEngine:
    """Frames are waves that depend on the item; the annotation depends on the frame number."""

    engine_id = "waves@1"
    licence = "cc-by-4.0"
    fail_items: frozenset[str] = frozenset()

    def check(self, subject, product):
        return "a beard needs a male subject" if (product, subject.gender) == ("beard", "female") else None

    def too_alike(self, subject, accepted):
        return None

    def require(self):
        pass

    def model_digests(self):
        return {"waves": "0" * 64}

    def render(self, spec, progress=None):
        if spec.item_id in self.fail_items:
            raise RuntimeError("this item always fails")
        count = spec.num_frames if isinstance(spec, ClipSpec) else 1
        frames = waves(spec.subject.index, spec.item, count, spec.size)
        annotations = [annotate(k) for k in range(count)]
        if progress:
            progress(count)
        if isinstance(spec, ClipSpec):
            every = spec.radiometric_every
            return Clip(
                spec, frames, annotations, ATTRIBUTES, {}, radiometry(range(0, count, every)) if every else None
            )
        return Still(
            spec, frames[0], annotations[0], ATTRIBUTES, {}, radiometry(range(1)) if spec.radiometric else None
        )


def waves(subject: int, item: int, count: int, size: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    phase = np.arange(count)[:, None, None] / 5 + subject + item % 97
    return np.clip(128 + 100 * np.sin(x / 9 + phase) * np.cos(y / 13), 0, 255).astype(np.uint8)


def annotate(k: int) -> FrameAnnotation:
    points = np.stack([np.arange(68), np.arange(68) / 2 + k], 1)
    return FrameAnnotation(
        bbox=[4, 5, 30 + k, 40],
        face_count=1,
        source="ground_truth",
        landmarks=points,
        landmark_state=np.arange(68) % 4,
        head_pose=[k, -k, k / 2],
        expression=("neutral", "smile")[k % 2],
        eye_openness=0.25,
        mouth_openness=0.5,
    )


def radiometry(kept: range) -> Radiometry:
    n = len(kept)
    return Radiometry(
        frame_index=np.array(kept, np.int32),
        frames=np.stack([np.full((40, 40), 30500 + k, np.uint16) for k in kept]),
        sensor_to_frame=np.diag([1.6, 1.6, 1.0]),
        ambient=22.5,
        truth={
            "temperature": np.full((n, 40, 40), 30000, np.uint16),
            "segmentation": np.ones((n, 40, 40), np.uint8),
            "depth": np.full((n, 40, 40), 6200, np.uint16),
            "skin_bbox": np.ones((n, 4)),
            "head_bbox": np.ones((n, 4)),
            "landmarks_3d": np.ones((n, 68, 3)),
            "expression_weights": np.zeros((n, 52)),
            "region_temperatures": np.full((n, len(REGIONS)), 33.0),
        },
    )
