"""Scenes: several people and things in one room, seen by one camera, with the truth of every face.

Each head is drawn by its own `Scene` from where it stands, into a window with the room's optical axis. The pictures are
laid over one another sample by sample, the nearest in front, before the detector sees anything: what hides what is as
exact as within one head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import GainControl, band_radiance, flip_polarity, from_centikelvin
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, SELF_OCCLUDED, VISIBLE, FrameAnnotation
from thermvision.generation.camera import SERIALS, Camera, configured_camera
from thermvision.generation.engines.phantom.appearance import Appearance, dress
from thermvision.generation.engines.phantom.body import (
    SITTING_CHIN,
    STANDING_CHIN,
    make_body,
    shoulder_scale,
    upper_garment,
)
from thermvision.generation.engines.phantom.expression import BLINK, expression_style, expression_weights
from thermvision.generation.engines.phantom.garment import CLOTH
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.landmarks import View
from thermvision.generation.engines.phantom.layers import Floats, Head, Strands
from thermvision.generation.engines.phantom.parameters import (
    DEFAULT_LIMITS,
    PERSON_PARAMETERS,
    SCENE_PARAMETERS,
    draw_still_parameters,
    fill_ranges,
    settle,
)
from thermvision.generation.engines.phantom.physiology import ambient_shift
from thermvision.generation.engines.phantom.raster import FAR
from thermvision.generation.engines.phantom.room import Grid, Thing, make_things, room_temperature
from thermvision.generation.engines.phantom.scene import SAMPLES, Observation, Scene
from thermvision.generation.engines.phantom.sensor import Sensor, enlarge
from thermvision.generation.engines.phantom.truth import annotate
from thermvision.generation.specs import SceneSpec, Subject, seed_sequence

NEAREST, FARTHEST = 0.8, 8.0  # metres a recipe may ask for
ITEM = 10_000_000  # added to a scene's number in the seed paths of its people: apart from their stills and clips
_FACE = (0.17, 0.24)  # metres of a face with its surroundings that must stay mostly free
_BODY_HALF = 0.27  # metres
_MOST_HIDDEN, _TRIES = 0.5, 80
_FEWEST_IN_VIEW = 14  # landmarks that nothing but the face itself hides: below, the face is not listed
_THINNING = 0.9  # metres: twice as far, half as many hairs of twice the width
_NOBODY = -1
_LARGE_YAW_SHARE, _SITTING_SHARE = 0.3, 0.25
_TURN, _MOST_TURNED, _ANY_TURN_SHARE = 20.0, 45.0, 0.1  # degrees: most people face the camera, some any way
_EQUALISED = 0.1, 0.45  # of the gain: with more, faces are white, since they have few of a scene's pixels


@dataclass(frozen=True)
class Place:
    """Where a person is: the face's centre in metres from the lens (x right, y up, ``distance`` ahead), and how."""

    x: float
    y: float
    distance: float
    sitting: bool


@dataclass(frozen=True, eq=False)
class Crowd:
    """A rendered scene: gray frame (H, W), who is in it, a face each, and what was drawn by seed."""

    frame: NDArray[np.uint8]
    subjects: tuple[Subject, ...]
    annotations: tuple[FrameAnnotation, ...]
    resolved: dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """Geometry of a scene: frame ``width`` × ``height`` cut from a square ``window`` of sensor samples.

    ``zoom`` is frame pixels per window pixel; ``focal`` is in window pixels. The window's field of view is the largest
    one of the frame's shape on the sensor, and the frame is never sampled finer than the sensor.
    """

    width: int
    height: int
    window: int
    focal: float

    @property
    def zoom(self) -> float:
        """Frame pixels per window pixel."""
        return max(self.width, self.height) / self.window

    @property
    def margin(self) -> tuple[int, int]:
        """Frame pixels cut off at the left and at the top of the enlarged square window."""
        side = max(self.width, self.height)
        return (side - self.width) // 2, (side - self.height) // 2


def scene_frame(width: int, height: int, camera: Camera) -> Frame:
    """The frame of a scene: see `Frame`.

    >>> scene_frame(640, 480, Camera()).window, round(scene_frame(640, 480, Camera()).focal)
    (640, 441)
    >>> scene_frame(512, 512, Camera()).window, round(scene_frame(64, 64, Camera()).focal, 1)
    (480, 58.8)
    """
    sensor_pixels = min(camera.width / width, camera.height / height)  # per frame pixel
    side = max(width, height)
    window = round(side * min(sensor_pixels, 1.0))
    return Frame(width, height, window, camera.focal_length_px * window / (side * sensor_pixels))


