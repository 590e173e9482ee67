import io
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.picture_file import picture_from_bytes, read_picture

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], -1)


def encoded(pixels: NDArray[np.generic], form: str, **options: object) -> bytes:
    file = io.BytesIO()
    if form == "NPY":
        np.save(file, pixels)
    else:
        Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "pixels"),
    [
        *((form, pixels) for form in ("PNG", "TIFF", "BMP", "NPY") for pixels in (GRAY, COLOUR)),
        *((form, GRAY.astype(np.uint16) * 257) for form in ("PNG", "TIFF", "NPY")),
        *((form, GRAY / np.float32(7)) for form in ("TIFF", "NPY")),
        ("NPY", GRAY / 7.0),
        ("NPY", COLOUR.astype(">i4")),
    ],
)
def test_pixels_come_back_as_they_were_stored(form: str, pixels: NDArray[np.generic], tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(pixels, form))
    read = read_picture(path)
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == pixels.dtype


def test_lossy_and_odd_modes() -> None:
    smooth = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    assert np.abs(picture_from_bytes(encoded(smooth, "JPEG", quality=95)).astype(int) - smooth).max() <= 3
    assert picture_from_bytes(encoded(COLOUR, "JPEG")).shape == (6, 8, 3)
    alpha = np.concatenate([COLOUR, np.full((6, 8, 1), 7, np.uint8)], -1)
    np.testing.assert_array_equal(picture_from_bytes(encoded(alpha, "PNG")), COLOUR)
    for mode, expected in {"P": COLOUR, "1": np.zeros((6, 8)), "CMYK": COLOUR}.items():
        file = io.BytesIO()
        picture = Image.fromarray(COLOUR if mode != "1" else np.zeros((6, 8), np.uint8))
        picture = picture.quantize(256) if mode == "P" else picture.convert(mode)
        picture.save(file, "PNG" if mode != "CMYK" else "TIFF")
        read = picture_from_bytes(file.getvalue())
        assert read.shape == expected.shape
        assert read.dtype == np.uint8


def test_a_jpeg_with_further_pictures_behind_it_is_its_first_picture() -> None:
    content = encoded(COLOUR, "MPO", save_all=True, append_images=[Image.fromarray(COLOUR[::-1])])
    np.testing.assert_array_equal(picture_from_bytes(content), picture_from_bytes(encoded(COLOUR, "JPEG")))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    np.testing.assert_array_equal(picture_from_bytes(encoded(GRAY, "PNG", exif=exif)), np.rot90(GRAY, -1))


def test_of_several_pages_the_first_is_read_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    content = encoded(GRAY, "TIFF", save_all=True, append_images=[Image.fromarray(255 - GRAY)])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(picture_from_bytes(content, "two.tif"), GRAY)
    assert "two.tif holds 2 pictures; the first is read" in caplog.text


def test_sizes_are_bounded(tmp_path: Path) -> None:
    for form in ("PNG", "NPY"):
        with pytest.raises(DamagedInputError, match=r"has (8 x 6|6 x 8) pixels"):
            picture_from_bytes(encoded(GRAY, form), max_pixels=47)
        assert picture_from_bytes(encoded(GRAY, form), max_pixels=48).shape == (6, 8)
    path = tmp_path / "big.png"
    path.write_bytes(encoded(GRAY, "PNG"))
    with pytest.raises(DamagedInputError, match=r"big\.png has 11 bytes; allowed: 10"):
        read_picture(path, max_bytes=10)
    bomb = encoded(np.zeros((1, 1), np.uint8), "BMP").replace(
        b"\x01\0\0\0\x01\0\0\0", b"\xff\xff\x0f\0\xff\xff\x0f\0", 1
    )
    with pytest.raises(DamagedInputError, match="allowed"):
        picture_from_bytes(bomb)


def test_an_array_file_of_anything_but_numbers_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    file = io.BytesIO()
    np.save(file, np.array([[Trap()]], object), allow_pickle=True)
    for content in (file.getvalue(), pickle.dumps(Trap())):
        with pytest.raises(DamagedInputError):
            picture_from_bytes(content)
    assert not (tmp_path / "sprung").exists()
    for array in (np.zeros(4), np.zeros((2, 2, 2, 2)), np.zeros((2, 2), complex), np.zeros((0, 2)), np.array([["a"]])):
        with pytest.raises(DamagedInputError, match="allowed"):
            picture_from_bytes(encoded(array, "NPY"))
    with pytest.raises(DamagedInputError, match="cut off or was changed"):
        picture_from_bytes(encoded(GRAY, "NPY")[:-1])
    with pytest.raises(DamagedInputError, match="no NPY file"):
        picture_from_bytes(b"\x93NUMPY\x09\x00" + bytes(40))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PPM"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(DamagedInputError, match=r"\(no known format\); allowed: PNG, JPEG, BMP, TIFF and NPY"):
        picture_from_bytes(encoded(COLOUR, form), "odd")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(UsageError, match="is no file"):
        read_picture(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match="is no file"):
        read_picture(tmp_path / "pipe.png")


@given(
    st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "NPY"]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(1, 500),
)
@settings(max_examples=150, deadline=None)
def test_damaged_files_give_pixels_or_one_error(form: str, changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(encoded(COLOUR, form))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        read = picture_from_bytes(bytes(content[:length]), max_pixels=10_000)
    except DamagedInputError:
        return
    assert read.ndim in (2, 3)
