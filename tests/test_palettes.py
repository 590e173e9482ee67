import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.palettes import PALETTES, apply_palette, palette, remove_palette

GRAY = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("name", PALETTES)
def test_every_gray_has_a_colour_of_its_own_and_comes_back(name: str) -> None:
    assert len(np.unique(palette(name), axis=0)) == 256
    frame = np.stack([GRAY, GRAY[::-1]])
    coloured = apply_palette(frame, name)
    assert coloured.shape == (2, 256, 3)
    np.testing.assert_array_equal(remove_palette(coloured, name), frame)


@pytest.mark.parametrize("name", PALETTES)
def test_colours_a_little_off_come_back_nearly(name: str) -> None:
    rng = np.random.default_rng(0)
    coloured = apply_palette(rng.integers(0, 256, (64, 64), dtype=np.uint8), name)
    noisy = np.clip(coloured + rng.integers(-2, 3, coloured.shape), 0, 255).astype(np.uint8)
    off = np.abs(remove_palette(noisy, name).astype(int) - remove_palette(coloured, name))
    assert off.max() <= 6
    assert off.mean() < 2


def test_what_palettes_say() -> None:
    np.testing.assert_array_equal(palette("white-hot"), GRAY[:, None].repeat(3, 1))
    np.testing.assert_array_equal(palette("black-hot"), 255 - palette("white-hot"))
    # false colours that can be read as warmth: brighter means warmer
    luma = [palette(name) @ np.array([0.2126, 0.7152, 0.0722]) for name in ("iron", "ember")]
    assert all((np.diff(one) > -0.5).all() and one[255] - one[0] > 200 for one in luma)
    assert not palette("iron").flags.writeable


def test_what_has_no_palette_is_refused() -> None:
    with pytest.raises(UsageError, match="'viridis'; allowed: white-hot"):
        apply_palette(GRAY, "viridis")
    with pytest.raises(UsageError, match=r"\(256,\).*\(\.\.\., 3\)"):
        remove_palette(GRAY, "iron")
