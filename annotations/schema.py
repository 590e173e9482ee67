"""Every column of a release: the record of one frame, the vocabularies, and the Hugging Face features of each config.

Coordinates are pixels, x right, y down, pixel centres at +0.5; boxes are COCO ``[x, y, width, height]``; angles are
degrees (see `thermvision.annotations.pose`). `datasets` is imported only by the functions that return its types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Features

# Class names are only ever appended: old shards store the index.
GENDERS = ("female", "male")
CATEGORIES = ("frontal_pose", "facial_accessories", "beard", "mix", "head_poses")
SEQUENCES = ("head_pose", "expression")
EXPRESSIONS = ("neutral", "smile", "frown", "surprise", "blink", "open", "talk")
HAIRSTYLES = ("bald", "buzz", "crew", "short", "side", "back", "bob", "long", "fringe", "ponytail", "bun")
BEARDS = ("none", "stubble", "full", "moustache", "goatee")
GLASSES = ("none", "glasses")
MASKS = ("none", "mask")
HEADWEAR = ("none", "cap", "beanie")
JEWELLERY = ("none", "earrings", "necklace", "both")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "hairstyle": HAIRSTYLES,
    "beard": BEARDS,
    "glasses": GLASSES,
    "mask": MASKS,
    "headwear": HEADWEAR,
    "jewellery": JEWELLERY,
}
# columns that shards written before them lack: readers give null
ADDED_COLUMNS = ("jewellery", "head_rotation", "head_translation", "camera_matrix")
SPLITS = ("train", "validation", "test")
CONFIGS = ("video", "image", *CATEGORIES, "frames", "radiometric", "scenes")

# landmark_state values
OUTSIDE, SELF_OCCLUDED, OBJECT_OCCLUDED, VISIBLE = range(4)
SEGMENTS = (
    "background", "skin", "eye", "mouth", "cloth", "hair", "brow", "beard", "glasses", "mask", "headwear", "teeth",
    "jewellery",
)  # fmt: skip
REGIONS = (
    "forehead", "canthus_left", "canthus_right", "nose", "cheek_left", "cheek_right", "chin", "lips", "ear_left",
    "ear_right",
)  # fmt: skip
MAX_CLASS_NAMES = 1000  # 10,000 ClassLabel names cost seconds at every load; beyond this `identity` is an int32


@dataclass(frozen=True, eq=False)
class FrameAnnotation:
    """What is known of the main face of one frame; None is "not known", NaN in a box is "no face here".

    Attributes:
        bbox: (4,) float32, face box from hairline or brow-top to chin, cheek to cheek.
        face_count: faces in the frame.
        source: "ground_truth", or model name and digest.
        bbox_score: detector score; None for ground truth.
        extra_bboxes: (M, 4) float32, further faces.
        landmarks: (68, 2) float32, iBUG 68 with the 2-D silhouette jaw.
        landmark_state: (68,) uint8: 0 outside, 1 self-occluded, 2 occluded by an object, 3 visible.
        head_pose: (3,) float32: yaw, pitch, roll.
        expression: one of `EXPRESSIONS`.
        eye_openness: lid gap over eye width, mean of both eyes.
        mouth_openness: inner-lip gap over inner-mouth width.

    >>> FrameAnnotation(bbox=np.array([1, 2, 3, 4]), face_count=1, source="ground_truth").bbox.dtype
    dtype('float32')
    """

    bbox: NDArray[np.float32]
    face_count: int
    source: str
    bbox_score: float | None = None
    extra_bboxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    landmarks: NDArray[np.float32] | None = None
    landmark_state: NDArray[np.uint8] | None = None
    head_pose: NDArray[np.float32] | None = None
    expression: str | None = None
    eye_openness: float | None = None
    mouth_openness: float | None = None

    def __post_init__(self) -> None:
        shapes = {"bbox": (4,), "landmarks": (68, 2), "landmark_state": (68,), "head_pose": (3,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, np.uint8 if name == "landmark_state" else np.float32)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; allowed: {shape}")
            object.__setattr__(self, name, array)
        object.__setattr__(self, "extra_bboxes", np.asarray(self.extra_bboxes, np.float32).reshape(-1, 4))
        if self.expression is not None and self.expression not in EXPRESSIONS:
            raise ValueError(f"expression is {self.expression!r}; allowed: {', '.join(EXPRESSIONS)}")

    @classmethod
    def no_face(cls, source: str) -> FrameAnnotation:
        """The record of a frame in which no face was found: a box of NaNs."""
        return cls(bbox=np.full(4, np.nan, np.float32), face_count=0, source=source)


# columns of the annotation of one frame; a clip stores each as a list over frames
FRAME_COLUMNS = (
    "bbox", "bbox_score", "face_count", "extra_bboxes", "landmarks", "landmark_state", "head_pose", "expression",
    "eye_openness", "mouth_openness",
)  # fmt: skip


def _plain(annotation: FrameAnnotation, column: str) -> Any:
    value = getattr(annotation, column)
    if column == "expression" and value is not None:
        return EXPRESSIONS.index(value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def frame_columns(annotation: FrameAnnotation) -> dict[str, Any]:
    """Plain Python values of `FRAME_COLUMNS` for one still or frame."""
    return {column: _plain(annotation, column) for column in FRAME_COLUMNS}


def clip_columns(annotations: Sequence[FrameAnnotation]) -> dict[str, Any]:
    """`FRAME_COLUMNS` of a clip as lists over frames; a column known for no frame is None as a whole."""
    columns = {column: [_plain(a, column) for a in annotations] for column in FRAME_COLUMNS}
    return {name: None if all(v is None for v in values) else values for name, values in columns.items()}


def attribute_columns(attributes: Mapping[str, str | None]) -> dict[str, int | None]:
    """Class indices of hairstyle, beard, glasses, mask, headwear and jewellery; what is not given is None.

    >>> attribute_columns({"beard": "full"})["beard"]
    2

    Raises:
        ValueError: a value is not in its vocabulary.
    """
    columns: dict[str, int | None] = {}
    for name, allowed in ATTRIBUTES.items():
        value = attributes.get(name)
        if value is not None and value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
        columns[name] = None if value is None else allowed.index(value)
    return columns


def _list_type() -> Any:
    try:
        from datasets import List
    except ImportError:  # datasets 3: a list of one feature is written with Sequence
        from datasets import Sequence as List
    return List


def _frame_features() -> dict[str, Any]:
    from datasets import ClassLabel, Value

    List = _list_type()
    f32 = Value("float32")
    return {
        "bbox": List(f32, length=4),
        "bbox_score": f32,
        "face_count": Value("uint8"),
        "extra_bboxes": List(List(f32, length=4)),
        "landmarks": List(List(f32, length=2), length=68),
        "landmark_state": List(Value("uint8"), length=68),
        "head_pose": List(f32, length=3),
        "expression": ClassLabel(names=list(EXPRESSIONS)),
        "eye_openness": f32,
        "mouth_openness": f32,
    }


def _subject_features(identities: Sequence[str]) -> dict[str, Any]:
    from datasets import ClassLabel, Value

    named = len(identities) <= MAX_CLASS_NAMES
    return {
        "subject_id": Value("string"),
        "identity": ClassLabel(names=list(identities)) if named else Value("int32"),
        "gender": ClassLabel(names=list(GENDERS)),
    }


def _attribute_features() -> dict[str, Any]:
    from datasets import ClassLabel, Value

    return {
        **{name: ClassLabel(names=list(allowed)) for name, allowed in ATTRIBUTES.items()},
        "annotation_source": Value("string"),
    }


def class_name(names: Sequence[str], index: int) -> str:
    """The name of a class; a release made by somebody else may hold numbers that have none.

    >>> class_name(GENDERS, 1), class_name(GENDERS, 7)
    ('male', 'class 7')
    """
    return names[index] if 0 <= index < len(names) else f"class {index}"


def features(config: str, identities: Sequence[str] = ()) -> Features:
    """The Hugging Face features of a config.

    Args:
        config: one of `CONFIGS`.
        identities: subject ids in the order of their first appearance; above 1,000 `identity` is an int32.

    Raises:
        ValueError: there is no such config.

    >>> features("frames", ["P_000000"])["identity"].names
    ['P_000000']
    """
    from datasets import ClassLabel, Features, Image, Value, Video

    if config not in CONFIGS:
        raise ValueError(f"config {config!r} does not exist; allowed: {', '.join(CONFIGS)}")
    List, text, i32, f32 = _list_type(), Value("string"), Value("int32"), Value("float32")
    size = {"width": i32, "height": i32}
    sequence, category = ClassLabel(names=list(SEQUENCES)), ClassLabel(names=list(CATEGORIES))
    subject, frame, attributes = _subject_features(identities), _frame_features(), _attribute_features()
    per_frame = {name: List(feature) for name, feature in frame.items()}

    if config == "video":
        head = {"video": Video(decode=False), "clip_id": text, **subject, "sequence": sequence, "fps": f32}
        return Features({**head, "num_frames": i32, **size, **per_frame, **attributes, "provenance": text})
    if config in ("image", *CATEGORIES):
        head = {"image": Image(), "image_id": text, **subject, "category": category}
        return Features({**head, **size, **frame, **attributes, "provenance": text})
    if config == "frames":
        head = {"item_id": text, "frame_index": i32, **subject, "sequence": sequence, "category": category}
        return Features({**head, **size, **frame, **attributes})
    if config == "scenes":
        faces = {**{k: List(v) for k, v in subject.items()}, **per_frame}
        for name in ("face_count", "extra_bboxes"):
            del faces[name]
        return Features({
            "image": Image(), "image_id": text, **size, "face_count": Value("uint8"), "faces": faces,
            "annotation_source": text, "provenance": text,
        })  # fmt: skip
    images, boxes, matrix = List(Image()), List(List(f32, length=4)), List(List(f32, length=3), length=3)
    head = {"radiometric": images, "item_id": text, **subject, "sequence": sequence, "category": category}
    return Features({
        **head, "frame_index": List(i32), "sensor_to_frame": matrix, "ambient": f32,
        **per_frame, "skin_bbox": boxes, "head_bbox": boxes, "landmarks_3d": List(List(List(f32, length=3), length=68)),
        "head_rotation": List(matrix), "head_translation": List(List(f32, length=3)), "camera_matrix": matrix,
        "expression_weights": List(List(f32)), "region_temperatures": List(List(f32, length=len(REGIONS))),
        "temperature": images, "segmentation": images, "depth": images, **attributes, "provenance": text,
    })  # fmt: skip


def config_description(config: str) -> str:
    """One line on what a row of ``config`` is."""
    stills = {c: f"stills of the category {c}" for c in CATEGORIES}
    return {
        "video": "one clip a row, MP4 bytes with every frame's annotations",
        "image": "stills of every category",
        "frames": "one frame or still a row, annotations without pixels",
        "radiometric": "16-bit frames, 100 x kelvin, on the sensor's pixel grid, with dense ground truth",
        "scenes": "stills with several faces",
        **stills,
    }[config]
