import json
from pathlib import Path

import pytest

import thermvision_db
from thermvision.annotations import errors
from thermvision.curation.release import read_release
from thermvision.generation.engines import ENGINES

ROOT = Path(__file__).parents[1]


def run(capsys, *arguments):
    code = thermvision_db.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"thermvision {thermvision_db.__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(
        verb in " ".join(out.split()) for verb in ("build", "import", "info", "verify", "doctor", "130 interrupted")
    )


@pytest.mark.parametrize(
    "arguments",
    [("bild",), ("build",), ("build", "--out", "x", "--workers", "0"), ("info",), ("verify", "--nope", ".")],
)
def test_wrong_usage_is_exit_code_2(capsys, arguments):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err


def test_a_folder_that_is_no_release(capsys, tmp_path):
    for verb in ("info", "verify"):
        code, _, err = run(capsys, verb, tmp_path)
        assert code == 2
        assert err.startswith("thermvision: ")
        assert "Traceback" not in err


def test_info_as_json_and_for_people(capsys, wave_release):
    code, out, _ = run(capsys, "info", wave_release, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["subjects"] == {"total": 6, "female": 3, "male": 3}
    assert sum(facts["configs"]["video"]["rows"].values()) == 12
    assert sum(facts["configs"]["frames"]["rows"].values()) == 6 * (12 + 10) + 27
    code, out, _ = run(capsys, "info", wave_release)
    assert code == 0
    assert "3 female, 3 male" in out
    assert "next: thermvision verify" in out


def test_verify_lists_every_finding_and_exits_with_1(capsys, wave_release, copied):
    assert run(capsys, "verify", wave_release)[0] == 0
    root = copied(wave_release)
    shards = read_release(root).shards
    for shard in shards[:3]:
        (root / shard.path).unlink()
    code, out, err = run(capsys, "verify", root)
    assert code == 1
    assert [s.path in out for s in shards[:4]] == [True, True, True, False]
    assert "findings" in err
    code, out, _ = run(capsys, "verify", root, "--json")
    assert code == 1
    assert {f["code"] for f in json.loads(out)} == {"file-missing"}


def test_a_damaged_manifest_is_exit_code_4(capsys, wave_release, copied):
    root = copied(wave_release)
    (root / "release.json").write_text("{")
    assert run(capsys, "info", root)[0] == 4


def test_doctor_knows_versions_and_parts(capsys):
    code, out, _ = run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["versions"]["thermvision-db"] == thermvision_db.__version__
    models = {f"model {name}" for name in ("detector", "landmarker", "embedder", "attributes")}
    extras = {f"extra {name}" for name in (
        "curate", "dev", "diffusion", "eval", "liveportrait", "phantom", "ray", "recognition", "sign",
        "train", "view",
    )}  # fmt: skip
    assert {p["part"] for p in facts["parts"]} == {"core", *extras, *(f"engine {name}" for name in ENGINES), *models}
    shipped = {f"model {p.stem}" for p in (ROOT / "annotations" / "models").glob("*.onnx")}
    # the checkpoints of LivePortrait and FLUX come from elsewhere
    lacking = {p["part"] for p in facts["parts"] if not p["ready"]}
    assert lacking == models - shipped | {"engine liveportrait", "engine flux"}


def test_doctor_tells_checkpoints_that_are_noise_or_half_downloaded(capsys, tmp_path):
    from thermvision.generation.engines.liveportrait.layers import NARROW
    from thermvision.generation.engines.liveportrait.random_weights import random_checkpoint

    random_checkpoint(tmp_path, NARROW)
    _, out, _ = run(capsys, "doctor", "--weights", tmp_path)
    assert "ready    engine liveportrait" in out
    assert "its weights are random: pixels are noise" in out
    warping = tmp_path / "warping_module.safetensors"
    warping.write_bytes(warping.read_bytes()[:-1])
    _, out, _ = run(capsys, "doctor", "--weights", tmp_path)
    assert "lacking  engine liveportrait" in out
    assert f"{warping} cannot be read" in out


def test_doctor_names_a_model_that_is_not_whole(capsys, monkeypatch, tmp_path):
    from thermvision.annotations import session

    (tmp_path / "detector.onnx").write_bytes(b"half")
    monkeypatch.setattr(session, "_shipped_path", lambda name: tmp_path / f"{name}.onnx")
    code, out, _ = run(capsys, "doctor")
    assert code == 0  # a release is built without them
    assert "lacking  model detector\n         detector cannot be opened" in out
    assert "lacking  model embedder" in out
    assert "type: pip install --force-reinstall thermvision-db" in out


def test_doctor_names_what_is_missing_and_the_command(capsys, monkeypatch):
    from importlib import metadata

    from thermvision.generation import doctor

    real = metadata.version

    def without_numba(name):
        if name == "numba":
            raise metadata.PackageNotFoundError(name)
        return "2.0.0" if name == "numpy" else real(name)

    monkeypatch.setattr(doctor.metadata, "version", without_numba)
    code, out, err = run(capsys, "doctor")
    assert code == errors.MissingDependencyError.exit_code == 3
    assert "numba is absent" in out
    assert "numpy is 2.0.0; wanted: >=2.1" in out
    assert 'type: pip install -c constraints.txt -e ".[phantom]"' in out
    assert "required package is missing" in err


def test_dry_run_prints_the_plan_and_writes_nothing(capsys, tmp_path, wave_engine):
    code, out, _ = run(capsys, "build", "paper", "--out", tmp_path / "x", "--dry-run", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["subjects"] == {"female": 25, "male": 25}
    assert facts["clips"] == {"head_pose": 50, "expression": 50}
    assert facts["frames"] == 30_200 + 225
    assert facts["estimated_bytes"] > 10**8
    assert not (tmp_path / "x").exists()
    code, out, _ = run(capsys, "build", "--out", tmp_path / "x", "--dry-run")
    assert code == 0
    assert "505 frames" in out
    assert not (tmp_path / "x").exists()


def test_build_ends_by_saying_how_to_load(capsys, tmp_path, wave_engine):
    from fake_engine import WAVES

    (tmp_path / "r.toml").write_text(WAVES)
    code, out, err = run(
        capsys, "build", tmp_path / "r.toml", "--out", tmp_path / "x", "--workers", "1", "--limit", "2"
    )
    assert code == 0
    assert f'load_dataset("{tmp_path / "x"}", "video")' in out
    assert (tmp_path / "x" / "preview" / "contact_sheet.jpg").is_file()
    assert (tmp_path / "x" / "preview" / "overlay.mp4").is_file()
    assert "frames/s" in err
    code, _, err = run(capsys, "build", tmp_path / "r.toml", "--out", tmp_path / "x", "--quiet", "--limit", "3")
    assert code == 2
    assert "choose another --out" in err


def test_failed_items_are_exit_code_1(capsys, tmp_path, wave_engine, monkeypatch):
    from fake_engine import WAVES, WaveEngine

    monkeypatch.setattr(WaveEngine, "fail_items", frozenset({"P_000000_S1"}))
    (tmp_path / "r.toml").write_text(WAVES)
    code, _, err = run(capsys, "build", tmp_path / "r.toml", "--out", tmp_path / "x", "--workers", "1", "--limit", "2")
    assert code == 1
    assert "P_000000_S1: RuntimeError: this item always fails" in err
    assert "--retry-failed" in err


def test_an_interrupt_is_exit_code_130(capsys, tmp_path, wave_engine, monkeypatch):
    from thermvision.generation import build

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "assemble", interrupted)
    code, _, err = run(capsys, "build", "--out", tmp_path / "x")
    assert code == 130
    assert "run the same command again" in err


def test_every_error_has_a_documented_exit_code():
    leaves = errors.ThermVisionError.__subclasses__()
    assert sorted(leaf.exit_code for leaf in leaves) == [1, 2, 3, 4, 5, 6]
    assert all(f"\n{leaf.exit_code}  " in errors.__doc__ for leaf in leaves)
