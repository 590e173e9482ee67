import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.intake import to_gray
from thermvision.annotations.palettes import PALETTES, apply_palette
from thermvision.annotations.radiometry import GainControl, celsius_to_fahrenheit, flip_polarity, to_centikelvin

Gray = NDArray[np.uint8]


def portrait(height: int = 96, width: int = 128) -> NDArray[np.float64]:
    """Temperatures in °C: a room of 21 to 23 °C and a face of up to 35."""
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / height
    face = 1 / (1 + np.exp((np.hypot((x - 0.67) / 0.3, (y - 0.5) / 0.4) - 1) * 25))
    nose = 4 * np.exp(-((x - 0.67) ** 2 + (y - 0.55) ** 2) / 0.004)
    return 21 + 2 * y + face * (12 - nose) + np.random.default_rng(3).normal(0, 0.04, y.shape)


def gray_portrait() -> Gray:
    celsius = portrait()
    return np.rint((celsius - celsius.min()) / np.ptp(celsius) * 255).astype(np.uint8)


def jpeg(image: Gray, quality: int) -> Gray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def test_gray_is_left_as_it_is_in_every_layout() -> None:
    gray = gray_portrait()
    three = np.repeat(gray[..., None], 3, 2)
    alpha = np.concatenate([three, np.full((*gray.shape, 1), 9, np.uint8)], -1)
    layouts = [gray, gray[..., None], three, alpha, gray.astype(np.uint16), gray.astype(np.int64), gray.tolist()]
    floats = [
        gray.astype(np.float32),
        gray / 255.0,
        three / 255.0,
        gray.astype(">f4"),
        gray.astype(np.float64)[..., None],
    ]
    for pixels in [*layouts, *floats, gray[:, ::-1][:, ::-1], np.asfortranarray(three)]:
        intake = to_gray(pixels)
        np.testing.assert_array_equal(intake.gray, gray)
        assert intake.gray.dtype == np.uint8
        assert intake.gray.flags.c_contiguous
        assert intake.celsius is None
        assert not intake.inverted
        assert intake.notes["units"] == "gray (recognised)"
        assert intake.notes["palette"].startswith("none")


@pytest.mark.parametrize("name", PALETTES)
def test_every_palette_comes_back(name: str) -> None:
    gray = gray_portrait()
    intake = to_gray(apply_palette(gray, name))
    assert np.abs(intake.gray.astype(int) - gray).max() <= 1
    assert intake.inverted == (name == "black-hot")
    if name not in ("white-hot", "black-hot"):
        assert intake.notes["palette"] == f"{name} (recognised)"
        assert intake.notes["polarity"] == "white-hot (of the palette)"
    compressed = to_gray(jpeg(apply_palette(gray, name), 80))
    assert np.abs(compressed.gray.astype(int) - gray).mean() < 2
    assert compressed.inverted == intake.inverted


def test_temperatures_in_every_unit_give_the_same_frame() -> None:
    celsius = portrait()
    same = to_gray(celsius)
    assert same.celsius is not None
    np.testing.assert_allclose(same.celsius, celsius, atol=1e-5)
    np.testing.assert_array_equal(same.gray, GainControl()(celsius))
    for units, values in {
        "kelvin": celsius + 273.15,
        "fahrenheit": celsius_to_fahrenheit(celsius),
        "centikelvin": to_centikelvin(celsius),
    }.items():
        for stated in ("auto", units):
            intake = to_gray(values, units=stated)
            assert intake.notes["units"] == f"{units} ({'recognised' if stated == 'auto' else 'stated'})"
            assert intake.notes["polarity"] == "white-hot (measured)"
            assert intake.celsius is not None
            assert intake.celsius.dtype == np.float32
            assert np.abs(intake.celsius - celsius).max() < 0.006
            assert np.abs(intake.gray.astype(int) - same.gray).mean() < 1


def test_stated_units_overrule_the_values() -> None:
    celsius = portrait()
    intake = to_gray(celsius, units="fahrenheit")
    assert intake.celsius is not None
    np.testing.assert_allclose(intake.celsius, (celsius - 32) / 1.8, atol=1e-4)
    counts = to_gray(to_centikelvin(celsius), units="counts")
    assert counts.celsius is None
    assert counts.notes["units"] == "counts (stated)"
    sixteen = np.array([[0, 257, 65535]], np.uint16)
    np.testing.assert_array_equal(to_gray(sixteen, units="gray", polarity="white-hot").gray, [[0, 1, 255]])


