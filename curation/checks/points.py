"""Landmarks, head pose and openness that contradict each other, the box, or the shape of a face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import EXPRESSIONS, OUTSIDE, SELF_OCCLUDED

from .kinds import ItemView, Kind, Scored, by_code
from .mean_face import Fit, fit_mean_face
from .runs import facts, runs

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# What another face than the mean, and perspective, explain of the difference between a labelled pose and the fitted
# one: yaw, pitch, roll in degrees, above all that 110 people of clean phantom releases show (17, 26 and 7).
ALLOWED_POSE = (20.0, 29.0, 10.0)
WIDEST_VIEW = 35.0  # degrees from the axis to the edge of the frame of the widest lens that is expected
POSE_LIMITS = (110.0, 80.0, 100.0)  # degrees; a head beyond them shows no face
SURELY_STRAIGHT = (12.0, 8.0)  # yaw, pitch by the labels within which they can be, whatever the points seem to say
STRAIGHT = (25.0, 15.0)  # yaw, pitch within which lid and lip gaps can be read off the image
# of an expression, what eye or mouth openness must at least or at most be; from `EXPRESSIONS` on clean phantom data
EYES_AT_MOST, MOUTH_AT_LEAST = {"blink": 0.24}, {"open": 0.02}
RIGHT, LEFT = (
    (*range(17, 22), *range(36, 42)),
    (*range(22, 27), *range(42, 48)),
)  # brow and eye, the subject's own sides

KINDS: tuple[Kind, ...] = (
    Kind("landmarks-broken", "label", "A landmark is not a number though others of its face are."),
    Kind(
        "landmarks-outside-box",
        "label",
        "Landmarks lie outside their own face box.",
        0.15,
        "share of the landmarks in the frame",
    ),
    Kind(
        "box-off-landmarks",
        "label",
        "The box and the outline of the landmarks are in different places or of different size.",
        0.2,
        "of the box's side",
    ),
    Kind(
        "landmarks-collapsed",
        "label",
        "The landmarks are drawn together in a spot or a line: a regression that failed.",
        0.1,
        "spread over the box's side",
        higher_is_worse=False,
    ),
    Kind("landmarks-coincide", "label", "Many landmarks have the very same place.", 8, "landmarks"),
    Kind(
        "landmarks-mirrored",
        "label",
        "Left and right are swapped: the face would be seen from behind.",
        -0.05,
        "side of the left eye over the face's height",
        higher_is_worse=False,
    ),
    Kind(
        "landmarks-upside-down", "label", "The landmarks stand upside down.", 100, "°, turn of the eyes above the mouth"
    ),
    Kind(
        "landmarks-shape",
        "label",
        "The landmarks are no face's in any pose: their order is wrong or points are far off.",
        0.13,
        "residual over the distance of the eye corners",
    ),
    Kind(
        "jaw-tangled",
        "label",
        "The jaw's points do not follow each other along the outline: their order is wrong or points are far off.",
        3.6,
        "length of the jaw line over its extent",
    ),
    Kind(
        "state-place",
        "label",
        "Landmarks count as outside the frame and lie within, or the reverse.",
        2.5,
        "landmarks",
        repair="sets the state of points outside the frame to 0",
    ),
    Kind(
        "state-side",
        "label",
        "Of a turned head the near side counts as hidden and the far side as visible.",
        0.35,
        "share of brow and eye points",
    ),
    Kind("pose-broken", "label", "An angle of the head pose is not a number, or no head that shows a face has it."),
    Kind(
        "pose-off-landmarks",
        "label",
        "Head pose and landmarks disagree: a sign, an axis or a unit is wrong.",
        1.0,
        "of what another face would explain",
    ),
    Kind(
        "pose-reversed",
        "label",
        "When the landmarks turn one way, the labelled angle turns the other way.",
        -0.5,
        "correlation over the frames of a clip",
        higher_is_worse=False,
    ),
    Kind(
        "eyes-off-landmarks",
        "label",
        "Eye openness and the landmarks of the lids disagree.",
        0.2,
        "of the eye's width",
    ),
    Kind(
        "mouth-off-landmarks",
        "label",
        "Mouth openness and the landmarks of the lips disagree.",
        0.3,
        "of the mouth's width",
    ),
    Kind(
        "expression-contradicted",
        "label",
        "The expression contradicts the openness of eyes or mouth, such as a blink with open eyes.",
        0.0,
        "openness beyond what the expression allows",
    ),
)  # fmt: skip
_KIND = by_code(KINDS)


def point_scores(item: ItemView) -> Iterator[Scored]:
    """Scores of landmarks, their states, pose, openness and expression of an item, frame by frame."""
    still = not item.is_video
    fit: Fit | None = None
    if item.landmarks is not None and len(item.landmarks):
        landmarks = np.asarray(item.landmarks, np.float64)
        known: Flags = ~np.all(np.isnan(landmarks), axis=(1, 2))
        torn: Flags = known & ~np.all(np.isfinite(landmarks), axis=(1, 2))
        yield from facts(
            _KIND["landmarks-broken"],
            torn,
            lambda n: f"{int((~np.isfinite(landmarks[n]).all(-1)).sum())} landmarks are not numbers",
            one_frame=still,
        )
        points = np.where((known & ~torn)[:, None, None], landmarks, np.nan)
        fit = fit_mean_face(points)
        yield from _shape(points, fit, still)
        if item.bbox is not None and len(item.bbox) == len(points):
            yield from _beside_box(item, points, fit.pose[:, 0], still)
        if item.states is not None and len(item.states) == len(points):
            yield from _states(item, points, fit, still)
    if item.pose is not None and len(item.pose):
        yield from _pose(item, fit, still)
    yield from _openness(item, fit, still)


def _shape(points: Floats, fit: Fit, still: bool) -> Iterator[Scored]:
    with np.errstate(all="ignore"):
        eyes = points[:, 42:48].mean(1) - points[:, 36:42].mean(1)
        down = points[:, 48:60].mean(1) - points[:, 36:48].mean(1)
        jaw = points[:, :17]
        line = np.linalg.norm(np.diff(jaw, axis=1), axis=-1).sum(1) / np.linalg.norm(np.ptp(jaw, axis=1), axis=-1)
        height = np.linalg.norm(down, axis=1)
        # the left eye is counter-clockwise of the way down the face, whatever the roll
        side = (eyes[:, 0] * down[:, 1] - eyes[:, 1] * down[:, 0]) / height**2
        turn = np.abs(np.rad2deg(np.arctan2(down[:, 0], down[:, 1])))
    count = coinciding(points)
    yield from runs(_KIND["landmarks-coincide"], count, lambda n: f"{count[n]:.0f} of 68", one_frame=still)
    yield from runs(
        _KIND["landmarks-mirrored"],
        side,
        lambda n: f"the left eye is {-side[n]:.2f} to the wrong side",
        one_frame=still,
    )
    yield from runs(
        _KIND["landmarks-upside-down"], turn, lambda n: f"turned by {turn[n]:.0f}° from upright", one_frame=still
    )
    yield from runs(
        _KIND["landmarks-shape"], fit.residual, lambda n: f"{fit.residual[n]:.2f} off the nearest face", one_frame=still
    )
    yield from runs(_KIND["jaw-tangled"], line, lambda n: f"{line[n]:.1f} times its extent", one_frame=still)


def coinciding(points: Floats) -> Floats:
    """How many of the landmarks (N, 68, 2) of each frame lie within 0.001 px of another; NaN where not known."""
    count = np.full(len(points), np.nan)
    for n, frame in enumerate(points):
        if np.isfinite(frame).all():
            gap = np.abs(frame[:, None] - frame[None]).max(-1) + np.eye(len(frame))
            count[n] = (gap.min(1) < 1e-3).sum()
    return count


def _beside_box(item: ItemView, points: Floats, yaw: Floats, still: bool) -> Iterator[Scored]:
    boxes = np.asarray(item.bbox, np.float64)
    size = np.array([item.width, item.height], np.float64)
    with np.errstate(all="ignore"):
        side = np.sqrt(boxes[:, 2:].prod(1))
        spread = points.std(1).min(1) / side
        within = ((points >= 0) & (points <= size)).all(-1)
        margin = 0.1 * boxes[:, None, 2:]
        low, high = boxes[:, None, :2] - margin, boxes[:, None, :2] + boxes[:, None, 2:] + margin
        strays = (within & ((points < low) | (points > high)).any(-1)).sum(1) / np.maximum(within.sum(1), 1)
        # the frame cuts boxes and not landmarks; the box may reach further up, to the hairline
        seen = np.clip(points, 0, size)
        sides = np.stack([seen[..., 0].min(1) - boxes[:, 0], seen[..., 0].max(1) - boxes[:, 0] - boxes[:, 2]])
        chin = np.abs(seen[..., 1].max(1) - boxes[:, 1] - boxes[:, 3]) / boxes[:, 3]
        # of a turned head the box holds what is seen of the face, and the outline goes on behind it
        edges = np.where(np.abs(yaw) < 30, np.maximum(np.abs(sides).max(0) / boxes[:, 2], chin), chin)
    known = np.isfinite(points).all((1, 2)) & np.isfinite(boxes).all(1) & (side > 0)
    given = (
        ("landmarks-collapsed", spread, "spread of {:.2f} of the box's side"),
        ("landmarks-outside-box", strays, "{:.0%} of the landmarks lie outside their box"),
        ("box-off-landmarks", edges, "an edge is {:.2f} of the box's side off the landmarks"),
    )
    for code, scores, said in given:
        scores = np.where(known, scores, np.nan)
        yield from runs(_KIND[code], scores, lambda n, s=scores, t=said: t.format(s[n]), one_frame=still)  # type: ignore[misc]


def _states(item: ItemView, points: Floats, fit: Fit, still: bool) -> Iterator[Scored]:
    states = np.asarray(item.states)
    size = np.array([item.width, item.height], np.float64)
    known = np.isfinite(points).all((1, 2))
    # within a pixel of the edge either may be meant
    inside, outside = ((points > 1) & (points < size - 1)).all(-1), ((points < -1) | (points > size + 1)).any(-1)
    wrong = ((states == OUTSIDE) & inside | (states != OUTSIDE) & outside).sum(1)
    scores = np.where(known, wrong, np.nan)
    yield from runs(
        _KIND["state-place"], scores, lambda n: f"{wrong[n]} landmarks contradict where they lie", one_frame=still
    )
    hidden = states == SELF_OCCLUDED
    right, left = hidden[:, RIGHT].mean(1), hidden[:, LEFT].mean(1)
    yaw = fit.pose[:, 0]
    with np.errstate(invalid="ignore"):
        near = np.where(yaw > 0, right - left, left - right)  # yaw > 0 turns the subject's left side away
        near = np.where(known & (np.abs(yaw) > 20), near, np.nan)
    yield from runs(
        _KIND["state-side"],
        near,
        lambda n: f"of brow and eye {max(right[n], left[n]):.0%} are hidden on the near side",
        one_frame=still,
    )


def _pose(item: ItemView, fit: Fit | None, still: bool) -> Iterator[Scored]:
    pose = np.asarray(item.pose, np.float64).reshape(-1, 3)
    none = np.isnan(pose).all(1)
    broken = ~none & ~(np.abs(np.nan_to_num(pose, nan=1e9)) <= POSE_LIMITS).all(1)
    yield from facts(
        _KIND["pose-broken"], broken, lambda n: f"yaw, pitch, roll are {_angles(pose[n])}", one_frame=still
    )
    if fit is None or len(fit.pose) != len(pose):
        return
    apart = (fit.pose - pose + 180) % 360 - 180
    # a face beside the optical axis is seen from its side: by how much, only the lens knows
    beside = off_axis(item)
    apart -= np.clip(apart, np.minimum(beside, 0), np.maximum(beside, 0))
    scores = (np.abs(apart) / ALLOWED_POSE).max(1)
    yield from runs(
        _KIND["pose-off-landmarks"],
        scores,
        lambda n: f"{_angles(pose[n])}, the landmarks say about {_angles(fit.pose[n])}",
        one_frame=still,
    )
    if still:
        return
    both = np.isfinite(pose).all(1) & np.isfinite(fit.pose).all(1)
    if both.sum() >= 8:
        told, seen = pose[both], fit.pose[both]
        moves = (told.std(0) > 3) & (seen.std(0) > 3)
        if moves.any():
            together = [float(np.corrcoef(told[:, a], seen[:, a])[0, 1]) for a in np.flatnonzero(moves)]
            axis = ("yaw", "pitch", "roll")[np.flatnonzero(moves)[int(np.argmin(together))]]
            yield Scored("pose-reversed", min(together), None, None, f"{axis} correlates by {min(together):.2f}")


def off_axis(item: ItemView) -> Floats:
    """By how many degrees yaw, pitch and roll (N, 3) can look larger than they are, as the face is off the axis.

    With +x image right a face at the right edge is seen from its left side: it looks turned further to the right.
    """
    result = np.zeros((len(item.landmarks) if item.landmarks is not None else 0, 3))
    if item.landmarks is not None and item.width and item.height:
        place = np.asarray(item.landmarks, np.float64).mean(1) / item.width - (0.5, item.height / item.width / 2)
        result[:, :2] = np.nan_to_num(place * (2, -2) * WIDEST_VIEW)
    return result


def _angles(pose: NDArray[Any]) -> str:
    return "[" + ", ".join(f"{v:.0f}°" for v in pose) + "]"


def openness_of(points: Floats) -> tuple[Floats, Floats]:
    """Eye and mouth openness (N,) that landmarks (N, 68, 2) show in the image plane, as the schema defines them."""

    def gap(upper: tuple[int, ...], lower: tuple[int, ...], a: int, b: int) -> Floats:
        along = points[:, b] - points[:, a]
        width = np.linalg.norm(along, axis=1)
        away = points[:, lower] - points[:, upper]
        across = (away[..., 1] * along[:, None, 0] - away[..., 0] * along[:, None, 1]) / width[:, None]
        result: Floats = np.clip(across, 0, None).mean(1) / width
        return result

    with np.errstate(all="ignore"):
        eyes = (gap((37, 38), (41, 40), 36, 39) + gap((43, 44), (47, 46), 42, 45)) / 2
        return eyes, gap((61, 62, 63), (67, 66, 65), 60, 64)


def per_frame(row: Mapping[str, Any], name: str, frames: int) -> Floats | None:
    """A numeric column of a row over its frames (N,), NaN for null; None where it is not known or of another length."""
    told = row.get(name)
    if told is None:
        return None
    values = np.array([np.nan if v is None else v for v in (told if isinstance(told, list) else [told])], np.float64)
    return values if len(values) == frames else None


def _openness(item: ItemView, fit: Fit | None, still: bool) -> Iterator[Scored]:
    frames = item.num_frames if item.is_video else 1
    eyes, mouth = (per_frame(item.row, name, frames) for name in ("eye_openness", "mouth_openness"))
    if fit is not None and item.landmarks is not None and len(fit.pose) == frames:
        seen = openness_of(np.asarray(item.landmarks, np.float64))
        with np.errstate(invalid="ignore"):
            straight = (np.abs(fit.pose[:, :2]) < STRAIGHT).all(1)
            if item.pose is not None and len(item.pose) == frames:  # a fitted pitch is up to 26° off
                straight |= (np.abs(item.pose[:, :2]) < SURELY_STRAIGHT).all(1)
        for code, told, shown in (("eyes-off-landmarks", eyes, seen[0]), ("mouth-off-landmarks", mouth, seen[1])):
            if told is None:
                continue
            scores = np.where(straight, np.abs(told - shown), np.nan)
            yield from runs(
                _KIND[code],
                scores,
                lambda n, a=told, b=shown: f"{a[n]:.2f}, the landmarks show {b[n]:.2f}",  # type: ignore[misc]
                one_frame=still,
            )
    expression = per_frame(item.row, "expression", frames)
    if expression is None:
        return
    scores = np.full(frames, np.nan)
    for values, limits, sign in ((eyes, EYES_AT_MOST, 1), (mouth, MOUTH_AT_LEAST, -1)):
        for name, limit in limits.items() if values is not None else ():
            here = expression == EXPRESSIONS.index(name)
            scores[here] = sign * (values[here] - limit)  # type: ignore[index]
    names = [EXPRESSIONS[int(e)] if np.isfinite(e) and 0 <= e < len(EXPRESSIONS) else "?" for e in expression]
    yield from runs(
        _KIND["expression-contradicted"],
        scores,
        lambda n: f"{names[n]} with eyes {_number(eyes, n)} and mouth {_number(mouth, n)} open",
        one_frame=still,
    )


def _number(values: Floats | None, frame: int) -> str:
    return "?" if values is None else f"{values[frame]:.2f}"
