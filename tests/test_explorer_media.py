"""Pixels for the explorer: exactly those that are stored, bounded caches, and words for whatever is broken."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from altered_shards import alter, replace

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.inputs import announced
from thermvision.curation.video import decode_gray, each_frame, encode_gray, probe
from thermvision.dataset_card.explorer import stored_rows
from thermvision.dataset_card.explorer.item_row import ItemRow
from thermvision.dataset_card.explorer.media import ReleaseMedia, check_mp4
from thermvision.dataset_card.explorer.stored_rows import BoundedCache, StoredRows

CLIPS, STILLS = "data/video/train-v1.0-00000.parquet", "data/image/frontal_pose/train-v1.0-00000.parquet"
HEAT = "data/radiometric/train-v1.0-00000.parquet"
CLIP = ItemRow(0, "P_000000_S1", "video", "clip", "train", CLIPS, 0, "P_000000", 12, 96, 96, 30.0)
STILL = ItemRow(
    1, "P_000000_frontal_pose_0", "image", "still", "train", STILLS, 0, "P_000000", 1, 64, 64, None, (HEAT, 0)
)  # fmt: skip


def stored_clip(root: Path) -> bytes:
    data = pq.read_table(root / CLIPS, partitioning=None)["video"][0]["bytes"].as_py()
    assert isinstance(data, bytes)
    return data


def with_medium(root: Path, shard: str, data: bytes | None) -> None:
    def change(rows: list[dict[str, object]]) -> None:
        rows[0]["video" if shard == CLIPS else "image"] = {"bytes": data, "path": "x"}

    alter(root, shard, change)


def test_frames_are_the_stored_pixels(oval_release: Path) -> None:
    media, whole = ReleaseMedia(oval_release), decode_gray(stored_clip(oval_release))
    for number in (11, 0, 5, 10, 9):
        png = cv2.imdecode(np.frombuffer(media.frame_png(CLIP, number), np.uint8), cv2.IMREAD_UNCHANGED)
        assert png.shape == (96, 96)
        assert (png == whole[number]).all()
    still = pq.read_table(oval_release / STILLS, partitioning=None)["image"][0]["bytes"].as_py()
    assert (media.frame(STILL, 0) == cv2.imdecode(np.frombuffer(still, np.uint8), cv2.IMREAD_GRAYSCALE)).all()
    assert media.stored(STILL).data == still
    clip = media.stored(CLIP)
    assert (clip.data, clip.type, clip.codec) == (stored_clip(oval_release), "video/mp4", "h264")
    assert clip.full_range is True
    for number in (12, -1):
        with pytest.raises(UsageError, match="allowed: 0 to 11"):
            media.frame(CLIP, number)


def test_thumbnails_keep_the_shape_and_never_grow(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    with_medium(root, CLIPS, encode_gray(np.full((12, 400, 200), 77, np.uint8)))
    media = ReleaseMedia(root)
    tall = cv2.imdecode(np.frombuffer(media.thumb(CLIP, 6), np.uint8), cv2.IMREAD_UNCHANGED)
    assert tall.shape == (192, 96)
    assert abs(int(tall[90, 50]) - 77) <= 1
    small = cv2.imdecode(np.frombuffer(media.thumb(STILL, 0), np.uint8), cv2.IMREAD_UNCHANGED)
    assert small.shape == (64, 64)


def test_heat_is_the_16_bit_frame(oval_release: Path) -> None:
    media = ReleaseMedia(oval_release)
    facts = media.heat_facts(STILL)
    assert facts is not None
    assert (facts.frames, facts.width, facts.height, facts.sensor_to_frame, facts.ambient) == ((0,), 40, 40, None, None)
    kelvin = np.frombuffer(zlib.decompress(media.heat(STILL, 0)), "<u2").reshape(40, 40)
    assert kelvin[0, 0] == 29315
    assert kelvin[20, 20] == 30815
    assert media.heat_facts(CLIP) is None
    for item, number in ((STILL, 1), (CLIP, 0)):
        with pytest.raises(UsageError, match=r"has no temperatures; allowed: (frames 0|none)"):
            media.heat(item, number)


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG of a size, and little behind it."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


NOISE = encode_gray(np.random.default_rng(0).integers(0, 256, (12, 64, 64), np.uint8))
BROKEN_CLIPS = {
    "empty": b"",
    "null": None,
    "cut off": NOISE[: len(NOISE) // 3],
    "only its head": NOISE[:900],
    "noise": bytes(range(256)) * 9,
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
    "list of files": b"ffconcat version 1.0\nfile 'secret.mp4'\n",
    "boxes in circles": struct.pack(">I4s", 8, b"free") * 50,
    "box without end": struct.pack(">I4s", 0, b"moov") + struct.pack(">I4s", 1, b"trak"),
}


@pytest.mark.parametrize("name", BROKEN_CLIPS)
def test_a_broken_clip_is_told(name: str, oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    with_medium(root, CLIPS, BROKEN_CLIPS[name])
    media = ReleaseMedia(root)
    for ask in (lambda: media.thumb(CLIP, 6), lambda: media.frame_png(CLIP, 11)):
        with pytest.raises(DamagedInputError, match=r"P_000000_S1|a video of|cannot"):
            ask()


@pytest.mark.parametrize(
    "list_of_files", ["#EXTM3U\n#EXTINF:1,\nsecret.mp4\n", "ffconcat version 1.0\nfile secret.mp4\n"]
)
def test_no_clip_makes_the_decoder_open_a_file(
    list_of_files: str, oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root = copied(oval_release)
    (tmp_path / "secret.mp4").write_bytes(NOISE)
    monkeypatch.chdir(tmp_path)
    with_medium(root, CLIPS, list_of_files.encode())
    for ask in (ReleaseMedia(root).stored, lambda item: ReleaseMedia(root).frame(item, 0)):
        with pytest.raises(DamagedInputError, match="is no MP4; it is not shown"):
            ask(CLIP)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "neither PNG nor JPEG"),
        (png_of(6_000, 6_000), "6000 x 6000 pixels"),
        (cv2.imencode(".png", np.full((64, 64), 9, np.uint8))[1].tobytes()[:60], "cannot be read as a picture"),
        (cv2.imencode(".png", np.full((64, 64), 9, np.uint16))[1].tobytes(), "uint16; allowed: 8-bit"),
    ],
)
def test_a_broken_still_is_told(
    data: bytes, said: str, oval_release: Path, copied: Callable[[Path], Path]
) -> None:  # fmt: skip
    root = copied(oval_release)
    with_medium(root, STILLS, data)
    with pytest.raises(DamagedInputError, match=said):
        ReleaseMedia(root).thumb(STILL, 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png_of(6_000, 6_000), "6000 x 6000 pixels"),
        (png_of(30_000, 30_000), "pixels"),
        (png_of(9, 9)[:20], "does not open"),
    ],
)
def test_no_browser_is_given_a_bomb(data: bytes, said: str, oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    with_medium(root, STILLS, data)
    with pytest.raises(DamagedInputError, match=said):
        ReleaseMedia(root).stored(STILL)


def test_broken_heat_is_told(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    pictures = [
        (cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes(), [0], "16-bit gray PNG"),
        (png_of(60_000, 60_000), [0], "60000 x 60000"),
        (b"no picture", [0], "is no PNG"),
        (cv2.imencode(".png", np.zeros((8, 8), np.uint16))[1].tobytes(), [0, 1], "1 16-bit pictures and 2 numbers"),
    ]
    for data, frames, said in pictures:

        def change(rows: list[dict[str, object]], data: bytes = data, frames: list[int] = frames) -> None:
            rows[0] |= {"radiometric": [{"bytes": data, "path": "x"}], "frame_index": frames}

        alter(root, HEAT, change)
        with pytest.raises(DamagedInputError, match=said):
            ReleaseMedia(root).heat(STILL, 0)


def test_a_broken_shard_is_told_and_mends(oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path) -> None:
    root = copied(oval_release)
    media, whole = ReleaseMedia(root), (root / CLIPS).read_bytes()
    good = media.thumb(CLIP, 0)
    for content in (b"", b"PAR1 nothing PAR1", whole[: len(whole) // 2]):
        (root / CLIPS).write_bytes(content)
        with pytest.raises(DamagedInputError, match=r"train-v1.0-00000.parquet does not read"):
            media.thumb(CLIP, 0)
    replace(root, CLIPS, pa.table({"clip_id": ["P_000000_S1"], "video": [7]}))
    with pytest.raises(DamagedInputError, match="stored as int64"):
        media.thumb(CLIP, 0)
    replace(root, CLIPS, pa.table({"clip_id": ["P_000000_S1"]}))
    with pytest.raises(DamagedInputError, match="has no column video"):
        media.thumb(CLIP, 0)
    (root / CLIPS).unlink()
    with pytest.raises(DamagedInputError, match="is not there"):
        media.thumb(CLIP, 0)
    (tmp_path / "elsewhere.parquet").write_bytes(whole)
    (root / CLIPS).symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(DamagedInputError, match="leads out of the release"):
        media.thumb(CLIP, 0)
    (root / CLIPS).unlink()
    (root / CLIPS).write_bytes(whole)
    assert media.thumb(CLIP, 0) == good


@pytest.mark.parametrize("path", ["../x.parquet", "/etc/passwd", "data/../../x", "a\0b", "x" * 5000, "data", ""])
def test_no_path_leads_out(path: str, oval_release: Path) -> None:
    with pytest.raises(DamagedInputError):
        StoredRows(oval_release).path(path)


def test_a_row_that_is_not_there(oval_release: Path) -> None:
    rows = StoredRows(oval_release)
    assert rows.labels(CLIPS, 1)["clip_id"].to_pylist() == ["P_000000_S2"]
    for row in (2, -1):
        with pytest.raises(DamagedInputError, match=f"has no row {row}"):
            rows.labels(CLIPS, row)


def test_rows_of_several_row_groups(tmp_path: Path) -> None:
    table = pa.table({"video": [{"bytes": bytes([k]), "path": ""} for k in range(7)], "n": list(range(7))})
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=3)
    rows = StoredRows(tmp_path)
    for k in range(7):
        assert rows.value("s.parquet", k, "video")["bytes"].as_py() == bytes([k])
        assert rows.labels("s.parquet", k).to_pylist() == [{"n": k}]


def test_a_column_that_unfolds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that a dictionary repeats takes next to nothing in a file."""
    monkeypatch.setattr(stored_rows, "MAX_COLUMN_BYTES", 2**22)
    pq.write_table(pa.table({"video": [b"x" * 2**17] * 400}), tmp_path / "s.parquet", use_dictionary=True)
    assert (tmp_path / "s.parquet").stat().st_size < 2**18
    with pytest.raises(DamagedInputError, match="more than 4194304 bytes"):
        StoredRows(tmp_path).value("s.parquet", 0, "video")


