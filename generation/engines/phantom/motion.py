"""Motion of a clip: head poses, expressions, blinks and breath of every frame, from one random generator.

All transitions follow the minimum-jerk profile s(t) = 10 t³ - 15 t⁴ + 6 t⁵ (Flash & Hogan 1985). Poses, expressions,
blinks, breath and tremor have generators of their own, spawned from the one given: a change to one leaves the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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
_PLANNED_SPEED = 104.0  # leaves room for tremor and for what roll adds to yaw
_PEAK = 1.875  # largest slope of the minimum-jerk profile
YAWS = tuple(float(yaw) for yaw in range(-75, 76, 15))
PITCH = 25.0  # degrees, the largest a key pose asks for
MOVE, HOLD = (0.6, 1.5), (0.2, 0.6)  # seconds between key poses, and at one
_LEAST_TURN = 30.0  # degrees of yaw between key poses: smaller ones are what sway and tremor are for
_FAR_YAW, _BOTH_SIDES = 60.0, 30.0
REST, ONSET, APEX, OFFSET = 0.5, (0.4, 0.8), (0.6, 1.2), (0.5, 1.0)  # seconds of an expression
_TALK_APEX, _TALK_SHARE = (1.0, 2.0), 0.5  # seconds; share of expression clips that talk early
BROW_LEAD, SIDE_LAG = 0.060, 0.025  # seconds: by which brows are ahead; s.d. of each side of the face
BLINKS_PER_MINUTE, REFRACTORY = 15.0, 0.8
CLOSE, SHUT, OPEN = 0.070, 0.040, 0.140  # seconds of a blink
BREATHS_PER_MINUTE = (12.0, 18.0)
_SWAY = 4.0  # degrees of slow pose drift in an expression clip, of yaw; pitch .7 and roll .4 of it
JITTER = 0.3  # degrees RMS of 1/f tremor
# A frame is labelled with an expression from half of its strength on, and "blink" when the lids are more than half
# closed in an otherwise neutral face
APEX_LABEL, BLINK_LABEL = 0.5, 0.5
_FIRST, _FURTHER = ("smile", "surprise", "frown"), ("open", "talk")
_EYES_OPEN = np.array([unit.startswith(("eyeWide", "eyeSquint")) for unit in FACE_UNITS])
# mouth shapes of speech, and the seconds each is held
VISEMES: dict[str, dict[str, float]] = {
    "a": {"jawOpen": 0.34, "mouthLowerDownLeft": 0.15, "mouthLowerDownRight": 0.15},
    "e": {"jawOpen": 0.16, "mouthStretchLeft": 0.30, "mouthStretchRight": 0.30},
    "o": {"jawOpen": 0.20, "mouthFunnel": 0.55},
    "u": {"jawOpen": 0.08, "mouthFunnel": 0.35, "mouthPucker": 0.45},
    "m": {"mouthPressLeft": 0.30, "mouthPressRight": 0.30, "mouthRollLower": 0.20},
    "f": {"jawOpen": 0.06, "mouthRollLower": 0.45, "mouthUpperUpLeft": 0.12, "mouthUpperUpRight": 0.12},
}
_VISEME = (0.09, 0.19)


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


def tremor(times: Floats, rng: np.random.Generator, lowest: float, highest: float, rms: float) -> Floats:
    """(N,) sum of eight sinusoids between two frequencies in Hz whose power falls as 1/f; ``rms`` over long times."""
    frequency = np.geomspace(lowest, highest, 8)
    amplitude = frequency**-0.5
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    wave = np.sin(2 * np.pi * frequency * times[:, None] + phase) @ amplitude
    result: Floats = wave * (rms / np.sqrt((amplitude**2).sum() / 2))
    return result


def breathing(times: Floats, rng: np.random.Generator) -> Floats:
    """(N,) breath -1 .. 1 at a rate drawn from 12 to 18 a minute."""
    rate, phase = rng.uniform(*BREATHS_PER_MINUTE) / 60, rng.uniform(0, 2 * np.pi)
    wave: Floats = np.sin(2 * np.pi * rate * times + phase)
    return wave


def blink_times(duration: float, rng: np.random.Generator) -> Floats:
    """Seconds at which lids start to close: fifteen a minute, a Poisson process with a refractory time of .8 s."""
    mean_gap = 60 / BLINKS_PER_MINUTE - REFRACTORY
    starts, start = [], rng.exponential(mean_gap)
    while start < duration:
        starts.append(start)
        start += REFRACTORY + rng.exponential(mean_gap)
    return np.array(starts)


def lid_closure(times: Floats, starts: Floats) -> Floats:
    """(N,) 0..1: 70 ms to close, 40 ms shut, 140 ms to open."""
    closure = np.zeros(len(times))
    for start in starts:
        since = times - start
        closing = minimum_jerk(since / CLOSE)
        opening = minimum_jerk((since - CLOSE - SHUT) / OPEN)
        closure = np.maximum(closure, closing - opening)
    return closure


def with_blinks(weights: Floats, closure: Floats) -> Floats:
    """Weights (N, 52) with lids closed as far as ``closure`` (N,) says, and no squint or stare while they are."""
    blinking = weights.copy()
    blinking[:, _EYES_OPEN] *= 1 - closure[:, None]
    blinking[:, BLINK] = np.maximum(blinking[:, BLINK], closure[:, None])
    return blinking


def with_blink_labels(names: list[str], closure: Floats) -> tuple[str, ...]:
    """``names`` with "blink" in place of "neutral" where lids are more than half closed."""
    return tuple(
        "blink" if name == "neutral" and shut > BLINK_LABEL else name for name, shut in zip(names, closure, strict=True)
    )


def _blinks(times: Floats, rng: np.random.Generator) -> Floats:
    return lid_closure(times, blink_times(float(times[-1]) if len(times) else 0.0, rng))


@dataclass(frozen=True)
class KeyPose:
    """A pose (yaw, pitch, roll in degrees), the seconds of the move to it (0 for the first) and of the hold there."""

    pose: tuple[float, float, float]
    move: float
    hold: float


def key_poses(duration: float, rng: np.random.Generator) -> list[KeyPose]:
    """Key poses that last for ``duration`` seconds or longer: moves of .6-1.5 s, holds of .2-.6 s.

    Yaws come from a shuffled bag of 0, ±15, … ±75 in an order in which every turn is 30 degrees or more and can be made
    within 1.5 s under the speed cap; pitch changes its sign at each and shrinks towards the sides; roll follows yaw by
    a tenth, with an s.d. of 4. Of 32 such plays the first is taken that looks 60 degrees to one side and 30 to the
    other; when none does, the clip is too short for it, and the last is taken.
    """
    for _ in range(32):
        play = _one_play(duration, rng)
        yaws = [key.pose[0] for key in play]
        if max(map(abs, yaws)) >= _FAR_YAW and min(yaws) <= -_BOTH_SIDES and max(yaws) >= _BOTH_SIDES:
            break
    return play


def _one_play(duration: float, rng: np.random.Generator) -> list[KeyPose]:
    up = float(rng.choice((-1.0, 1.0)))
    keys: list[KeyPose] = []
    bag: list[float] = []
    lasted = 0.0
    yaw = float(rng.choice(YAWS[3:8]))  # a clip begins with a face, not with an ear
    while True:
        pitch = up * rng.uniform(0.3, 1.0) * PITCH * (1 - abs(yaw) / 120)
        up = -up
        roll = float(np.clip(rng.normal(0, 4), -10, 10)) + 0.1 * yaw
        hold, move = rng.uniform(*HOLD), rng.uniform(*MOVE)
        if keys:
            before = keys[-1].pose
            # yaw goes where it is sent; pitch takes what 1.5 s under the cap leave it
            left = np.sqrt(max(_reach(MOVE[1]) ** 2 - (yaw - before[0]) ** 2 - (roll - before[2]) ** 2, 0.0))
            pitch = float(np.clip(pitch, before[1] - left, before[1] + left))
            travel = float(np.linalg.norm(np.subtract((yaw, pitch, roll), before)))
            move = min(max(move, travel * _PEAK / _PLANNED_SPEED), MOVE[1])
        else:
            move = 0.0
        keys.append(KeyPose((yaw, pitch, roll), move, hold))
        lasted += move + hold
        if lasted >= duration:
            return keys
        if not bag:
            bag = [float(y) for y in rng.permutation(YAWS)]
        within = [y for y in bag if _LEAST_TURN <= abs(y - yaw) <= _reach(MOVE[1])]
        # a bag whose rest lies out of reach waits: the head passes through the middle, or turns away from it
        chosen = within[0] if within else (0.0 if abs(yaw) >= _LEAST_TURN else float(rng.choice((-45.0, 45.0))))
        if within:
            bag.remove(chosen)
        yaw = chosen


def _reach(seconds: float) -> float:
    """Degrees a head may move in that time."""
    return seconds * _PLANNED_SPEED / _PEAK


def head_pose_motion(num_frames: int, fps: float, rng: np.random.Generator) -> Motion:
    """A head that looks around: moves between key poses, holds, tremor, blinks and breath; see `key_poses`."""
    poses, blinks, air, shaking = rng.spawn(4)
    times = np.arange(num_frames) / fps
    keys = key_poses(max(num_frames - 1, 1) / fps, poses)
    path = np.repeat(np.array([keys[0].pose]), num_frames, axis=0)
    clock = keys[0].hold
    for before, key in pairwise(keys):
        path += minimum_jerk((times - clock) / key.move)[:, None] * (np.array(key.pose) - np.array(before.pose))
        clock += key.move + key.hold
    path += np.stack([tremor(times, shaking, 0.2, 4, JITTER) for _ in range(3)], 1)
    closure = _blinks(times, blinks)
    weights = with_blinks(np.zeros((num_frames, len(FACE_UNITS))), closure)
    labels = with_blink_labels(["neutral"] * num_frames, closure)
    return Motion(path, weights, labels, breathing(times, air))


@dataclass(frozen=True)
class Play:
    """One expression of a clip: its name, when its onset starts, and the seconds of onset, apex and offset."""

    name: str
    begin: float
    onset: float
    apex: float
    offset: float

    @property
    def end(self) -> float:
        """When the face is neutral again."""
        return self.begin + self.onset + self.apex + self.offset

    def envelope(self, times: Floats) -> Floats:
        """Strength 0..1 at ``times`` (any shape)."""
        fall = self.begin + self.onset + self.apex
        return minimum_jerk((times - self.begin) / self.onset) - minimum_jerk((times - fall) / self.offset)


def plays(duration: float, rng: np.random.Generator) -> list[Play]:
    """The expressions of a clip: neutral .5 s, onset .4-.8 s, apex .6-1.2 s, offset .5-1 s, and again.

    First smile, surprise and frown in any order, in half of the clips with talking before one of them; then open,
    talking and those again. What would not be over when the clip ends is not begun. A clip too short for two
    expressions plays two, faster.
    """
    names = [str(name) for name in rng.permutation(_FIRST)]
    if rng.random() < _TALK_SHARE:
        names.insert(int(rng.integers(0, 3)), "talk")
    found: list[Play] = []
    clock = 0.0
    while True:
        if len(found) == len(names):
            names += [str(name) for name in rng.permutation((*_FURTHER, *_FIRST))]
        name = names[len(found)]
        onset, offset = rng.uniform(*ONSET), rng.uniform(*OFFSET)
        apex = rng.uniform(*(_TALK_APEX if name == "talk" else APEX))
        play = Play(name, clock + REST, onset, apex, offset)
        if play.end > duration and len(found) >= 2:
            break
        found.append(play)
        clock = play.end
    pace = min(1.0, duration / clock)
    if pace == 1.0:
        return found
    return [Play(p.name, pace * p.begin, pace * p.onset, pace * p.apex, pace * p.offset) for p in found]


def speech(times: Floats, rng: np.random.Generator) -> Floats:
    """(N, 52) weights of somebody talking: mouth shapes of .09 to .19 s that flow into one another."""
    names = list(VISEMES)
    shapes = np.zeros((len(names), len(FACE_UNITS)))
    for k, name in enumerate(names):
        for unit, weight in VISEMES[name].items():
            shapes[k, FACE_UNITS.index(unit)] = weight
    weights = np.zeros((len(times), len(FACE_UNITS)))
    start, last = (float(times[0]), -1) if len(times) else (0.0, -1)
    before = np.zeros(len(FACE_UNITS))
    end = float(times[-1]) if len(times) else 0.0
    while start <= end:
        last = int((last + rng.integers(1, len(names))) % len(names))  # never the same twice
        shape, length = shapes[last] * rng.uniform(0.7, 1.1), rng.uniform(*_VISEME)
        weights += minimum_jerk((times - start) / length)[:, None] * (shape - before)
        start, before = start + length, shape
    return np.clip(weights, 0, 1)


def expression_motion(
    num_frames: int,
    fps: float,
    rng: np.random.Generator,
    style: Floats,
) -> Motion:
    """A face that goes through expressions, see `plays`; brows lead the mouth by 60 ms, each side lags by N(0, 25 ms).

    Args:
        num_frames, fps: of the clip.
        rng: of the item's motion stream.
        style: (52,) factors of the subject, from `expression.expression_style`.
    """
    acting, talking, blinks, air, shaking, swaying = rng.spawn(6)
    times = np.arange(num_frames) / fps
    played = plays(max(num_frames - 1, 1) / fps, acting)
    lead = np.where(BROWS, BROW_LEAD, 0.0)
    lead = lead + acting.normal(0, SIDE_LAG) * LEFT_SIDE + acting.normal(0, SIDE_LAG) * RIGHT_SIDE

    weights = np.zeros((num_frames, len(FACE_UNITS)))
    labels = ["neutral"] * num_frames
    spoken = speech(times, talking)
    for play in played:
        target = spoken if play.name == "talk" else expression_weights(play.name)
        weights += play.envelope(times[:, None] + lead) * target * style
        labels = [play.name if s >= APEX_LABEL else old for s, old in zip(play.envelope(times), labels, strict=True)]

    base = swaying.normal(0, (4, 3, 2))
    sway = np.stack([tremor(times, swaying, 0.08, 0.5, 1.0) for _ in range(3)], 1) * np.array([1, 0.7, 0.4])
    shake = np.stack([tremor(times, shaking, 0.2, 4, JITTER) for _ in range(3)], 1)
    closure = _blinks(times, blinks)
    weights = with_blinks(np.clip(weights, 0, 1), closure)
    pose = np.clip(base, (-8, -6, -4), (8, 6, 4)) + sway * _SWAY / 2.5 + shake
    return Motion(pose, weights, with_blink_labels(labels, closure), breathing(times, air))
