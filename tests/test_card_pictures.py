"""The strip, the moving clips and the plots of a card."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_card_reports import audit_report, protocol_report, section, statistics_report, written

from thermvision.annotations.errors import DamagedInputError
from thermvision.curation.release import Manifest, read_release
from thermvision.curation.statistics.collect import statistics
from thermvision.dataset_card import card, plots, previews, strip
from thermvision.dataset_card.explorer.figure_files import list_figures
from thermvision.dataset_card.plots import read_plots, write_plots
from thermvision.dataset_card.reports import take_reports
from thermvision.dataset_card.sheet import BACKGROUND


def test_a_strip_has_a_tile_a_kind(oval_release: Path, imported_release: Path) -> None:
    first = strip.strip(oval_release, read_release(oval_release))
    assert first == strip.strip(oval_release, read_release(oval_release))
    with Image.open(io.BytesIO(first or b"")) as page:
        # three categories, three clips, one 16-bit frame
        assert (page.format, page.size) == ("JPEG", (7 * 246 - 6, 274))
        pixels = np.asarray(page).astype(int)
    gaps = [pixels[100, 246 * k - 3] for k in range(1, 7)]
    assert np.abs(np.array(gaps) - BACKGROUND).max() < 16
    heat, gray = pixels[60:180, 6 * 246 + 20 : 6 * 246 + 220], pixels[60:180, 20:220]
    assert np.ptp(heat, axis=2).max() > 60  # false colours
    assert np.ptp(gray, axis=2).max() < 8
    with Image.open(io.BytesIO(strip.strip(imported_release, read_release(imported_release)) or b"")) as page:
        assert page.width == 240


def test_captions_tell_what_is_seen() -> None:
    row = {"head_pose": [-33.4, 5.0, 0.0], "glasses": 1, "mask": None, "headwear": 0, "jewellery": 3, "beard": 2}
    assert strip._said_of_still("head_poses", row) == "yaw -33°"
    assert strip._said_of_still("head_poses", {"head_pose": [3, -20, 0]}) == "pitch -20°"
    assert strip._said_of_still("facial_accessories", row) == "glasses, earrings, necklace"
    assert strip._said_of_still("beard", row) == "full beard"
    assert strip._said_of_still("frontal_pose", row) == "frontal pose"
    clip = {"num_frames": 5, "sequence": 0, "head_pose": [[0, 0, 0], [9, 0, 0], [-40, 0, 0]], "expression": [0, 1, 1]}
    assert strip._telling(clip) == (2, "yaw -40°")
    assert strip._telling({**clip, "sequence": 1}) == (2, "smile")
    assert strip._telling({**clip, "sequence": 1, "expression": [0, 0, 0]}) == (2, "clip, expression")
    assert strip._telling({**clip, "sequence": None}) == (2, "a clip")


def test_clips_play_beside_each_other(oval_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_release(oval_release)
    data = strip.moving(oval_release, manifest)
    assert data is not None
    assert data == strip.moving(oval_release, manifest)
    with Image.open(io.BytesIO(data)) as moving:
        assert (moving.format, moving.size, moving.n_frames) == ("WEBP", (960, 240), 12)
        assert moving.info["loop"] == 0
        moving.seek(0)
        first = np.asarray(moving.convert("L")).astype(int)
        moving.seek(11)
        last = np.asarray(moving.convert("L")).astype(int)
    moved = [np.abs(first - last)[:, 240 * k : 240 * (k + 1)].max() for k in range(4)]
    assert min(moved) > 100  # each of them does
    monkeypatch.setattr(strip, "MOST_BYTES", len(data) - 1)
    assert len(strip.moving(oval_release, manifest) or b"") < len(data)
    without = manifest.model_copy(update={"shards": tuple(s for s in manifest.shards if s.config != "video")})
    assert strip.moving(oval_release, without) is None


def test_a_release_without_pictures_has_no_strip(oval_release: Path) -> None:
    manifest = read_release(oval_release)
    frames = Manifest.model_validate({**manifest.model_dump(), "shards": manifest.shards_of("frames")})
    assert strip.strip(oval_release, frames) is None


def test_an_item_that_does_not_decode(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    (root / read_release(root).shards_of("radiometric")[0].path).write_bytes(b"x")
    with pytest.raises(DamagedInputError, match="thermvision verify"):
        strip.strip(root, read_release(root))


def test_plots_light_and_dark(oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = statistics(oval_release, sample=0)
    assert write_plots(tmp_path, seen) == []  # 58 frames are no distribution
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(plots, "FEWEST", 58)
    monkeypatch.setattr(plots, "SHOWN", {n: plots.SHOWN[n] for n in ("coverage", "box_map", "temperatures")})
    shown = write_plots(tmp_path, seen)
    assert [p["name"] for p in shown] == ["coverage", "box_map"]  # no region's temperature is known
    assert read_plots(tmp_path) == json.loads((tmp_path / "figures.json").read_text())["figures"] == shown
    for look, ground in (("light", 255), ("dark", 23)):
        with Image.open(tmp_path / shown[0][look]) as picture:
            assert picture.width > 1000
            assert np.asarray(picture.convert("RGB"))[2, 2].astype(int).mean() == pytest.approx(ground, abs=4)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write_plots(tmp_path, seen)
    assert first == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / "box_map-dark.png").unlink()
    assert [p["name"] for p in read_plots(tmp_path)] == ["coverage"]
    assert write_plots(tmp_path, None) == []  # of a next version that has none
    assert list(tmp_path.iterdir()) == []


def test_reports_are_drawn_too(oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path) -> None:
    root = copied(oval_release)
    protocols = {**protocol_report(root), "split": "all"}
    small = protocol_report(root)
    small["tasks"]["robustness"]["curves"]["yaw"]["count"] = [11, 10, 0]  # on fewer faces
    folders = written(tmp_path / "a", audit=audit_report(root), statistics=statistics_report(root), protocols=protocols)
    take_reports(root, [*folders, *written(tmp_path / "b", protocols=small)])
    previews.write_previews(root)
    told = read_plots(root / "preview")
    assert [p["name"] for p in told] == ["spectrum", "recognition", "landmark_error"]
    assert told[0]["caption"].startswith("Radial power spectrum of 10 stills, a frame each")
    assert "over people (all), beside that of a mean shape; bins of fewer than 10 faces" in told[2]["caption"]
    text = card.card_text(root, read_release(root))
    for heading, name in (("### Audit", "recognition"), ("## Reference results", "landmark_error")):
        assert f'src="preview/{name}.png"' in section(text, heading)
    assert text.count("<picture>") == 3
    shown = list_figures(root)
    assert [f["name"] for f in shown] == ["strip", "clips", "contact_sheet", *(p["name"] for p in told)]
    assert shown[3]["caption"] == f"Power spectrum. {told[0]['caption']}"
    assert (shown[3]["light"], shown[3]["dark"]) == ("spectrum.png", "spectrum-dark.png")
    shutil.rmtree(root / "reports")  # of a next version
    previews.write_previews(root)
    assert read_plots(root / "preview") == []
    assert not (root / "preview" / "recognition.png").exists()


@pytest.mark.parametrize(
    "change", [{"light": "../README.md"}, {"name": "<script>"}, {"caption": 3}, {"title": None}, {"dark": []}]
)
def test_an_index_of_another_hand(change: dict[str, object], tmp_path: Path) -> None:
    figure = {"name": "box_map", "title": "a", "caption": "b", "light": "box_map.png", "dark": "box_map-dark.png"}
    for name in ("box_map.png", "box_map-dark.png"):
        (tmp_path / name).touch()
    for told, number in ((figure, 1), ({**figure, **change}, 0)):
        (tmp_path / "figures.json").write_text(json.dumps({"figures": [told]}))
        assert len(read_plots(tmp_path)) == number
    (tmp_path / "figures.json").write_text("[" * 100_000)
    assert read_plots(tmp_path) == []


def test_what_an_earlier_version_had_is_removed(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    folder = root / "preview"
    folder.mkdir()
    for name in ("contact_sheet.png", "growth.png", "growth-dark.png", "figures.json"):
        (folder / name).write_bytes(b"old")
    previews.write_previews(root)
    assert {p.name for p in folder.iterdir()} == {"contact_sheet.jpg", "strip.jpg", "clips.webp", "overlay.mp4"}
    text = card.card_text(root, read_release(root))
    assert "![Frames of the release in a row, each with a word on it](preview/strip.jpg)" in text
    assert "<picture>" not in text
