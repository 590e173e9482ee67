"""What a frame is compared by: a digest, a perceptual hash of the whole, and the face brought upright.

The hash is for pictures that are nearly equal as they are. The face's crop also survives another window, a mirror and
other tones: neighbours are looked up by a short vector of it, and a pair is judged by laying one crop on the other.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import ALIGNED_SIZE, TEMPLATE, similarity, warp
from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import MissingDependencyError

Gray = NDArray[np.uint8]
HASH_SIDE = 16  # 256 bits: 64 do not tell two stills of one person apart
HASH_BYTES = HASH_SIDE**2 // 8
VECTOR_SIZE = 128
CROP = 64  # side of an upright face in pixels
MARGIN = 1.5  # side of the crop over that of the embedder's, so that hair and chin are in
EDGE = 4  # pixels of a crop's border that a shift may bring in from outside
BLUR = 6.0  # sigma in pixels of what is taken for the coarse tone of a crop
_EVERYWHERE = np.full((CROP, CROP), 255, np.uint8)
LARGEST_TURN, LARGEST_SHIFT = 0.3, 12.0  # of a crop onto another: beyond it they were never the same window


def frame_digest(gray: Gray) -> int:
    """64 bits that equal pixels share, and hardly ever others.

    >>> frame_digest(np.zeros((2, 3), np.uint8)) == frame_digest(np.zeros((3, 2), np.uint8))
    False
    """
    shape = f"{gray.shape[0]}x{gray.shape[1]}:".encode()
    digest = hashlib.blake2b(shape + np.ascontiguousarray(gray).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def frame_hash(gray: Gray) -> NDArray[np.uint8]:
    """(32,) uint8, the 256 bits of ImageHash's ``phash`` of a frame (H, W).

    The frame is brought to 128 pixels a side first (area mean): that changes less than one bit in a picture, and is
    three times as fast as resizing the whole frame with Pillow.

    Raises:
        MissingDependencyError: ImageHash is not installed.
    """
    phash, from_array = _imagehash()
    small = gray
    if min(gray.shape) > 8 * HASH_SIDE:
        small = np.asarray(cv2.resize(gray, (8 * HASH_SIDE,) * 2, interpolation=cv2.INTER_AREA), np.uint8)
    return np.packbits(phash(from_array(small), HASH_SIDE).hash.ravel())


@cache
def _imagehash() -> tuple[Any, Any]:
    try:
        import imagehash
    except ImportError as error:
        raise missing("ImageHash") from error
    from PIL import Image

    return imagehash.phash, Image.fromarray


def missing(package: str) -> MissingDependencyError:
    """The error for a package of the extra ``curate``."""
    return MissingDependencyError(
        f'dedupe needs {package}, which is not installed; type: pip install -c constraints.txt -e ".[curate]"'
    )


def mirrored_hash(hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The hashes (..., 32) of the mirror images, but for the few bits whose coefficient is near the median.

    A mirror turns the sign of the cosines of odd horizontal frequency, which are every second bit.
    """
    return hashes ^ np.uint8(0b01010101)