class _Canvas:
    """Radiance, depth and owner of every sample; what is laid on it hides what is farther away."""

    def __init__(self, celsius: Floats) -> None:
        self.radiance = band_radiance(celsius)
        self.depth = np.full(celsius.shape, FAR, np.float32)
        self.owner = np.full(celsius.shape, _NOBODY, np.int16)

    def add_thing(self, thing: Thing) -> None:
        """Lay a flat thing on the canvas."""
        front = thing.covered & (thing.depth < self.depth[thing.place])
        self.radiance[thing.place][front] = band_radiance(thing.celsius[front])
        self.depth[thing.place][front] = thing.depth
        self.owner[thing.place][front] = _NOBODY

    def add_person(self, seen: Observation, number: int, behind: float) -> None:
        """Lay a person on the canvas; ``behind`` is the radiance of the even background it was drawn on."""
        depth = seen.seen.depth
        covered = depth < FAR
        window = len(seen.radiance)
        share = covered.reshape(window, SAMPLES, window, SAMPLES).mean((1, 3))
        # take the background out of the pixels at the outline: another one may lie behind
        own = behind + (seen.radiance - behind) / np.maximum(share, 1e-9)
        rows, columns = np.nonzero(covered & (depth < self.depth))
        self.radiance[rows, columns] = own[rows // SAMPLES, columns // SAMPLES]
        self.depth[rows, columns] = depth[rows, columns]
        self.owner[rows, columns] = number

    def pixels(self) -> Floats:
        """Mean radiance of the samples of each pixel."""
        side = len(self.radiance) // SAMPLES
        return self.radiance.reshape(side, SAMPLES, side, SAMPLES).mean((1, 3))


def render_crowd(spec: SceneSpec) -> Crowd:
    """Render a scene.

    People stand or sit where a seed says, at most half hidden behind others; who finds no room within 80 tries is left
    out. ``spec.parameters`` may fix what `SCENE_PARAMETERS` names.

    Raises:
        UsageError: a parameter or a distance is not allowed.
    """
    _check(spec)
    placing, furnishing, noise, device, ranges, tone = (np.random.default_rng(s) for s in _seed(spec).spawn(6))
    given = fill_ranges({k: v for k, v in spec.parameters.items() if k not in PERSON_PARAMETERS}, ranges)
    changes = {name: given.get(name) for name in ("netd_mk", "fixed_pattern_mk", "mtf_px")}
    camera = configured_camera(given.get("preset", "vga-17"), changes, int(device.integers(SERIALS)))
    frame = scene_frame(spec.width, spec.height, camera)
    ambient = float(given.get("ambient", np.clip(placing.normal(22.5, 2.0), 16, 28)))
    height = placing.uniform(1.0, 1.7)
    heads = [make_head(subject) for subject in spec.subjects]
    places = find_places(heads, frame, height, spec.distance, placing)
    wall_at = max([spec.distance[0] + 1.5, *(p.distance + 0.8 for p in places if p)]) + furnishing.uniform(0, 2.5)

    grid = Grid(frame.window * SAMPLES, frame.focal * SAMPLES, height)
    canvas = _Canvas(room_temperature(grid, wall_at, ambient, furnishing))
    things = make_things(grid, wall_at, max(spec.distance[0], 1.0), int(furnishing.integers(1, 6)), ambient, furnishing)
    for thing in things:
        canvas.add_thing(thing)
    drawn = [
        (number, subject, *_draw_person(canvas, spec, number, subject, head, place, frame, ambient))
        for number, (subject, head, place) in enumerate(zip(spec.subjects, heads, places, strict=True))
        if place is not None
    ]
    listed = [
        (subject, found)
        for number, subject, face, depth in drawn  # only now is it known what stands in front of whom
        if (found := _in_frame(face, depth, canvas, number, frame)) is not None
    ]

    sensor = Sensor(camera, frame.window, frame.focal / camera.focal_length_px, noise)
    celsius = enlarge(from_centikelvin(sensor.expose(canvas.pixels(), 0.0)), max(spec.width, spec.height))
    left, top = frame.margin
    limits, equalised = tuple(given.get("agc_limits", DEFAULT_LIMITS)), float(tone.uniform(*_EQUALISED))
    gain = GainControl(given.get("agc", "plateau"), limits, equalised=equalised)
    gray = gain(np.ascontiguousarray(celsius[top : top + spec.height, left : left + spec.width]))
    if given.get("polarity") == "black-hot":
        gray = flip_polarity(gray)
    resolved = {
        "ambient": ambient,
        "parameters": {**given, **_each(spec.parameters)},
        "camera": camera.as_dict(),
        "camera_height": height,
        "equalised": equalised,
        "window": frame.window,
        "focal": frame.focal,
        "samples": SAMPLES,
        "places": [None if p is None else [p.x, p.y, p.distance, p.sitting] for p in places],
        "things": [thing.name for thing in things],
    }
    count = len(listed)
    faces = tuple(replace(found, face_count=count) for _, found in listed)
    return Crowd(gray, tuple(subject for subject, _ in listed), faces, resolved)


def _each(given: Mapping[str, Any]) -> dict[str, Any]:
    """What everybody in a scene draws by themselves."""
    return {name: given[name] for name in given if name in PERSON_PARAMETERS}


def _check(spec: SceneSpec) -> None:
    allowed = SCENE_PARAMETERS
    if unknown := set(spec.parameters) - set(allowed):
        raise UsageError(
            f"{spec.item_id}: a scene has no parameter {', '.join(sorted(unknown))}; allowed: {', '.join(allowed)}"
        )
    near, far = spec.distance
    if not NEAREST <= near <= far <= FARTHEST:
        raise UsageError(
            f"{spec.item_id}: faces from {near:g} to {far:g} m; allowed: {NEAREST:g}..{FARTHEST:g} with near <= far;"
            " change scenes.distance in the recipe"
        )


def _seed(spec: SceneSpec) -> np.random.SeedSequence:
    return seed_sequence(spec.seed, 0, "scene", spec.item)


def find_places(
    heads: Sequence[Head], frame: Frame, height: float, distance: tuple[float, float], rng: np.random.Generator
) -> list[Place | None]:
    """A place for each head, None where there is no room: no two bodies in one, no face more than half hidden.

    Args:
        heads: who comes.
        frame: geometry of the picture.
        height: of the camera above the floor, metres.
        distance: nearest and farthest face, metres; near ones are as frequent as far ones on a logarithmic scale.
        rng: consumed by every try alike.
    """
    found: list[Place | None] = []
    half = frame.width / frame.zoom / 2, frame.height / frame.zoom / 2
    for head in heads:
        chosen = None
        for _ in range(_TRIES):
            d = float(np.exp(rng.uniform(*np.log(distance))))
            u, sitting, stature = rng.uniform(-0.92, 0.92) * half[0], rng.random() < _SITTING_SHARE, rng.normal(0, 0.05)
            chin = (SITTING_CHIN if sitting else STANDING_CHIN) * shoulder_scale(head) + stature
            place = Place(u * d / frame.focal, chin + 0.06 - height, d, bool(sitting))
            v = -place.y * frame.focal / d
            reach = 0.5 * _FACE[1] * frame.focal / d
            inside = -half[1] + 0.9 * reach < v < half[1] - 0.5 * reach
            if chosen is None and inside and all(_apart(place, p) for p in found if p):
                chosen = place
        found.append(chosen)
    return found


def _apart(a: Place, b: Place) -> bool:
    """Whether two people fit: bodies do not touch, and the nearer one hides at most half of the farther one's face."""
    if abs(a.x - b.x) < 0.55 and abs(a.distance - b.distance) < 0.6:
        return False
    near, far = (a, b) if a.distance < b.distance else (b, a)
    # everything in the tangent of the viewing angle; y up
    left, right = (far.x - _FACE[0] / 2) / far.distance, (far.x + _FACE[0] / 2) / far.distance
    low, high = (far.y - _FACE[1] / 2) / far.distance, (far.y + _FACE[1] / 2) / far.distance
    hidden = 0.0
    for half, top in ((_FACE[0] / 2 + 0.02, 0.16), (_BODY_HALF, -0.12)):  # head; shoulders and all below
        across = min(right, (near.x + half) / near.distance) - max(left, (near.x - half) / near.distance)
        up = min(high, (near.y + top) / near.distance) - low
        hidden = max(hidden, max(across, 0.0) * max(up, 0.0))
    return hidden <= _MOST_HIDDEN * (right - left) * (high - low)


def _draw_person(
    canvas: _Canvas,
    spec: SceneSpec,
    number: int,
    subject: Subject,
    head: Head,
    place: Place,
    frame: Frame,
    ambient: float,
) -> tuple[FrameAnnotation, Floats]:
    """Draw one person; its face as if alone in the square window, and the depths (68,) of its landmarks."""
    rng = np.random.default_rng(seed_sequence(subject.seed, subject.index, "scene", ITEM + spec.item))
    category = "head_poses" if rng.random() < _LARGE_YAW_SHARE else "mix"
    recipe = np.random.default_rng(seed_sequence(subject.seed, subject.index, "recipe", ITEM + spec.item))
    given = {"ambient": ambient, **_each(spec.parameters)}
    chosen = draw_still_parameters(subject, category, settle(subject, given, recipe), rng)
    turn = chosen.turn if "turn" in given else _draw_turn(recipe)
    appearance = _clothe(head, subject, chosen.attributes, ambient, spec, place, rng)
    centre = np.array([0.0, head.landmarks[8, 1] + 0.06, head.landmarks[[27, 30, 8], 2].mean()])
    view = View(centre + np.array([-place.x, -place.y, place.distance]), frame.focal, frame.window)
    scene = Scene(head, appearance, view, ambient)
    weights = expression_weights(chosen.expression) * expression_style(subject)
    weights = np.where(BLINK, weights, np.clip(weights, 0, 1))
    pose = np.array([chosen.yaw, chosen.pitch, chosen.roll])
    seen = scene.render(pose, weights, chosen.breath, turn)
    canvas.add_person(seen, number, float(band_radiance(ambient)))
    face = annotate(scene, seen, chosen.expression, max(frame.width, frame.height))
    return face, np.asarray(view.eye[2] - seen.landmarks_3d[:, 2])


def _draw_turn(rng: np.random.Generator) -> float:
    """Degrees by which somebody's body turns from the camera."""
    any_way, some, share = rng.uniform(-180, 180), rng.normal(0, _TURN), rng.random()
    return float(any_way if share < _ANY_TURN_SHARE else np.clip(some, -_MOST_TURNED, _MOST_TURNED))


def _clothe(
    head: Head,
    subject: Subject,
    attributes: dict[str, str],
    ambient: float,
    spec: SceneSpec,
    place: Place,
    rng: np.random.Generator,
) -> Appearance:
    """`dress`, with a body beneath the bust, an even background, and no more hairs than the distance can show."""
    appearance = dress(head, subject, attributes, ambient, ITEM + spec.item, ambient_shift(ambient))
    worn = [upper_garment(layer, head) if layer.label == CLOTH else layer for layer in appearance.layers]
    cloth = [layer for layer in appearance.layers if layer.label == CLOTH]
    body = make_body(head, cloth, place.sitting, ambient, rng)
    every = max(1, round(place.distance / _THINNING))
    hair = [_thinned(strands, every) for strands in appearance.hair]
    return replace(appearance, layers=[*worn, *body], hair=hair, background=lambda shape: np.full(shape, ambient))


def _thinned(strands: Strands, every: int) -> Strands:
    return replace(
        strands,
        points=strands.points[::every],
        temperature=strands.temperature[::every],
        half_width=np.broadcast_to(strands.half_width, len(strands.points))[::every] * every,
    )


def _in_frame(
    face: FrameAnnotation, depth: Floats, canvas: _Canvas, number: int, frame: Frame
) -> FrameAnnotation | None:
    """The face in coordinates of the cut frame, states with regard to everybody else.

    None when too little is seen of it or it looks away.
    """
    assert face.landmarks is not None
    assert face.landmark_state is not None
    square, states = face.landmarks.astype(np.float64), face.landmark_state.copy()
    at = np.clip((square / frame.zoom * SAMPLES).astype(int), 0, len(canvas.owner) - 1)
    others = canvas.owner[at[:, 1], at[:, 0]] != number
    nearer = canvas.depth[at[:, 1], at[:, 0]] < depth
    states[others & nearer & (states == VISIBLE)] = OBJECT_OCCLUDED
    free = np.isin(states, (VISIBLE, SELF_OCCLUDED)) & ~(others & nearer)

    margin = np.array(frame.margin, np.float64)
    landmarks = square - margin
    size = np.array([frame.width, frame.height])
    inside = ((landmarks >= 0) & (landmarks < size)).all(1)
    states[~inside] = OUTSIDE
    if not face.face_count or (free & inside).sum() < _FEWEST_IN_VIEW:
        return None
    low = np.clip(face.bbox[:2] - margin, 0, size)
    high = np.clip(face.bbox[:2] + face.bbox[2:] - margin, 0, size)
    return replace(
        face,
        bbox=np.array([*low, *(high - low)], np.float32),
        landmarks=landmarks.astype(np.float32),
        landmark_state=states,
    )
