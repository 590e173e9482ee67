"""The phantom engine: stills and clips of synthetic identities, rendered on the CPU with exact ground truth."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.radiometry import (
    GainControl,
    band_radiance,
    flip_polarity,
    from_centikelvin,
    to_centikelvin,
)
from thermvision.annotations.schema import CATEGORIES, GENDERS, SEQUENCES, FrameAnnotation
from thermvision.generation.camera import PORTRAIT_WINDOW, SERIALS, Camera, configured_camera
from thermvision.generation.engines.phantom.assets import INSTALL, asset_digests
from thermvision.generation.engines.phantom.parameters import (
    Parameters,
    draw_clip_parameters,
    draw_still_parameters,
    settle,
)
from thermvision.generation.specs import (
    Clip,
    ClipSpec,
    Radiometry,
    SceneSpec,
    SceneStill,
    Still,
    StillSpec,
    Subject,
    seed_sequence,
)

if TYPE_CHECKING:
    from thermvision.generation.engines.phantom.atmosphere import Atmosphere
    from thermvision.generation.engines.phantom.layers import Head
    from thermvision.generation.engines.phantom.likeness import Gallery
    from thermvision.generation.engines.phantom.motion import Motion
    from thermvision.generation.engines.phantom.scene import Observation, Scene

PORTRAIT_SIZE = 512  # pixels of the frame that `PORTRAIT_WINDOW` sensor pixels are enlarged to
_SMALLEST_WINDOW, _SMALLEST_SIZE, _LARGEST_SIZE = 24, 32, 2048
_CROP_FROM = 0.70  # metres from which on a portrait shows the head and not what a fixed window sees
_SMALLEST_CROP = 12  # sensor pixels
_TO_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])  # from x right, y up, z toward the camera
_BELOW_MIDDLE = 0.020  # metres of the view's centre under the middle between crown and chin: shoulders show
# numba's threading layer aborts the process when two Python threads enter compiled code at once
_LOCK = threading.Lock()


def item_key(spec: ClipSpec | StillSpec) -> int:
    """The item number in seed paths: stills are even and clips odd, so that still 0 and clip 0 share nothing."""
    return 2 * spec.item + isinstance(spec, ClipSpec)


def sensor_window(size: int, crop: int = PORTRAIT_WINDOW) -> int:
    """Side of the sampled window that a frame of ``size`` is made from: 300 of the sensor's pixels for 512 and more.

    Smaller frames read the same field of view on a proportionally coarser grid, never finer than the ``crop`` sensor
    pixels that the field of view has.
    """
    return min(crop, max(_SMALLEST_WINDOW, round(size * PORTRAIT_WINDOW / PORTRAIT_SIZE)))


def sensor_crop(camera: Camera) -> int:
    """Side in sensor pixels of the portrait's field of view: the head stays in the picture and loses pixels.

    Up to 0.7 m it is the camera's portrait window, and a nearer head is larger. Beyond, it shrinks with the distance:
    the face is as coarse as the sensor sees it from there, and the frame shows no more than a bust.
    """
    return max(_SMALLEST_CROP, round(camera.portrait_window * min(1.0, _CROP_FROM / camera.distance_m)))


@lru_cache(4)
def _head(seed: int, index: int, gender: str, traits: str) -> Head:
    from thermvision.generation.engines.phantom.identity import make_head

    return make_head(Subject("cached", index, gender, seed, json.loads(traits)))


def subject_head(subject: Subject) -> Head:
    """The subject's head at rest; the last few are kept."""
    return _head(subject.seed, subject.index, subject.gender, json.dumps(dict(subject.traits), sort_keys=True))


@lru_cache(1)
def _gallery() -> Gallery:
    from thermvision.generation.engines.phantom.likeness import Gallery

    return Gallery()


