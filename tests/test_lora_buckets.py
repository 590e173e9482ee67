"""Buckets: areas, steps and shapes, and pictures that come out at exactly their size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.generation.engines.flux.training.buckets import Placement, bucket_sizes, fit, place
from thermvision.generation.flux_tables import LoraDataset

SIDES = st.sampled_from([512, 768, 1024])


def table(side: int = 512, **more: object) -> LoraDataset:
    return LoraDataset.model_validate({"path": "x", "width": side, "height": side, **more})


def test_the_sizes_of_the_smallest_article_bucket():
    sizes = bucket_sizes(512, 512, 256, 1024)
    assert len(sizes) == 17
    assert [s for s in sizes if s[0] <= 512] == [
        (256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512),
    ]  # fmt: skip


@given(side=SIDES, smallest=st.integers(4, 40), more=st.integers(0, 60))
def test_buckets_keep_to_their_limits(side: int, smallest: int, more: int):
    low, high = 16 * smallest, min(16 * (smallest + more), 4096)
    sizes = bucket_sizes(side, side, low, high)
    assert len(set(sizes)) == len(sizes)
    for w, h in sizes:
        assert w % 64 == h % 64 == 0
        assert w * h <= side * side
        assert low <= min(w, h)
        assert max(w, h) <= high
        assert (h, w) in sizes


@given(width=st.integers(8, 3000), height=st.integers(8, 3000), side=SIDES)
def test_a_picture_covers_its_bucket_and_little_is_cut(width: int, height: int, side: int):
    placement = place((width, height), table(side))
    (w, h), (rw, rh) = placement.bucket, placement.resized
    assert rw >= w
    assert rh >= h
    assert rw == w or rh == h
    aspect, nearest = np.log(width / height), np.log(w / h)
    sizes = bucket_sizes(side, side, 256, 1024)
    assert abs(nearest - aspect) <= min(abs(np.log(a / b) - aspect) for a, b in sizes) + 1e-9


@pytest.mark.parametrize(
    ("size", "more", "bucket", "resized"),
    [
        ((512, 512), {}, (512, 512), (512, 512)),
        ((100, 100), {}, (512, 512), (512, 512)),  # enlarged, as in the article
        ((100, 100), {"bucket_no_upscale": True}, (64, 64), (100, 100)),
        ((40, 50), {"bucket_no_upscale": True}, (32, 48), (40, 50)),
        ((1000, 700), {"bucket_no_upscale": True}, (576, 384), (612, 428)),
        ((1000, 700), {"bucket": False}, (512, 512), (731, 512)),
        ((300, 300), {"min_bucket": 1024}, (512, 512), (512, 512)),  # no bucket fits: the size itself
    ],
)
def test_where_pictures_go(size, more, bucket, resized):
    assert place(size, table(**more)) == Placement(bucket, resized)


def test_the_middle_is_cut_and_gray_becomes_three_channels():
    image = np.arange(10 * 8, dtype=np.uint8).reshape(10, 8)
    cut = fit(image, Placement((8, 4), (8, 10)))
    assert cut.shape == (4, 8, 3)
    assert np.array_equal(cut[..., 0], image[3:7])
    assert np.array_equal(cut[..., 0], cut[..., 2])


@given(width=st.integers(4, 90), height=st.integers(4, 90), channels=st.sampled_from([0, 3]))
def test_fitting_gives_the_size(width: int, height: int, channels: int):
    image = np.full((height, width, *([channels] * bool(channels))), 77, np.uint8)
    placement = place((width, height), LoraDataset(path="x", width=64, height=64, min_bucket=64, max_bucket=64))
    fitted = fit(image, placement)
    assert fitted.shape == (64, 64, 3)
    assert (fitted == 77).all()
