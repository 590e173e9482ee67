import io

import cv2
import numpy as np
import pytest
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from thermvision.annotations.errors import UsageError
from thermvision.annotations.palette_inversion import (
    KNOWN,
    estimate_palette,
    known_colours,
    known_palette,
    recognise_palette,
)

Gray = NDArray[np.uint8]


@pytest.fixture(scope="module")
def scene() -> Gray:
    """A warm head with cool nose and eyes before a cool room, every gray value in use, a little noise."""
    rng = np.random.default_rng(5)
    y, x = (np.mgrid[0:200, 0:240] + 0.5) / 200
    room = 20 + 40 * y + 25 * np.sin(7 * x)
    head = 225 - 110 * np.hypot(x - 0.6, (y - 0.5) * 0.8)
    for cx, cy, r, depth in ((0.5, 0.42, 0.05, 25), (0.7, 0.42, 0.05, 25), (0.6, 0.55, 0.06, 90)):
        head -= depth * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2)
    inside = 1 / (1 + np.exp((np.hypot((x - 0.6) / 0.28, (y - 0.5) / 0.38) - 1) * 40))
    picture = room * (1 - inside) + head * inside + 40 * np.exp(-((x - 0.6) ** 2 + (y - 0.33) ** 2) / 0.003)
    return np.clip(np.rint(picture + rng.normal(0, 1, picture.shape)), 0, 255).astype(np.uint8)


def table(name: str) -> Gray:
    return np.rint(known_colours(name)).astype(np.uint8)


def jpeg(image: Gray, quality: int) -> Gray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def mean_error(found: Gray, gray: Gray) -> float:
    return float(np.abs(found.astype(int) - gray).mean())


def correlation(found: Gray, gray: Gray) -> float:
    return float(np.corrcoef(found.ravel(), gray.ravel())[0, 1])


@pytest.mark.parametrize("name", KNOWN)
def test_an_untouched_palette_is_recognised_and_comes_back_to_one_gray_level(name: str, scene: Gray) -> None:
    coloured = table(name)[scene]
    found = recognise_palette(coloured)
    assert found is not None
    assert found.name == name
    back = found(coloured)
    assert back.dtype == np.uint8
    off = np.abs(back.astype(int) - scene) > 1
    np.testing.assert_array_equal(table(name)[back][off], coloured[off])  # grays that share a colour cannot be told


@pytest.mark.parametrize("name", KNOWN)
def test_jpeg_and_resizing_cost_few_gray_levels(name: str, scene: Gray) -> None:
    compressed = jpeg(table(name)[scene], 80)
    found = recognise_palette(compressed)
    assert found is not None
    assert found.name == name
    assert mean_error(found(compressed), scene) < 2.0
    small = jpeg(cv2.resize(table(name)[scene], (160, 133), interpolation=cv2.INTER_AREA), 80)
    found = recognise_palette(small)
    assert found is not None
    assert mean_error(found(small), cv2.resize(scene, (160, 133), interpolation=cv2.INTER_AREA)) < 4.0


@pytest.mark.parametrize("name", ["iron", "ironbow", "inferno", "hot", "jet", "turbo", "rainbow"])
def test_borders_text_and_a_colour_bar_do_not_disturb(name: str, scene: Gray) -> None:
    colours = table(name)
    image = Image.new("RGB", (320, 260), (18, 18, 18))
    image.paste(Image.fromarray(colours[scene]), (20, 30))
    draw = ImageDraw.Draw(image)
    draw.text((24, 34), "36.4 °C", fill="white", font_size=20)
    draw.text((200, 200), "SP1", fill=(0, 255, 0), font_size=14)
    draw.rectangle((120, 100, 150, 130), outline="white", width=2)
    bar = colours[np.linspace(255, 0, 200).astype(int)][:, None].repeat(14, 1)
    image.paste(Image.fromarray(bar), (290, 30))
    pixels = jpeg(np.asarray(image), 85)
    found = recognise_palette(pixels)
    assert found is not None
    assert found.name == name
    inside = (slice(140, 190), slice(20, 180))
    assert mean_error(found(pixels)[inside], scene[110:160, :160]) < 2.0


@pytest.mark.parametrize("name", ["iron", "ironbow", "inferno", "plasma", "gist_heat", "jet", "turbo", "rainbow"])
@pytest.mark.parametrize("quality", [None, 80])
def test_a_palette_nobody_knows_is_estimated_in_the_right_order(name: str, quality: int | None, scene: Gray) -> None:
    coloured = table(name)[scene]
    coloured = jpeg(coloured, quality) if quality else coloured
    found = estimate_palette(coloured)
    assert found is not None
    assert found.name == "estimated"
    assert correlation(found(coloured), scene) > 0.97


