"""Dolls that turn and act: clips, stills and 16-bit frames that take milliseconds to draw, with exact labels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from training_dolls import SENSOR, DollEngine, _annotation, _drawn, _projected, _radiometry, doll_face

from thermvision.annotations.radiometry import GainControl
from thermvision.generation.specs import Clip, ClipSpec, Radiometry

RECIPE = """
name = "Dolls"
version = "1.0"
seed = 11
[subjects]
female = 2
male = 2
[stills]
size = 160
frontal_pose = 4
facial_accessories = 4
beard = { count = 2, gender = "male" }
mix = 4
head_poses = 8
[clips]
size = 160
head_pose = 36
expression = 30
[radiometric]
clip_every = 6
"""
WORN = ({"glasses": "glasses"}, {"mask": "mask"}, {"headwear": "cap"}, {"headwear": "beanie"})
EXPRESSIONS = ("neutral", "smile", "surprise")  # of a clip, ten frames each


class ActingDollEngine(DollEngine):
    """Dolls whose heads turn from left to right and who smile now and then; stills wear what `WORN` says."""

    def render(self, spec, progress=None):
        if isinstance(spec, ClipSpec):
            return self._clip(spec, progress)
        still = super().render(spec, progress)
        extra = WORN[spec.subject.index % len(WORN)] if spec.category == "facial_accessories" else {}
        return replace(still, attributes={**still.attributes, **extra})

    def _clip(self, spec, progress):
        rng = np.random.default_rng([spec.subject.index, spec.item])
        scale, count = spec.size / SENSOR, spec.num_frames
        frames, labels, heat = [], [], []
        for n in range(count):
            pose = (-40 + 80 * n / (count - 1), 12 * np.sin(n / 5), -10 + 20 * n / (count - 1))
            points = _projected(doll_face(), pose)
            celsius, segment = _drawn(points, pose, spec.subject.index, rng)
            frames.append(GainControl()(cv2.resize(celsius, (spec.size, spec.size), interpolation=cv2.INTER_AREA)))
            labels.append(replace(_annotation(points, pose, scale), expression=EXPRESSIONS[n // 10 % len(EXPRESSIONS)]))
            if n % spec.radiometric_every == 0:
                heat.append((n, _radiometry(celsius, segment, scale)))
        if progress:
            progress(count)
        worn = {"hairstyle": "long", "beard": "none", "glasses": "none", "mask": "none", "headwear": "none"}
        return Clip(spec, np.stack(frames), labels, worn, {}, _joined(heat))


def _joined(heat):
    kept = [one for _, one in heat]
    truth = {name: np.concatenate([one.truth[name] for one in kept]) for name in kept[0].truth}
    numbers = np.array([n for n, _ in heat], np.int32)
    return Radiometry(
        numbers, np.concatenate([o.frames for o in kept]), kept[0].sensor_to_frame, kept[0].ambient, truth
    )