@given(st.floats(0.25, 3), st.integers(300, 20000))
@settings(max_examples=25, deadline=None)
def test_raw_counts_mean_the_same_at_any_gain_and_offset(counts_a_centikelvin: float, offset: int) -> None:
    centikelvin = to_centikelvin(portrait()).astype(np.float64)
    one = to_gray(centikelvin.astype(np.uint16), units="counts").gray
    other = to_gray(
        np.rint((centikelvin - 29000) * counts_a_centikelvin + offset).astype(np.uint16), units="counts"
    ).gray
    assert np.abs(other.astype(int) - one).mean() < 1


@given(
    st.lists(st.floats(15, 40), min_size=4, max_size=8, unique=True),
    st.sampled_from(["celsius", "kelvin", "fahrenheit", "centikelvin", "counts", "gray", "iron", "jet"]),
)
@settings(max_examples=60, deadline=None)
def test_gray_rises_with_temperature(degrees: list[float], how: str) -> None:
    """Wide stripes of one temperature each: the middle of a warmer stripe is never darker."""
    celsius = np.repeat(np.repeat(np.array(degrees), 40)[None], 80, 0)
    level = np.rint((celsius - 15) * 10).astype(np.uint8)
    frame = {
        "celsius": celsius,
        "kelvin": celsius + 273.15,
        "fahrenheit": celsius_to_fahrenheit(celsius),
        "centikelvin": to_centikelvin(celsius),
        "counts": np.rint(7000 + 30 * celsius).astype(np.uint16),
        "gray": level,
    }
    if how in frame:
        intake = to_gray(frame[how], units=how, polarity="white-hot")
    else:
        from thermvision.annotations.palette_inversion import known_colours

        intake = to_gray(np.rint(known_colours(how)).astype(np.uint8)[level], palette=how, polarity="white-hot")
    middles = intake.gray[40, 20::40].astype(int)
    assert (np.diff(middles[np.argsort(degrees)]) >= 0).all()


def test_black_hot_is_stated_guessed_or_told_by_a_model() -> None:
    gray = gray_portrait()
    dark = flip_polarity(gray)
    for pixels, options, note in [
        (dark, {"polarity": "black-hot"}, "black-hot (stated), inverted"),
        (dark, {}, "black-hot (weak guess: black-hot with "),
        (dark, {"black_hot": lambda frame: 0.6}, "black-hot (model: black-hot with 0.60), inverted"),
        (dark, {"black_hot": lambda frame: None}, "black-hot (weak guess: black-hot with "),
    ]:
        intake = to_gray(pixels, **options)
        np.testing.assert_array_equal(intake.gray, gray)
        assert intake.inverted
        assert intake.notes["polarity"].startswith(note)
    for options in ({"polarity": "white-hot"}, {"black_hot": lambda frame: 0.4}):
        assert not to_gray(dark, **options).inverted
    seen: list[Gray] = []
    to_gray(gray, black_hot=lambda frame: seen.append(frame))
    np.testing.assert_array_equal(seen[0], gray)
    to_gray(portrait(), black_hot=lambda frame: pytest.fail("temperatures have a polarity"))


def test_a_model_may_say_that_a_known_palette_was_used_in_reverse() -> None:
    gray = gray_portrait()
    for probability, inverted in ((0.95, True), (0.8, False), (None, False)):
        intake = to_gray(apply_palette(flip_polarity(gray), "iron"), black_hot=lambda frame, p=probability: p)
        assert intake.inverted == inverted
        assert np.abs(intake.gray.astype(int) - (gray if inverted else flip_polarity(gray))).max() <= 1
    assert intake.notes["polarity"] == "white-hot (of the palette)"


def test_coloured_text_on_a_gray_picture_is_no_palette() -> None:
    picture = np.repeat(gray_portrait()[..., None], 3, 2)
    picture[3:8, 3:30] = (255, 40, 0)
    intake = to_gray(picture)
    assert "gray, colour in" in intake.notes["palette"]
    np.testing.assert_array_equal(intake.gray[20:], picture[20:, :, 0])