@dataclass(frozen=True, eq=False)
class _Take:
    """The frames of one item: annotations, 8-bit frames and the native frames with their ground truth."""

    frames: NDArray[np.uint8]
    annotations: list[FrameAnnotation]
    radiometry: Radiometry | None


class PhantomEngine:
    """Physically based LWIR heads on the CPU: no weights, no network, the same pixels for the same spec.

    The same spec gives the same pixels on one platform and lock file, whatever the number of threads.
    """

    engine_id = "phantom@1.3"
    licence = "cc-by-4.0"

    def check(self, subject: Subject, product: str) -> str | None:
        """Why ``product`` (a category or a sequence) cannot be made of ``subject``, or None when it can."""
        if product not in (*CATEGORIES, *SEQUENCES):
            return f"product {product!r} does not exist; allowed: {', '.join((*CATEGORIES, *SEQUENCES))}"
        if subject.gender not in GENDERS:
            return f"gender {subject.gender!r} does not exist; allowed: {', '.join(GENDERS)}"
        if product == "beard" and subject.gender != "male":
            return f"{product} stills need a male subject; {subject.subject_id} is {subject.gender}"
        return None

    def too_alike(self, subject: Subject, accepted: Sequence[Subject]) -> str | None:
        """Why ``subject`` would be taken for one of ``accepted``, or None when it is a person of its own."""
        from thermvision.generation.engines.phantom.identity import MINIMUM_DISTANCE

        if not accepted:
            return None
        distance, nearest = _gallery().nearest(subject, accepted)
        if distance >= MINIMUM_DISTANCE:
            return None
        return (
            f"its landmarks are {1e3 * distance:.1f} mm from those of {accepted[nearest].subject_id};"
            f" allowed: {1e3 * MINIMUM_DISTANCE:g} mm or more"
        )

    def require(self) -> None:
        """Raise `MissingDependencyError` when the head data or a package is absent, before any work starts."""
        if importlib.util.find_spec("numba") is None:
            raise MissingDependencyError(f"the phantom engine needs the package numba; type: {INSTALL}")
        asset_digests()

    def model_digests(self) -> dict[str, str]:
        """SHA-256 of the base mesh and of every morph target: they decide geometry and ground truth."""
        return dict(asset_digests())

    @overload
    def render(self, spec: ClipSpec, progress: Any = None) -> Clip: ...
    @overload
    def render(self, spec: StillSpec, progress: Any = None) -> Still: ...
    def render(self, spec: ClipSpec | StillSpec, progress: Any = None) -> Clip | Still:
        """Render one item.

        ``spec.parameters`` fixes what is otherwise drawn from the item's seed; see `parameters.Parameters`.

        Raises:
            UsageError: the item cannot be made of this subject, or a parameter is not allowed.
            MissingDependencyError: the head data is not installed.
        """
        product = spec.sequence if isinstance(spec, ClipSpec) else spec.category
        if reason := self.check(spec.subject, product):
            raise UsageError(f"{spec.item_id}: {reason}; change the recipe")
        if not _SMALLEST_SIZE <= spec.size <= _LARGEST_SIZE:
            raise UsageError(f"{spec.item_id} has the size {spec.size}; allowed: {_SMALLEST_SIZE}..{_LARGEST_SIZE}")
        self.require()
        with _LOCK:
            return (
                self._render_clip(spec, progress) if isinstance(spec, ClipSpec) else self._render_still(spec, progress)
            )

    def render_scene(self, spec: SceneSpec, progress: Any = None) -> SceneStill:
        """Render a still with several faces, or none; see `crowd.render_crowd`.

        Raises:
            UsageError: a size, distance or parameter is not allowed.
            MissingDependencyError: the head data is not installed.
        """
        from thermvision.generation.engines.phantom.crowd import render_crowd

        sizes = (spec.width, spec.height)
        if not _SMALLEST_SIZE <= min(sizes) <= max(sizes) <= _LARGEST_SIZE:
            raise UsageError(f"{spec.item_id} has the size {sizes}; allowed: {_SMALLEST_SIZE}..{_LARGEST_SIZE}")
        self.require()
        with _LOCK:
            crowd = render_crowd(spec)
        if progress is not None:
            progress(1)
        listing = json.dumps(self.model_digests(), sort_keys=True)
        record = {"engine": self.engine_id, "model_digest": hashlib.sha256(listing.encode()).hexdigest()}
        return SceneStill(spec, crowd.frame, crowd.subjects, crowd.annotations, {**record, **crowd.resolved})

    def _render_still(self, spec: StillSpec, progress: Any) -> Still:
        from thermvision.generation.engines.phantom.expression import BLINK, expression_style, expression_weights
        from thermvision.generation.engines.phantom.motion import Motion

        rng = np.random.default_rng(_seed(spec, "plan"))
        given = settle(spec.subject, spec.parameters, np.random.default_rng(_seed(spec, "recipe")))
        chosen = draw_still_parameters(spec.subject, spec.category, given, rng)
        weights = expression_weights(chosen.expression) * expression_style(spec.subject)
        weights = np.where(BLINK, weights, np.clip(weights, 0, 1))
        pose = np.array([[chosen.yaw, chosen.pitch, chosen.roll]], np.float64)
        motion = Motion(pose, weights[None], (chosen.expression,), np.array([chosen.breath]))
        scene, camera, scale = _set_up(spec, chosen)
        take = _film(spec, scene, camera, scale, chosen, motion, 1.0, 1 if spec.radiometric else 0, progress)
        engine = self._engine_record(spec, chosen, camera, scene)
        attributes = scene.appearance.attributes
        return Still(spec, take.frames[0], take.annotations[0], attributes, engine, take.radiometry)

    def _render_clip(self, spec: ClipSpec, progress: Any) -> Clip:
        from thermvision.generation.engines.phantom.expression import expression_style, expression_weights
        from thermvision.generation.engines.phantom.motion import expression_motion, head_pose_motion
        from thermvision.generation.engines.phantom.motion_file import track_motion
        from thermvision.generation.engines.phantom.physiology import steady_breath

        if spec.num_frames < 1 or not 0 < spec.fps <= 1000:
            raise UsageError(
                f"{spec.item_id} has {spec.num_frames} frames at {spec.fps} a second; allowed: 1 or more at 0..1000"
            )
        given = settle(spec.subject, spec.parameters, np.random.default_rng(_seed(spec, "recipe")))
        chosen = draw_clip_parameters(spec.subject, given, np.random.default_rng(_seed(spec, "plan")))
        rng = np.random.default_rng(_seed(spec, "motion"))
        style = expression_style(spec.subject)
        if spec.motion is not None:
            motion = track_motion(spec.motion, spec.num_frames, spec.fps, rng)
        elif spec.sequence == "head_pose":
            motion = head_pose_motion(spec.num_frames, spec.fps, rng)
        else:
            motion = expression_motion(spec.num_frames, spec.fps, rng, style)
        for axis, name in enumerate(("yaw", "pitch", "roll")):
            if name in spec.parameters:
                motion.head_pose[:, axis] = getattr(chosen, name)
        if "expression" in spec.parameters:
            fixed = np.clip(expression_weights(chosen.expression) * style, 0, 1)
            motion = replace(
                motion,
                weights=np.tile(fixed, (spec.num_frames, 1)),
                expression=(chosen.expression,) * spec.num_frames,
            )
        if chosen.breathing_rate is not None:
            phase = np.random.default_rng(_seed(spec, "physiology")).random()
            times = np.arange(spec.num_frames) / spec.fps
            motion = replace(motion, breath=steady_breath(times, chosen.breathing_rate, phase))
        scene, camera, scale = _set_up(spec, chosen)
        take = _film(spec, scene, camera, scale, chosen, motion, spec.fps, spec.radiometric_every, progress)
        engine = self._engine_record(spec, chosen, camera, scene)
        return Clip(spec, take.frames, take.annotations, scene.appearance.attributes, engine, take.radiometry)

    def _engine_record(
        self, spec: ClipSpec | StillSpec, chosen: Parameters, camera: Camera, scene: Scene
    ) -> Mapping[str, Any]:
        from thermvision.generation.engines.phantom.scene import SAMPLES

        listing = json.dumps(self.model_digests(), sort_keys=True)
        traits = {k: v for k, v in scene.head.traits.items() if isinstance(v, str | int | float)}
        return {
            "engine": self.engine_id,
            "anny": importlib.metadata.version("anny"),
            "model_digest": hashlib.sha256(listing.encode()).hexdigest(),
            "parameters": chosen.as_dict(),
            "traits": traits,
            "attributes": dict(scene.appearance.attributes),
            "camera": camera.as_dict(),
            "window": scene.view.window,
            "samples": SAMPLES,
            "seed": {"entropy": spec.subject.seed, "subject": spec.subject.index, "item": item_key(spec)},
        }


