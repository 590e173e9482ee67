"""The source: a picture to what of it is needed for every frame — crop, features, keypoints, and the way back.

The picture is read as ``thermvision annotate`` reads it (8 and 16 bit, temperatures, false colours, black-hot), reduced
to 1280 pixels, preprocessed where that is asked for, cropped about its largest face and shown to the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import Gray
from thermvision.annotations.picture_file import read_picture
from thermvision.curation.inputs import PixelReading, Seen
from thermvision.generation.engines.liveportrait.crop import (
    CROP_SIZE,
    blend,
    crop_matrix,
    limit_size,
    paste_mask,
    paste_weight,
    warp_image,
)
from thermvision.generation.engines.liveportrait.faces import FaceReader, SeenPoints
from thermvision.generation.engines.liveportrait.keypoints import MotionInfo
from thermvision.generation.engines.liveportrait.networks import Networks, SourceFeatures
from thermvision.generation.engines.liveportrait.tensors import INPUT_SIZE, image_to_tensor
from thermvision.generation.preprocess import preprocess


@dataclass(frozen=True, eq=False)
class Portrait:
    """A source picture, ready to be animated.

    Attributes:
        picture: (H, W) uint8 with even sides, what paste-back pastes into.
        crop: (512, 512) uint8.
        to_picture: (3, 3) float32, pixels of the crop to pixels of the picture.
        features: of the crop, and what else of the warping depends on it alone.
        motion: its keypoints, pose and expression.
        ratios: how far its eyes (left, right) and lips are open; None where no face was looked for.
        notes: what was recognised, in words.
    """

    picture: Gray
    crop: Gray
    to_picture: NDArray[np.float32]
    features: SourceFeatures
    motion: MotionInfo
    ratios: tuple[NDArray[np.float32], float] | None
    notes: dict[str, str] = field(default_factory=dict)

    def paste_weight(self) -> NDArray[np.float32]:
        """(H, W) share of a drawn crop in each pixel of the picture."""
        height, width = self.picture.shape
        return paste_weight(paste_mask(), self.to_picture, width, height)

    def paste(self, drawn: Gray, weight: NDArray[np.float32]) -> Gray:
        """The picture (H, W) with a drawn crop (512, 512) in its place; ``weight`` is `paste_weight`'s."""
        return blend(drawn, self.to_picture, self.picture, weight)


def read_source(path: Path, faces: FaceReader, reading: PixelReading) -> tuple[Gray, SeenPoints | None, dict[str, str]]:
    """The picture of a file, white-hot and no longer than 1280 pixels, its largest face, and what was recognised.

    Raises:
        UsageError, DamagedInputError: the file is not there or cannot be read.
    """
    seen = Seen()
    open_polarity = reading.polarity == "auto" and faces.annotator.tells_polarity
    how = PixelReading(reading.units, reading.palette, "open" if open_polarity else reading.polarity)
    (gray,) = how.frames([read_picture(path)], seen)
    # what was stated, or decided by a guess, is not looked at again
    doubt = seen.doubt if open_polarity else 1.0
    gray, face = faces.in_picture(np.ascontiguousarray(limit_size(gray)), doubt)
    notes = {k: v for k, v in seen.notes.items() if k != "input"}
    return gray, face, notes


def make_portrait(
    networks: Networks,
    gray: Gray,
    face: SeenPoints | None,
    *,
    steps: Sequence[str] = (),
    crop: bool = True,
    name: str = "the source",
    notes: dict[str, str] | None = None,
) -> Portrait:
    """What of a white-hot picture (H, W) uint8 is needed for every frame.

    Args:
        networks: draw it later.
        gray: the picture.
        face: the face in it.
        steps: of `thermvision.generation.preprocess`, done to the whole picture.
        crop: cut the face out; otherwise the whole picture is stretched to the networks' square, face or none.
        name: for messages.
        notes: what was recognised so far.

    Raises:
        DamagedInputError: there is no face to crop about.
    """
    said = dict(notes or {})
    picture = preprocess(np.ascontiguousarray(limit_size(gray)), steps)
    height, width = picture.shape
    if face is not None and face.faces > 1:
        said["faces"] = f"{face.faces} faces; the largest is animated"
    if crop:
        if face is None:
            raise DamagedInputError(
                f"{name} shows no face; allowed: one face of 40 pixels or more; crop or enlarge it, or type --no-crop"
                " for a picture that is a face from edge to edge"
            )
        matrix = crop_matrix(face.points)
        square = warp_image(picture, matrix, CROP_SIZE, CROP_SIZE)
        small = cv2.resize(square, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA)
    else:
        matrix = np.diag([CROP_SIZE / width, CROP_SIZE / height, 1]).astype(np.float32)
        square = cv2.resize(picture, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        small = cv2.resize(picture, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR)
    image = image_to_tensor(np.asarray(small, np.uint8), networks.device)
    return Portrait(
        picture=picture,
        crop=square,
        to_picture=np.linalg.inv(matrix.astype(np.float64)).astype(np.float32),
        features=networks.features(image),
        motion=networks.motion_of(image),
        ratios=None if face is None else (face.eyes, face.lips),
        notes=said,
    )