@pytest.mark.parametrize("name", ["terrain", "ocean", "brg", "gist_earth"])
def test_palettes_outside_the_list_are_estimated_too(name: str, scene: Gray) -> None:
    coloured = np.asarray(colormaps[name](np.arange(256), bytes=True), np.uint8)[:, :3][scene]
    found = recognise_palette(coloured)
    assert found is not None
    assert found.name == "estimated"
    assert correlation(found(coloured), scene) > 0.95


def test_a_palette_bent_by_colour_management_is_followed(scene: Gray) -> None:
    bent = np.clip(
        (table("inferno")[scene] / 255.0) ** 0.7 * 255 @ np.array([[0.8, 0.1, 0], [0.2, 0.9, 0.1], [0, 0, 0.9]]), 0, 255
    )
    found = recognise_palette(bent.astype(np.uint8))
    assert found is not None
    assert correlation(found(bent.astype(np.uint8)), scene) > 0.97


@pytest.mark.parametrize("name", ["iron", "jet"])
def test_later_frames_are_read_with_the_first_frames_palette(name: str, scene: Gray) -> None:
    found = recognise_palette(table(name)[scene])
    assert found is not None
    part = np.clip(scene, 90, 140)  # by itself this frame could be of many palettes
    np.testing.assert_array_equal(found(table(name)[part]), part)
    noisy = np.clip(table(name)[part].astype(int) + np.random.default_rng(0).integers(-1, 2, (*part.shape, 3)), 0, 255)
    first = found(noisy.astype(np.uint8))
    np.testing.assert_array_equal(found(noisy.astype(np.uint8)), first)  # looked up and computed are the same
    assert mean_error(first, part) < 2


def test_colours_off_a_curve_are_no_palette() -> None:
    rng = np.random.default_rng(1)
    hues = cv2.resize(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8), (200, 160), interpolation=cv2.INTER_CUBIC)
    assert recognise_palette(hues) is None
    assert estimate_palette(hues) is None
    assert recognise_palette(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_photograph_of_few_colours_is_no_false_colour_picture(seed: int) -> None:
    """A wall, a face, a shirt and grass, each from shade to light: many pixels lie on a curve, many colours do not."""
    rng = np.random.default_rng(seed)
    shade = cv2.resize(rng.random((6, 8)), (240, 200), interpolation=cv2.INTER_CUBIC)
    part = np.zeros((200, 240), int)
    part[60:, 70:170], part[140:], part[150:, 120:] = 1, 2, 3
    colours = np.array([(90, 120, 190), (225, 180, 150), (170, 60, 50), (120, 150, 80)])[part]
    photo = colours * (0.45 + 0.6 * shade[..., None]) + rng.normal(0, 3, (200, 240, 3))
    assert recognise_palette(jpeg(np.clip(photo, 0, 255).astype(np.uint8), 85)) is None


def test_a_palette_that_shares_many_colours_with_a_known_one_is_not_taken_for_it(scene: Gray) -> None:
    coloured = np.asarray(colormaps["seismic"](np.arange(256), bytes=True), np.uint8)[:, :3][scene]
    found = recognise_palette(coloured)  # its blues and reds are those of jet
    assert found is not None
    assert found.name == "estimated"
    assert correlation(found(coloured), scene) > 0.97


@pytest.mark.parametrize("name", ["iron", "jet", "nipy_spectral"])
def test_rough_texture_and_strong_compression_leave_calm_parts_to_tell_by(name: str, scene: Gray) -> None:
    noise = np.random.default_rng(0).normal(0, 14, scene.shape) * (np.arange(scene.shape[1]) > 90)
    found = recognise_palette(jpeg(table(name)[np.clip(scene + noise, 0, 255).astype(np.uint8)], 50))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 0, 0), (120, 120, 120)])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (40, 40)])
def test_plain_pictures_have_no_palette(colour: tuple[int, int, int], size: tuple[int, int]) -> None:
    assert recognise_palette(np.full((*size, 3), colour, np.uint8)) is None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="'sepia'; allowed: auto, none, estimated, iron, rainbow"):
        known_palette("sepia")
    assert not known_colours("jet").flags.writeable
