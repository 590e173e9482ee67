"""What became of each item between two releases, such as two versions of one: the same, changed, added or removed.

Shards of equal digests are taken for equal without being read, so that an extended or a corrected release compares at
the cost of what is new in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import CATEGORIES, CONFIGS
from thermvision.curation.differences.diff import item_changes
from thermvision.curation.places import open_place

Change = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True)
class Changes:
    """How the items of a release differ from those of another.

    Attributes:
        added: ids of items that only the release has.
        removed: ids of those that only the other one has.
        columns: id of a changed item to the columns that differ, sorted; those of radiometric rows begin with
            ``radiometric.`` and an item that went to another category has ``category``.
        problems: what could not be compared, and why.
    """

    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def of(self, item_id: str) -> Change:
        """What became of an item that at least one of the two has.

        >>> Changes(frozenset({"P_2"}), columns={"P_1": ("bbox",)}).of("P_1")
        'changed'
        """
        if item_id in self.columns:
            return "changed"
        return "added" if item_id in self.added else "removed" if item_id in self.removed else "same"

    def of_all(self, item_ids: Iterable[str]) -> dict[str, str]:
        """`of` for each id, for `Catalogue.put_changes` of either side."""
        return {item_id: self.of(item_id) for item_id in item_ids}


def compare_items(release: Path, other: Path) -> Changes:
    """How ``release`` differs from ``other``, which counts as the one before, whatever their version numbers say.

    Rows of ``frames`` repeat what their items say and are not compared. A shard that does not read is told in
    ``problems``, and the items of its config are then taken for the same.

    Raises:
        UsageError: one of the folders is no release; one that is still being built is none.
        DamagedInputError: a manifest is broken.
    """
    before, after = open_place(other), open_place(release)
    added: set[str] = set()
    removed: set[str] = set()
    columns: dict[str, set[str]] = {}
    problems = []
    for config in CONFIGS:
        if config in ("image", "frames"):
            continue
        try:
            found = item_changes(config, before, after)
        except DamagedInputError as error:
            problems.append(f"{config} is not compared: {error}")
            continue
        _take(config, found, added, removed, columns)
    for item_id in sorted(added & removed):  # of another category than before
        columns.setdefault(item_id, set()).add("category")
    moved = added & removed
    told = {name: tuple(sorted(c)) for name, c in columns.items() if name not in (added ^ removed)}
    return Changes(frozenset(added - moved), frozenset(removed - moved), told, tuple(problems))


def _take(
    config: str, found: Mapping[str, Any], added: set[str], removed: set[str], columns: dict[str, set[str]]
) -> None:
    of_items = config in ("video", *CATEGORIES, "scenes")
    if of_items:
        added.update(found["added"])
        removed.update(found["removed"])
    else:  # 16-bit frames that came or went
        for item_id in (*found["added"], *found["removed"]):
            columns.setdefault(item_id, set()).add(config)
    for item_id, names in found["changed"].items():
        # labels in radiometric rows only repeat the item's
        mine = names if of_items else [f"{config}.{n}" for n in names if n in _OF_HEAT]
        if mine:
            columns.setdefault(item_id, set()).update(mine)


_OF_HEAT = (
    "radiometric", "frame_index", "sensor_to_frame", "ambient", "skin_bbox", "head_bbox", "landmarks_3d",
    "head_rotation", "head_translation", "camera_matrix", "expression_weights", "region_temperatures", "temperature",
    "segmentation", "depth",
)  # fmt: skip