def test_natural_colours_are_said_to_be_such() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    intake = to_gray(colours)
    assert "natural colours" in intake.notes["palette"]
    luminance = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(intake.gray - luminance).max() <= 1


def test_palettes_can_be_stated() -> None:
    gray = gray_portrait()
    coloured = apply_palette(gray, "iron")
    assert to_gray(coloured, palette="iron").notes["palette"] == "iron (stated)"
    assert to_gray(coloured, palette="none").notes["palette"] == "none (stated): luminance"
    estimated = to_gray(coloured, palette="estimated", black_hot=lambda frame: 0.0)
    assert estimated.notes["palette"] == "estimated (stated)"
    assert np.corrcoef(estimated.gray.ravel(), gray.ravel())[0, 1] > 0.97
    sixteen = to_gray(coloured.astype(np.uint16) * 257)
    np.testing.assert_array_equal(sixteen.gray, to_gray(coloured).gray)
    np.testing.assert_array_equal(to_gray(coloured / 255.0).gray, to_gray(coloured).gray)


def test_a_source_is_read_with_its_first_frames_decoder() -> None:
    gray = gray_portrait()
    first = to_gray(apply_palette(gray, "rainbow"))
    later = np.clip(gray, 60, 120)
    again = first.decoder(apply_palette(later, "rainbow"))
    assert np.abs(again.gray.astype(int) - later).max() <= 1
    assert again.notes == first.notes
    assert again.decoder is first.decoder

    dark = to_gray(flip_polarity(gray), polarity="black-hot")
    np.testing.assert_array_equal(dark.decoder(np.full_like(gray, 5)).gray, np.full_like(gray, 250))

    celsius = portrait()
    expected = GainControl()
    warm = to_gray(celsius)
    np.testing.assert_array_equal(warm.gray, expected(celsius))
    np.testing.assert_array_equal(warm.decoder(celsius + 3).gray, expected((celsius + 3).astype(np.float32)))

    with pytest.raises(DamagedInputError, match=r"float64, 1 channel.*first was uint8, 3 channels"):
        first.decoder(celsius)


def test_holes_and_dead_pixels_leave_the_rest_alone() -> None:
    celsius = portrait()
    clean = to_gray(celsius)
    broken = celsius.copy()
    broken[5, 5:9] = (np.nan, np.inf, -np.inf, 1e30)
    intake = to_gray(broken)
    assert intake.celsius is not None
    assert np.isnan(intake.celsius[5, 5])
    assert intake.gray[5, 6] > intake.gray[5, 5]
    assert np.abs(intake.gray[20:].astype(int) - clean.gray[20:]).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (2, 1), (1, 5, 4)])
@pytest.mark.parametrize("value", [0, 17])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiny_and_flat_pictures_are_read(shape: tuple[int, ...], value: int, dtype: type) -> None:
    for units in ("auto", "counts", "celsius") if len(shape) == 2 else ("auto",):
        assert to_gray(np.full(shape, value, dtype), units=units).gray.shape == shape[:2]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), np.nan), "no value of a frame is finite"),
        (np.zeros((0, 4)), "no pixels"),
        (np.zeros((4, 0, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\); allowed: \(H, W\)"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
        (np.zeros(4), r"\(4,\)"),
        (np.float32(3), r"\(\)"),
        (np.zeros((4, 4), complex), "complex128; allowed: integers and floats"),
        (np.zeros((4, 4), bool), "bool"),
        (np.full((4, 4), None), "object"),
        (np.full((4, 4), "warm"), "<U4"),
    ],
)
def test_what_is_no_picture_is_refused(pixels: NDArray[np.generic], message: str) -> None:
    with pytest.raises(DamagedInputError, match=message):
        to_gray(pixels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": "rankine"}, "units is 'rankine'; allowed: auto, gray, celsius"),
        ({"palette": "sepia"}, "palette is 'sepia'; allowed: auto, none, estimated, iron"),
        ({"polarity": "hot"}, "polarity is 'hot'; allowed: auto, white-hot, black-hot"),
        ({"units": "kelvin"}, "'kelvin' for a picture in colours"),
    ],
)
def test_options_that_do_not_exist_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        to_gray(apply_palette(gray_portrait(), "iron"), **options)
