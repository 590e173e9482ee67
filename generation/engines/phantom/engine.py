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
from thermvision.annotations.radiometry import GainControl, from_centikelvin, to_centikelvin
from thermvision.annotations.schema import CATEGORIES, GENDERS, SEQUENCES, FrameAnnotation
from thermvision.generation.camera import Camera
from thermvision.generation.engines.phantom.assets import INSTALL, asset_digests
from thermvision.generation.engines.phantom.parameters import Parameters, draw_clip_parameters, draw_still_parameters
from thermvision.generation.specs import Clip, ClipSpec, Radiometry, Still, StillSpec, Subject, seed_sequence

if TYPE_CHECKING:
    from thermvision.generation.engines.phantom.layers import Head
    from thermvision.generation.engines.phantom.motion import Motion
    from thermvision.generation.engines.phantom.scene import Observation, Scene

PORTRAIT_WINDOW, PORTRAIT_SIZE = 300, 512  # sensor pixels that a portrait of that size is read from
_SMALLEST_WINDOW, _SMALLEST_SIZE, _LARGEST_SIZE = 24, 32, 2048
_BELOW_MIDDLE = 0.020  # metres of the view's centre under the middle between crown and chin: shoulders show
# numba's threading layer aborts the process when two Python threads enter compiled code at once
_LOCK = threading.Lock()


def item_key(spec: ClipSpec | StillSpec) -> int:
    """The item number in seed paths: stills are even and clips odd, so that still 0 and clip 0 share nothing."""
    return 2 * spec.item + isinstance(spec, ClipSpec)


def sensor_window(size: int) -> int:
    """Side of the sensor window that a frame of ``size`` is made from: 300 of the sensor's pixels for 512 and more.

    Smaller frames read the same field of view on a proportionally coarser grid.
    """
    return min(PORTRAIT_WINDOW, max(_SMALLEST_WINDOW, round(size * PORTRAIT_WINDOW / PORTRAIT_SIZE)))


@lru_cache(4)
def _head(seed: int, index: int, gender: str, traits: str) -> Head:
    from thermvision.generation.engines.phantom.identity import make_head

    return make_head(Subject("cached", index, gender, seed, json.loads(traits)))


def subject_head(subject: Subject) -> Head:
    """The subject's head at rest; the last few are kept."""
    return _head(subject.seed, subject.index, subject.gender, json.dumps(dict(subject.traits), sort_keys=True))


def _face(subject: Subject) -> NDArray[np.float64]:
    return _landmarks(subject.seed, subject.index, subject.gender, json.dumps(dict(subject.traits), sort_keys=True))


