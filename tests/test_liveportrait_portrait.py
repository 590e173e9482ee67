"""A picture becomes a portrait: read, cropped, preprocessed, and put back where it came from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from moving_faces import OvalAnnotator, face_points, ovals

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.palettes import apply_palette
from thermvision.curation.inputs import PixelReading
from thermvision.generation.engines.liveportrait.crop import crop_matrix
from thermvision.generation.engines.liveportrait.faces import FaceReader
from thermvision.generation.engines.liveportrait.networks import Networks
from thermvision.generation.engines.liveportrait.portrait import Portrait, make_portrait, read_source
from thermvision.generation.preprocess import preprocess


@pytest.fixture(scope="module")
def networks(narrow_networks: Networks) -> Networks:
    return narrow_networks


@pytest.fixture(scope="module")
def portrait(networks: Networks) -> Portrait:
    gray, face = FaceReader(OvalAnnotator()).in_picture(ovals(200, 300, (160, 90), (40, 40)))
    return make_portrait(networks, gray, face)


def read(path: Path, reading: PixelReading | None = None, negative: bool = False):
    return read_source(path, FaceReader(OvalAnnotator(negative)), reading or PixelReading())


def test_the_crop_is_about_the_largest_face(portrait: Portrait):
    to_crop = crop_matrix(face_points((140, 70, 41, 41)))
    np.testing.assert_allclose(np.linalg.inv(to_crop), portrait.to_picture, atol=1e-3)
    assert portrait.crop.shape == (512, 512)
    centre = to_crop @ (160, 90, 1)
    assert portrait.crop[round(float(centre[1])), round(float(centre[0]))] == 200
    assert portrait.notes["faces"] == "2 faces; the largest is animated"
    assert portrait.ratios is not None
    assert portrait.ratios[0] == pytest.approx([0.25, 0.25], abs=1e-5)
    assert len(portrait.motion) == 1


def test_pasting_the_crop_itself_changes_nothing_but_by_interpolation(portrait: Portrait):
    pasted = portrait.paste(portrait.crop, portrait.paste_weight()).astype(int)
    assert pasted.shape == (200, 300)
    far = portrait.paste_weight() == 0
    assert far.any()
    assert (pasted[far] == portrait.picture[far]).all()
    # twice interpolated and truncated; only the rim of the disk is steep
    calm = cv2.blur(portrait.picture, (7, 7)) == portrait.picture
    assert np.abs(pasted - portrait.picture)[calm].max() <= 2


def test_steps_are_done_to_the_whole_picture_and_not_to_where_the_face_is(networks: Networks):
    gray, face = FaceReader(OvalAnnotator()).in_picture(ovals(200, 300, (160, 90)))
    plain = make_portrait(networks, gray, face)
    stretched = make_portrait(networks, gray, face, steps=("normalize",))
    assert (stretched.picture == preprocess(gray, ["normalize"])).all()
    assert (stretched.to_picture == plain.to_picture).all()
    assert stretched.features.volume.sub(plain.features.volume).abs().max() > 0


def test_without_a_crop_no_face_is_needed(networks: Networks):
    picture = ovals(101, 203)
    whole = make_portrait(networks, picture, None, crop=False)
    assert whole.picture.shape == (100, 202)
    assert whole.ratios is None
    np.testing.assert_allclose(whole.to_picture @ (512, 512, 1), (202, 100, 1), atol=1e-3)
    with pytest.raises(DamagedInputError, match=r"b.png shows no face; allowed: .*--no-crop"):
        make_portrait(networks, picture, None, name="b.png")


@pytest.mark.parametrize(("shape", "limited"), [((121, 333), (120, 332)), ((1400, 301), (1280, 274))])
def test_odd_and_large_sizes(tmp_path: Path, shape: tuple[int, int], limited: tuple[int, int]):
    cv2.imwrite(str(tmp_path / "a.png"), ovals(*shape, (100, 60)))
    gray, face, _ = read(tmp_path / "a.png")
    assert gray.shape == limited
    assert face is not None


def test_16_bits_palettes_and_polarity_are_recognised(tmp_path: Path):
    frame = ovals(120, 160, (80, 60))
    # centikelvin of a warm disk in a cool room
    cv2.imwrite(str(tmp_path / "deep.png"), (29500 + 8 * frame.astype(np.uint16)))
    gray, face, notes = read(tmp_path / "deep.png")
    assert (gray.dtype, notes["units"]) == (np.uint8, "centikelvin (recognised)")
    assert face is not None
    assert gray[60, 80] > gray[5, 5]
    cv2.imwrite(str(tmp_path / "cold.png"), 255 - frame)
    for reading, negative in ((PixelReading(polarity="black-hot"), False), (PixelReading(), True)):
        gray, face, _ = read(tmp_path / "cold.png", reading, negative)
        assert face is not None
        assert (gray == frame).all()
    soft = cv2.GaussianBlur(frame, (0, 0), 6)
    cv2.imwrite(str(tmp_path / "iron.png"), apply_palette(soft, "iron")[..., ::-1])
    gray, _, notes = read(tmp_path / "iron.png")
    assert notes["palette"] == "iron (recognised)"
    assert np.abs(gray.astype(int) - soft).max() <= 2
    with pytest.raises(UsageError):
        read(tmp_path / "missing.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "cold.png").read_bytes()[:80])
    with pytest.raises(DamagedInputError):
        read(tmp_path / "half.png")
