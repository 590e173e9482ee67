"""The pixels of an item for a browser: its file as stored, one frame, a thumbnail, and 16-bit heat.

All bytes come from a release that anybody may have made: containers are named before a decoder sees them, and pixels,
frames and memory are bounded.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from thermvision.annotations.alignment import resize
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.picture_file import picture_from_bytes
from thermvision.curation.store import sha256_bytes
from thermvision.curation.video import FULL_RANGE, decode_gray, nothing_else

from .item_row import ItemRow
from .stored_rows import BoundedCache, StoredRows

THUMB_SIDE = 192  # pixels, the longer side
THUMB_QUALITY = 80
MAX_PIXELS = 2**24  # of one frame that is shown
MAX_DECODED = 2**29  # pixels that may be decoded for one frame: 2,000 of 512 x 512
MAX_FRAMES = 1_000_000  # that a video may announce
MAX_BOXES = 100_000  # of an MP4
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")  # with which an MP4 or MOV begins
_WITHIN = (b"moov", b"trak", b"mdia", b"minf", b"stbl")  # boxes on the way to a table of samples
_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

Gray = NDArray[np.uint8]
MediaType = Literal["video/mp4", "image/png", "image/jpeg"]


@dataclass(frozen=True)
class Stored:
    """The file of an item as the release holds it.

    Attributes:
        data: its bytes.
        type: what they are, found in them and not in a name.
        codec: of a video, such as "h264"; None of a picture.
        frames: how many a video announces, 0 where it does not; 1 of a picture.
        full_range: whether a video's Y spans 0..255 and not 16..235; browsers misjudge it. None of a picture.
    """

    data: bytes
    type: MediaType
    codec: str | None = None
    full_range: bool | None = None
    frames: int = 1

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes."""
        return sha256_bytes(self.data)


@dataclass(frozen=True)
class Heat:
    """Which frames of an item have a 16-bit picture, and how it lies on the frame.

    Attributes:
        frames: their numbers, in the order they are stored in.
        width, height: pixels of the sensor's grid.
        sensor_to_frame: 3 x 3 matrix from pixels of that grid to pixels of the frame; None where nobody knows.
        ambient: °C of the room, None where nobody knows.
    """

    frames: tuple[int, ...]
    width: int
    height: int
    sensor_to_frame: list[list[float]] | None
    ambient: float | None


