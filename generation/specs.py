"""What is to be made (`ClipSpec`, `StillSpec`, `SceneSpec`) and what an engine gives back (`Clip`, `Still`, …)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import FrameAnnotation

# Streams of `seed_sequence`: one a feature, so that adding a hairstyle never changes a face. Append only.
STREAMS = (
    "shape", "thermal", "hair", "accessories", "session", "motion", "noise", "plan", "garment",
    "background", "scene", "mask", "headwear", "jewellery",
    "camera", "physiology", "heat", "recipe",
    "words", "face noise",
)  # fmt: skip


def seed_sequence(seed: int, subject: int, stream: str, item: int = 0) -> np.random.SeedSequence:
    """Seed of one feature of one item: the path ``(subject, stream, item)`` below the recipe's seed.

    >>> a = np.random.default_rng(seed_sequence(0, 3, "shape"))
    >>> b = np.random.default_rng(seed_sequence(0, 3, "hair"))
    >>> bool(a.random() == b.random())
    False
    """
    return np.random.SeedSequence(entropy=seed, spawn_key=(subject, STREAMS.index(stream), item))


@dataclass(frozen=True)
class Subject:
    """A synthetic identity. ``index`` is its number in the release (the first element of every seed path).

    ``gender`` ("female" or "male") is a parameter of its morphology. ``traits`` fixes what is otherwise
    drawn from the seed, for example ``{"hairstyle": "short"}``.
    """

    subject_id: str
    index: int
    gender: str
    seed: int
    traits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawing:
    """A still that is drawn from words, see `thermvision.generation.engines.flux`.

    Attributes:
        positive: texts of what is wanted, for CLIP-L and for T5.
        negative: likewise of what is not.
        attributes: of the person and the item, which the texts say; see `thermvision.generation.prompts`.
        seed: of the noise, the subject's own: whose face it is.
        further_seeds: mixed into the noise of each further attempt, where a still is rejected.
        options: fields of `engines.flux.sampling.SamplingOptions` that are not at their defaults.
        screening: fields of `thermvision.generation.screening.Limits`; None: stills are kept as they come.
        adapters: name, SHA-256, strength and strength for CLIP-L of each.
        precision: "fp32", "bf16", "fp8", or "auto" for what the device does well.
        loading: what the engine is made with, as JSON: where files lie, the device. Their digests count, not this.
    """

    positive: tuple[str, str]
    negative: tuple[str, str]
    attributes: Mapping[str, str]
    seed: int
    further_seeds: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    screening: Mapping[str, Any] | None = None
    adapters: tuple[tuple[str, str, float, float], ...] = ()
    precision: str = "auto"
    loading: str = ""


@dataclass(frozen=True)
class StillSpec:
    """One still: ``item`` is its number below the subject over all categories, part of its seed path.

    ``drawing`` is of engines that draw from words.
    """

    item_id: str
    subject: Subject
    engine: str
    category: str
    item: int
    size: int = 512
    radiometric: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    drawing: Drawing | None = None


@dataclass(frozen=True)
class MotionTrack:
    """Motion recorded of a real head, see `thermvision.generation.engines.phantom.motion_file`.

    Attributes:
        name: of the file, without its folder.
        sha256: of the file.
        fps: frames a second of the track.
        head_pose: N times (yaw, pitch, roll) in degrees, our axes.
        eyes: N lid gaps over eye width, mean of both eyes; None when the file does not say.
        lips: N gaps between the inner lips over their width; None when the file does not say.
    """

    name: str
    sha256: str
    fps: float
    head_pose: Sequence[Sequence[float]]
    eyes: Sequence[float] | None = None
    lips: Sequence[float] | None = None


@dataclass(frozen=True)
class InputFile:
    """A picture, video or template that decides pixels: by its content, wherever it lies.

    Attributes:
        name: without its folder.
        sha256: of the file.
        path: where it is read; in no fingerprint and no provenance.
    """

    name: str
    sha256: str
    path: str


@dataclass(frozen=True)
class Animation:
    """A face that is moved by a video, see `thermvision.generation.engines.liveportrait`.

    Attributes:
        source: whose face: a still that its own engine renders, or a picture.
        driving: the video or motion template that moves it.
        options: fields of `engines.liveportrait.driving.DrivingOptions` that are not at their defaults.
        anchor: which driving frame counts as neutral: "first", "best" or a number.
        preprocess: steps of `thermvision.generation.preprocess` done to the source.
        paste_back: whether frames are the whole source picture rather than the crop about the face.
        precision: "fp32", "bf16", "fp16", or "auto" for what the device does well.
        weights: folder of the networks, or "random". Their digests count, not this.
        device: "auto", "cpu", "cuda" …; counts for nothing either.
    """

    source: StillSpec | InputFile
    driving: InputFile
    options: Mapping[str, Any] = field(default_factory=dict)
    anchor: str = "first"
    preprocess: tuple[str, ...] = ()
    paste_back: bool = False
    precision: str = "auto"
    weights: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class ClipSpec:
    """One clip. ``sequence`` is "head_pose" or "expression"; ``radiometric_every`` k keeps each k-th 16-bit frame.

    ``motion`` takes the place of what is otherwise drawn by seed; ``animation`` is of engines that move a picture.
    """

    item_id: str
    subject: Subject
    engine: str
    sequence: str
    item: int
    num_frames: int
    fps: float = 30.0
    size: int = 512
    radiometric_every: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    motion: MotionTrack | None = None
    animation: Animation | None = None


@dataclass(frozen=True)
class SceneSpec:
    """One still of a room with ``subjects`` in it, none for an empty room.

    ``item`` is its number over all scenes; its seed path is (0, "scene", item) below ``seed``. ``distance`` is the
    nearest and farthest place of a face in metres from the lens.
    """

    item_id: str
    engine: str
    seed: int
    item: int
    split: str
    subjects: tuple[Subject, ...]
    width: int = 512
    height: int = 512
    distance: tuple[float, float] = (1.0, 6.0)
    parameters: Mapping[str, Any] = field(default_factory=dict)


def plain_spec(spec: ClipSpec | StillSpec | SceneSpec) -> dict[str, Any]:
    """The spec in plain values, less what decides no pixel: where files lie, devices, and an animation that is none.

    >>> clip = ClipSpec("a", Subject("P_000000", 0, "female", 7), "phantom", "expression", 2, 9)
    >>> "animation" in plain_spec(clip), plain_spec(clip)["num_frames"]
    (False, 9)
    """
    values = asdict(spec)
    animation = values.pop("animation", None)
    if animation is not None:
        for file in (animation["source"], animation["driving"]):
            file.pop("path", None)
            _plain_drawing(file)
        for name in ("weights", "device"):
            del animation[name]
        values["animation"] = animation
    _plain_drawing(values)
    return values


def _plain_drawing(values: dict[str, Any]) -> None:
    if values.get("drawing") is None:
        values.pop("drawing", None)
    else:
        del values["drawing"]["loading"]


def engine_settings(spec: ClipSpec | StillSpec | SceneSpec) -> dict[str, str]:
    """What the engine of ``spec`` is made with, see `thermvision.generation.engines.get_engine`."""
    if isinstance(spec, StillSpec) and spec.drawing is not None:
        return {"loading": spec.drawing.loading}
    animation = spec.animation if isinstance(spec, ClipSpec) else None
    return {} if animation is None else {name: getattr(animation, name) for name in ("weights", "device", "precision")}


@dataclass(frozen=True)
class Radiometry:
    """16-bit measurement frames on the sensor's own pixel grid, with further ground truth.

    Attributes:
        frame_index: (K,) which frames of the item these are.
        frames: (K, h, w) uint16, 100 × kelvin (apparent temperature).
        sensor_to_frame: (3, 3) float64, sensor pixel coordinates to coordinates of the 8-bit frame.
        ambient: air temperature, °C.
        truth: arrays with leading dimension K: ``segmentation`` (K, h, w) uint8, ``depth`` (K, h, w) uint16 in
            0.1 mm (0: background), ``temperature`` (K, h, w) uint16 100 × kelvin of the object itself,
            ``skin_bbox`` and ``head_bbox`` (K, 4), ``landmarks_3d`` (K, 68, 3) metres in camera axes (x right, y down,
            z along the optical axis), ``head_rotation`` (K, 3, 3) and ``head_translation`` (K, 3) metres from the
            head's axes (x its left, y up, z out of the face, about the neck's pivot) to the camera's,
            ``expression_weights`` (K, 52), ``region_temperatures`` (K, R) °C (NaN: not in view).
        camera_matrix: (3, 3) float64, camera axes to homogeneous coordinates of the 8-bit frame; None: not known.
    """

    frame_index: NDArray[np.int32]
    frames: NDArray[np.uint16]
    sensor_to_frame: NDArray[np.float64]
    ambient: float
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    camera_matrix: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Clip:
    """A rendered clip: ``frames`` (N, H, W) uint8, one annotation a frame, attributes, what made it."""

    spec: ClipSpec
    frames: NDArray[np.uint8]
    annotations: Sequence[FrameAnnotation]
    attributes: Mapping[str, str]
    engine: Mapping[str, Any]
    radiometry: Radiometry | None = None


@dataclass(frozen=True)
class Still:
    """A rendered still: ``frame`` (H, W) uint8."""

    spec: StillSpec
    frame: NDArray[np.uint8]
    annotation: FrameAnnotation
    attributes: Mapping[str, str]
    engine: Mapping[str, Any]
    radiometry: Radiometry | None = None


@dataclass(frozen=True)
class SceneStill:
    """A rendered scene: ``frame`` (H, W) uint8 and, in the order of ``subjects``, who is in it and each one's face."""

    spec: SceneSpec
    frame: NDArray[np.uint8]
    subjects: tuple[Subject, ...]
    annotations: tuple[FrameAnnotation, ...]
    engine: Mapping[str, Any]