def _seed(spec: ClipSpec | StillSpec, stream: str) -> np.random.SeedSequence:
    return seed_sequence(spec.subject.seed, spec.subject.index, stream, item_key(spec))


def item_camera(spec: ClipSpec | StillSpec, chosen: Parameters) -> Camera:
    """The camera of an item: its preset with what the recipe changes, one of many devices of that model."""
    device = int(np.random.default_rng(_seed(spec, "camera")).integers(SERIALS))
    names = ("netd_mk", "fixed_pattern_mk", "mtf_px")
    changes = {"distance_m": chosen.distance, **{name: getattr(chosen, name) for name in names}}
    return configured_camera(chosen.preset, changes, device)


def _set_up(spec: ClipSpec | StillSpec, chosen: Parameters) -> tuple[Scene, Camera, float]:
    """Scene, camera with its zoomed lens, and grid samples a sensor pixel."""
    from thermvision.generation.engines.phantom.appearance import dress
    from thermvision.generation.engines.phantom.heat import heat_excess
    from thermvision.generation.engines.phantom.landmarks import View
    from thermvision.generation.engines.phantom.physiology import ambient_shift
    from thermvision.generation.engines.phantom.scene import Scene

    head = subject_head(spec.subject)
    camera = item_camera(spec, chosen)
    crop = sensor_crop(camera)
    camera = replace(camera, focal_length_mm=camera.focal_length_mm * chosen.zoom)
    window = sensor_window(spec.size, crop)
    middle = (head.rest[:, 1].max() + head.landmarks[8, 1]) / 2 - _BELOW_MIDDLE
    face = head.landmarks[[27, 30, 8], 2].mean()
    eye = np.array([chosen.shift_x, middle + chosen.shift_y, face + chosen.distance])
    view = View(eye, camera.focal_length_px * window / crop, window)
    key, worn = item_key(spec), chosen.attributes
    session = chosen.session + ambient_shift(chosen.ambient)
    appearance = dress(head, spec.subject, worn, chosen.ambient, key, session, chosen.pin_hairstyle)
    if chosen.heat_sources:
        room = appearance.background

        def heated(shape: tuple[int, int]) -> NDArray[np.float64]:
            warm: NDArray[np.float64] = room(shape)
            return warm + heat_excess(shape, chosen.heat_sources, np.random.default_rng(_seed(spec, "heat")))

        appearance = replace(appearance, background=heated)
    return Scene(head, appearance, view, chosen.ambient, chosen.emissivity), camera, window / crop


