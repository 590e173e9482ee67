import numpy as np
import pytest

from thermvision.generation.engines.phantom.background import background_temperature


@pytest.mark.parametrize("seed", range(30))
def test_rooms_are_near_air_temperature(seed: int) -> None:
    room = background_temperature((48, 64), 22.0, np.random.default_rng(seed))
    assert room.shape == (48, 64)
    assert np.isfinite(room).all()
    assert abs(np.median(room) - 22) < 3
    assert room.min() > 14
    assert room.max() < 31


def test_same_room_on_another_grid() -> None:
    fine = background_temperature((96, 96), 22.0, np.random.default_rng(5))
    coarse = background_temperature((32, 32), 22.0, np.random.default_rng(5))
    block = fine.reshape(32, 3, 32, 3).mean((1, 3))
    assert np.abs(block - coarse).mean() < 0.05
    assert fine.std() > 0.02


def test_some_rooms_have_something_in_them() -> None:
    rooms = [background_temperature((32, 32), 22.0, np.random.default_rng(s)) for s in range(40)]
    span = np.array([np.ptp(r) for r in rooms])
    assert (span > 1.2).sum() >= 4
    assert (span < 1.0).sum() >= 10
