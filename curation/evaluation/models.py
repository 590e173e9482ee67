"""Models run over the frames of a truth: what they find, in the same records as the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.faces import Detections, FaceDetector, FaceLandmarker, FaceShape

from ..inputs import Input, Item
from .frames import KeyIndex, KnownFace, KnownFrame, key_of
from .measures import Options
from .tasks import five_of

Gray = NDArray[np.uint8]
LOWEST_SCORE = 0.05  # average precision wants what lies below the working threshold, too
FALLBACK_SCORE = 0.5


class _Embedder(Protocol):
    source: str

    def embed(self, image: Any, keypoints: Any) -> NDArray[np.float32]: ...


class _Reader(Protocol):
    source: str

    def read(self, frame: Gray, detections: Detections) -> list[dict[str, tuple[str, float]]]: ...


@dataclass(frozen=True)
class Models:
    """The models that answer. What is None answers nothing.

    Attributes:
        detector, landmarker, embedder, attributes: see the modules of these names in `thermvision.annotations`.
        score: the detector's own working threshold.
    """

    detector: FaceDetector
    landmarker: FaceLandmarker | None = None
    embedder: _Embedder | None = None
    attributes: _Reader | None = None
    score: float = FALLBACK_SCORE

    @property
    def source(self) -> str:
        """Names and digests of the models, joined by "+"."""
        named = (self.detector, self.landmarker, self.embedder, self.attributes)
        return "+".join(model.source for model in named if model is not None)


def open_models(needed: Collection[str], detector: str, landmarker: str, embedder: str, min_face: float) -> Models:
    """The models of the given specs that are ``needed``; see `thermvision.annotations.registry`.

    Args:
        needed: "curve" (detections below the working threshold, too), "landmarks", "verification", "attributes".
        detector, landmarker, embedder: specs.
        min_face: smallest face that is looked for, in pixels; 0: the detector's own.

    Raises:
        UsageError: a spec is none.
        MissingDependencyError: a file or package is not there.
    """
    from thermvision.annotations import registry
    from thermvision.annotations.attributes import AttributeReader

    ours = detector.partition(":")[0] == "thermal"
    options = {"min_face": min_face} if ours and min_face else {}
    finder = registry.detector(detector, **options)
    score = float(getattr(finder, "threshold", FALLBACK_SCORE))
    if "curve" in needed and ours:
        finder = registry.detector(detector, threshold=min(LOWEST_SCORE, score), **options)
    return Models(
        detector=finder,
        landmarker=registry.landmarker(landmarker) if "landmarks" in needed else None,
        embedder=registry.embedder(embedder) if "verification" in needed else None,
        attributes=AttributeReader() if "attributes" in needed else None,
        score=score,
    )


@contextmanager
def readable(root: Path) -> Iterator[None]:
    """Within it a file that is gone or broken is an error that names the source.

    Raises:
        DamagedInputError: a file of ``root`` does not read.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(
            f"a file of {root} does not read ({error}); of a release, type: thermvision verify {root}"
        ) from error


def pictures(source: Input, frames: Sequence[KnownFrame]) -> Iterator[tuple[KnownFrame, Gray]]:
    """The pixels of ``frames``, in the order of the source; a frame whose picture is not there does not come."""
    by_key = {frame.key: frame for frame in frames}
    index = KeyIndex(by_key)
    clips = {key.rpartition("/")[0] for key in by_key}
    for chunk in source.chunks:
        ids = [key_of(item) for item in chunk.item_ids]
        if not any(i in clips or index.find(i) for i in ids):
            continue
        for item in chunk.read():
            if item.is_video and key_of(item.item_id) not in clips and item.path.rpartition(".")[0] not in clips:
                continue
            for number, gray in enumerate(_pixels(item)):
                key = index.find(item.frame_path(number))
                if key is not None:
                    yield by_key[key], gray


def _pixels(item: Item) -> Iterator[Gray]:
    try:
        yield from item.read()
    except DamagedInputError as error:
        raise DamagedInputError(f"{item.item_id}: {error}") from error


