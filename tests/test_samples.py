"""Choosing rows for previews."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.palettes import apply_palette
from thermvision.curation.release import read_release
from thermvision.dataset_card import samples, sheet


def rows_of(subjects: list[int]) -> list[samples.Row]:
    return [samples.Row(None, k, {"subject_id": s, "place": k}) for k, s in enumerate(subjects)]  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 12))
def test_spread_takes_subjects_in_turn(subjects: list[int], count: int) -> None:
    rows = rows_of(subjects)
    chosen = samples.spread(rows, count)
    assert len(chosen) == min(count, len(rows))
    places = [row.index for row in chosen]
    assert places == sorted(set(places))
    taken, offered = Counter(r.values["subject_id"] for r in chosen), Counter(subjects)
    # nobody gives two while somebody who could give has given fewer by more than one
    for subject, number in offered.items():
        assert taken[subject] >= min(number, max(taken.values(), default=0) - 1)


@given(st.integers(0, 50), st.integers(-3, 60))
def test_evenly(length: int, count: int) -> None:
    chosen = samples.evenly(range(length), count)
    assert len(chosen) == max(0, min(count, length))
    steps = np.diff(chosen)
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_clips_pair_the_sequences_of_a_subject(oval_release: Path) -> None:
    clips = samples.clips(oval_release, read_release(oval_release), subjects=2)
    assert [c["clip_id"] for c in clips] == ["P_000000_S1", "P_000000_S2", "P_000001_S1", "P_000001_S2"]
    assert [c["clip_id"] for c in samples.clips(oval_release, read_release(oval_release), 1)] == [
        "P_000000_S1",
        "P_000000_S2",
    ]


def test_stills_come_from_every_subject(oval_release: Path) -> None:
    manifest = read_release(oval_release)
    assert {r["subject_id"] for r in samples.stills(oval_release, manifest, "frontal_pose", 2)} == {
        "P_000000",
        "P_000001",
    }
    beards = samples.stills(oval_release, manifest, "beard", 5)
    assert [r["image_id"] for r in beards] == ["P_000001_beard_0", "P_000001_beard_1"]
    assert samples.still_gray(beards[0]).shape == (64, 64)
    assert samples.still_gray(beards[0]).max() == 210


def test_annotation_of_a_frame_is_what_was_stored(oval_release: Path) -> None:
    clip = samples.clips(oval_release, read_release(oval_release), 1)[0]
    found = samples.annotation_of(clip, 3)
    assert found.head_pose is not None
    assert found.head_pose.tolist() == [15, -7.5, 0]
    assert found.expression == "smile"
    np.testing.assert_allclose(found.bbox, [0.28 * 96, 0.22 * 96, 48, 0.66 * 96], rtol=1e-6)
    assert found.landmark_state is not None
    assert found.landmark_state.tolist() == [k % 4 for k in range(68)]


def test_annotations_of_an_import_know_boxes_only(imported_release: Path) -> None:
    clip = samples.clips(imported_release, read_release(imported_release), 1)[0]
    face, none, two = (samples.annotation_of(clip, k) for k in range(3))
    assert (face.landmarks, face.head_pose, face.expression, face.bbox_score) == (None,) * 4
    assert np.isnan(none.bbox).all()
    assert (face.face_count, none.face_count, two.face_count) == (1, 0, 2)
    assert two.extra_bboxes.tolist() == [[1, 2, 9, 12]]


def test_scaling_keeps_angles() -> None:
    row: dict[str, Any] = {
        "bbox": [1, 2, 3, 4],
        "face_count": 1,
        "head_pose": [10, 0, 0],
        "landmarks": np.ones((68, 2)).tolist(),
        "extra_bboxes": [[1, 1, 1, 1]],
    }
    large = samples.scaled(samples.annotation_of(row), 2)
    assert large.bbox.tolist() == [2, 4, 6, 8]
    assert large.extra_bboxes.tolist() == [[2, 2, 2, 2]]
    assert large.landmarks is not None
    assert (large.landmarks == 2).all()
    assert large.head_pose is not None
    assert large.head_pose.tolist() == [10, 0, 0]


def test_celsius(oval_release: Path) -> None:
    manifest = read_release(oval_release)
    row = next(samples.list_rows(oval_release, manifest.shards_of("radiometric"), ["item_id", "radiometric"]))
    values = samples.celsius(row.values["radiometric"][0], "x")
    assert np.unique(values).tolist() == pytest.approx([20, 35], abs=1e-3)


def test_broken_shards_and_images_are_named(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    manifest = read_release(root)
    shard = manifest.shards_of("video")[0]
    (root / shard.path).write_bytes(b"PAR1 and no more")
    with pytest.raises(DamagedInputError, match=r"train-v1\.0-00000\.parquet does not read as Parquet"):
        samples.clips(root, manifest, 1)
    for data in (None, b"", b"no image"):
        with pytest.raises(DamagedInputError, match="image of P_1 does not decode"):
            samples.still_gray({"image": {"bytes": data}, "image_id": "P_1"})


def test_frames_are_shown_in_the_palette_their_recipe_recorded() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)

    def row(**parameters: str) -> dict[str, str]:
        return {"provenance": json.dumps({"resolved": {"parameters": parameters}})}

    hot = row(palette="iron", polarity="black-hot")
    assert np.array_equal(samples.coloured(row(palette="iron"), gray), apply_palette(gray, "iron"))
    assert np.array_equal(samples.coloured(hot, 255 - gray), apply_palette(gray, "iron"))  # warm is warm
    assert (samples.coloured(row(palette="black-hot"), gray)[..., 0] == 255 - gray).all()
    for plain in (row(palette="white-hot"), row(palette="new"), {"provenance": "[]"}, {}):
        assert samples.coloured(plain, gray) is gray
        assert not samples.is_black_hot(plain)
    assert samples.is_black_hot(hot)
    assert "black-hot items darker" in sheet.gray_note(True)
