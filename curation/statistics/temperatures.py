"""Temperatures that radiometric rows state: of the regions of the face, and of the air."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from thermvision.annotations.schema import REGIONS, SPLITS

from ..release import Manifest
from .bins import Histogram, Measure
from .columns import batches, integers, numbers, vectors


class Temperatures:
    """Counts over `radiometric` rows; their pictures are not read.

    Attributes:
        regions: by the names of `REGIONS`, mean skin temperature of each frame in °C.
        ambient: of each row, °C.
        rows: how many rows there are.
    """

    def __init__(self) -> None:
        self.regions = {name: Histogram(Measure(name, "°C", 10, 45, 140)) for name in REGIONS}
        self.ambient = Histogram(Measure("ambient", "°C", -20, 50, 140))
        self.rows = 0

    @property
    def known(self) -> bool:
        """Whether any region of any row has a temperature."""
        return any(h.number.sum() for h in self.regions.values())

    def add(self, batch: pa.RecordBatch, split: int) -> None:
        """Count some rows of one split."""
        gender = integers(batch, "gender")
        gender = np.where((gender < 0) | (gender > 1), 2, gender)
        self.rows += batch.num_rows
        self.ambient.add(split, gender, numbers(batch, "ambient"))
        if "region_temperatures" not in batch.schema.names:
            return
        column = batch.column("region_temperatures")
        if not pa.types.is_list(column.type):
            return
        lengths = np.asarray(column.value_lengths().fill_null(0))
        values = vectors(column.flatten(), len(REGIONS))
        for place, name in enumerate(REGIONS):
            self.regions[name].add(split, np.repeat(gender, lengths), values[:, place])


def temperatures(root: Path, manifest: Manifest) -> Temperatures:
    """The temperatures of a release.

    Raises:
        DamagedInputError: a shard does not read.
    """
    seen = Temperatures()
    for shard in manifest.shards_of("radiometric"):
        for batch in batches(root / shard.path, ("gender", "ambient", "region_temperatures"), 1024):
            seen.add(batch, SPLITS.index(shard.split))
    return seen