class ReleaseMedia:
    """Media of the items of one release, for many threads at once.

    Args:
        root: folder of the release.
        memory: bytes of shards that are kept; of thumbnails and frames a quarter of that.

    media = ReleaseMedia(Path("release"))
    jpeg = media.thumb(catalogue.row(0), 12)
    """

    def __init__(self, root: Path, memory: int = 3 * 2**26) -> None:
        self.rows = StoredRows(root, memory)
        self._pictures = BoundedCache[bytes](memory // 4)

    def stored(self, item: ItemRow) -> Stored:
        """The file of an item.

        Raises:
            DamagedInputError: its shard or row is broken, or holds neither an MP4 nor a picture that browsers show.
        """
        data = self._bytes(item)
        if item.kind == "clip":
            check_mp4(data, item.item_id)
            return Stored(data, "video/mp4", *_codec(data, item.item_id))
        kind = picture_type(data, item.item_id)
        check_picture(data, item.item_id)
        return Stored(data, kind)

    def frame(self, item: ItemRow, number: int) -> Gray:
        """Gray (H, W) uint8 of a frame, as `thermvision.curation.video.decode_gray` gives it.

        Raises:
            UsageError: the item has no such frame.
            DamagedInputError: it does not decode, or is too large to be shown.
        """
        if not 0 <= number < item.num_frames:
            raise UsageError(no_frame(item, number))
        data = self._bytes(item)
        if item.kind != "clip":
            return picture_gray(data, item.item_id)
        check_mp4(data, item.item_id)
        try:
            gray: Gray = decode_gray(data, [number], MAX_DECODED)[0]
        except IndexError as error:
            raise DamagedInputError(
                f"{item.item_id} announces {item.num_frames} frames and its video has fewer ({error})"
            ) from error
        return gray

    def frame_png(self, item: ItemRow, number: int) -> bytes:
        """PNG, 8-bit gray, of a frame; errors as of `frame`."""

        def make() -> bytes:
            gray = self.frame(item, number)
            return cv2.imencode(".png", gray, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()

        return self._pictures.get(("frame", *self._place(item), number), make, len)

    def thumb(self, item: ItemRow, number: int) -> bytes:
        """JPEG, gray, of a frame whose longer side is at most `THUMB_SIDE` pixels; errors as of `frame`."""

        def make() -> bytes:
            gray = self.frame(item, number)
            factor = min(1.0, THUMB_SIDE / max(gray.shape))
            small = resize(gray, *(max(1, round(side * factor)) for side in gray.shape[::-1]))
            return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, THUMB_QUALITY])[1].tobytes()

        return self._pictures.get(("thumb", *self._place(item), number), make, len)

    def heat_facts(self, item: ItemRow) -> Heat | None:
        """Which frames have 16-bit heat; None where the item has none.

        Raises:
            DamagedInputError: its radiometric row is broken.
        """
        if item.radiometric is None:
            return None
        frames = self._heat_frames(item)
        if not frames:
            return None
        width, height = png_size(self._heat_bytes(item, 0), item.item_id)
        told = self.rows.columns(*item.radiometric, ("sensor_to_frame", "ambient")).to_pylist()[0]
        ambient = told.get("ambient")
        known = ambient is not None and math.isfinite(ambient)
        return Heat(frames, width, height, _matrix(told.get("sensor_to_frame")), ambient if known else None)

    def heat(self, item: ItemRow, number: int) -> bytes:
        """The 16-bit picture of a frame: a zlib stream of little-endian uint16 (H, W), 100 x kelvin.

        Raises:
            UsageError: the frame has none.
            DamagedInputError: it does not decode.
        """
        frames = () if item.radiometric is None else self._heat_frames(item)
        if number not in frames:
            told = f"frames {', '.join(map(str, frames[:20]))}" if frames else "none: no 16-bit data of this item"
            raise UsageError(f"frame {number} of {item.item_id} has no temperatures; allowed: {told}")

        def make() -> bytes:
            data = self._heat_bytes(item, frames.index(number))
            png_size(data, item.item_id)
            pixels = picture_from_bytes(data, f"the 16-bit picture of {item.item_id}", max_pixels=MAX_PIXELS)
            if pixels.dtype != np.uint16 or pixels.ndim != 2:
                raise DamagedInputError(
                    f"the 16-bit picture of {item.item_id} is {pixels.dtype} with {pixels.ndim} axes; allowed: 16-bit"
                    " gray PNG"
                )
            return zlib.compress(np.ascontiguousarray(pixels, "<u2").tobytes(), 1)

        assert item.radiometric is not None
        shard, row = item.radiometric
        return self._pictures.get(("heat", *self.rows.stamp(shard), row, number), make, len)

    def _bytes(self, item: ItemRow) -> bytes:
        column = "video" if item.kind == "clip" else "image"
        data = self.rows.medium(item.shard, item.row, column)
        if not data:
            raise DamagedInputError(f"{item.item_id} has no bytes in its row; the release is not whole")
        return data

    def _place(self, item: ItemRow) -> tuple[Any, ...]:
        return *self.rows.stamp(item.shard), item.row

    def _heat_frames(self, item: ItemRow) -> tuple[int, ...]:
        assert item.radiometric is not None
        pictures = self.rows.value(*item.radiometric, "radiometric")
        count = len(pictures) if pictures.is_valid else 0
        told = self.rows.columns(*item.radiometric, ("frame_index",)).to_pylist()[0].get("frame_index")
        numbers = list(range(count)) if told is None else [int(n) for n in told if n is not None]
        if len(numbers) != count or len(set(numbers)) != count:
            raise DamagedInputError(
                f"{item.item_id} has {count} 16-bit pictures and {len(set(numbers))} numbers of frames; type:"
                f" thermvision check {self.rows.root}"
            )
        return tuple(numbers)

    def _heat_bytes(self, item: ItemRow, place: int) -> bytes:
        assert item.radiometric is not None
        return _heat_bytes(self.rows.value(*item.radiometric, "radiometric")[place], f"heat of {item.item_id}")


def _heat_bytes(value: Any, name: str) -> bytes:
    """The bytes of a ``{bytes, path}`` as Arrow holds it."""
    try:
        data = value["bytes"].as_py() if value.is_valid else None
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedInputError(f"{name} is stored as {value.type}; allowed: bytes and path") from error
    if not isinstance(data, bytes) or not data:
        raise DamagedInputError(f"{name} has no bytes in its row; the release is not whole")
    return data


def _matrix(value: Any) -> list[list[float]] | None:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    whole = array.shape == (3, 3) and bool(np.isfinite(array).all()) and abs(np.linalg.det(array)) > 1e-12
    return array.tolist() if whole else None


def no_frame(item: ItemRow, number: int) -> str:
    """Says that an item has no such frame, and which it has."""
    allowed = f"allowed: 0 to {item.num_frames - 1}" if item.num_frames else "it has none"
    return f"frame {number} of {item.item_id[:100]!r} does not exist; {allowed}"


