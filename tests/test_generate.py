"""The command generate: seeds to pictures with records, resumed, screened, with adapters; on tiny random networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import thermvision_db
from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.annotations.faces import Gray
from thermvision.annotations.schema import FrameAnnotation
from thermvision.generation.drawings import loading_text, notes_of, resolved
from thermvision.generation.engines import engine_of
from thermvision.generation.engines.flux.engine import FluxEngine
from thermvision.generation.engines.flux.random_models import save_comfy, tiny_models
from thermvision.generation.engines.flux.tensor_files import write_tensors
from thermvision.generation.flux_tables import FluxTable, LoraFile
from thermvision.generation.generate import SUMMARY, GenerateSettings, candidate, generate
from thermvision.generation.prompts import FIELDS, Attributes, words_of
from thermvision.generation.screening import Known, Screen, Verdict

RANDOM = FluxTable(weights="random", steps=2, batch=2, prompt="a face", negative="blurry")
SETTINGS = GenerateSettings(RANDOM, 3, 40, 64, 64)


class HashScreen(Screen):
    """Rejects what ``refused`` says of the sum of gray levels, and whoever was met before."""

    def __init__(self, refused: Callable[[int], bool]) -> None:
        self.refused, self.looks = refused, 0

    @property
    def source(self) -> str:
        return "hash@0"

    def look(self, rgb: np.ndarray, gray: Gray, earlier: Known = Known()) -> Verdict:  # noqa: B008
        self.looks += 1
        small = cv2.resize(gray, (4, 4), interpolation=cv2.INTER_AREA).astype(np.float32).ravel() - gray.mean()
        embedding = np.asarray(small / np.linalg.norm(small), np.float32)
        name, cosine = earlier.nearest(embedding)
        reasons = ("odd: it is",) if self.refused(int(gray.astype(int).sum())) else ()
        if cosine > 0.999:
            reasons = (*reasons, f"looks like identity {name}")
        return Verdict(reasons, {"nearest": round(cosine, 4)}, FrameAnnotation(np.float32([1, 2, 30, 40]), 1, "hash@0"),
                       embedding)  # fmt: skip


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    engine_of.cache_clear()
    yield
    engine_of.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_comfy(tiny_models(), tmp_path_factory.mktemp("flux"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def screened(weights: Path, screen: Screen, settings: GenerateSettings = SETTINGS) -> tuple[GenerateSettings, Any]:
    table = settings.table.model_copy(update={"weights": str(weights)})
    return replace(settings, table=table), FluxEngine(loading_text(table, 64), screen=screen)


def adapter(path: Path, layers: int = 1) -> Path:
    tensors = {}
    generator = torch.Generator().manual_seed(1)
    for n in range(layers):
        base = f"lora_unet_double_blocks_{n}_img_mlp_0"
        tensors[f"{base}.lora_down.weight"] = torch.randn(4, 32, generator=generator)
        tensors[f"{base}.lora_up.weight"] = torch.randn(128, 4, generator=generator)
        tensors[f"{base}.alpha"] = torch.tensor(4.0)
    write_tensors(path, tensors)
    return path


def test_a_seed_is_a_picture_and_a_record(tmp_path: Path):
    done = generate(SETTINGS, tmp_path)
    assert done.kept == (40, 41, 42)
    assert not done.rejected
    assert done.reused == 0
    assert set(files(tmp_path)) == {f"{n}.{s}" for n in (40, 41, 42) for s in ("png", "json")} | {SUMMARY}
    record = json.loads((tmp_path / "41.json").read_text())
    assert record["seed"] == 41
    assert record["positive"] == ["a face", "a face"]
    assert record["negative"] == ["blurry"] * 2
    assert record["engine"] == "flux-random@1"
    assert record["options"]["steps"] == 2
    picture = cv2.imread(str(tmp_path / "41.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (64, 64)
    assert picture.std() > 1
    assert "screening is off: pictures of random weights are noise" in done.notes


def test_a_stopped_run_ends_with_the_same_files(tmp_path: Path):
    generate(SETTINGS, tmp_path / "whole")
    generate(SETTINGS, tmp_path / "torn")
    (tmp_path / "torn" / "41.json").unlink()
    (tmp_path / "torn" / "42.png").write_bytes(b"half")
    again = generate(SETTINGS, tmp_path / "torn")
    assert again.reused == 0  # 40 and 41 were drawn together, and are again
    assert files(tmp_path / "torn") == files(tmp_path / "whole")
    assert generate(SETTINGS, tmp_path / "torn").reused == 3
    assert files(tmp_path / "torn") == files(tmp_path / "whole")


def test_more_pictures_leave_the_first_ones(tmp_path: Path):
    generate(replace(SETTINGS, count=2), tmp_path / "a")
    before = files(tmp_path / "a")
    more = generate(replace(SETTINGS, count=4), tmp_path / "a")
    assert more.reused == 2
    assert more.kept == (40, 41, 42, 43)
    after = files(tmp_path / "a")
    assert all(after[name] == data for name, data in before.items() if name != SUMMARY)


def test_text_encoders_are_dropped_where_all_texts_are_known(tmp_path: Path):
    made = FluxEngine(loading_text(RANDOM, 64))
    generate(replace(SETTINGS, count=1), tmp_path / "one", made)
    assert made.models.t5 is None
    assert made.models.clip is None
    with_fields = RANDOM.model_copy(update={"prompt": "a {person}"})
    made = FluxEngine(loading_text(with_fields, 64))
    generate(replace(SETTINGS, table=with_fields, count=1), tmp_path / "many", made)
    assert made.models.t5 is not None


def test_other_settings_draw_anew(tmp_path: Path):
    generate(SETTINGS, tmp_path)
    before = files(tmp_path)
    other = replace(SETTINGS, table=RANDOM.model_copy(update={"guidance": 1.0}))
    assert generate(other, tmp_path).reused == 0
    assert files(tmp_path)["40.png"] != before["40.png"]


def test_rgb_is_written_as_drawn(tmp_path: Path):
    generate(replace(SETTINGS, count=1, rgb=True), tmp_path / "rgb")
    generate(replace(SETTINGS, count=1), tmp_path / "gray")
    bgr = cv2.imread(str(tmp_path / "rgb" / "40.png"), cv2.IMREAD_UNCHANGED)
    gray = cv2.imread(str(tmp_path / "gray" / "40.png"), cv2.IMREAD_UNCHANGED)
    assert bgr.shape == (64, 64, 3)
    assert np.abs(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(int) - gray).max() <= 1


def test_rejected_pictures_are_replaced_by_further_seeds(tmp_path: Path, weights: Path):
    sums: list[int] = []
    settings, engine = screened(weights, HashScreen(lambda s: bool(sums.append(s))))
    assert generate(settings, tmp_path / "all", engine).kept == (40, 41, 42)
    bad = sums[1]
    settings, engine = screened(weights, HashScreen(lambda s: s == bad))
    done = generate(settings, tmp_path / "some", engine)
    assert done.kept == (40, 42, 43)
    assert done.rejected == {41: ("odd: it is",)}
    assert (tmp_path / "some" / "rejected" / "41.png").is_file()
    assert not (tmp_path / "some" / "41.png").exists()
    record = json.loads((tmp_path / "some" / "41.json").read_text())
    assert record["reasons"] == ["odd: it is"]
    assert record["bbox"] is None
    assert json.loads((tmp_path / "some" / SUMMARY).read_text())["rejected"] == {"41": ["odd: it is"]}
    # judged once: the records remember
    looks = engine.screen.looks
    again = generate(settings, tmp_path / "some", engine)
    assert (again.kept, again.rejected, engine.screen.looks) == (done.kept, done.rejected, looks)


def test_a_look_alike_of_a_kept_one_is_rejected(tmp_path: Path, weights: Path):
    settings, engine = screened(weights, HashScreen(lambda s: False))
    generate(settings, tmp_path, engine)
    twin = np.array(json.loads((tmp_path / "40.json").read_text())["embedding"], np.float32)
    real = HashScreen.look

    class Twins(HashScreen):
        def look(self, rgb: np.ndarray, gray: Gray, earlier: Known = Known()) -> Verdict:  # noqa: B008
            verdict = real(self, rgb, gray, earlier)
            name, cosine = earlier.nearest(twin)
            # the second seed shows the first one's face
            return replace(verdict, reasons=(f"looks like identity {name}",)) if cosine > 0.999 and self.looks == 2 \
                else verdict  # fmt: skip

    settings, engine = screened(weights, Twins(lambda s: False))
    done = generate(settings, tmp_path / "twins", engine)
    assert done.rejected == {41: ("looks like identity 40",)}
    assert done.kept == (40, 42, 43)


def test_too_many_rejected_is_a_finding_that_counts_reasons(tmp_path: Path, weights: Path):
    few = SETTINGS.table.model_copy(update={"screening": SETTINGS.table.screening.model_copy(update={"attempts": 2})})
    settings, engine = screened(weights, HashScreen(lambda s: True), replace(SETTINGS, table=few))
    with pytest.raises(FindingsError, match=r"0 of 3 pictures were kept after 6 seeds \(odd 6 times\)"):
        generate(settings, tmp_path, engine)
    assert len(list((tmp_path / "rejected").iterdir())) == 6


def test_an_adapter_changes_pictures_and_every_tensor_is_accounted_for(tmp_path: Path):
    lora = adapter(tmp_path / "thermal.safetensors", 2)
    table = RANDOM.model_copy(update={"loras": (LoraFile(file=str(lora), strength=0.9),)})
    done = generate(replace(SETTINGS, table=table, count=1), tmp_path / "with")
    generate(replace(SETTINGS, count=1), tmp_path / "without")
    assert done.consumed["tensors_used"] == done.consumed["tensors_total"] == 6
    assert "thermal" in done.consumed["lines"][0]
    assert "6 of 6 tensors used" in done.consumed["lines"][0]
    assert files(tmp_path / "with")["40.png"] != files(tmp_path / "without")["40.png"]
    record = json.loads((tmp_path / "with" / "40.json").read_text())
    assert record["adapters"] == [["thermal.safetensors", 0.9, 1.0]]
    assert record["models"]["adapter 1 thermal.safetensors"]
    # the report is there although nothing is drawn
    assert generate(replace(SETTINGS, table=table, count=1), tmp_path / "with").consumed["tensors_used"] == 6


def test_words_are_drawn_for_candidates_where_the_text_has_fields():
    table = RANDOM.model_copy(update={"prompt": "a {person}, {accessory}"})
    settings = GenerateSettings(table, 4, 0, 64, 64, "facial_accessories", 5)
    made = [candidate(settings, n) for n in range(4)]
    assert [m.attributes["gender"] for m in made] == ["female", "male"] * 2
    assert all("wearing" in m.positive[0] for m in made)
    assert {candidate(replace(settings, category="beard"), n).attributes["gender"] for n in range(3)} == {"male"}
    assert candidate(replace(settings, first_seed=2**63 - 1), 1).seed == 0


def test_what_a_preset_cannot_repeat_is_said():
    notes = notes_of(FluxTable(preset="trainer"))
    assert notes[0].startswith("no effect: true_cfg")
    assert "packed noise" in notes[1]
    assert notes_of(FluxTable()) == []


def test_a_misspelt_field_is_said():
    said = "{persn} is no field and is drawn as it stands; fields: person, details, gender"
    notes = notes_of(FluxTable(prompt="a {persn}, {hair}", prompt_t5="{persn} {a|b}"))
    assert [note[: len(said)] for note in notes] == [said]
    assert set(FIELDS) == words_of(Attributes("female", "30-44")).keys()


def test_a_file_where_the_folder_should_be_is_told_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "o").write_text("kept")
    given = ["--prompt", "a", "--weights", "nowhere", "--size", "64"]
    code, _, said = run(capsys, *given, "--out", str(tmp_path / "o"))
    assert code == 2
    assert "is a file; name a folder" in said
    given[3] = "random"
    code, _, said = run(capsys, *given, "--steps", "1", "--out", str(tmp_path / "o" / "faces"))
    assert code == 6
    assert "a part of its path is a file" in said
    assert (tmp_path / "o").read_text() == "kept"


def test_paths_of_a_recipe_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "t5.safetensors").write_bytes(b"")
    table = FluxTable(weights="w", loras=(LoraFile(file="a.safetensors"),), t5="t5.safetensors", clip_l="clip_l")
    found = resolved(table, tmp_path)
    assert found.weights == str(tmp_path / "w")
    assert found.loras[0].file == str(tmp_path / "a.safetensors")
    assert found.t5 == str(tmp_path / "t5.safetensors")
    assert found.clip_l == "clip_l"
    monkeypatch.setenv("THERMVISION_FLUX", str(tmp_path / "elsewhere"))
    assert resolved(FluxTable()).weights == str(tmp_path / "elsewhere")
    assert resolved(FluxTable(weights="random")).weights == "random"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = thermvision_db.main(["generate", *arguments])
    return code, *capsys.readouterr()


def test_the_command_draws_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lora = adapter(tmp_path / "a.safetensors")
    out = tmp_path / "faces"
    asked = ["--prompt", "a face", "--weights", "random", "--lora", f"{lora}:0.5", "--steps", "2", "--size", "64x96"]
    code, said, progress = run(capsys, *asked, "--count", "2", "--seed", "7", "--out", str(out))
    assert code == 0
    assert "2 pictures kept, 0 rejected" in said
    assert "3 of 3 tensors used" in said
    assert f"next: thermvision annotate {out}" in said
    assert "2 of 2 pictures" in progress
    assert cv2.imread(str(out / "8.png"), 0).shape == (96, 64)
    code, said, _ = run(capsys, *asked, "--count", "2", "--seed", "7", "--out", str(out), "--json", "--quiet")
    assert json.loads(said)["reused"] == 2
    assert json.loads(said)["kept"] == [7, 8]


def test_the_command_takes_a_recipe_and_options_go_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "R"\nversion = "1.0"\nseed = 4\n[flux]\nweights = "random"\nsteps = 3\nprompt = "old"\n'
        "first_seed = 90\n"
        'prompt_t5 = "old, too"\n[[flux.loras]]\nfile = "gone.safetensors"\n'
    )
    code, said, _ = run(capsys, str(recipe), "--dry-run", "--json", "--out", str(tmp_path / "o"), "--count", "2")
    assert code == 0
    assert [c["seed"] for c in json.loads(said)["candidates"]] == [90, 91]
    assert json.loads(said)["candidates"][0]["positive"] == ["old", "old, too"]
    code, _, said = run(capsys, str(recipe), "--out", str(tmp_path / "o"), "--size", "64")
    assert code == 3
    assert "gone.safetensors does not exist" in said
    code, _, _ = run(capsys, str(recipe), "--out", str(tmp_path / "none"), "--size", "64", "--lora", "none")
    assert code == 0
    _, said, _ = run(capsys, str(recipe), "--prompt", "new", "--dry-run", "--json", "--out", str(tmp_path / "o"))
    assert json.loads(said)["candidates"][0]["positive"] == ["new", "new"]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--size", "500"], 2, "multiples of 16"),
        (["--size", "big"], 2, "SIDE or WIDTHxHEIGHT"),
        (["--preset", "webui"], 2, "--preset is 'webui'"),
        (["--category", "scenes"], 2, "--category is 'scenes'"),
        (["--lora", ""], 2, "--lora '': file is ''"),
        (["--lora", "a.safetensors:99"], 2, "--lora 'a.safetensors:99': strength is 99"),
        (["--lora", "nowhere.safetensors"], 3, "nowhere.safetensors does not exist"),
        (["--weights", "nowhere"], 3, "flux1-dev.safetensors of black-forest-labs"),
        (["--true-cfg", "99"], 2, "--true-cfg is 99"),
        (["--seed", str(2**63)], 2, "less than or equal to 9223372036854775807"),
    ],
)
def test_what_is_wrong_is_said_with_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
):
    given = ["--prompt", "a", "--weights", "random", "--size", "64", "--out", str(tmp_path / "o"), *arguments]
    found, _, said = run(capsys, *given)
    assert found == code
    assert message in said.replace("\n", " ")
    assert not (tmp_path / "o").exists()


def test_settings_that_make_nothing_are_refused():
    with pytest.raises(UsageError, match="--count is 0"):
        GenerateSettings(RANDOM, 0)