def _film(
    spec: ClipSpec | StillSpec,
    scene: Scene,
    camera: Camera,
    scale: float,
    chosen: Parameters,
    motion: Motion,
    fps: float,
    radiometric_every: int,
    progress: Any,
) -> _Take:
    from thermvision.generation.engines.phantom.atmosphere import Atmosphere
    from thermvision.generation.engines.phantom.physiology import cooled, nose_field, stress_share
    from thermvision.generation.engines.phantom.sensor import Sensor, enlarge, sensor_to_frame
    from thermvision.generation.engines.phantom.truth import annotate

    window, count = scene.view.window, len(motion.head_pose)
    sensor = Sensor(camera, window, scale, np.random.default_rng(_seed(spec, "noise")))
    gain = GainControl(chosen.agc, chosen.agc_limits)
    air = Atmosphere(chosen.fog, chosen.smoke, chosen.ambient, chosen.smoke_excess)
    wall = band_radiance(scene.appearance.background((window, window)))
    worn, nose = scene.appearance, nose_field(scene.head) if chosen.stress else None
    frames = np.empty((count, spec.size, spec.size), np.uint8)
    annotations, kept, counts, truth = [], [], [], []
    for i in range(count):
        if nose is not None:
            # a still is taken when the cooling has come to its end
            share = stress_share(i / fps, chosen.stress_seconds) if isinstance(spec, ClipSpec) else 1.0
            scene.appearance = replace(worn, skin=cooled(worn.skin, nose, chosen.stress * share))
        seen = scene.render(motion.head_pose[i], motion.weights[i], float(motion.breath[i]), chosen.turn)
        radiance = seen.radiance if air.clear else _through(air, seen, wall)
        native = sensor.expose(radiance, i / fps)
        frames[i] = gain(enlarge(from_centikelvin(native), spec.size))
        annotations.append(annotate(scene, seen, motion.expression[i], spec.size))
        if radiometric_every and i % radiometric_every == 0:
            kept.append(i)
            counts.append(native)
            truth.append(_truth(scene, seen, motion.weights[i]))
        if progress is not None:
            progress(1)
    if chosen.polarity == "black-hot":
        frames = flip_polarity(frames)
    if not kept:
        return _Take(frames, annotations, None)
    stacked = {name: np.stack([row[name] for row in truth]) for name in truth[0]}
    radiometry = Radiometry(
        np.array(kept, np.int32),
        np.stack(counts),
        sensor_to_frame(window, spec.size),
        chosen.ambient,
        stacked,
        scene.view.matrix(spec.size),
    )
    return _Take(frames, annotations, radiometry)


