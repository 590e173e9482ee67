"""Contact sheet and overlay clip."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from thermvision.annotations import draw
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.release import Manifest, read_release
from thermvision.dataset_card import overlay, samples, sheet
from thermvision.dataset_card.previews import write_previews


def decoded(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_previews_of_a_build(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    previews = write_previews(root)
    assert previews.contact_sheet == root / "preview" / "contact_sheet.jpg"
    with Image.open(previews.contact_sheet) as page:
        assert (page.width, page.mode) == (1600, "RGB")
        pixels = np.asarray(page)
    # every column has something in it, and the page is dark where there is nothing
    assert (pixels[:, 40:1560] != sheet.BACKGROUND).any(axis=(0, 2)).all()
    assert np.abs(pixels[2, 2].astype(int) - sheet.BACKGROUND).max() <= 2  # JPEG
    assert previews.overlay == root / "preview" / "overlay.mp4"
    with av.open(str(previews.overlay)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (1024, 512, 24)
        assert float(stream.average_rate or 0) == 30
    data = previews.overlay.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # plays before it has arrived


def test_the_same_release_gives_the_same_bytes(imported_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(imported_release)
    first = [p.read_bytes() for p in (write_previews(root).contact_sheet, root / "preview" / "overlay.mp4")]
    second = [p.read_bytes() for p in (write_previews(root).contact_sheet, root / "preview" / "overlay.mp4")]
    assert first == second


def test_previews_of_an_import(imported_release: Path) -> None:
    manifest = read_release(imported_release)
    page = sheet.contact_sheet(imported_release, manifest)
    assert page.width == 1600
    frames = decoded(overlay.overlay_clip(samples.clips(imported_release, manifest, 2)))
    assert [f.shape for f in frames] == [(512, 512, 3)] * 5

    def boxes(frame: np.ndarray) -> int:
        return int((np.abs(frame.astype(int) - draw.BOX_COLOUR).max(-1) < 40).sum())

    assert boxes(frames[0]) > 1000
    assert boxes(frames[1]) == 0  # the frame without a face


def test_colours_survive_the_codec(oval_release: Path) -> None:
    clips = samples.clips(oval_release, read_release(oval_release), 1)[:1]
    frame = decoded(overlay.overlay_clip(clips))[0]
    expected = overlay._panel(samples.clip_gray(clips[0], [0])[0], clips[0], 0)
    error = np.abs(frame.astype(int) - expected)
    assert error.mean() < 3
    assert np.median(error) <= 1


def test_pairs_hold_the_last_frame_of_the_shorter(oval_release: Path) -> None:
    one, two = samples.clips(oval_release, read_release(oval_release), 1)
    short = {**two, "num_frames": 4}
    frames = [image.copy() for image in overlay._played([one, short], 1024)]
    assert len(frames) == 12
    np.testing.assert_array_equal(frames[3][:, 512:], frames[11][:, 512:])
    assert (frames[2][:, 512:] != frames[3][:, 512:]).any()


def test_a_release_without_clips_has_no_overlay(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    manifest = read_release(root)
    write_previews(root)
    stills = [s for s in manifest.shards if s.config == "frontal_pose"][:1]
    reduced = Manifest.model_validate({**manifest.model_dump(), "shards": stills})
    (root / "release.json").write_text(reduced.model_dump_json())
    previews = write_previews(root)
    assert previews.overlay is None
    assert not (root / "preview" / "overlay.mp4").exists()
    assert previews.contact_sheet.is_file()


def test_nothing_to_overlay_is_an_error() -> None:
    with pytest.raises(ValueError, match="no clip"):
        overlay.overlay_clip([])


def test_no_release_and_a_damaged_one(tmp_path: Path, oval_release: Path, copied: Callable[[Path], Path]) -> None:
    with pytest.raises(UsageError, match="thermvision build --out"):
        write_previews(tmp_path / "nothing")
    root = copied(oval_release)
    shard = read_release(root).shards_of("frontal_pose")[0]
    (root / shard.path).unlink()
    with pytest.raises(DamagedInputError, match="thermvision verify"):
        write_previews(root)


@pytest.mark.parametrize("shape", [(10, 40), (40, 10), (400, 300), (1, 1)])
def test_tiles_show_the_whole_frame(shape: tuple[int, int]) -> None:
    tile = sheet.fitted(np.full(shape, 200, np.uint8), 64)
    assert tile.shape == (64, 64, 3)
    share = (tile == 200).all(-1).mean()
    assert share == pytest.approx(min(shape) / max(shape), abs=0.03)


def test_long_captions_are_cut() -> None:
    pen = sheet._block(10)[1]
    text = sheet._fitting("P_000000_facial_accessories_12 and more", 120, pen)
    assert text.endswith("…")
    assert pen.textlength(text, font=sheet.font(14)) <= 120
    assert sheet._fitting("short", 120, pen) == "short"


def test_the_legend_lists_what_occurs(oval_release: Path, imported_release: Path) -> None:
    def shown(root: Path) -> list[bool]:
        clip = samples.clips(root, read_release(root), 1)[0]
        pixels = np.asarray(sheet._legend([samples.annotation_of(clip, k) for k in range(clip["num_frames"])]))
        colours = (draw.BOX_COLOUR, draw.EXTRA_BOX_COLOUR, draw.STATE_COLOURS[3], draw.AXIS_COLOURS[2])
        return [bool((pixels == colour).all(-1).any()) for colour in colours]

    assert shown(oval_release) == [True, False, True, True]
    assert shown(imported_release) == [True, True, False, False]
