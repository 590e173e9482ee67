"""Gray clips to MP4 and back through PyAV: exact frame numbers, exact gray levels, no torch.

Gray sits in the Y plane of H.264 yuv420p with U = V = 128, tagged full range, so any decoder gives back the stored
levels. Other people's MP4s are mostly limited range: their Y is stretched from 16..235 to 0..255.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError

GOP = 10
CRF = 18
MIN_PSNR = 40.0
MAX_FRAME_PIXELS = 64 * 2**20
FULL_RANGE, BT709 = 2, 1
CHROMA_NOISE = 3  # gray levels that a lossy codec may leave in the chroma of a gray video
_LIMITED_TO_FULL = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds: frames that really decode, size in pixels, frames a second, codec name."""

    num_frames: int
    width: int
    height: int
    fps: float
    codec: str


def encoder_settings(crf: int = CRF) -> dict[str, Any]:
    """The settings that `encode_gray` uses, for provenance. One thread: x264's bytes change with the thread count."""
    return {
        "codec": "libx264",
        "pix_fmt": "yuv420p",
        "crf": crf,
        "gop": GOP,
        "mbtree": 0,
        "range": "full",
        "threads": 1,
    }


def encode_gray(frames: NDArray[np.uint8], fps: float = 30.0, crf: int = CRF) -> bytes:
    """MP4 of (N, H, W) uint8 gray frames with even H and W. ``crf`` 0 is lossless.

    >>> frames = np.zeros((3, 16, 16), np.uint8)
    >>> decode_gray(encode_gray(frames)).shape
    (3, 16, 16)

    Raises:
        ValueError: wrong shape or dtype, odd size or no frame.
    """
    if frames.ndim != 3 or frames.dtype != np.uint8 or not len(frames) or frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; allowed: uint8 (N >= 1, even H, even W)")
    with tempfile.TemporaryDirectory() as folder:  # faststart moves bytes within a real file
        path = Path(folder) / "clip.mp4"
        _write_mp4(path, frames, frames.shape[1:], Fraction(fps).limit_denominator(1001), crf)
        return path.read_bytes()


def encode_as_made(frames: Iterable[NDArray[np.uint8]], fps: float = 30.0) -> tuple[NDArray[np.uint8], bytes, int]:
    """`encode_faithful` of frames (H, W) that are still being made: (N, H, W), the bytes and the CRF.

    The result is the same; the encoder works while the next frame is made.

    >>> frames = np.arange(3 * 256, dtype=np.uint8).reshape(3, 16, 16)
    >>> made, data, crf = encode_as_made(iter(frames))
    >>> bool((made == frames).all()), (data, crf) == encode_faithful(frames)
    (True, True)

    Raises:
        ValueError: no frame, an odd size, or not uint8 gray.
    """
    rest = iter(frames)
    made = list(islice(rest, 1))
    if not made or made[0].ndim != 2 or made[0].dtype != np.uint8 or made[0].shape[0] % 2 or made[0].shape[1] % 2:
        seen = f"{made[0].dtype} {made[0].shape}" if made else "none"
        raise ValueError(f"the first frame is {seen}; allowed: uint8 (even H, even W)")

    def kept() -> Iterator[NDArray[np.uint8]]:
        yield made[0]
        for frame in rest:
            made.append(frame)
            yield frame

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        _write_mp4(path, kept(), made[0].shape, Fraction(fps).limit_denominator(1001), CRF)
        data = path.read_bytes()
    whole = np.stack(made)
    if min_psnr(whole, decode_gray(data)) >= MIN_PSNR:
        return whole, data, CRF
    return (whole, *encode_faithful(whole, fps))


