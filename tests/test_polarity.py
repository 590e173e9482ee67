import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.polarity import guess_black_hot
from thermvision.annotations.radiometry import flip_polarity


def person(width: int = 120, height: int = 100) -> np.ndarray:
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / (height, width)[0]
    middle = width / height / 2
    warm = (np.hypot(x - middle, (y - 0.45) * 0.8) < 0.22) | ((y > 0.75) & (np.abs(x - middle) < 0.4))
    return np.where(warm, 190, 50).astype(np.uint8)


def test_a_person_before_a_cool_room() -> None:
    assert guess_black_hot(person()) < 0.25
    assert guess_black_hot(flip_polarity(person())) > 0.75


@given(st.integers(0, 2**32 - 1))
def test_both_polarities_of_a_picture_sum_to_one(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
    assert guess_black_hot(picture) + guess_black_hot(flip_polarity(picture)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (64, 64)])
def test_a_flat_picture_tells_nothing(shape: tuple[int, int]) -> None:
    assert guess_black_hot(np.full(shape, 77, np.uint8)) == 0.5