def distances(one: NDArray[np.uint8], many: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Bits that differ between hashes (..., 32), after broadcasting.

    >>> distances(np.zeros(32, np.uint8), np.full((2, 32), 3, np.uint8)).tolist()
    [64, 64]
    """
    different = np.ascontiguousarray(one ^ many).view(np.uint64)
    return np.asarray(np.bitwise_count(different).sum(-1), np.int64)


def upright_face(gray: Gray, landmarks: ArrayLike) -> Gray | None:
    """The face (64, 64) uint8 turned upright by its landmarks (68, 2); None where those are no five places."""
    points = five_points(landmarks)
    target = (TEMPLATE - ALIGNED_SIZE / 2) / (ALIGNED_SIZE * MARGIN) * CROP + CROP / 2
    try:
        return warp(gray, similarity(points, target), CROP, CROP)
    except ValueError:
        return None


def face_vector(crop: Gray) -> NDArray[np.float32]:
    """(128,) float32 of unit length: low frequencies of an upright face, whatever monotone tone curve it went through.

    Each cosine coefficient is weighted by its radial frequency, since those of natural pictures fall by its inverse
    (D. Field, "Relations between the statistics of natural images and the response properties of cortical cells",
    JOSA A 4, 1987): coarse heat, which all faces share, would decide otherwise.
    """
    from scipy.fft import dctn

    side = 16
    rows, columns, weights = _lowest(side)
    coefficients = dctn(cv2.equalizeHist(crop).astype(np.float32), norm="ortho")[rows, columns] * weights
    length = float(np.linalg.norm(coefficients))
    return np.asarray(coefficients / max(length, 1e-12), np.float32)


def mirrored_vectors(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """The vectors (..., 128) of the mirror images: cosines of odd horizontal frequency change their sign.

    >>> crop = np.add.outer(np.arange(64) ** 2 % 97, np.arange(64)).astype(np.uint8)
    >>> bool(np.allclose(mirrored_vectors(face_vector(crop)), face_vector(crop[:, ::-1]), atol=1e-5))
    True
    """
    columns = _lowest(16)[1]
    return np.where(columns % 2, -vectors, vectors)


@cache
def _lowest(side: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Places of the `VECTOR_SIZE` lowest frequencies but the mean, and their radial frequencies."""
    rows, columns = np.divmod(np.arange(side * side), side)
    radius = np.hypot(rows, columns)
    order = np.argsort(radius, kind="stable")[1 : VECTOR_SIZE + 1]
    return rows[order], columns[order], radius[order].astype(np.float32)


def likeness(one: Gray, other: Gray) -> float:
    """How alike two upright faces (64, 64) are, -1 to 1, once one is laid on the other as well as an affine map can.

    The correlation of what remains of both when tones are equalised and coarse heat is taken away. The map is found by
    OpenCV's ECC (G. Evangelidis, E. Psarakis, "Parametric image alignment using enhanced correlation coefficient
    maximization", PAMI 30, 2008).

    >>> ramp = np.add.outer(np.arange(64) ** 2 % 97, np.arange(64)).astype(np.uint8)
    >>> round(likeness(ramp, ramp), 6)
    1.0
    """
    a, b = (np.asarray(cv2.equalizeHist(crop), np.uint8) for crop in (one, other))
    fine = _fine(b)
    best = _correlation(_fine(a), fine)
    matrix: NDArray[Any] = np.eye(2, 3, dtype=np.float32)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        _, found = cv2.findTransformECC(b, a, matrix, cv2.MOTION_AFFINE, until, _EVERYWHERE, 5)
    except cv2.error:  # flat pictures, or no map found
        return best
    matrix = np.asarray(found)
    turned, shifted = np.abs(matrix[:, :2] - np.eye(2)).max(), np.abs(matrix[:, 2]).max()
    if not (turned <= LARGEST_TURN and shifted <= LARGEST_SHIFT):
        return best
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(a, matrix, (CROP, CROP), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return max(best, _correlation(_fine(np.asarray(laid, np.uint8)), fine))


def _fine(equalised: Gray) -> NDArray[np.float32]:
    values = equalised.astype(np.float32)
    return np.asarray((values - cv2.GaussianBlur(values, (0, 0), BLUR))[EDGE:-EDGE, EDGE:-EDGE], np.float32)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = a - a.mean(), b - b.mean()
    power = float((x * x).sum()) * float((y * y).sum())
    return float((x * y).sum()) / power**0.5 if power > 0 else 0.0


def either_way(one: Gray, other: Gray) -> tuple[float, bool]:
    """`likeness` of two upright faces as they are or with the first mirrored, whichever is higher, and which it was."""
    plain = likeness(one, other)
    mirrored = likeness(np.ascontiguousarray(one[:, ::-1]), other)
    return (mirrored, True) if mirrored > plain else (plain, False)
