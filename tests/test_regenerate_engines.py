"""Items of the engines with networks, of random weights: exact with their files, unavailable without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from moving_faces import ovals, write_video

from thermvision.annotations.errors import UsageError
from thermvision.curation.differences.history import version_in
from thermvision.curation.places import open_place
from thermvision.curation.revision import ITEM_CONFIGS
from thermvision.generation.build import build_release, prepare
from thermvision.generation.extension.extend import prepare_extension
from thermvision.generation.regeneration.rebuild import broken_shards, plan_repairs, rebuild
from thermvision.generation.regeneration.regenerate import Checked, all_parts, regenerate
from thermvision.generation.regeneration.supplies import supplies_of

pytestmark = pytest.mark.usefixtures("ovals_are_faces")

PEOPLE = """
name = "Drawn"
version = "1.0"
seed = 3
[subjects]
female = 1
male = 0
"""
MOVED = """
[clips]
engine = "liveportrait"
source = "pictures"
size = 64
head_pose = 2
driving = "nod.mkv"
weights = "random"
"""
DRAWN = """
[stills]
engine = "flux"
size = 64
frontal_pose = 1
mix = 1
[flux]
weights = "random"
steps = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from thermvision.generation.run import encode_png

    files = tmp_path / "files"
    (files / "pictures").mkdir(parents=True)
    write_video(files / "nod.mkv", [ovals(64, 64, (30, 26 + 2 * n), radius=14) for n in range(3)])
    (files / "pictures" / "a.png").write_bytes(encode_png(ovals(150, 180, (90, 70))))
    return files


def again(root: Path, files: Path | None = None) -> list[Checked]:
    place = open_place(root)
    shards = [s for s in place.release.shards if s.config in ITEM_CONFIGS]
    supplies = {version_in(s.path): supplies_of(place, version_in(s.path), files) for s in shards}
    return list(regenerate(place, all_parts(shards), supplies, quiet=True))


@pytest.mark.slow
def test_clips_of_moved_pictures(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "release"
    build_release(prepare(PEOPLE + MOVED, folder=folder), root, quiet=True)
    (without,) = again(root)
    assert without.state == "unavailable"
    assert "--files FOLDER" in without.reason
    assert [(c.state, c.reason) for c in again(root, folder)] == [("exact", "")]
    shutil.move(folder / "nod.mkv", folder / "pictures" / "other_name.mkv")  # by content, wherever it lies
    assert [c.state for c in again(root, folder)] == ["exact"]
    shutil.move(folder / "pictures" / "other_name.mkv", folder / "nod.mkv")

    place, before = open_place(root), {p: p.read_bytes() for p in root.glob("data/**/*.parquet")}
    shutil.rmtree(root / "data")
    broken = list(broken_shards(place, place.release.shards))
    assert all(r.job is None for r in plan_repairs(place, broken))
    assert all(r.done for r in rebuild(root, plan_repairs(place, broken, folder), quiet=True))
    assert {p: p.read_bytes() for p in root.glob("data/**/*.parquet")} == before


@pytest.mark.slow
def test_a_picture_that_was_replaced_is_no_face_to_go_on_with(folder: Path, tmp_path: Path) -> None:
    from thermvision.generation.run import encode_png

    root, more = tmp_path / "release", (PEOPLE + MOVED).replace('"1.0"', '"1.1"') + "expression = 2\n"
    build_release(prepare(PEOPLE + MOVED, folder=folder), root, quiet=True)
    assert [i for job in prepare_extension(root, more, folder=folder).jobs for i in job.items] == ["P_000000_S2"]
    (folder / "pictures" / "a.png").write_bytes(encode_png(ovals(150, 180, (80, 60))))
    with pytest.raises(UsageError, match=r"made with another file as its animation\.source;"):
        prepare_extension(root, more, folder=folder)


@pytest.mark.slow
def test_stills_drawn_from_words(tmp_path: Path) -> None:
    root = tmp_path / "release"
    build_release(prepare(PEOPLE + DRAWN), root, quiet=True)
    assert [(c.state, c.reason) for c in again(root)] == [("exact", "")] * 2
