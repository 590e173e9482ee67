"""Motion of a clip: head poses, expressions, blinks and breath of every frame, from one random generator.

All transitions follow the minimum-jerk profile s(t) = 10 t³ - 15 t⁴ + 6 t⁵ (Flash & Hogan 1985). Short clips get faster
and smaller movements, never more than `SPEED_CAP`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thermvision.generation.engines.phantom.expression import (
    BLINK,
    BROWS,
    FACE_UNITS,
    LEFT_SIDE,
    RIGHT_SIDE,
    expression_weights,
)

Floats = NDArray[np.float64]

SPEED_CAP = 120.0  # degrees per second, of the head as a whole
_PLANNED_SPEED = 104.0  # leaves room for jitter
_PEAK = 1.875  # largest slope of the minimum-jerk profile
YAWS = (15.0, 30.0, 45.0, 60.0, 75.0)
_PITCH = 25.0
_MOVE, _HOLD = (0.6, 1.5), (0.2, 0.6)
_REST, _ONSET, _APEX, _OFFSET = 0.5, (0.4, 0.8), (0.6, 1.2), (0.5, 1.0)
_BROW_LEAD, _SIDE_LAG = 0.060, 0.025
_BLINKS_PER_MINUTE, _REFRACTORY = 15.0, 0.8
_CLOSE, _SHUT, _OPEN = 0.070, 0.040, 0.140
_SWAY = 4.0  # degrees of slow pose drift in an expression clip
_JITTER = 0.3  # degrees RMS of 1/f tremor
_APEX_LABEL, _BLINK_LABEL = 0.5, 0.5
_FIRST = ("smile", "surprise", "frown")
_FURTHER = ("open", "talk")
_EYES_OPEN = np.array([unit.startswith(("eyeWide", "eyeSquint")) for unit in FACE_UNITS])


@dataclass(frozen=True, eq=False)
class Motion:
    """What moves in N frames.

    Attributes:
        head_pose: (N, 3) yaw, pitch, roll in degrees.
        weights: (N, 52) weights of `expression.FACE_UNITS`.
        expression: N labels, of `schema.EXPRESSIONS`.
        breath: (N,) -1 (inhaled) .. 1 (exhaled).
    """

    head_pose: Floats
    weights: Floats
    expression: tuple[str, ...]
    breath: Floats


def minimum_jerk(t: Floats) -> Floats:
    """Smooth step from 0 at t <= 0 to 1 at t >= 1 with zero speed and acceleration at both ends."""
    t = np.clip(t, 0, 1)
    result: Floats = t * t * t * (10 + t * (6 * t - 15))
    return result


def _tremor(times: Floats, rng: np.random.Generator, lowest: float, highest: float, rms: float) -> Floats:
    """Sum of sinusoids whose power falls as 1/f, (N,)."""
    frequency = np.geomspace(lowest, highest, 8)
    amplitude = frequency**-0.5
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    wave = np.sin(2 * np.pi * frequency * times[:, None] + phase) @ amplitude
    result: Floats = wave * (rms / np.sqrt((amplitude**2).sum() / 2))
    return result


def _breath(times: Floats, rng: np.random.Generator) -> Floats:
    rate, phase = rng.uniform(12, 18) / 60, rng.uniform(0, 2 * np.pi)
    wave: Floats = np.sin(2 * np.pi * rate * times + phase)
    return wave


def _blink(times: Floats, rng: np.random.Generator) -> Floats:
    """Lid closure (N,) 0..1 of blinks that arrive as a Poisson process with a refractory time."""
    closure = np.zeros(len(times))
    mean_gap = 60 / _BLINKS_PER_MINUTE - _REFRACTORY
    start = rng.exponential(mean_gap)
    while len(times) and start < times[-1]:
        since = times - start
        closing = minimum_jerk(since / _CLOSE)
        opening = minimum_jerk((since - _CLOSE - _SHUT) / _OPEN)
        closure = np.maximum(closure, closing - opening)
        start += _REFRACTORY + rng.exponential(mean_gap)
    return closure


def _with_blinks(weights: Floats, closure: Floats) -> Floats:
    blinking = weights.copy()
    blinking[:, _EYES_OPEN] *= 1 - closure[:, None]
    blinking[:, BLINK] = np.maximum(blinking[:, BLINK], closure[:, None])
    return blinking


def _labels(names: list[str], closure: Floats) -> tuple[str, ...]:
    return tuple(
        "blink" if name == "neutral" and shut > _BLINK_LABEL else name
        for name, shut in zip(names, closure, strict=True)
    )


def _pose_targets(duration: float, rng: np.random.Generator) -> Floats:
    """Key poses (K, 3): a shuffled bag of yaws on alternating sides, frontal now and then, pitch and roll coupled."""
    count = max(3, round(duration / 1.35))
    side = float(rng.choice((-1.0, 1.0)))
    bag: list[float] = []
    while len(bag) < count:
        for yaw in rng.permutation(YAWS):
            bag.append(side * float(yaw))
            side = -side
        bag.append(0.0)
    yaws = np.array(bag[:count])
    up = float(rng.choice((-1.0, 1.0)))
    signs = up * np.where(np.arange(count) % 2, -1.0, 1.0)
    pitches = signs * rng.uniform(0.3, 1.0, count) * _PITCH * (1 - np.abs(yaws) / 120)
    rolls = rng.normal(0, 4, count) + 0.1 * yaws
    return np.stack([yaws, pitches, rolls], 1)


def _fit(targets: Floats, duration: float, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Targets, move and hold times that fill ``duration`` under the speed cap; large moves shrink if they must."""
    moves = rng.uniform(*_MOVE, len(targets) - 1)
    holds = rng.uniform(*_HOLD, len(targets))
    scale = min(1.0, duration / (moves.sum() + holds.sum()))
    size = 1.0
    while True:
        poses = targets * size
        travel = np.linalg.norm(np.diff(poses, axis=0), axis=1)
        needed = np.maximum(moves * scale, travel * _PEAK / _PLANNED_SPEED)
        rest = duration - needed.sum()
        if rest >= 0.25 * holds.sum() * scale or size < 1e-3:
            break
        size *= 0.97
    return poses, needed, holds * max(rest, 0.0) / holds.sum()