def test_twenty_readers_read_once(oval_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media, reads = ReleaseMedia(oval_release), []
    read = StoredRows._batches
    monkeypatch.setattr(StoredRows, "_batches", lambda *given: reads.append(given[1:]) or read(*given))
    ready = threading.Barrier(20)

    def ask(number: int) -> bytes:
        ready.wait(20)
        return media.thumb(CLIP, number % 12)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(ask, range(20)))
    assert reads == [(CLIPS, 0, ("video",))]
    assert found[:8] == found[12:]
    assert len(set(found)) > 1


def test_the_cache_is_bounded() -> None:
    cache = BoundedCache[bytes](100)
    for k in range(50):
        cache.get(k, lambda k=k: bytes(k), len)  # type: ignore[misc]
        assert cache.bytes <= 100 or len(cache) == 1
    assert cache.bytes == 49 + 48
    cache.get("large", lambda: bytes(1000), len)
    assert (len(cache), cache.bytes) == (1, 1000)
    with pytest.raises(ZeroDivisionError):
        cache.get("x", lambda: bytes(1 // 0), len)
    assert cache.get("x", lambda: b"now", len) == b"now"


def test_bytes_are_never_a_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.mp4").write_bytes(NOISE)
    monkeypatch.chdir(tmp_path)
    for read in (probe, decode_gray, lambda data: list(each_frame(data))):
        with pytest.raises(DamagedInputError):
            read(b"ffconcat version 1.0\nfile secret.mp4\n")
        read(NOISE)
        read(tmp_path / "secret.mp4")
    assert announced(b"ffconcat version 1.0\nfile secret.mp4\n") == (0, None)
    assert announced(tmp_path / "secret.mp4") == announced(NOISE) == (12, 30.0)


def test_a_frame_that_is_half_there_is_none() -> None:
    assert decode_gray(NOISE[:-20], [0]).shape == (1, 64, 64)
    with pytest.raises(DamagedInputError, match="does not decode"):
        decode_gray(NOISE[:-20], [11])


def test_a_damaged_frame_is_none_and_the_others_are_as_stored() -> None:
    whole, refused = decode_gray(NOISE), 0
    for start in range(5000, len(NOISE) - 100, 2500):
        found = [_decoded(NOISE[:start] + bytes(8) + NOISE[start + 8 :], n) for n in range(12)]
        if any(f is None for f in found):
            refused += 1
            assert all((f == w).all() for f, w in zip(found, whole, strict=True) if f is not None)
    assert refused >= 1


def _decoded(data: bytes, number: int) -> np.ndarray | None:
    try:
        frame: np.ndarray = decode_gray(data, [number])[0]
    except DamagedInputError:
        return None
    return frame


def test_a_video_that_announces_too_much() -> None:
    """FFmpeg takes memory for every sample that a table of sizes announces."""
    data = bytearray(encode_gray(np.zeros((3, 32, 32), np.uint8)))
    check_mp4(bytes(data), "clip")
    place = data.index(b"stsz") + 4
    assert struct.unpack_from(">III", data, place)[2] == 3
    struct.pack_into(">III", data, place, 0, 1, 2_000_000_000)
    with pytest.raises(DamagedInputError, match="announces 2000000000 frames"):
        check_mp4(bytes(data), "clip")
    with pytest.raises(DamagedInputError, match="has more than 100000 boxes"):
        check_mp4(struct.pack(">I4s", 8, b"free") * 100_001, "clip")


def test_key_frames_far_apart_cost_a_bounded_time(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "long.mp4"), "w") as container:
        stream = container.add_stream("libx264", 30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 32, "yuv420p", 1000
        for k in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), 4 * k, np.uint8), "gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert decode_gray(tmp_path / "long.mp4", [9], most_pixels=10 * 32 * 32).shape == (1, 32, 32)
    with pytest.raises(DamagedInputError, match="more than 10240 pixels decode before the frame"):
        decode_gray(tmp_path / "long.mp4", [50], most_pixels=10 * 32 * 32)
