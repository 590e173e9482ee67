"""One picture file to an array, read defensively: formats, bytes and pixels are bounded, and nothing is executed.

PNG (8 and 16 bit), JPEG, BMP, TIFF (8 and 16 bit, 32-bit float) and NPY (numbers only, never pickles). A radiometric
JPEG is read as the JPEG it shows, not for the counts in its metadata.
"""

from __future__ import annotations

import io
import logging
import math
import stat
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from thermvision.annotations.errors import DamagedInputError, UsageError

SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy")
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 64 * 10**6
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_ONE_CHANNEL = {"1": "L", "LA": "L", "La": "L", "I;16B": "I;16", "I;16N": "I;16"}
_AS_IT_IS = ("L", "RGB", "I;16", "I", "F")
_NPY = b"\x93NUMPY"
_log = logging.getLogger(__name__)


def read_picture(path: str | Path, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> NDArray[np.generic]:
    """The pixels of a file: (H, W) or (H, W, 3) red green blue, of the type that the file holds; NPY as stored.

    Of a file with several pages the first is read, with a warning in the log. Alpha is dropped, palettes of indexed
    pictures are applied, and an EXIF orientation is, too.

    Raises:
        UsageError: there is no such file, or it is a folder or device.
        DamagedInputError: it is too large, of no allowed format, or broken.
    """
    return picture_from_bytes(_content(Path(path), max_bytes), str(path), max_bytes, max_pixels)


def picture_from_bytes(
    content: bytes, name: str = "a picture", max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> NDArray[np.generic]:
    """The same for a file's content, as `datasets` columns hold it; ``name`` is for the messages.

    Raises:
        DamagedInputError: it is too large, of no allowed format, or broken.

    >>> file = io.BytesIO()
    >>> Image.fromarray(np.full((2, 3), 40000, np.uint16)).save(file, "PNG")
    >>> pixels = picture_from_bytes(file.getvalue())
    >>> pixels.shape, pixels.dtype, int(pixels[0, 0])
    ((2, 3), dtype('uint16'), 40000)
    """
    if len(content) > max_bytes:
        raise DamagedInputError(f"{name} has {len(content)} bytes; allowed: {max_bytes}")
    if content.startswith(_NPY):
        return _from_npy(content, name, max_pixels)
    return _from_image(content, name, max_pixels)


def _content(path: Path, max_bytes: int) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is no file; allowed: a picture file ({', '.join(SUFFIXES)})")
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a readable picture file") from error


def _from_image(content: bytes, name: str, max_pixels: int) -> NDArray[np.generic]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken metadata; and PIL's own limits, ours come first
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                _check_size(image.size, name, max_pixels)
                pictures = getattr(image, "n_frames", 1)
                if pictures > 1:
                    _log.warning("%s holds %d pictures; the first is read", name, pictures)
                image.load()
                upright = ImageOps.exif_transpose(image)
    except DamagedInputError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        known = "PNG, JPEG, BMP, TIFF and NPY"
        # the decoder's own words hold an address in memory
        why = "no known format" if isinstance(error, UnidentifiedImageError) else error
        raise DamagedInputError(f"{name} cannot be read as a picture ({why}); allowed: {known}") from error
    mode = _ONE_CHANNEL.get(upright.mode, upright.mode)
    return np.asarray(upright.convert(mode if mode in _AS_IT_IS else "RGB"))


def _check_size(size: tuple[int, ...], name: str, max_pixels: int) -> None:
    if math.prod(size) > max_pixels or min(size, default=0) < 1:
        raise DamagedInputError(f"{name} has {' x '.join(map(str, size))} pixels; allowed: 1 to {max_pixels}")


def _from_npy(content: bytes, name: str, max_pixels: int) -> NDArray[np.generic]:
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that were written otherwise
            shape, by_columns, dtype = header(file)
    except Exception as error:  # the header is parsed as Python and fails like Python: syntax, tokens, values
        raise DamagedInputError(
            f"{name} is no NPY file that can be read ({error}); allowed: arrays of numbers"
        ) from error
    if dtype.kind not in "uif" or len(shape) not in (2, 3):
        allowed = "integers or floats of shape (H, W) or (H, W, channels)"
        raise DamagedInputError(f"{name} holds {dtype} of shape {shape}; allowed: {allowed}")
    _check_size(shape[:2], name, max_pixels)
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        missing = f"{len(content) - file.tell()} bytes of data, its header says {math.prod(shape) * dtype.itemsize}"
        raise DamagedInputError(f"{name} has {missing}; the file is cut off or was changed")
    pixels: NDArray[np.generic] = np.frombuffer(content, dtype, offset=file.tell())
    return pixels.reshape(shape, order="F" if by_columns else "C").copy()