@lru_cache(None)
def _landmarks(seed: int, index: int, gender: str, traits: str) -> NDArray[np.float64]:
    """(68, 3) rest landmarks; the heads themselves are too large to keep for all subjects of a release."""
    from thermvision.generation.engines.phantom.identity import make_head

    return make_head(Subject("cached", index, gender, seed, json.loads(traits))).landmarks


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

    engine_id = "phantom@1.0"
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
        from thermvision.generation.engines.phantom.identity import MINIMUM_DISTANCE, landmark_distance

        if not accepted:
            return None
        distances = landmark_distance(_face(subject), np.stack([_face(other) for other in accepted]))
        nearest = int(distances.argmin())
        if distances[nearest] >= MINIMUM_DISTANCE:
            return None
        return (
            f"its landmarks are {1e3 * distances[nearest]:.1f} mm from those of {accepted[nearest].subject_id};"
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

    def _render_still(self, spec: StillSpec, progress: Any) -> Still:
        from thermvision.generation.engines.phantom.expression import BLINK, expression_style, expression_weights
        from thermvision.generation.engines.phantom.motion import Motion

        rng = np.random.default_rng(_seed(spec, "plan"))
        chosen = draw_still_parameters(spec.subject, spec.category, spec.parameters, rng)
        weights = expression_weights(chosen.expression) * expression_style(spec.subject)
        weights = np.where(BLINK, weights, np.clip(weights, 0, 1))
        pose = np.array([[chosen.yaw, chosen.pitch, chosen.roll]], np.float64)
        motion = Motion(pose, weights[None], (chosen.expression,), np.array([chosen.breath]))
        scene, camera = _set_up(spec, chosen)
        take = _film(spec, scene, camera, chosen, motion, 1.0, 1 if spec.radiometric else 0, progress)
        engine = self._engine_record(spec, chosen, camera, scene)
        attributes = scene.appearance.attributes
        return Still(spec, take.frames[0], take.annotations[0], attributes, engine, take.radiometry)

    def _render_clip(self, spec: ClipSpec, progress: Any) -> Clip:
        from thermvision.generation.engines.phantom.expression import expression_style, expression_weights
        from thermvision.generation.engines.phantom.motion import expression_motion, head_pose_motion

        if spec.num_frames < 1 or not 0 < spec.fps <= 1000:
            raise UsageError(
                f"{spec.item_id} has {spec.num_frames} frames at {spec.fps} a second; allowed: 1 or more at 0..1000"
            )
        chosen = draw_clip_parameters(spec.subject, spec.parameters, np.random.default_rng(_seed(spec, "plan")))
        rng = np.random.default_rng(_seed(spec, "motion"))
        style = expression_style(spec.subject)
        if spec.sequence == "head_pose":
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
        scene, camera = _set_up(spec, chosen)
        take = _film(spec, scene, camera, chosen, motion, spec.fps, spec.radiometric_every, progress)
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


def _set_up(spec: ClipSpec | StillSpec, chosen: Parameters) -> tuple[Scene, Camera]:
    from thermvision.generation.engines.phantom.appearance import dress
    from thermvision.generation.engines.phantom.landmarks import View
    from thermvision.generation.engines.phantom.scene import Scene

    head = subject_head(spec.subject)
    camera = Camera(distance_m=chosen.distance)
    camera = replace(camera, focal_length_mm=camera.focal_length_mm * chosen.zoom)
    window = sensor_window(spec.size)
    middle = (head.rest[:, 1].max() + head.landmarks[8, 1]) / 2 - _BELOW_MIDDLE
    face = head.landmarks[[27, 30, 8], 2].mean()
    eye = np.array([chosen.shift_x, middle + chosen.shift_y, face + chosen.distance])
    view = View(eye, camera.focal_length_px * window / PORTRAIT_WINDOW, window)
    appearance = dress(head, spec.subject, chosen.attributes, chosen.ambient, item_key(spec))
    return Scene(head, appearance, view, chosen.ambient), camera


def _film(
    spec: ClipSpec | StillSpec,
    scene: Scene,
    camera: Camera,
    chosen: Parameters,
    motion: Motion,
    fps: float,
    radiometric_every: int,
    progress: Any,
) -> _Take:
    from thermvision.generation.engines.phantom.sensor import Sensor, enlarge, sensor_to_frame
    from thermvision.generation.engines.phantom.truth import annotate

    window, count = scene.view.window, len(motion.head_pose)
    sensor = Sensor(camera, window, window / PORTRAIT_WINDOW, np.random.default_rng(_seed(spec, "noise")))
    gain = GainControl(chosen.agc, chosen.agc_limits)
    frames = np.empty((count, spec.size, spec.size), np.uint8)
    annotations, kept, counts, truth = [], [], [], []
    for i in range(count):
        seen = scene.render(motion.head_pose[i], motion.weights[i], float(motion.breath[i]))
        native = sensor.expose(seen.radiance, i / fps)
        frames[i] = gain(enlarge(from_centikelvin(native), spec.size))
        annotations.append(annotate(scene, seen, motion.head_pose[i], motion.expression[i], spec.size))
        if radiometric_every and i % radiometric_every == 0:
            kept.append(i)
            counts.append(native)
            truth.append(_truth(scene, seen, motion.weights[i]))
        if progress is not None:
            progress(1)
    if not kept:
        return _Take(frames, annotations, None)
    stacked = {name: np.stack([row[name] for row in truth]) for name in truth[0]}
    radiometry = Radiometry(
        np.array(kept, np.int32), np.stack(counts), sensor_to_frame(window, spec.size), chosen.ambient, stacked
    )
    return _Take(frames, annotations, radiometry)


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
        "expression_weights": weights.astype(np.float32),
        "region_temperatures": region_temperatures(scene, seen),
    }
