"""What a shard holds against what the phantom engine renders again from the row's own provenance."""

import hashlib
import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

import thermvision_db
from thermvision.annotations import schema
from thermvision.curation.release import read_release
from thermvision.generation.engines.phantom.engine import PhantomEngine
from thermvision.generation.run import encode_png, pixels_digest
from thermvision.generation.specs import ClipSpec, StillSpec, Subject


def rows(root, config):
    return [r for s in read_release(root).shards_of(config) for r in pq.read_table(root / s.path).to_pylist()]


def spec_of(row, kind):
    values = json.loads(row["provenance"])["spec"]
    return kind(**{**values, "subject": Subject(**values["subject"])})


def test_a_clip_is_what_its_provenance_renders(tiny_release):
    row = rows(tiny_release, "video")[0]
    clip = PhantomEngine().render(spec_of(row, ClipSpec))
    assert json.loads(row["provenance"])["raw_pixels_sha256"] == pixels_digest(clip.frames)
    decoded = thermvision_db.frames(row).astype(np.float64)
    errors = ((decoded - clip.frames) ** 2).mean((1, 2))
    assert (10 * np.log10(255**2 / errors) >= 40).all()
    for k, annotation in enumerate(clip.annotations):
        assert row["landmarks"][k] == annotation.landmarks.tolist()
        assert row["head_pose"][k] == annotation.head_pose.tolist()
        assert schema.EXPRESSIONS[row["expression"][k]] == annotation.expression


def test_a_still_is_bit_exact_and_so_are_its_16_bits(tiny_release):
    row = rows(tiny_release, "mix")[0]
    still = PhantomEngine().render(spec_of(row, StillSpec))
    stored = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert (stored == still.frame).all()
    assert json.loads(row["provenance"])["raw_pixels_sha256"] == hashlib.sha256(still.frame.tobytes()).hexdigest()
    measured = next(r for r in rows(tiny_release, "radiometric") if r["item_id"] == row["image_id"])
    for name, expected in (("radiometric", still.radiometry.frames), *still.radiometry.truth.items()):
        if name in ("radiometric", "temperature", "segmentation", "depth"):
            image = cv2.imdecode(np.frombuffer(measured[name][0]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
            assert image.dtype == expected.dtype
            assert (image == expected[0]).all()


def test_temperatures_are_those_of_people(tiny_release):
    for row in rows(tiny_release, "radiometric"):
        image = cv2.imdecode(np.frombuffer(row["temperature"][0]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
        segment = cv2.imdecode(np.frombuffer(row["segmentation"][0]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
        celsius = image / 100 - 273.15
        assert 30 < np.median(celsius[segment == schema.SEGMENTS.index("skin")]) < 37
        assert abs(np.median(celsius[segment == 0]) - row["ambient"]) < 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_is_lossless_and_repeatable(dtype):
    frame = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (33, 47)).astype(dtype)
    assert encode_png(frame) == encode_png(frame)
    assert (cv2.imdecode(np.frombuffer(encode_png(frame), np.uint8), cv2.IMREAD_UNCHANGED) == frame).all()
