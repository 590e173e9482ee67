"""Looks at drawn stills as a curator would: one face, of a person nobody has met, and no flaw of the drawing.

A verdict depends on the picture, on the pictures of a folder, and on the embeddings it is compared with, and so not on
the order in which shards are drawn: a still is compared with earlier identities only where identities are cast, before
any shard is drawn (`thermvision.generation.engines.flux.casting`), in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.faces import INVERTED, Floats, Gray
from thermvision.annotations.picture_file import SUFFIXES, read_picture
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.inputs import PixelReading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from thermvision.annotations.embedder import FaceEmbedder
    from thermvision.curation.item_faces import Annotates

MAX_TRAINING_IMAGES = 200_000
_GRID = 8  # pixels a latent: seams of a failed decoding lie on this grid


@dataclass(frozen=True)
class Limits:
    """What is let through. The scores are those of `artefacts`; ``alike`` is a cosine of embeddings.

    They let rendered faces through: of 200 stills of 50 people 195 are kept, the others for a second face that the
    detector sees. Of those stills no two of different people reach a cosine of 0.6 (0.59 at most in 19,600 pairs), and
    half of the pairs of one person do. Of failed drawings there is no labelled set.
    """

    min_score: float = 0.5
    alike: float = 0.6
    least_range: float = 32.0
    most_clipped: float = 0.35
    most_blocky: float = 1.5
    most_colored: float = 0.12


@dataclass(frozen=True, eq=False)
class Verdict:
    """What was found of one still. ``reasons`` is empty where it is kept.

    Attributes:
        reasons: why it is not, each a short sentence.
        scores: numbers behind it, by name.
        annotation: of its main face.
        embedding: (D,) float32 unit vector of its main face; None where it has no landmarks.
    """

    reasons: tuple[str, ...]
    scores: Mapping[str, float]
    annotation: FrameAnnotation
    embedding: Floats | None = None

    @property
    def kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


@dataclass(frozen=True, eq=False)
class Known:
    """Faces that a still may not look like: names and embeddings (K, D)."""

    names: tuple[str, ...] = ()
    embeddings: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def with_face(self, name: str, embedding: Floats) -> Known:
        """These and one more."""
        row = np.asarray(embedding, np.float32)[None]
        return Known((*self.names, name), np.concatenate([self.embeddings, row]) if self.names else row)

    def nearest(self, embedding: Floats) -> tuple[str, float]:
        """The name that is most alike, and the cosine; ("", -1) where there are none.

        >>> Known().with_face("a", np.float32([1, 0])).nearest(np.float32([1, 0]))
        ('a', 1.0)
        """
        if not self.names:
            return "", -1.0
        cosines = self.embeddings @ embedding
        place = int(cosines.argmax())
        return self.names[place], float(cosines[place])


class Screen:
    """Judges stills.

    Args:
        annotator: finds faces and landmarks.
        embedder: says how alike faces are; None compares none.
        limits: what is let through.
        training: faces of the training images.

    >>> screen, empty = default_screen(), np.zeros((64, 64), np.uint8)
    >>> screen.look(np.dstack([empty] * 3), empty).reasons
    ('flat: its levels span 0, allowed: 32 or more', 'no face')
    """

    def __init__(
        self,
        annotator: Annotates,
        embedder: FaceEmbedder | None = None,
        limits: Limits = Limits(),
        training: Known = Known(),
    ) -> None:
        self.annotator, self.embedder, self.limits, self.training = annotator, embedder, limits, training

    @property
    def source(self) -> str:
        """Names and digests of the models."""
        return "+".join([self.annotator.source, *([self.embedder.source] if self.embedder else [])])

    def look(self, rgb: NDArray[np.uint8], gray: Gray, earlier: Known = Known()) -> Verdict:
        """The verdict on a still (H, W, 3) and its gray levels (H, W); all that speaks against it is said."""
        scores, limits = artefacts(rgb, gray), self.limits
        reasons = []
        if scores["range"] < limits.least_range:
            reasons.append(f"flat: its levels span {scores['range']:.0f}, allowed: {limits.least_range:.0f} or more")
        for name, most in (("clipped", limits.most_clipped), ("blocky", limits.most_blocky)):
            if scores[name] > most:
                reasons.append(f"{name}: {scores[name]:.2f}, allowed: {most} at most")
        if scores["colored"] > limits.most_colored:
            reasons.append(f"colored: {scores['colored']:.2f}, allowed: {limits.most_colored} at most")
        annotation, embedding = self.face(gray)
        if not annotation.face_count:
            reasons.append("no face")
        else:
            scores["score"] = annotation.bbox_score if annotation.bbox_score is not None else 1.0
            if annotation.face_count > 1:
                reasons.append(f"{annotation.face_count} faces")
            if scores["score"] < limits.min_score:
                reasons.append(f"a doubtful face: score {scores['score']:.2f}, allowed: {limits.min_score} or more")
            if annotation.landmarks is None:
                reasons.append("no landmarks")
        if embedding is not None:
            for known, what in ((earlier, "identity"), (self.training, "training image")):
                name, cosine = known.nearest(embedding)
                if known.names:
                    scores[f"nearest {what}"] = round(cosine, 4)
                if cosine >= limits.alike:
                    reasons.append(f"looks like {what} {name}: cosine {cosine:.3f}, allowed: below {limits.alike}")
        return Verdict(tuple(reasons), scores, annotation, embedding)

    def face(self, gray: Gray) -> tuple[FrameAnnotation, Floats | None]:
        """The main face of a picture, and its embedding where there is an embedder and there are landmarks."""
        ((annotation, _),) = self.annotator.main_faces([gray])
        if self.embedder is None or annotation.landmarks is None or not np.isfinite(annotation.landmarks).all():
            return annotation, None
        read = 255 - gray if annotation.source.endswith(INVERTED) else gray
        return annotation, self.embedder.embed(read, five_points(annotation.landmarks)[None])[0]


def artefacts(rgb: NDArray[np.uint8], gray: Gray) -> dict[str, float]:
    """Numbers that tell a failed drawing.

    ``range``: levels between the 1st and the 99th percentile. ``clipped``: share of pixels of level 254 or more.
    ``blocky``: mean step over the seams of an 8-pixel grid, over the mean step elsewhere. ``colored``: mean spread of
    a pixel's three channels, of 1.

    >>> frame = np.full((64, 64), 9, np.uint8)
    >>> artefacts(np.dstack([frame] * 3), frame)
    {'range': 0.0, 'clipped': 0.0, 'blocky': 1.0, 'colored': 0.0}
    """
    low, high = np.percentile(gray, (1, 99))
    levels = gray.astype(np.float32)
    on_seams, elsewhere = [], []
    for axis in (0, 1):
        steps = np.abs(np.diff(levels, axis=axis)).mean(axis=1 - axis)
        seam = np.arange(1, len(steps) + 1) % _GRID == 0
        on_seams.append(steps[seam])
        elsewhere.append(steps[~seam])
    seams, others = float(np.concatenate(on_seams).mean()), float(np.concatenate(elsewhere).mean())
    # half a level more on both sides: an even picture is not blocky for a speck
    return {
        "range": float(high - low),
        "clipped": round(float((gray >= 254).mean()), 4),
        "blocky": round((seams + 0.5) / (others + 0.5), 4),
        "colored": round(float((rgb.max(2).astype(np.float32) - rgb.min(2)).mean() / 255), 4),
    }


def luma(rgb: NDArray[np.uint8]) -> Gray:
    """Gray levels (H, W) uint8 of (H, W, 3): luma of Rec. 601, rounded.

    >>> luma(np.uint8([[[255, 0, 0], [7, 7, 7]]])).tolist()
    [[76, 7]]
    """
    return np.asarray(np.rint(rgb @ np.array([0.299, 0.587, 0.114])), np.uint8)


def read_known(folder: Path, screen: Screen) -> Known:
    """The faces of the pictures in a folder and those below it; pictures without one tell nothing.

    Raises:
        UsageError: the folder is not there, or holds no picture or too many.
        DamagedInputError: a picture cannot be read.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files or len(files) > MAX_TRAINING_IMAGES:
        raise UsageError(f"{folder} holds {len(files)} pictures; allowed: 1 to {MAX_TRAINING_IMAGES}")
    names, found = [], []
    for path in files:
        try:
            (gray,) = PixelReading().frames([read_picture(path)])
        except DamagedInputError as error:
            raise DamagedInputError(f"{error}; take it out of {folder}") from error
        _, embedding = screen.face(np.ascontiguousarray(gray))
        if embedding is not None:
            names.append(path.name)
            found.append(embedding)
    return Known(tuple(names), np.stack(found)) if found else Known()


def default_screen(limits: Mapping[str, Any] | None = None, training: Path | None = None) -> Screen:
    """A screen of the shipped models.

    Raises:
        MissingDependencyError: they are not there.
    """
    from thermvision.annotations import registry
    from thermvision.annotations.pipeline import Annotator

    annotator = Annotator(registry.detector(), registry.landmarker())
    screen = Screen(annotator, registry.embedder(), Limits(**(limits or {})))
    if training is not None:
        screen.training = read_known(training, screen)
    return screen
