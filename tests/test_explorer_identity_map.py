"""The map of identities: alike ones together, made once, outside the release, and words where there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from altered_shards import alter
from numpy.typing import NDArray

from thermvision.annotations.embedder import unit
from thermvision.curation.duplicates import faces
from thermvision.curation.sources import ReleaseSource
from thermvision.dataset_card.explorer import identity_map
from thermvision.dataset_card.explorer.catalogue import open_catalogue
from thermvision.dataset_card.explorer.identity_map import IdentityMap, cache_folder, look_at
from thermvision.dataset_card.explorer.media import ReleaseMedia
from thermvision.dataset_card.explorer.plane import components, nearest, plane, scaled


def mapped(root: Path, folder: Path, digest: str | None = "") -> dict[str, Any]:
    with closing(open_catalogue(root)) as catalogue:
        known = ReleaseSource(root).digest if digest == "" else digest
        return IdentityMap(catalogue, known, folder).wait(60)


def files_of(root: Path) -> list[tuple[str, int]]:
    return sorted((p.as_posix(), p.stat().st_mtime_ns) for p in root.rglob("*"))


def groups(count: int, size: int, spread: float) -> NDArray[np.float32]:
    """(count * size, 128) unit vectors in groups."""
    rng = np.random.default_rng(3)
    centres = unit(rng.standard_normal((count, 128)).astype(np.float32))
    noise = rng.standard_normal((count, size, 128)).astype(np.float32) * spread
    return unit((centres[:, None] + noise).reshape(-1, 128))


def test_alike_ones_lie_together() -> None:
    vectors = groups(4, 10, 0.05)
    places, method = plane(vectors)
    assert method == "t-SNE"
    assert places.shape == (40, 2)
    assert places.min() == 0
    assert places.max() == 1
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(1) // 10 == np.arange(40) // 10).all()
    assert (plane(vectors)[0] == places).all()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_a_few_people_are_laid_out_by_components(count: int) -> None:
    places, method = plane(groups(count, 1, 0))
    assert method == "principal components"
    assert places.shape == (count, 2)
    assert ((places >= 0) & (places <= 1)).all()
    assert len(np.unique(places, axis=0)) == count


def test_components_are_those_of_the_covariance() -> None:
    points = np.array([[3, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    found = components(points)
    assert np.abs(np.abs(found) - [[3, 0], [3, 0], [0, 1], [0, 1]]).max() < 1e-9
    assert found[np.abs(found).argmax(0), [0, 1]].min() > 0
    assert (components(np.ones((4, 3), np.float32)) == 0).all()
    assert (scaled(np.zeros((4, 2))) == 0.5).all()


def test_both_axes_have_one_scale() -> None:
    assert scaled(np.array([[0, 0], [4, 1]])).tolist() == [[0, 0.375], [1, 0.625]]


def test_the_nearest_are_told_in_order() -> None:
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32))
    assert [[k for k, _ in row] for row in nearest(vectors, 5)] == [[1, 2], [0, 2], [1, 0]]
    assert nearest(vectors, 1)[0][0][1] == pytest.approx(0.995, abs=1e-3)
    assert nearest(vectors[:1], 3) == [[]]


def test_the_map_of_a_release(oval_release: Path, tmp_path: Path) -> None:
    before = files_of(oval_release)
    found = mapped(oval_release, tmp_path / "kept")
    assert files_of(oval_release) == before
    assert (found["state"], found["people"], found["looked_at"]) == ("ready", 2, 2)
    assert (
        found["method"] == f"principal components of the mean face embeddings ({faces.embedder_source()}) of 2 people"
    )
    first, second = found["points"]
    # all ovals are one face
    assert (first["x"], first["y"], second["x"], second["y"]) == (0.5, 0.5, 0.5, 0.5)
    with closing(open_catalogue(oval_release)) as catalogue:
        for point, gender, split, items in ((first, "female", "train", 6), (second, "male", "test", 8)):
            row = catalogue.row(point["key"])
            assert (point["subject"], point["gender"], point["split"], point["items"]) == (
                row.subject_id, gender, split, items,
            )  # fmt: skip
            assert 0 <= point["frame"] < row.num_frames
    assert first["near"] == [[second["subject"], 1.0]]
    json.dumps(found, allow_nan=False)


def test_the_map_is_made_once(oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mapped(oval_release, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(identity_map, "look_at", lambda *given: pytest.fail("looked again"))
        assert mapped(oval_release, tmp_path) == found
    (kept,) = tmp_path.iterdir()
    for broken in ("{", "[]", '{"people": [{"subject": 1}], "method": "x", "looked_at": 1}', '{"people": []}'):
        kept.write_text(broken)
        assert mapped(oval_release, tmp_path) == found


def test_a_cache_that_cannot_be_written_costs_nothing_else(oval_release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert mapped(oval_release, tmp_path / "file" / "below")["state"] == "ready"


def test_where_maps_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THERMVISION_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "thermvision" / "explorer"
    monkeypatch.setenv("THERMVISION_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "explorer"


def test_more_people_than_are_drawn(oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_map, "MAX_PEOPLE", 1)
    found = mapped(oval_release, tmp_path)
    assert found["method"].endswith("of 1 people, out of 2")
    assert (found["people"], found["looked_at"], len(found["points"])) == (2, 1, 1)
    assert (found["points"][0]["x"], found["points"][0]["y"]) == (0.5, 0.5)


def test_items_that_do_not_read_are_passed_over(
    oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path
) -> None:
    root = copied(oval_release)
    (root / "data/video/train-v1.0-00000.parquet").write_bytes(b"PAR1")
    for category in ("frontal_pose", "head_poses"):
        path = f"data/image/{category}/test-v1.0-00000.parquet"
        alter(root, path, lambda rows: [r | {"image": {"bytes": b"x", "path": ""}, "landmarks": None} for r in rows])
    media = ReleaseMedia(root)
    with closing(open_catalogue(root)) as catalogue:
        people = catalogue.by_subject()
        seen = {name: look_at(media, name, [catalogue.row(k) for k in keys]) for name, keys in people.items()}
    # four stills; one still of the four that are taken, and two frames of each clip
    assert {name: p.pictures if p else 0 for name, p in seen.items()} == {"P_000000": 4, "P_000001": 1 + 4}
    assert mapped(root, tmp_path / "kept")["state"] == "ready"


def test_the_picture_shown_is_frontal_and_uncovered(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    for category, yaw, mask in (("frontal_pose", 0.0, 1), ("head_poses", 30.0, 0)):
        path = f"data/image/{category}/train-v1.0-00000.parquet"
        turned = {"head_pose": [yaw, 0.0, 0.0], "mask": mask}
        alter(root, path, lambda rows, turned=turned: [r | turned for r in rows])  # type: ignore[misc]
    with closing(open_catalogue(root)) as catalogue:
        items = [catalogue.row(k) for k in catalogue.by_subject()["P_000000"] if catalogue.row(k).kind == "still"]
    found = look_at(ReleaseMedia(root), "P_000000", items)
    assert found is not None
    assert (found.item_id, found.frame, found.pictures) == ("P_000000_head_poses_0", 0, 4)


def test_no_map_of_what_is_not_finished_or_has_no_face(
    oval_release: Path, imported_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mapped(oval_release, tmp_path, None)
    assert (found["state"], found["reason"].split(";")[0]) == ("unavailable", "the release is still being built")
    monkeypatch.setattr(faces, "find_points", lambda gray, box: None)
    found = mapped(imported_release, tmp_path)
    assert found == {"state": "unavailable", "reason": "no face was found in any item with a known subject"}
    monkeypatch.setattr(identity_map, "look_at", lambda *given: 1 // 0)
    found = mapped(oval_release, tmp_path / "other")
    assert found["state"] == "unavailable"
    assert "ZeroDivisionError" in found["reason"]


def test_how_far_it_is_is_told_and_it_stops(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on, look = threading.Event(), threading.Event(), identity_map.look_at

    def slowly(*given: Any) -> Any:
        reached.set()
        assert go_on.wait(20)
        return look(*given)

    monkeypatch.setattr(identity_map, "look_at", slowly)
    with closing(open_catalogue(oval_release)) as catalogue:
        made = IdentityMap(catalogue, ReleaseSource(oval_release).digest, tmp_path)
        assert made.state()["state"] == "computing"
        assert reached.wait(20)
        assert made.state() == {"state": "computing", "done": 0, "total": 2}
        made.stop()
        go_on.set()
        assert made.wait(20)["reason"] == "it was stopped"
    assert list(tmp_path.iterdir()) == []
