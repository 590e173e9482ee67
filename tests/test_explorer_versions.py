"""What became of the items between two releases, read from the shards that differ and from no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered_shards import alter

from thermvision.annotations.errors import DamagedInputError
from thermvision.dataset_card.explorer.versions import compare_items

CLIPS, STILLS = "data/video/train-v1.0-00000.parquet", "data/image/frontal_pose/train-v1.0-00000.parquet"


def test_changes_between_two_versions(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    same = compare_items(root, oval_release)
    assert (same.added, same.removed, same.columns, same.problems) == (frozenset(), frozenset(), {}, ())
    alter(root, CLIPS, lambda rows: rows[1].update(beard=2, expression=[1] * 12))
    alter(root, STILLS, lambda rows: [rows[0], {**rows[1], "image_id": "new"}])
    heat = "data/radiometric/train-v1.0-00000.parquet"
    alter(root, heat, lambda rows: rows[0].update(ambient=21.0, gender=1))
    changes = compare_items(root, oval_release)
    assert changes.columns == {
        "P_000000_S2": ("beard", "expression"), "P_000000_frontal_pose_0": ("radiometric.ambient",),
    }  # fmt: skip
    assert (changes.added, changes.removed) == ({"new"}, {"P_000000_frontal_pose_1"})
    ids = ["P_000000_S1", "P_000000_S2", "new", "P_000000_frontal_pose_1"]
    assert changes.of_all(ids) == dict(zip(ids, ("same", "changed", "added", "removed"), strict=True))
    back = compare_items(oval_release, root)
    assert (back.added, back.removed) == (changes.removed, changes.added)


def test_shards_of_equal_digests_are_not_read(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    alter(root, CLIPS, lambda rows: rows[1].update(beard=2))
    for path in (root / "data").rglob("*.parquet"):
        if path != root / CLIPS:
            path.unlink()
    assert compare_items(root, oval_release).columns == {"P_000000_S2": ("beard",)}


def test_a_shard_that_does_not_compare_is_told(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    alter(root, CLIPS, lambda rows: rows[1].update(beard=2))
    alter(root, STILLS, lambda rows: rows[1].update(beard=2))
    (root / CLIPS).write_bytes(b"PAR1")
    changes = compare_items(root, oval_release)
    assert changes.columns == {"P_000000_frontal_pose_1": ("beard",)}
    assert len(changes.problems) == 1
    assert changes.problems[0].startswith("video is not compared: data/video/train-v1.0-00000.parquet does not read")
    (root / "release.json").write_text("{")
    with pytest.raises(DamagedInputError):
        compare_items(root, oval_release)


def test_an_item_that_went_to_another_category(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    moved: list[dict[str, Any]] = []

    def take(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        moved.append(rows[1])
        return rows[:1]

    alter(root, STILLS, take)
    alter(root, "data/image/head_poses/train-v1.0-00000.parquet", lambda rows: [*rows, *moved])
    changes = compare_items(root, oval_release)
    assert (changes.added, changes.removed) == (frozenset(), frozenset())
    assert changes.columns == {"P_000000_frontal_pose_1": ("category",)}
