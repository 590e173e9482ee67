"""How four tools draw with FLUX: the schedule of noise levels, the padding of texts, and what uses a negative one.

Sources: ComfyUI's ``ModelSamplingFlux``, schedule "simple" and ``KSampler``; diffusers' ``FluxPipeline`` and
``FlowMatchEulerDiscreteScheduler``; the sampler of ComfyUI-FluxTrainer's validation (sd-scripts); the XLabs sampler
nodes (x-flux-comfyui).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from thermvision.annotations.errors import UsageError
from thermvision.generation.flux_tables import FluxTable

BASE_SHIFT, MAX_SHIFT = 0.5, 1.15
FEWEST_TOKENS, MOST_TOKENS = 256, 4096  # of the image, at which those shifts hold
PATCH = 16  # pixels a token of the image, each way
_FINE = 10_000  # levels of ComfyUI's table, from which "simple" picks
_WHOLE_DENOISE = 0.99  # above which the XLabs nodes take all steps


@dataclass(frozen=True)
class Preset:
    """What a tool does its own way.

    Attributes:
        shift: "constant" (`MAX_SHIFT` at every size) or "resolution" (by the number of image tokens).
        schedule: "linear" levels, or "table": picked from a table of 10,000.
        tokens: T5 tokens the text is padded to.
        grows: longer text gets more tokens than that, rather than being cut.
        masked: padding is masked, which is the same as none (see `thermvision.generation.engines.flux.text`).
        cfg: whether a negative text is drawn with at all.
        denoise: what a strength below 1 does: "late" leaves out the first steps of a schedule with more, "skip"
            those of the same schedule, "early" the last ones, which leaves noise in the picture.
        seeds: what a seed of the tool gives there that it does not give here; "" where noise is the same.
    """

    shift: Literal["constant", "resolution"]
    schedule: Literal["linear", "table"]
    tokens: int
    grows: bool
    masked: bool
    cfg: bool
    denoise: Literal["late", "skip", "early"]
    seeds: str = ""

    @property
    def padding(self) -> int | Literal["trim"]:
        """What `thermvision.generation.engines.flux.text.encode` is told."""
        return "trim" if self.masked else self.tokens


PRESETS: dict[str, Preset] = {
    "comfyui": Preset("constant", "table", 256, True, False, True, "late"),
    "diffusers": Preset("resolution", "linear", 512, False, False, True, "skip"),
    "trainer": Preset(
        "resolution", "linear", 512, False, True, False, "skip", "the trainer draws packed noise on its own device"
    ),
    "xlabs": Preset(
        "resolution", "linear", 256, True, False, True, "early", "XLabs draws noise on the device in the model's dtype"
    ),
}  # fmt: skip


def preset_of(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset is {name!r}; allowed: {', '.join(PRESETS)}")
    return PRESETS[name]


def shift_of(preset: str, width: int, height: int) -> float:
    """The shift mu of a tool at a size in pixels; exp(mu) is how many times later the middle of the schedule comes.

    >>> [round(shift_of("diffusers", side, side), 4) for side in (512, 768, 1024)], shift_of("comfyui", 512, 512)
    ([0.63, 0.8467, 1.15], 1.15)
    """
    if preset_of(preset).shift == "constant":
        return MAX_SHIFT
    return resolution_shift(width, height)


def resolution_shift(width: int, height: int, base: float = BASE_SHIFT, most: float = MAX_SHIFT) -> float:
    """The shift that grows with the number of image tokens, from ``base`` at 256 to ``most`` at 4,096 and beyond."""
    tokens = (width // PATCH) * (height // PATCH)
    return base + (most - base) * (tokens - FEWEST_TOKENS) / (MOST_TOKENS - FEWEST_TOKENS)


def shifted(levels: Sequence[float], mu: float) -> tuple[float, ...]:
    """Noise levels t from 1 to 0 as exp(mu) t / (exp(mu) t + 1 - t).

    >>> shifted([1, 0.5, 0], 0.0)
    (1.0, 0.5, 0.0)
    """
    factor = math.exp(mu)
    return tuple(factor * t / (factor * t + (1 - t)) for t in levels)


def sigmas(
    preset: str, steps: int, width: int, height: int, denoise: float = 1.0, shift: float | None = None
) -> tuple[float, ...]:
    """Noise levels of a picture, from the first to the last: one more than there are steps.

    Args:
        preset: one of `PRESETS`.
        steps: asked for; ``denoise`` below 1 may run fewer.
        width: pixels; so is ``height``.
        denoise: strength in (0, 1].
        shift: mu in place of the preset's.

    >>> [round(s, 4) for s in sigmas("comfyui", 8, 512, 512)]
    [1.0, 0.9567, 0.9045, 0.8403, 0.7595, 0.6546, 0.5128, 0.3109, 0.0]

    Raises:
        UsageError: an argument is out of range, or nothing would be left to do.
    """
    rule = preset_of(preset)
    if steps < 1 or not 0 < denoise <= 1:
        raise UsageError(f"steps is {steps}, denoise {denoise}; allowed: 1 step or more, 0 < denoise <= 1")
    mu = shift_of(preset, width, height) if shift is None else shift
    # ComfyUI makes a longer schedule and takes its end: as many steps as were asked for are run
    total = int(steps / denoise) if rule.denoise == "late" else steps
    if rule.schedule == "table":
        levels = [(_FINE - int(n * (_FINE / total))) / _FINE for n in range(total)] + [0.0]
    else:
        levels = [1 - n / total for n in range(total)] + [0.0]
    found = shifted(levels, mu)
    if rule.denoise == "late":
        found = found[-(steps + 1) :]
    elif rule.denoise == "skip":
        found = found[total - max(1, min(int(steps * denoise), steps)) :]
    elif denoise <= _WHOLE_DENOISE:
        found = found[: int(len(found) * denoise)]
    if len(found) < 2:
        raise UsageError(f"{steps} steps at denoise {denoise} leave none to run; ask for more of either")
    return found


def inert(preset: str, *, true_cfg: float, negative: bool, cfg_from_step: int, steps: int) -> list[str]:
    """Settings that change nothing in this combination, in words.

    >>> inert("trainer", true_cfg=3.0, negative=True, cfg_from_step=0, steps=20)
    ['true_cfg and the negative text: the preset trainer draws without']
    """
    if not preset_of(preset).cfg:
        return ["true_cfg and the negative text: the preset trainer draws without"] if true_cfg != 1 else []
    if true_cfg == 1:
        return ["the negative text: true_cfg is 1"] if negative else []
    if cfg_from_step >= steps:
        return [f"true_cfg: it would count from step {cfg_from_step} of {steps}"]
    return []


@dataclass(frozen=True)
class SamplingOptions:
    """How pictures are drawn; see `thermvision.generation.flux_tables.FluxTable`.

    ``cache_threshold`` above 0 skips blocks whose input hardly changed (first-block cache). It changes pictures, and
    makes a row depend on its batch mates.

    >>> SamplingOptions(width=500)
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: size is 500 x 512; allowed: sides that are multiples of 16, from 16
    """

    width: int = 512
    height: int = 512
    steps: int = 28
    guidance: float = 3.5
    true_cfg: float = 3.0
    cfg_from_step: int = 0
    denoise: float = 1.0
    preset: str = "comfyui"
    shift: float | None = None
    cache_threshold: float = 0.0

    def __post_init__(self) -> None:
        if min(self.width, self.height) < PATCH or self.width % PATCH or self.height % PATCH:
            raise UsageError(
                f"size is {self.width} x {self.height}; allowed: sides that are multiples of {PATCH}, from {PATCH}"
            )

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that are not at their defaults, by name."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default}

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels, from the first to the last."""
        return sigmas(self.preset, self.steps, self.width, self.height, self.denoise, self.shift)

    @property
    def uses_negative(self) -> bool:
        """Whether there is a step with two forwards."""
        return self.true_cfg != 1 and preset_of(self.preset).cfg and self.cfg_from_step < len(self.sigmas) - 1


def options_of(table: FluxTable, width: int, height: int) -> SamplingOptions:
    """The options of a recipe's table at a size in pixels.

    >>> options_of(FluxTable(steps=8), 512, 512).changed
    {'steps': 8}

    Raises:
        UsageError: FLUX does not draw that size.
    """
    names = ("steps", "guidance", "true_cfg", "cfg_from_step", "denoise", "preset", "shift")
    return SamplingOptions(width, height, **{name: getattr(table, name) for name in names})