def run_models(
    models: Models, frames: Iterable[tuple[KnownFrame, Gray]], options: Options, in_true_boxes: bool = False
) -> tuple[dict[str, KnownFrame], dict[str, KnownFrame]]:
    """What the models say of each frame, by key: what the detector found, and the faces that the others looked at.

    Args:
        models: which to run.
        frames: truth and pixels.
        options: detections below ``score`` are kept for the curve, but nothing else is asked of them.
        in_true_boxes: look at the true boxes rather than at the found ones.
    """
    found, looked_at = {}, {}
    for frame, gray in frames:
        detections = models.detector.detect([gray])[0]
        bare = _frame(frame, gray, _faces(detections))
        found[frame.key] = bare
        if in_true_boxes:
            asked, known = frame.faces, tuple(KnownFace(f.bbox, keypoints=five_of(f)) for f in frame.faces)
        else:
            known = tuple(f for f in bare.faces if f.score >= options.score)
            asked = known
        looked_at[frame.key] = _frame(frame, gray, _looked_at(models, gray, known)) if asked else bare
    return found, looked_at


def _frame(truth: KnownFrame, gray: Gray, faces: tuple[KnownFace, ...]) -> KnownFrame:
    return replace(truth, faces=faces, height=gray.shape[0], width=gray.shape[1])


def _faces(detections: Detections) -> tuple[KnownFace, ...]:
    parts = zip(detections.bboxes, detections.scores, detections.keypoints, strict=True)
    return tuple(KnownFace(box, float(score), points) for box, score, points in parts if np.isfinite(box).all())


def _looked_at(models: Models, gray: Gray, faces: tuple[KnownFace, ...]) -> tuple[KnownFace, ...]:
    nothing = np.full((5, 2), np.nan, np.float32)
    detections = Detections(
        np.array([f.bbox for f in faces], np.float32),
        np.array([f.score for f in faces], np.float32),
        np.array([nothing if f.keypoints is None else f.keypoints for f in faces], np.float32),
    )
    shapes: Sequence[FaceShape | None] = [None] * len(faces)
    if models.landmarker is not None:
        shapes = models.landmarker.locate(gray, detections)
    read: Sequence[Mapping[str, tuple[str, float]]] = [{}] * len(faces)
    if models.attributes is not None:
        read = models.attributes.read(gray, detections)
    known = []
    for face, shape, labels in zip(faces, shapes, read, strict=True):
        if shape is not None:
            # the five points of what is measured are those of its landmarks, not those of the box it was given
            face = replace(
                face, keypoints=None, landmarks=shape.landmarks, states=shape.landmark_state, pose=shape.head_pose
            )
        known.append(replace(face, labels={name: label for name, (label, _) in labels.items()}))
    return tuple(_embedded(models.embedder, gray, known)) if models.embedder is not None else tuple(known)


def _embedded(embedder: _Embedder, gray: Gray, faces: list[KnownFace]) -> list[KnownFace]:
    points = [five_of(face) for face in faces]
    usable = [i for i, p in enumerate(points) if p is not None and np.isfinite(p).all()]
    if not usable:
        return faces
    vectors = embedder.embed(gray, np.array([points[i] for i in usable], np.float32))
    done = dict(zip(usable, vectors, strict=True))
    return [replace(f, embedding=done[i]) if i in done else f for i, f in enumerate(faces)]


def check_pictures(truth: Sequence[KnownFrame], found: Mapping[str, KnownFrame], name: str) -> list[str]:
    """A note on the frames without a picture.

    Raises:
        UsageError: no frame has one.
    """
    missing = [frame.key for frame in truth if frame.key not in found]
    if truth and len(missing) == len(truth):
        raise UsageError(
            f"{name} holds no picture of the {len(truth)} frames that the truth names, such as {truth[0].key}; give"
            " the folder they lie in with --images"
        )
    listed = ", ".join(missing[:5])
    return [f"{len(missing)} frames have no picture and were left out, such as {listed}"] if missing else []