def head_pose_motion(num_frames: int, fps: float, rng: np.random.Generator) -> Motion:
    """A head that looks around: moves of .6-1.5 s between key poses, holds of .2-.6 s, tremor, blinks and breath.

    Yaws of ±15 .. ±75 degrees come from a shuffled bag, pitch within ±25. When the clip is too short for its key
    poses they are scaled down.
    """
    times = np.arange(num_frames) / fps
    duration = max(num_frames - 1, 1) / fps
    poses, moves, holds = _fit(_pose_targets(duration, rng), duration, rng)
    path = np.repeat(poses[:1], num_frames, axis=0)
    clock = holds[0]
    for k, move in enumerate(moves):
        path += minimum_jerk((times - clock) / move)[:, None] * (poses[k + 1] - poses[k])
        clock += move + holds[k + 1]
    path += np.stack([_tremor(times, rng, 0.2, 4, _JITTER) for _ in range(3)], 1)
    closure = _blink(times, rng)
    weights = _with_blinks(np.zeros((num_frames, len(FACE_UNITS))), closure)
    return Motion(path, weights, _labels(["neutral"] * num_frames, closure), _breath(times, rng))


def _order(count: int, rng: np.random.Generator) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        names += [str(name) for name in rng.permutation(_FIRST)] + [str(name) for name in rng.permutation(_FURTHER)]
    return names[:count]


def expression_motion(num_frames: int, fps: float, rng: np.random.Generator, style: Floats) -> Motion:
    """A face that goes through expressions: neutral, onset, apex, offset, again; brows lead the mouth by 60 ms.

    Args:
        num_frames, fps: of the clip.
        rng: of the item's motion stream.
        style: (52,) factors of the subject, from `expression.expression_style`.
    """
    times = np.arange(num_frames) / fps
    duration = max(num_frames - 1, 1) / fps
    names = _order(max(2, round(duration / 2.4)), rng)
    parts = np.array([[_REST, rng.uniform(*_ONSET), rng.uniform(*_APEX), rng.uniform(*_OFFSET)] for _ in names])
    parts *= duration / (parts.sum() + 0.5 * _REST)
    lead = np.where(BROWS, _BROW_LEAD, 0.0)
    lead = lead + rng.normal(0, _SIDE_LAG) * LEFT_SIDE + rng.normal(0, _SIDE_LAG) * RIGHT_SIDE

    weights = np.zeros((num_frames, len(FACE_UNITS)))
    strength, labels = np.zeros(num_frames), ["neutral"] * num_frames
    clock = 0.0
    for name, (rest, onset, apex, offset) in zip(names, parts, strict=True):
        begin, end = clock + rest, clock + rest + onset + apex
        clock += rest + onset + apex + offset

        def envelope(
            at: Floats, begin: float = begin, end: float = end, on: float = onset, off: float = offset
        ) -> Floats:
            return minimum_jerk((at - begin) / on) - minimum_jerk((at - end) / off)

        swell = envelope(times[:, None] + lead)
        if name == "talk":  # syllables
            swell = swell * (0.7 + 0.3 * np.sin(2 * np.pi * 3.5 * times[:, None]))
        weights += swell * expression_weights(name) * style
        strength = envelope(times)
        labels = [name if s >= _APEX_LABEL else old for s, old in zip(strength, labels, strict=True)]

    base = rng.normal(0, (4, 3, 2))
    sway = np.stack([_tremor(times, rng, 0.08, 0.5, 1.0) for _ in range(3)], 1) * np.array([1, 0.7, 0.4]) * _SWAY / 2.5
    tremor = np.stack([_tremor(times, rng, 0.2, 4, _JITTER) for _ in range(3)], 1)
    closure = _blink(times, rng)
    weights = _with_blinks(np.clip(weights, 0, 1), closure)
    return Motion(base + sway + tremor, weights, _labels(labels, closure), _breath(times, rng))
