from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import oval_face

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.inputs import Input, PixelReading, open_input
from thermvision.curation.video import each_frame, encode_gray

from .published_imitation import imitation

GRAY = oval_face(64)[0]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def frames(found: Input) -> dict[str, list[np.ndarray]]:
    return {item.path: list(item.read()) for chunk in found.chunks for item in chunk.read()}


def colour_video(path: Path, fps: int = 12) -> Path:
    """Three frames of saturated colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(fps))
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for k in range(3):
            pixels = np.zeros((64, 64, 3), np.uint8)
            pixels[..., 0], pixels[:, 32:, 2] = 200, 40 * k
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def test_a_folder_gives_its_images_and_videos_and_says_what_is_neither(tmp_path: Path) -> None:
    write(tmp_path / "in/b/one.png", png(GRAY))
    write(tmp_path / "in/a.PNG", png(GRAY // 2))
    write(tmp_path / "in/walk.mp4", encode_gray(np.stack([GRAY] * 3), 25.0))
    write(tmp_path / "in/notes.txt", b"hello")
    write(tmp_path / "in/.cache/x.png", png(GRAY))
    (tmp_path / "in/link.png").symlink_to(tmp_path / "in/a.PNG")
    found = open_input(str(tmp_path / "in"))
    assert found.items == 3
    assert found.frames == 2 + 3
    read = frames(found)
    assert list(read) == ["a.PNG", "b/one.png", "walk.mp4"]
    np.testing.assert_array_equal(read["b/one.png"], [GRAY])
    assert len(read["walk.mp4"]) == 3
    assert [(f.path, f.code) for f in found.findings] == [("link.png", "symlink"), ("notes.txt", "not-an-image")]
    items = [item for chunk in found.chunks for item in chunk.read()]
    assert [item.frame_path(1) for item in items if item.is_video] == ["walk/frame_0001.png"]
    assert [item.fps for item in items if item.is_video] == [25.0]


def test_limit_counts_images_and_videos(tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / f"{n}.png", png(GRAY))
        write(tmp_path / f"{n}.mp4", encode_gray(GRAY[None]))
    found = open_input(str(tmp_path), limit=2)
    assert [i for c in found.chunks for i in c.item_ids] == ["0.png", "1.png", "0.mp4", "1.mp4"]


def test_a_single_file(tmp_path: Path) -> None:
    found = open_input(str(write(tmp_path / "a.png", png(GRAY))))
    assert list(frames(found)) == ["a.png"]


def test_stated_black_hot_is_inverted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", png(255 - GRAY))
    found = open_input(str(path), reading=PixelReading(polarity="black-hot"))
    np.testing.assert_array_equal(frames(found)["a.png"], [GRAY])


def test_what_holds_nothing_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_input(str(tmp_path / "nowhere"))
    write(tmp_path / "notes.txt", b"hello")
    with pytest.raises(UsageError, match=r"no image and no video.*notes\.txt"):
        open_input(str(tmp_path))
    write(tmp_path / "a.png", png(GRAY))
    with pytest.raises(UsageError, match="no configs or splits"):
        open_input(str(tmp_path), split="train")


def test_a_broken_image_is_told_when_it_is_read(tmp_path: Path) -> None:
    found = open_input(str(write(tmp_path / "a.png", png(GRAY)[:60])))
    with pytest.raises(DamagedInputError, match=r"a\.png"):
        frames(found)


def test_content_changes_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", png(GRAY))
    before = open_input(str(path)).chunks[0].content
    assert open_input(str(path)).chunks[0].content == before
    write(path, png(GRAY // 3))
    assert open_input(str(path)).chunks[0].content != before


def test_each_frame_takes_gray_from_luma_and_colour_as_colour(tmp_path: Path) -> None:
    gray = list(each_frame(encode_gray(np.stack([GRAY] * 2), crf=0)))
    np.testing.assert_array_equal(gray, [GRAY, GRAY])
    coloured = list(each_frame(colour_video(tmp_path / "a.mp4")))
    assert [f.shape for f in coloured] == [(64, 64, 3)] * 3
    assert coloured[0][..., 0].mean() > 150 > coloured[0][..., 1].mean()
    with pytest.raises(DamagedInputError):
        list(each_frame(b"no video"))


def test_a_release_gives_its_rows(oval_release: Path) -> None:
    found = open_input(str(oval_release))
    assert found.items == 4 + 10
    assert found.frames == 4 * 12 + 10
    items = [item for chunk in found.chunks for item in chunk.read()]
    assert [i.item_id for i in items] == [i for c in found.chunks for i in c.item_ids]
    assert all(item.row is not None for item in items)
    still = next(item for item in items if not item.is_video)
    np.testing.assert_array_equal(next(iter(still.read())), oval_face(64)[0])
    beards = open_input(str(oval_release), config="beard", split="test", limit=1)
    assert [i for c in beards.chunks for i in c.item_ids] == ["P_000001_beard_0"]
    with pytest.raises(UsageError, match="it offers: video"):
        open_input(str(oval_release), config="scenes")


def test_the_published_archives_are_read_as_they_are(tmp_path: Path) -> None:
    found = open_input(str(imitation().write_zips(tmp_path)), limit=2)
    assert found.items == 2
    assert [len(f) for f in frames(found).values()] == [12, 8]


def test_a_column_of_a_dataset(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    rows = [{"picture": {"bytes": png(GRAY), "path": None}, "n": k} for k in range(3)]
    data = Dataset.from_list(rows, features=Features({"picture": Image(), "n": Value("int32")}))
    data.to_parquet(str(tmp_path / "data/train.parquet"))
    found = open_input(str(tmp_path / "data"), column="picture", limit=2)
    read = frames(found)
    assert list(read) == ["train/000000.png", "train/000001.png"]
    np.testing.assert_array_equal(read["train/000000.png"], [GRAY])
    with pytest.raises(UsageError, match="no column 'image'; it has: picture, n"):
        open_input(str(tmp_path / "data"), column="image")
    with pytest.raises(UsageError, match="allowed: a column of"):
        open_input(str(tmp_path / "data"), column="n")
    with pytest.raises(UsageError):
        open_input(str(tmp_path / "data"), column="picture", split="validation")