def check_picture(data: bytes, name: str) -> None:
    """Refuse a PNG or JPEG that a browser would take gigabytes to show; its head is read and no pixel.

    Raises:
        DamagedInputError: it has no size, or more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PIL's own limits; ours come below
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise DamagedInputError(f"{name} has more than {MAX_PIXELS} pixels, which is more than is shown") from None
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        reason = "its head is broken" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DamagedInputError(f"{name} does not open as a picture ({reason}); the release is not whole") from error
    if width * height > MAX_PIXELS:
        raise DamagedInputError(f"{name} has {width} x {height} pixels; allowed: {MAX_PIXELS}")


def picture_gray(data: bytes, name: str) -> Gray:
    """Gray (H, W) uint8 of a still; colour can only be what a codec left of it.

    Raises:
        DamagedInputError: it does not decode, is too large or is not of 8 bits.
    """
    picture_type(data, name)
    pixels = picture_from_bytes(data, name, max_pixels=MAX_PIXELS)
    if pixels.dtype != np.uint8:
        raise DamagedInputError(f"{name} is {pixels.dtype}; allowed: 8-bit gray")
    return np.asarray(pixels if pixels.ndim == 2 else cv2.cvtColor(np.asarray(pixels), cv2.COLOR_RGB2GRAY), np.uint8)


def picture_type(data: bytes, name: str) -> MediaType:
    """What kind of picture bytes are.

    >>> picture_type(b"<svg onload='alert(1)'>", "P_1")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.DamagedInputError: P_1 is neither PNG nor JPEG; it is not shown

    Raises:
        DamagedInputError: they are none that a browser may be given.
    """
    for magic, kind in _PICTURES.items():
        if data.startswith(magic):
            return kind  # type: ignore[return-value]
    raise DamagedInputError(f"{name} is neither PNG nor JPEG; it is not shown")


def png_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height that a PNG announces.

    Raises:
        DamagedInputError: it is no PNG, or has more than `MAX_PIXELS`.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise DamagedInputError(f"the 16-bit picture of {name} is no PNG; the release is not whole")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= MAX_PIXELS:
        raise DamagedInputError(f"the picture of {name} has {width} x {height} pixels; allowed: 1 to {MAX_PIXELS}")
    return width, height


def check_mp4(data: bytes, name: str) -> None:
    """Refuse what is no MP4 before FFmpeg guesses: a playlist could make it open other files.

    Raises:
        DamagedInputError: the bytes are no MP4, or announce more than `MAX_FRAMES`.
    """
    if data[4:8] not in _BOXES:
        raise DamagedInputError(f"{name} is no MP4; it is not shown")
    frames = max(_sample_counts(data, name), default=0)
    if frames > MAX_FRAMES:
        raise DamagedInputError(f"{name} announces {frames} frames; allowed: {MAX_FRAMES}")


def _sample_counts(data: bytes, name: str) -> Iterator[int]:
    """How many samples each table of an MP4 announces (ISO/IEC 14496-12, 8.7.3): memory is taken for all of them."""
    left, seen = [(0, len(data))], 0
    while left:
        start, end = left.pop()
        if start + 8 > end:
            continue
        if (seen := seen + 1) > MAX_BOXES:
            raise DamagedInputError(f"{name} has more than {MAX_BOXES} boxes; encode it again")
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            continue
        left.append((stop, end))
        if kind in _WITHIN:
            left.append((start + head, stop))
        elif kind in (b"stsz", b"stz2") and start + head + 12 <= stop:
            yield struct.unpack_from(">I", data, start + head + 8)[0]


def _codec(data: bytes, name: str) -> tuple[str, bool, int]:
    """Codec, whether its Y spans 0..255, and how many frames a video announces."""
    try:
        with av.open(io.BytesIO(data), "r", options=nothing_else(data)) as container:
            stream = next(iter(container.streams.video), None)
            context = None if stream is None else stream.codec_context
            if stream is None or context is None:
                raise DamagedInputError(f"{name} has no video that decodes; it is not shown")
            if not 0 < stream.width * stream.height <= MAX_PIXELS:
                raise DamagedInputError(
                    f"{name} has frames of {stream.width} x {stream.height} pixels; allowed: {MAX_PIXELS} a frame"
                )
            full = str(context.pix_fmt).startswith(("yuvj", "gray")) or int(context.color_range) == FULL_RANGE
            return str(context.name), full, int(stream.frames)
    except (av.error.FFmpegError, EOFError) as error:
        raise DamagedInputError(f"{name} does not open as a video ({error}); the release is not whole") from error