def _through(air: Atmosphere, seen: Observation, wall: NDArray[np.float64]) -> NDArray[np.float64]:
    from thermvision.generation.engines.phantom.raster import NOTHING

    height, width = seen.radiance.shape
    blocks = (height, -1, width, seen.seen.triangle.shape[1] // width)
    covered = (seen.seen.triangle != NOTHING).reshape(blocks).mean((1, 3))
    nearest = np.where(covered > 0, seen.seen.depth.reshape(blocks).min((1, 3)), np.float32(0))
    return air.seen_through(seen.radiance, wall, nearest, covered)


def _truth(scene: Scene, seen: Observation, weights: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    from thermvision.generation.engines.phantom.truth import region_temperatures, skin_and_head_box

    skin_box, head_box = skin_and_head_box(scene, seen)
    return {
        "segmentation": seen.segment,
        "depth": np.rint(seen.depth * 1e4).clip(0, 65535).astype(np.uint16),
        "temperature": to_centikelvin(seen.temperature),
        "skin_bbox": skin_box.astype(np.float32),
        "head_bbox": head_box.astype(np.float32),
        "landmarks_3d": scene.view.camera_axes(seen.landmarks_3d).astype(np.float32),
        "head_rotation": (_TO_CAMERA_AXES @ rotation_from_pose(seen.head_pose)).astype(np.float32),
        "head_translation": scene.view.camera_axes(scene.neck.pivot).astype(np.float32),
        "expression_weights": weights.astype(np.float32),
        "region_temperatures": region_temperatures(scene, seen),
    }
