import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.generation.engines.phantom import assets


def test_read_obj_appends_groups_that_return() -> None:
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\ng a\nf 1/1 2/2 3/3 4/4\ng b\nf 4 3 2 1\ng a\nf 2 3 4 1\n"
    vertices, faces = assets.read_obj(text)
    assert vertices.shape == (4, 3)
    assert faces["a"].tolist() == [[0, 1, 2, 3], [1, 2, 3, 0]]
    assert faces["b"].tolist() == [[3, 2, 1, 0]]


@pytest.mark.parametrize("text", ["v 0 0 x", "v 0 0 0\ng a\nf 1 2 3 4", "v 0 0 0\nf 1 1 1", "v nan 0 0\nf 1 1 1 1"])
def test_damaged_obj_is_refused(text: str) -> None:
    with pytest.raises(DamagedInputError, match="pip install"):
        assets.read_obj(text)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_target(pack: object) -> None:
    rows, delta = assets.read_target(pack(b"# a comment\n3 .1 0 -.5\n\n0 1 2 3\n"), 4, "t")  # type: ignore[operator]
    assert rows.tolist() == [3, 0]
    np.testing.assert_allclose(delta, [[0.1, 0, -0.5], [1, 2, 3]])
    assert assets.read_target(b"# empty\n", 4, "t")[1].shape == (0, 3)


@pytest.mark.parametrize(
    "content", [b"4 0 0 0", b"-1 0 0 0", b"0 0 0", b"0.5 0 0 0", b"0 nan 0 0", b"0 a b c", b"\x1f\x8bbroken"]
)
def test_damaged_target_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedInputError, match="target t"):
        assets.read_target(content, 4, "t")


def test_macro_weights_share_one() -> None:
    for age in (25.0, 60.0, 90.0):
        weights = assets.macro_weights(0.3, age, np.array([0.2, 0.3, 0.5]), 0.7, 0.2)
        ethnic = sum(w for name, w in weights.items() if "universal" not in name)
        assert ethnic == pytest.approx(1)
        assert sum(weights.values()) == pytest.approx(2)  # the universal family adds up to one as well


def test_a_damaged_cache_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = assets.load_assets()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(assets, "_bake", lambda: good)
    fresh = assets.load_assets.__wrapped__
    fresh()
    (file,) = (tmp_path / "thermvision").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        again = fresh()
    assert "damaged" in caplog.text
    assert file.read_bytes() == whole
    np.testing.assert_array_equal(again.vertices, good.vertices)
    assert fresh().targets["faceunits/jawOpen"][1].dtype == np.float32
    assert [path.name for path in (tmp_path / "thermvision").iterdir()] == [file.name]  # no temporary file stays


def test_every_file_has_a_digest() -> None:
    digests = assets.asset_digests()
    assert {"base.obj", "faceunits/jawOpen", "nose/nose-hump-incr"} <= set(digests)
    assert all(len(d) == 64 for d in digests.values())
    assert set(digests) - {"base.obj"} == set(assets.load_assets().targets)


def test_missing_and_old_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"\[phantom\]"):
        assets.data_folder()

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    (tmp_path / "data/mpfb2/3dobjs").mkdir(parents=True)
    (tmp_path / "data/mpfb2/3dobjs/base.obj").touch()
    (tmp_path / "data/mpfb2/targets").mkdir()
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: Spec())
    with pytest.raises(MissingDependencyError, match=r"faceunits01.*>=0\.6"):
        assets.data_folder()
