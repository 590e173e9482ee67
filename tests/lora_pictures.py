"""A few pictures with captions to train adapters on, and the smallest tables that do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thermvision.generation.flux_tables import LoraDataset, LoraTable

CAPTIONS = ("thermal portrait of a man", "thermal portrait of a woman with glasses", "a cold background")


def draw_pictures(folder: Path, count: int = 3) -> Path:
    """Wavy gray pictures of 96 rows and 80, 96, 112 … columns, each with a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        y, x = np.mgrid[:96, : 80 + 16 * k]
        Image.fromarray((127 + 100 * np.sin(x / 9 + k) * np.cos(y / 13)).astype(np.uint8)).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text(CAPTIONS[k % len(CAPTIONS)] + "\n")
    return folder


def dataset(folder: Path, side: int = 64, **more: Any) -> LoraDataset:
    return LoraDataset(path=str(folder), width=side, height=side, **{"min_bucket": 64, "max_bucket": 128, **more})


def tiny_table(folder: Path, **more: Any) -> LoraTable:
    """The article's settings at rank 4 for six steps in two loops, in float32 throughout unless ``more`` says else."""
    values = {"datasets": (dataset(folder),), "rank": 4, "alpha": 4.0, "steps": 6, "loops": 2}
    return LoraTable(**{**values, "fp8_base": False, "gradient_dtype": "fp32", "save_dtype": "fp32", **more})
