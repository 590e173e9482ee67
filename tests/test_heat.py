import numpy as np
import pytest

from thermvision.generation.engines.phantom.heat import MOST_EXCESS, heat_excess


def drawn(count: int, seed: int = 0, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    return heat_excess(shape, count, np.random.default_rng(seed))


def test_none_is_none_and_more_is_never_less() -> None:
    assert not drawn(0).any()
    one, three = drawn(1), drawn(3)
    assert (three >= one).all()
    assert (three > one + 1).any()
    assert all(5 < drawn(2, seed).max() <= MOST_EXCESS for seed in range(12))
    assert min(drawn(6, seed).min() for seed in range(12)) >= 0


def test_warm_things_stand_beside_the_head() -> None:
    mean = np.mean([drawn(2, seed) for seed in range(60)], axis=0)
    assert mean[:, 28:36].mean() < 0.15 * max(mean[:, :14].mean(), mean[:, -14:].mean())
    assert mean[:, :14].mean() == pytest.approx(mean[:, -14:].mean(), rel=0.5)


def test_the_same_things_on_another_grid() -> None:
    fine, coarse = drawn(3, 5, (256, 256)), drawn(3, 5, (64, 64))
    again = fine.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(again.ravel(), coarse.ravel())[0, 1] > 0.98
