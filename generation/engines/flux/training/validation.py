"""What a loop of training ends with: pictures of fixed texts and seeds, and the course of the loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from thermvision.curation.store import atomic_path, atomic_write
from thermvision.generation.engines.flux.presets import SamplingOptions, resolution_shift
from thermvision.generation.engines.flux.sampling import sample
from thermvision.generation.engines.flux.text import MOST_TOKENS, Conditioning, encode
from thermvision.generation.flux_tables import LoraTable, Validation

from .optimisers import learning_rate

if TYPE_CHECKING:
    from thermvision.generation.engines.flux.models import FluxModels

WINDOW = 100  # steps of the moving average, as the article's trainer plots it


def validation_texts(models: FluxModels, validation: Validation, masked: bool) -> list[Conditioning]:
    """The conditioning of each validation prompt, with the text encoders still there."""
    pairs = [(prompt, prompt) for prompt in validation.prompts]
    return encode(models, pairs, "trim" if masked else MOST_TOKENS)


def draw_validation(
    models: FluxModels, texts: Sequence[Conditioning], validation: Validation, folder: Path, step: int
) -> list[Path]:
    """Draw each text with the validation's seed: embedded guidance, no negative, shift by resolution.

    A picture that lies there already is not drawn again.
    """
    options = SamplingOptions(
        width=validation.width,
        height=validation.height,
        steps=validation.steps,
        guidance=validation.guidance,
        true_cfg=1.0,
        preset="trainer",
        shift=resolution_shift(validation.width, validation.height, validation.base_shift, validation.max_shift),
    )
    paths = [folder / f"step-{step:06d}-{number}.png" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        if not path.is_file():
            picture = sample(models, [text], None, [validation.seed], options)[0]
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG")
            atomic_write(path, file.getvalue())
    return paths


def moving_average(values: Sequence[float], window: int = WINDOW) -> NDArray[np.float64]:
    """Mean of each value and those before it, ``window`` at most.

    >>> moving_average([4, 2, 6], 2).tolist()
    [4.0, 3.0, 4.0]
    """
    total = np.cumsum(np.r_[0.0, np.asarray(values, np.float64)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return np.asarray((total[ends] - total[starts]) / (ends - starts), np.float64)


def write_losses(table: LoraTable, losses: Sequence[float], out: Path) -> None:
    """``losses.csv`` (step, loss, learning rate) and ``loss.png`` with the moving average."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", "loss", "learning_rate"])
    rows.writerows((k + 1, repr(loss), repr(learning_rate(table, k))) for k, loss in enumerate(losses))
    atomic_write(out / "losses.csv", text.getvalue())
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.68, 5.12), dpi=100)
    axes = figure.add_subplot()
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, linewidth=0.4, alpha=0.4, label="each step")
    axes.plot(steps, moving_average(losses), linewidth=1.5, label=f"mean of {WINDOW}")
    axes.set(xlabel="step", ylabel="loss", title=table.name)
    axes.legend()
    with atomic_path(out / "loss.png") as temporary:
        figure.savefig(temporary, format="png")