def _write_mp4(path: Path, frames: Iterable[NDArray[np.uint8]], shape: Sequence[int], fps: Fraction, crf: int) -> None:
    height, width = shape
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        # x264's macroblock tree gives other bytes from run to run on narrow frames; with a GOP of 10 it gains nothing
        quality = {"qp": "0"} if crf == 0 else {"crf": str(crf), "mbtree": "0"}
        stream = container.add_stream("libx264", fps, options=quality)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = GOP
        context = stream.codec_context
        context.thread_count = 1
        context.color_range, context.colorspace = FULL_RANGE, BT709
        neutral = np.full((height // 2, width // 2), 128, np.uint8)
        for index, gray in enumerate(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, values in zip(frame.planes, (gray, neutral, neutral), strict=True):
                _fill(plane, values)
            frame.color_range, frame.pts, frame.time_base = FULL_RANGE, index, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def encode_faithful(frames: NDArray[np.uint8], fps: float = 30.0, psnr: float = MIN_PSNR) -> tuple[bytes, int]:
    """`encode_gray` at the largest CRF (18, 14, …) whose worst frame is within ``psnr`` dB; also returns that CRF."""
    for crf in (*range(CRF, 0, -4), 0):
        data = encode_gray(frames, fps, crf)
        if crf == 0 or min_psnr(frames, decode_gray(data)) >= psnr:
            return data, crf
    raise AssertionError("unreachable: CRF 0 is lossless")


def min_psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR in dB of the worst frame between two (N, H, W) uint8 clips; inf when they are equal."""
    errors = [np.mean((x.astype(np.float32) - y) ** 2, dtype=np.float64) for x, y in zip(a, b, strict=True)]
    worst = max(errors)
    return float("inf") if worst == 0 else float(10 * np.log10(255.0**2 / worst))


def _fill(plane: Any, values: NDArray[np.uint8]) -> None:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    rows[: values.shape[0], : values.shape[1]] = values


def _gray(frame: Any) -> NDArray[np.uint8]:
    name = frame.format.name
    if not (name.startswith(("yuv4", "yuvj4")) or name == "gray") or name.endswith(("le", "be")):
        array: NDArray[np.uint8] = frame.to_ndarray(format="gray")
        return array
    plane = frame.planes[0]
    y = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    full = name == "gray" or name.startswith("yuvj") or int(frame.color_range) == FULL_RANGE
    return y.copy() if full else _LIMITED_TO_FULL[y]


@contextlib.contextmanager
def _opened(data: bytes | Path) -> Iterator[tuple[Any, Any]]:
    name = _name(data)
    source = str(data) if isinstance(data, Path) else io.BytesIO(data)
    try:
        with av.open(source, "r", options=nothing_else(data)) as container:
            if not container.streams.video:
                raise DamagedInputError(f"{name} holds no video stream; allowed: MP4 with one video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DamagedInputError(f"{name} has no decodable video stream; fetch the file again or leave it out")
            if stream.width * stream.height > MAX_FRAME_PIXELS:
                size = f"{stream.width} x {stream.height}"
                raise DamagedInputError(
                    f"{name} has frames of {size} pixels; allowed: {MAX_FRAME_PIXELS} pixels a frame"
                )
            stream.codec_context.thread_count = 1  # callers parallelise over clips
            yield container, stream
    except (av.error.FFmpegError, EOFError) as error:
        raise DamagedInputError(f"{name} does not decode ({error}); fetch the file again or leave it out") from error


def _checked(container: Any, stream: Any, name: str) -> Iterator[Any]:
    count = 0
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise DamagedInputError(f"{name}: frame {count} is corrupt; fetch the file again or leave it out")
        count += 1
        yield frame
    if stream.frames and count != stream.frames:
        raise DamagedInputError(
            f"{name} announces {stream.frames} frames and {count} decode; fetch the file again or leave it out"
        )


def nothing_else(data: bytes | Path) -> dict[str, str]:
    """Options of FFmpeg with which a video cannot be a list of other files, or for a path at least not of addresses."""
    return {"protocol_whitelist": "file" if isinstance(data, Path) else "none"}


def _name(data: bytes | Path) -> str:
    return str(data) if isinstance(data, Path) else f"a video of {len(data)} bytes"


def probe(data: bytes | Path) -> VideoInfo:
    """Decode a video to its end, holding one frame at a time, and say what it holds.

    Raises:
        DamagedInputError: it does not open, a frame is corrupt, or frames are missing.
    """
    with _opened(data) as (container, stream):
        count = sum(1 for _ in _checked(container, stream, _name(data)))
        if not count:
            raise DamagedInputError(f"{_name(data)} holds no frame; fetch the file again or leave it out")
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        return VideoInfo(count, stream.width, stream.height, fps, stream.codec_context.name)


def decode_gray(
    data: bytes | Path, indices: Sequence[int] | None = None, most_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Gray frames (N, H, W) uint8, all of them or those at ``indices`` (any order, repeats and negatives allowed).

    Frame k is the k-th in presentation order, found by time stamp, never by counting from a seek point. Where
    ``most_pixels`` is given, ``indices`` may not make it decode more than that: a stranger's key frames lie far apart.

    Raises:
        DamagedInputError: the video does not decode, or needs more pixels.
        IndexError: an index is outside the clip.
    """
    with _opened(data) as (container, stream):
        if indices is None:
            gray = [_gray(frame) for frame in _checked(container, stream, _name(data))]
            return np.stack(gray) if gray else np.zeros((0, stream.height, stream.width), np.uint8)
        packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.pts is not None and p.size]
        times = sorted(pts for pts, _ in packets)
        keys = sorted(pts for pts, key in packets if key)
        wanted = [_position(int(i), len(times)) for i in indices]
        frames = _at_times(container, stream, sorted({times[i] for i in wanted}), keys, _name(data), most_pixels)
        return (
            np.stack([frames[times[i]] for i in wanted])
            if wanted
            else np.zeros((0, stream.height, stream.width), np.uint8)
        )


def each_frame(data: bytes | Path) -> Iterator[NDArray[Any]]:
    """Frames of anybody's video, one at a time: gray (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB where coloured.

    Gray comes from the Y plane where both chroma planes are neutral, as in `decode_gray`. Unlike there, a file that
    announces another number of frames than decode is read all the same.

    Raises:
        DamagedInputError: it does not open, a frame is corrupt, or there is none.
    """
    yield from map(_pixels, _sound(data))


def at_constant_rate(data: bytes | Path) -> tuple[float, int, Iterator[NDArray[np.uint8]]]:
    """Anybody's video at a constant rate: frames a second, how many frames, and the frames, gray (H, W) uint8.

    Frames of a variable rate are taken by their time stamps, the nearest to each tick of the mean rate; a video of a
    constant rate gives each frame once. Gray is luma, as in `decode_gray`. 25 a second where the file does not say.

    Raises:
        DamagedInputError: it does not open or holds no frame; the iterator raises it for a frame that is corrupt.
    """
    with _opened(data) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        unit = float(stream.time_base or 1 / rate)
        packets = [p.pts for p in container.demux(stream) if p.size]
        if len(packets) < stream.frames:
            raise DamagedInputError(
                f"{_name(data)} announces {stream.frames} frames and holds {len(packets)}; fetch the file again"
            )
    times = sorted(pts * unit for pts in packets if pts is not None)
    since = np.array(times) - times[0] if times else np.zeros(0)
    if _even(since, rate):
        return rate, len(since), _each_gray(data, None)
    rate = (len(since) - 1) / since[-1]
    if _even(since, rate):
        return rate, len(since), _each_gray(data, None)
    ticks = np.arange(int(np.floor(since[-1] * rate + 0.5)) + 1) / rate
    after = np.searchsorted(since, ticks).clip(1, len(since) - 1)
    nearest = np.where(ticks - since[after - 1] <= since[after] - ticks, after - 1, after)
    return rate, len(ticks), _each_gray(data, np.bincount(nearest, minlength=len(since)))


def _even(times: NDArray[np.float64], rate: float) -> bool:
    """Whether each frame is nearer to its own tick of ``rate`` than to the next; also where there is but one time."""
    return len(times) < 2 or not times[-1] or float(np.abs(times * rate - np.arange(len(times))).max()) < 0.5


def _each_gray(data: bytes | Path, repeats: NDArray[np.intp] | None) -> Iterator[NDArray[np.uint8]]:
    for number, frame in enumerate(_sound(data)):
        # a file may hold more frames than its index says
        times = 1 if repeats is None else int(repeats[number]) if number < len(repeats) else 0
        if times:
            gray = _gray(frame)
            yield from (gray for _ in range(times))


def _sound(data: bytes | Path) -> Iterator[Any]:
    """Decoded frames; a corrupt one, or none at all, is a DamagedInputError."""
    with _opened(data) as (container, stream):
        count = 0
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise DamagedInputError(
                    f"{_name(data)}: frame {count} is corrupt; fetch the file again or leave it out"
                )
            count += 1
            yield frame
        if not count:
            raise DamagedInputError(f"{_name(data)} holds no frame; fetch the file again or leave it out")


def _pixels(frame: Any) -> NDArray[Any]:
    if frame.format.name.startswith("gray1"):
        deep: NDArray[np.uint16] = frame.to_ndarray(format="gray16le")
        return deep
    if frame.format.name == "gray" or _neutral(frame):
        return _gray(frame)
    rgb: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return rgb


def _neutral(frame: Any) -> bool:
    """Whether 8-bit planar chroma is 128 but for what a codec adds; other layouts are looked at in colour."""
    if not frame.format.name.startswith(("yuv4", "yuvj4")) or frame.format.name.endswith(("le", "be")):
        return False
    for plane in frame.planes[1:3]:
        values = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        if int(values.min()) < 128 - CHROMA_NOISE or int(values.max()) > 128 + CHROMA_NOISE:
            return False
    return True


def _position(index: int, count: int) -> int:
    if not -count <= index < count:
        raise IndexError(f"frame {index} does not exist; allowed: {-count} to {count - 1}")
    return index % count


def _at_times(
    container: Any, stream: Any, targets: list[int], keys: list[int], name: str, most_pixels: int | None
) -> dict[int, NDArray[np.uint8]]:
    """Decode the frames whose time stamps are ``targets`` (sorted), seeking only where that skips a whole GOP."""
    found: dict[int, NDArray[np.uint8]] = {}
    decoder, position = None, None
    left = float("inf") if most_pixels is None else most_pixels
    for target in targets:
        key = keys[max(bisect_right(keys, target) - 1, 0)] if keys else None
        if decoder is None or position is None or (key is not None and key > position):
            container.seek(key if key is not None else 0, stream=stream, backward=True)
            decoder = container.decode(stream)
        for frame in decoder:
            position = frame.pts
            left -= frame.width * frame.height
            if left < 0:
                raise DamagedInputError(
                    f"{name}: more than {most_pixels} pixels decode before the frame asked for; encode it again with a"
                    f" key frame every {GOP} frames"
                )
            if position == target:
                if frame.is_corrupt:
                    raise DamagedInputError(
                        f"{name}: the frame at time stamp {target} is corrupt; fetch the file again or leave it out"
                    )
                found[target] = _gray(frame)
                break
        else:
            raise DamagedInputError(f"{name}: the frame at time stamp {target} does not decode; fetch the file again")
    return found
