import numpy as np
import pytest

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.engine import subject_head
from thermvision.generation.engines.phantom.physiology import (
    ambient_shift,
    cooled,
    nose_field,
    steady_breath,
    stress_share,
    warmer,
)
from thermvision.generation.engines.phantom.thermal import SkinTemperature
from thermvision.generation.specs import Subject

HEAD = subject_head(Subject("P_000001", 1, "male", 5, {"hairstyle": "short"}))


def test_the_nose_cools_and_the_rest_does_not() -> None:
    field = nose_field(HEAD)
    marks = HEAD.topology.landmarks
    assert field[marks[30]] == pytest.approx(1)
    assert field[marks[[31, 35]]].min() > 0.3
    assert field[marks[[8, 19, 24, 36, 39, 42, 45, 48, 54]]].max() < 0.05
    assert field.min() >= 0
    assert not field[HEAD.topology.label != SEGMENTS.index("skin")].any()
    skin = SkinTemperature(np.full(len(field), 34.0), 34.0, np.zeros(len(field)))
    change = cooled(skin, field, 0.6).temperature - 34.0
    assert change.min() == pytest.approx(-0.6)
    assert cooled(skin, field, 0.0).temperature.tolist() == skin.temperature.tolist()


@pytest.mark.parametrize("duration", [10.0, 30.0])
def test_cooling_takes_its_time(duration: float) -> None:
    course = np.array([stress_share(t, duration) for t in np.linspace(0, 2 * duration, 50)])
    assert course[0] == 0
    assert (np.diff(course) > 0).all()
    assert stress_share(duration, duration) == pytest.approx(1 - np.exp(-3))
    assert stress_share(-1.0, duration) == 0


def test_a_session_moves_all_skin_and_its_level() -> None:
    skin = SkinTemperature(np.array([33.0, 35.0]), 34.0, np.array([0.0, 1.0]))
    moved = warmer(skin, 0.5)
    assert moved.temperature.tolist() == [33.5, 35.5]
    assert moved.base == 34.5
    assert moved.at(1.0).tolist() == [33.5, 36.5]
    assert warmer(skin, 0.0) is skin


def test_skin_follows_the_air_by_a_part() -> None:
    assert ambient_shift(23.0) == 0
    assert 0 < ambient_shift(33.0) - ambient_shift(23.0) < 10 * 0.3


@pytest.mark.parametrize("rate", [6.0, 15.0])
def test_breaths_a_minute(rate: float) -> None:
    breath = steady_breath(np.arange(0, 60, 1 / 30), rate, 0.2)
    crossings = np.flatnonzero((breath[:-1] < 0) & (breath[1:] >= 0))
    assert len(crossings) == rate
    assert np.abs(breath).max() == pytest.approx(1, abs=1e-3)
