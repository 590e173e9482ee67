"""Items rendered again: what is exact, close, a mismatch or unavailable, and which items are looked at."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_engine import WaveEngine
from hub import Hub, pointed_at
from hypothesis import given
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.cutting import cut_clip
from thermvision.curation.places import open_place
from thermvision.curation.release import read_release
from thermvision.curation.revision import ITEM_CONFIGS, revise
from thermvision.curation.store import canonical_json
from thermvision.curation.video import decode_gray, encode_gray
from thermvision.generation.regeneration.comparison import compare_labels, compare_measurement
from thermvision.generation.regeneration.provenance import read_provenance
from thermvision.generation.regeneration.regenerate import (
    DAMAGED,
    all_parts,
    check_row,
    parts_with,
    regenerate,
    sample_size,
    sampled_parts,
)
from thermvision.generation.run import labels_of
from thermvision.generation.specs import Radiometry, SceneSpec, SceneStill, Subject

pytestmark = [
    pytest.mark.usefixtures("wave_engine"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


def item_shards(root: Path) -> list[Any]:
    return [s for s in read_release(root).shards if s.config in ITEM_CONFIGS]


def row_of(root: Path, config: str) -> dict[str, Any]:
    shard = next(s for s in read_release(root).shards if s.config == config)
    row: dict[str, Any] = pq.ParquetFile(root / shard.path).read().slice(0, 1).to_pylist()[0]
    return row


@pytest.fixture
def clip(wave_release: Path) -> dict[str, Any]:
    return row_of(wave_release, "video")


@pytest.fixture
def still(wave_release: Path) -> dict[str, Any]:
    return row_of(wave_release, "beard")


def test_every_item_of_a_build_is_exact(wave_release: Path) -> None:
    place = open_place(wave_release)
    shards = item_shards(wave_release)
    found = list(regenerate(place, all_parts(shards), {}, quiet=True))
    assert Counter(c.state for c in found) == {"exact": sum(s.rows for s in shards)}
    assert len({c.item_id for c in found}) == len(found) == 12 + 27


MEASURED = ("radiometric", "temperature", "segmentation", "depth")


def png(frame: Any) -> dict[str, Any]:
    return {"bytes": cv2.imencode(".png", frame)[1].tobytes(), "path": "a.png"}


def measured_of(root: Path, item: str) -> dict[str, Any]:
    shards = [s for s in read_release(root).shards if s.config == "radiometric"]
    rows = (r for s in shards for r in pq.ParquetFile(root / s.path).read().to_pylist())
    return next(r for r in rows if r["item_id"] == item)


def test_measured_frames_count_too(wave_release: Path, clip: dict[str, Any]) -> None:
    row = measured_of(wave_release, clip["clip_id"])

    def state(changed: dict[str, Any]) -> tuple[str, str]:
        return check_row(clip, "video", measured=changed)

    assert state(row) == ("exact", "")
    for name in MEASURED:
        other = [png(np.full((40, 40), 7, np.uint16 if name != "segmentation" else np.uint8)) for _ in row[name]]
        assert state(row | {name: other})[0] == "mismatch", name
        assert "other frames" in state(row | {name: row[name][:-1]})[1], name
        assert state(row | {name: [png(np.zeros((4, 4), np.uint16)), *row[name][1:]]})[0] == "mismatch", name
        assert state(row | {name: [{"bytes": b"?"}, *row[name][1:]]})[0] == "mismatch", name
    assert "of other frames" in state(row | {"frame_index": [0]})[1]
    worse = check_row(clip | {"video": {"bytes": b"no MP4"}}, "video", measured=row | {"frame_index": [0]})
    assert worse[0] == "mismatch"


def test_measured_numbers_count_too(wave_release: Path, clip: dict[str, Any]) -> None:
    row = measured_of(wave_release, clip["clip_id"])
    assert check_row(clip, "video", measured=row | {"ambient": row["ambient"] + 1e-5}) == ("exact", "")
    for name in ("ambient", "sensor_to_frame"):
        state, reason = check_row(clip, "video", measured=row | {name: None})
        assert (state, reason) == ("mismatch", f"its radiometric row has another {name}")


def test_labels_that_were_edited(clip: dict[str, Any], still: dict[str, Any]) -> None:
    moved = [[x + 1, y, w, h] for x, y, w, h in clip["bbox"]]
    for row, config, edit in (
        (clip, "video", {"bbox": moved}),
        (clip, "video", {"bbox": clip["bbox"][:-1]}),
        (clip, "video", {"glasses": 1}),
        (clip, "video", {"head_pose": None}),
        (still, "beard", {"expression": 3}),
        (still, "beard", {"bbox": [float("nan")] * 4}),
    ):
        name = next(iter(edit))
        said = ("mismatch", f"its labels are not those of the render: {name}")
        assert check_row(row | edit, config) == said
        assert check_row(cut_clip(row | edit, 2, 8), config) == said if config == "video" and name != "bbox" else True
        # somebody else's labels say so, and a column of a later schema is not there
        assert check_row(row | edit | {"annotation_source": "me"}, config) == ("exact", "")
        assert check_row({k: v for k, v in row.items() if k != name}, config) == ("exact", "")
    assert check_row(clip | {"bbox": [[v + 1e-5 for v in box] for box in clip["bbox"]]}, "video") == ("exact", "")
    assert "fps" in check_row(clip | {"fps": 12.0}, "video")[1]


def test_faces_of_a_scene_count_too(still: dict[str, Any]) -> None:
    people = (Subject("P_000001", 1, "male", 3), Subject("P_000004", 4, "female", 3))
    spec = SceneSpec("scene_000000", "phantom", 3, 0, "train", people, 64, 64)
    seen = [FrameAnnotation(bbox=np.full(4, n), face_count=1, source="ground_truth") for n in (8, 9)]
    scene = SceneStill(spec, np.zeros((64, 64), np.uint8), people, tuple(seen), {})
    told = read_provenance(still["provenance"])
    assert told is not None
    labels = labels_of(scene)
    faces = labels["faces"] | {"identity": [1, 4]}
    assert compare_labels(told, scene, labels | {"faces": faces}) == ("exact", "")
    for name in ("subject_id", "gender", "bbox"):
        swapped = labels | {"faces": faces | {name: faces[name][::-1]}}
        assert compare_labels(told, scene, swapped)[0] == "mismatch", name


def test_a_measurement_that_is_close(wave_release: Path, clip: dict[str, Any]) -> None:
    frames = np.arange(3 * 64, dtype=np.uint16).reshape(3, 8, 8) * 100
    radiometry = Radiometry(np.arange(3, dtype=np.int32), frames, np.eye(3), 20.0)
    stored = frames.copy()
    stored[1, 2, 2] += 5
    row = {"frame_index": [0, 1, 2], "radiometric": [png(f) for f in stored]}
    state, reason = compare_measurement(radiometry, row)
    # 19,100 counts of span against 25 / 64 of squared error
    assert (state, reason) == ("close", "its radiometric differs: 89.7 dB at the worst frame")
    assert compare_measurement(None, row)[0] == "mismatch"


def test_a_broken_measurement_is_told(wave_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(wave_release)
    shard = item_shards(root)[0]
    place = open_place(root)
    truth = next(s for s in place.release.shards if s.config == "radiometric" and s.fingerprint == shard.fingerprint)
    (root / truth.path).write_bytes(b"PAR1")
    found = list(regenerate(place, all_parts([shard]), {}, quiet=True))
    assert [(c.item_id, c.state) for c in found[:1]] == [(truth.path, DAMAGED)]
    assert [c.state for c in found[1:]] == ["exact"] * shard.rows


def told(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    return row | {"provenance": canonical_json(json.loads(row["provenance"]) | more)}


def with_picture(row: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    frame = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
    return row | {"image": {"bytes": cv2.imencode(".png", change(frame))[1].tobytes(), "path": "a.png"}}


def one_level(frame: Any) -> Any:
    changed = frame.copy()
    changed[3, 5] += 1
    return changed


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        (lambda f: f, "exact", ""),
        (one_level, "close", "pixels differ: 84.3 dB"),
        (lambda f: 255 - f, "mismatch", "pixels differ"),
        (lambda f: f[:32], "mismatch", "(32, 64)"),
        (lambda f: f.astype(np.uint16), "mismatch", "uint16"),
    ],
)
def test_a_picture(still: dict[str, Any], change: Callable[[Any], Any], state: str, said: str) -> None:
    found, reason = check_row(with_picture(still, change), "beard")
    assert (found, said in reason) == (state, True), reason


def test_a_picture_that_is_none(still: dict[str, Any]) -> None:
    assert check_row(still | {"image": {"bytes": b"no PNG", "path": "a.png"}}, "beard")[0] == "mismatch"
    assert check_row(still | {"image": None}, "beard") == ("unavailable", "its row holds no image")


def test_a_digest_that_is_another(still: dict[str, Any], clip: dict[str, Any]) -> None:
    state, reason = check_row(told(still, raw_pixels_sha256="0" * 64), "beard")
    assert (state, reason) == ("mismatch", "the digest in its provenance is not that of its pixels")
    state, reason = check_row(told(clip, raw_pixels_sha256="0" * 64), "video")
    assert (state, reason) == ("close", "raw pixels have another digest: inf dB at the worst frame")


def with_video(row: dict[str, Any], change: Callable[[Any], Any], crf: int = 18) -> dict[str, Any]:
    frames = change(decode_gray(row["video"]["bytes"]))
    return row | {"video": {"bytes": encode_gray(np.ascontiguousarray(frames), 30.0, crf), "path": "a.mp4"}}


def one_frame_darker(frames: Any) -> Any:
    changed = frames.copy()
    changed[7] //= 2
    return changed


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        (lambda f: f, "close", "another encoding of the same pixels"),
        (lambda f: 255 - f, "mismatch", "another encoding"),
        (one_frame_darker, "mismatch", "dB at the worst frame"),
        (lambda f: f[:-1], "mismatch", "another number or size"),
        (lambda f: f[:, :32], "mismatch", "another number or size"),
    ],
)
def test_a_video(clip: dict[str, Any], change: Callable[[Any], Any], state: str, said: str) -> None:
    found, reason = check_row(with_video(clip, change, crf=1), "video")
    assert (found, said in reason) == (state, True), reason


def test_a_video_that_is_none(clip: dict[str, Any]) -> None:
    assert check_row(clip | {"video": {"bytes": b"no MP4", "path": "a.mp4"}}, "video")[0] == "mismatch"


def test_a_cut_clip_is_cut_again(clip: dict[str, Any]) -> None:
    once = cut_clip(clip, 2, 9)
    twice = cut_clip(once, 1, 4)
    assert check_row(once, "video") == ("exact", "")
    assert check_row(twice, "video") == ("exact", "")
    assert check_row(twice | {"video": once["video"]}, "video")[0] == "mismatch"
    assert check_row(twice | {"num_frames": 5}, "video")[0] == "unavailable"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"provenance": "{}"}, "names no spec"),
        ({"provenance": None}, "names no spec"),
        ({"provenance": "{"}, "no JSON"),
        ({"subject_id": "P_000009"}, "there, 'P_000009' in its row"),
        ({"width": 1 << 30}, "is refused: size"),
    ],
)
def test_what_is_unavailable(still: dict[str, Any], change: dict[str, Any], said: str) -> None:
    state, reason = check_row(still | change, "beard")
    assert (state, said in reason) == ("unavailable", True), reason


def test_engines_that_are_others(still: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_row(told(still, engine="waves@0"), "beard") == ("unavailable", "waves@0 made it; here is waves@1")
    assert "model files" in check_row(told(still, models="1" * 64), "beard")[1]
    broken = frozenset({still["image_id"]})
    monkeypatch.setattr(WaveEngine, "fail_items", broken)
    assert check_row(still, "beard") == ("unavailable", "RuntimeError: this item always fails")


def test_other_encoder_settings_are_said(clip: dict[str, Any]) -> None:
    settings = json.loads(clip["provenance"])["encoder"]
    assert check_row(told(clip, encoder=settings | {"gop": 250}), "video")[0] == "exact"  # bytes are what counts
    other = with_video(clip, lambda f: f, crf=1)
    assert "other settings" in check_row(told(other, encoder=settings | {"gop": 250}), "video")[1]
    assert check_row(told(clip, encoder=settings | {"crf": 99}), "video") == (
        "unavailable",
        "its provenance is refused: crf 99; allowed: 0 to 51",
    )


@given(total=st.integers(1, 10**6), number=st.integers(1, 10**7), share=st.floats(0.001, 100))
def test_the_size_of_a_sample(total: int, number: int, share: float) -> None:
    assert sample_size(str(number), total) == min(number, total)
    assert 1 <= sample_size(f"{share}%", total) <= total


@pytest.mark.parametrize("wanted", ["0", "-3", "0%", "101%", "nan%", "inf%", "some", "1.5", "%"])
def test_a_sample_that_is_none(wanted: str) -> None:
    with pytest.raises(UsageError, match="allowed: a share"):
        sample_size(wanted, 9)


def test_a_sample_is_drawn_by_seed(wave_release: Path) -> None:
    shards = item_shards(wave_release)
    parts = sampled_parts(shards, "50%", seed=1)
    assert sum(p.rows for p in parts) == 20
    assert all(p.positions and max(p.positions) < p.shard.rows for p in parts)
    assert parts == sampled_parts(shards, "50%", seed=1) != sampled_parts(shards, "50%", seed=2)
    whole = sampled_parts(shards, "100%")
    assert [p.positions for p in whole] == [frozenset(range(s.rows)) for s in shards]


def test_items_are_found_by_id(wave_release: Path, clip: dict[str, Any], still: dict[str, Any]) -> None:
    place, shards = open_place(wave_release), item_shards(wave_release)
    wanted = [clip["clip_id"], still["image_id"]]
    parts = parts_with(place, shards, wanted)
    found = list(regenerate(place, parts, {}, quiet=True))
    assert {(c.item_id, c.state) for c in found} == {(i, "exact") for i in wanted}
    with pytest.raises(UsageError, match="no item nobody"):
        parts_with(place, shards, ["nobody"])


def test_a_shard_that_breaks_while_it_is_read(wave_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(wave_release)
    place, shards = open_place(root), item_shards(root)
    (root / shards[0].path).write_bytes(b"PAR1")
    (root / shards[1].path).unlink()
    found = list(regenerate(place, all_parts(shards[:3]), {}, quiet=True))
    assert [(c.item_id, c.state) for c in found[:2]] == [(s.path, DAMAGED) for s in shards[:2]]
    assert [c.state for c in found[2:]] == ["exact"] * shards[2].rows
    with pytest.raises(DamagedInputError):
        parts_with(place, shards[:1], ["any"])


def darker(config: str, row: dict[str, Any]) -> dict[str, Any] | None:
    return row | {"mask": 0, "annotation_source": "me"}


def test_a_review_keeps_its_items_exact(wave_release: Path, tmp_path: Path, clip: dict[str, Any]) -> None:
    out = tmp_path / "reviewed"
    name = clip["clip_id"]
    release = revise(
        wave_release, out, darker, items=[name], cuts={name: (1, 8)}, decides="test", reason="test", quiet=True
    )
    made = [s for s in release.shards if s.replaces and s.config in ITEM_CONFIGS]
    found = list(regenerate(open_place(out), all_parts(made), {}, quiet=True))
    assert found
    assert {c.state for c in found} == {"exact"}


def test_an_import_is_unavailable(imported_release: Path) -> None:
    place = open_place(imported_release)
    (found,) = regenerate(place, all_parts(item_shards(imported_release)), {}, quiet=True)
    assert (found.item_id, found.state) == ("F_01_S1", "unavailable")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = thermvision_db.main(["regenerate", *words, "--json", "--quiet", "--workers", "1"])
    text = capsys.readouterr().out
    return code, json.loads(text) if text else None


@pytest.fixture
def hub(tmp_path: Path, wave_release: Path) -> Iterator[str]:
    from huggingface_hub import HfApi

    with Hub(tmp_path / "hub") as server, pointed_at(server.url, tmp_path / "home"):
        api = HfApi()
        api.create_repo("org/waves", repo_type="dataset", private=True)
        api.upload_folder(repo_id="org/waves", repo_type="dataset", folder_path=wave_release)
        api.create_tag("org/waves", tag="v1.0", repo_type="dataset")
        yield "org/waves"


def test_a_revision_of_the_hub(
    hub: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: dict[str, Any]
) -> None:
    from huggingface_hub import HfApi

    assert run(capsys, f"{hub}@v1.0")[1]["items"] == {"exact": 39, "close": 0, "mismatch": 0, "unavailable": 0}
    code, facts = run(capsys, f"{hub}@v1.0", "--clip", clip["clip_id"])
    assert (code, facts["items"]["exact"]) == (0, 1)
    shards = open_place(f"{hub}@v1.0").release.shards
    HfApi().delete_file(shards[0].path, hub, repo_type="dataset")
    HfApi().upload_file(path_or_fileobj=b"else", path_in_repo=shards[1].path, repo_id=hub, repo_type="dataset")
    code, facts = run(capsys, f"hf://datasets/{hub}")
    assert code == 1
    assert [(b["shard"], b["state"]) for b in facts["broken"]] == [
        (shards[0].path, "lost"),
        (shards[1].path, "damaged"),
    ]
    assert all("its recipe makes it again" in b["reason"] for b in facts["broken"])
    assert run(capsys, f"{hub}@v1.0", "--write")[0] == 2


def test_the_command(wave_release: Path, capsys: pytest.CaptureFixture[str], clip: dict[str, Any]) -> None:
    root, shard = str(wave_release), item_shards(wave_release)[0]
    code, facts = run(capsys, root)
    assert (code, facts["items"]["exact"], facts["findings"], facts["broken"]) == (0, 39, [], [])
    assert run(capsys, root, "--shard", shard.path)[1]["items"]["exact"] == shard.rows
    assert run(capsys, root, "--sample", "10%")[1]["items"]["exact"] == 4
    assert run(capsys, root, "--sample", "3", "--dry-run")[1]["to_render"]["items"] == 3
    assert run(capsys, root, "--sample", "3", "--clip", clip["clip_id"])[0] == 2
    assert run(capsys, root, "--shard", "data/video/train-v9.9-00000.parquet")[0] == 2
    assert run(capsys, root, "--clip", "nobody")[0] == 2
    assert thermvision_db.main(["regenerate", root, "--sample", "1", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{root} 1.0: 1 item rendered again, 1 exact", f"next: thermvision verify {root}"]


@pytest.mark.slow
def test_worker_processes_give_the_same(tiny_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real engine, in processes of their own: a sample of the smallest release is exact."""
    from thermvision.generation.engines import ENGINES, engine_of

    monkeypatch.setitem(ENGINES, "phantom", "thermvision.generation.engines.phantom.engine:PhantomEngine")
    engine_of.cache_clear()
    place = open_place(tiny_release)
    parts = sampled_parts(item_shards(tiny_release), "4", seed=3)
    found = list(regenerate(place, parts, {}, workers=2, quiet=True))
    engine_of.cache_clear()
    assert [c.state for c in found] == ["exact"] * 4
