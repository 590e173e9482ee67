"""Noise levels of four tools, to the digits they were measured with."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.presets import (
    PRESETS,
    SamplingOptions,
    inert,
    options_of,
    resolution_shift,
    shift_of,
    shifted,
    sigmas,
)
from thermvision.generation.flux_tables import FluxTable

# measured with the tools themselves: 8 steps at 512 x 512
COMFYUI = [1, 0.9567, 0.9045, 0.8403, 0.7595, 0.6546, 0.5128, 0.3109, 0]
DIFFUSERS = [1, 0.9293, 0.8492, 0.7578, 0.6525, 0.5298, 0.3849, 0.2115, 0]


@pytest.mark.parametrize(
    ("preset", "levels"), [("comfyui", COMFYUI), ("diffusers", DIFFUSERS), ("trainer", DIFFUSERS), ("xlabs", DIFFUSERS)]
)
def test_levels_are_those_of_the_tool(preset: str, levels: list[float]):
    assert np.round(sigmas(preset, 8, 512, 512), 4).tolist() == levels


@pytest.mark.parametrize(("width", "height", "steps"), [(512, 512, 28), (768, 512, 5), (1024, 1024, 8), (256, 256, 3)])
def test_the_diffusers_preset_equals_its_scheduler(width: int, height: int, steps: int):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=shift_of("diffusers", width, height))
    assert sigmas("diffusers", steps, width, height) == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


def test_shift_is_constant_in_comfyui_and_grows_with_size_elsewhere():
    assert [round(shift_of("diffusers", s, s), 4) for s in (512, 768, 1024)] == [0.63, 0.8467, 1.15]
    assert {shift_of("comfyui", s, s) for s in (256, 512, 1024)} == {1.15}
    assert math.exp(1.15) == pytest.approx(3.1582, abs=1e-4)  # the shift that the article trains with
    assert resolution_shift(512, 512, base=0.2, most=0.2) == 0.2
    assert sigmas("comfyui", 4, 512, 512, shift=0.0) == (1.0, 0.75, 0.5, 0.25, 0.0)


def test_a_strength_below_one_does_what_it_does_in_each_tool():
    xlabs = sigmas("xlabs", 40, 512, 512, 0.88)
    assert len(xlabs) - 1 == 35
    assert xlabs == sigmas("xlabs", 40, 512, 512)[:36]
    assert xlabs[-1] > 0.2
    assert sigmas("xlabs", 40, 512, 512, 0.995) == sigmas("xlabs", 40, 512, 512)
    assert sigmas("comfyui", 10, 512, 512, 0.5) == sigmas("comfyui", 20, 512, 512)[-11:]
    assert sigmas("diffusers", 10, 512, 512, 0.5) == sigmas("diffusers", 10, 512, 512)[5:]
    with pytest.raises(UsageError, match="leave none to run"):
        sigmas("xlabs", 2, 512, 512, 0.1)


@given(
    st.sampled_from(sorted(PRESETS)), st.integers(1, 200), st.integers(1, 64), st.integers(1, 64), st.floats(0.5, 1.0)
)
def test_levels_fall_from_one_place_to_the_next(preset: str, steps: int, w: int, h: int, denoise: float):
    if preset == "xlabs" and int((steps + 1) * denoise) < 2:
        return
    levels = sigmas(preset, steps, 16 * w, 16 * h, denoise)
    assert all(a > b for a, b in itertools.pairwise(levels))
    assert 0 < levels[0] <= 1
    assert levels[-1] == 0 or preset == "xlabs"
    if preset == "comfyui":
        assert len(levels) == steps + 1


@given(st.floats(-3, 3), st.floats(0.01, 1))
def test_shifting_there_and_back(mu: float, level: float):
    (there,) = shifted([level], mu)
    assert shifted([there], -mu)[0] == pytest.approx(level)


def test_settings_without_effect_are_named():
    say = {"negative": True, "steps": 20}
    assert inert("trainer", true_cfg=3.0, cfg_from_step=0, **say)[0].startswith("true_cfg and the negative text")
    assert inert("comfyui", true_cfg=1.0, cfg_from_step=0, **say) == ["the negative text: true_cfg is 1"]
    assert inert("xlabs", true_cfg=3.5, cfg_from_step=20, **say) == ["true_cfg: it would count from step 20 of 20"]
    assert inert("xlabs", true_cfg=3.5, cfg_from_step=3, **say) == []


def test_options_know_whether_there_is_a_second_forward():
    assert SamplingOptions(steps=4).uses_negative
    assert not SamplingOptions(steps=4, cfg_from_step=4).uses_negative
    assert not SamplingOptions(true_cfg=1.0).uses_negative
    assert not SamplingOptions(preset="trainer").uses_negative
    # 40 steps of which 35 run: the 36th is never reached
    assert not SamplingOptions(steps=40, denoise=0.88, cfg_from_step=35, preset="xlabs").uses_negative
    assert options_of(FluxTable(), 512, 512).changed == {}
    assert options_of(FluxTable(preset="xlabs", true_cfg=3.5), 512, 768).changed == {
        "height": 768, "preset": "xlabs", "true_cfg": 3.5,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"width": 500}, {"height": 0}, {"height": 8}])
def test_sizes_that_flux_does_not_draw(wrong: dict[str, int]):
    with pytest.raises(UsageError, match="multiples of 16"):
        SamplingOptions(**wrong)


def test_a_preset_that_does_not_exist():
    with pytest.raises(UsageError, match="'webui'; allowed: comfyui, diffusers, trainer, xlabs"):
        sigmas("webui", 8, 512, 512)
    with pytest.raises(UsageError, match="steps is 0"):
        sigmas("comfyui", 0, 512, 512)
