"""The engine flux: stills of a recipe, cast, screened, annotated, released like any other; on tiny random networks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from moving_faces import OvalAnnotator, ovals, write_video

import thermvision_db
from thermvision.annotations import schema
from thermvision.annotations.errors import FindingsError, MissingDependencyError, UsageError
from thermvision.annotations.faces import Gray
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release
from thermvision.generation.build import build_release, prepare
from thermvision.generation.commands import workers_for
from thermvision.generation.drawings import drawings, loading_text
from thermvision.generation.engines import engine_of
from thermvision.generation.engines.flux import casting, engine, loading
from thermvision.generation.engines.flux.engine import NOISE, FluxEngine
from thermvision.generation.engines.flux.presets import SamplingOptions
from thermvision.generation.engines.flux.random_models import save_comfy, tiny_models
from thermvision.generation.engines.flux.sampling import DeviceFullError, denoise, noise
from thermvision.generation.engines.flux.text import encode
from thermvision.generation.engines.liveportrait import faces as faces_module
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.plan import still_spec
from thermvision.generation.prompts import noise_seed
from thermvision.generation.recipe import Recipe, parse_recipe
from thermvision.generation.run import pixels_digest
from thermvision.generation.screening import Known, Screen, Verdict
from thermvision.generation.specs import ClipSpec, SceneSpec, StillSpec, Subject, engine_settings, plain_spec

TEXT = """
name = "Drawn"
version = "1.0"
seed = 5
[subjects]
female = 2
male = 1
[stills]
engine = "flux"
size = 64
frontal_pose = 2
beard = { count = 1, gender = "male" }
mix = 2
[flux]
weights = "random"
steps = 2
"""


class RuleScreen(Screen):
    """Rejects pictures by a rule on their gray levels; embeds them as 4 x 4 pixels."""

    def __init__(self, rejects: Callable[[Gray], bool] = lambda gray: False, alike: float = 2.0) -> None:
        super().__init__(OvalAnnotator())
        self.limits = replace(self.limits, alike=alike)
        self.rejects, self.seen = rejects, list[str]()

    def look(self, rgb: np.ndarray, gray: Gray, earlier: Known | None = None) -> Verdict:
        self.seen.append(pixels_digest(gray))
        small = cv2.resize(gray, (4, 4), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        embedding = np.asarray(small / np.linalg.norm(small), np.float32)
        face = FrameAnnotation(np.float32([1, 2, 30, 40]), 1, self.source, 0.9)
        return Verdict(("odd: it is",) if self.rejects(gray) else (), {"sum": float(gray.sum())}, face, embedding)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv(casting.CACHE_VARIABLE, str(tmp_path / "cache"))
    engine_of.cache_clear()
    yield
    engine_of.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_comfy(tiny_models(), tmp_path_factory.mktemp("flux"))


def recipe_of(weights: Path | str = "random", more: str = "") -> Recipe:
    return parse_recipe(TEXT.replace('"random"', json.dumps(str(weights))) + more)


def spec_of(recipe: Recipe, category: str = "frontal_pose", index: int = 1, turn: int = 0) -> StillSpec:
    draw = drawings(recipe)
    assert draw is not None
    subject = Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], recipe.seed)
    return draw(still_spec(recipe, subject, category, turn))


def rows(root: Path, config: str) -> list[dict[str, Any]]:
    return [row for s in read_release(root).shards_of(config) for row in pq.read_table(root / s.path).to_pylist()]


def test_a_release_of_random_weights_says_that_it_is_noise(tmp_path: Path):
    manifest = build_release(prepare(TEXT), tmp_path / "release", quiet=True)
    assert not manifest.failed
    assert not verify_release(tmp_path / "release")
    assert manifest.licences == {"flux-random@1": "flux-1-dev-non-commercial-license"}
    found = rows(tmp_path / "release", "image")
    assert len(found) == 5
    for row in found:
        assert row["annotation_source"].endswith(f"({NOISE})")
        assert row["hairstyle"] is None  # noise shows no hair
        provenance = json.loads(row["provenance"])
        assert provenance["resolved"]["pixels"] == NOISE
        assert provenance["engine"] == "flux-random@1"
        assert provenance["resolved"]["attributes"]["gender"] == schema.GENDERS[row["gender"]]
        assert "loading" not in provenance["spec"]["drawing"]
        assert provenance["spec"]["drawing"]["positive"][0]
    assert not read_release(tmp_path / "release").shards_of("radiometric")


def test_the_same_release_twice_and_in_any_order(tmp_path: Path):
    first = build_release(prepare(TEXT), tmp_path / "a", quiet=True)
    engine_of.cache_clear()
    small = TEXT + "[shards]\nstills = 1\n"
    build_release(prepare(small), tmp_path / "b", quiet=True)
    engine_of.cache_clear()
    assert build_release(prepare(TEXT), tmp_path / "c", quiet=True).shards == first.shards
    assert {r["image_id"]: r["image"] for r in rows(tmp_path / "a", "image")} == {
        r["image_id"]: r["image"] for r in rows(tmp_path / "b", "image")
    }


def test_stills_of_a_person_share_the_noise_and_not_the_words():
    recipe = recipe_of()
    frontal, mixed, other = spec_of(recipe), spec_of(recipe, "mix"), spec_of(recipe, index=3)
    assert frontal.drawing
    assert mixed.drawing
    assert other.drawing
    assert frontal.drawing.seed == mixed.drawing.seed != other.drawing.seed
    assert frontal.drawing.positive != mixed.drawing.positive
    assert not frontal.radiometric
    assert not frontal.parameters
    assert engine_settings(frontal) == engine_settings(mixed) == {"loading": frontal.drawing.loading}
    counted = spec_of(recipe_of(more="first_seed = 700\n"), index=3)
    assert counted.drawing
    assert counted.drawing.seed == 703


def test_a_spec_draws_the_same_pixels_whatever_was_drawn_before(weights: Path):
    recipe = recipe_of(weights)
    spec, other = spec_of(recipe), spec_of(recipe, "mix")
    assert spec.drawing
    one = FluxEngine(spec.drawing.loading, screen=RuleScreen())
    two = FluxEngine(spec.drawing.loading, screen=RuleScreen())
    two.render(other)
    a, b = one.render(spec), two.render(spec)
    assert np.array_equal(a.frame, b.frame)
    assert a.frame.shape == (64, 64)
    assert a.engine == b.engine
    assert a.attributes["hairstyle"] in schema.HAIRSTYLES
    assert a.annotation.bbox.tolist() == [1, 2, 30, 40]


def test_a_rejected_still_is_drawn_again_with_a_further_seed_in_its_noise(weights: Path):
    spec = spec_of(recipe_of(weights, "[flux.screening]\nattempts = 4\n"))
    assert spec.drawing
    assert len(set(spec.drawing.further_seeds)) == 3
    plain = FluxEngine(spec.drawing.loading, screen=RuleScreen())
    first = plain.render(spec).frame

    def engine_that_rejects(times: int) -> FluxEngine:
        screen = RuleScreen()
        screen.rejects = lambda gray: len(screen.seen) <= times
        return FluxEngine(spec.drawing.loading, screen=screen)  # type: ignore[union-attr]

    still = engine_that_rejects(2).render(spec)
    tried = still.engine["attempts"]
    assert [t["reasons"] for t in tried] == [["odd: it is"], ["odd: it is"], []]
    assert [t["further_seed"] for t in tried] == [0, *spec.drawing.further_seeds[:2]]
    assert [t["variation"] for t in tried] == [0, 0.2, 0.2]
    assert not np.array_equal(still.frame, first)
    # the identity's noise is most of it still: further from a stranger than from itself
    stranger = plain.draw((spec.drawing.positive, spec.drawing.negative), plain.noise(1), plain.options)[..., 0]
    near, far = (np.abs(still.frame.astype(float) - f).mean() for f in (first, stranger))
    assert near < far
    with pytest.raises(FindingsError, match=r"none of 4 attempts was kept \(attempt 1: odd: it is; attempt 2"):
        engine_that_rejects(9).render(spec)


def test_encoded_texts_are_bounded_and_long_ones_are_told_once(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    drawn = FluxEngine(loading_text(FluxTable(weights=str(weights), device="cpu"), 64), screen=RuleScreen())
    monkeypatch.setattr(engine, "TEXTS_KEPT", 2)
    texts = [(f"{letter} face " + "a " * 80, "a face") for letter in "xyz"]
    first, second = (drawn.encoded(pair, "trainer") for pair in texts[:2])
    assert drawn.encoded(texts[0], "trainer") is first
    drawn.encoded(texts[2], "trainer")
    assert drawn.encoded(texts[0], "trainer") is first, "the last used stays"
    again = drawn.encoded(texts[1], "trainer")
    assert again is not second
    assert torch.equal(again.tokens, second.tokens)
    assert [r.getMessage()[:20] for r in caplog.records if "does not see" in r.getMessage()] == ["CLIP-L does not see "]


def test_an_identity_that_shows_no_face_or_a_known_one_is_passed_over(weights: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = recipe_of(weights, "first_seed = 20\n")
    screen = RuleScreen()
    monkeypatch.setattr(engine, "default_screen", lambda *_: screen)
    prepared = prepare("", recipe=recipe)
    assert [i.subject_id for i in prepared.plan.identities] == ["P_000000", "P_000001", "P_000002"]
    assert prepared.plan.passed_over == ()
    # the second woman is refused, so that the third number of that gender takes her place
    bad = screen.seen[1]
    engine_of.cache_clear()
    monkeypatch.setenv(casting.CACHE_VARIABLE, str(weights / "other"))
    screen = RuleScreen(lambda gray: pixels_digest(gray) == bad)
    plan = prepare("", recipe=recipe).plan
    assert [i.subject_id for i in plan.identities] == ["P_000000", "P_000001", "P_000004"]
    assert plan.passed_over == ("P_000002: seed 22: odd: it is",)
    # with everybody alike nobody is found twice
    monkeypatch.setenv(casting.CACHE_VARIABLE, str(weights / "third"))
    alike = FluxEngine(loading_text(recipe.flux.model_copy(update={"weights": str(weights)}), 64), screen=RuleScreen())
    women = [Subject(f"P_{n:06d}", n, "female", 5) for n in (0, 2)]
    assert alike.too_alike(women[1], women[:1]) is None
    alike.screen.limits = replace(alike.screen.limits, alike=-1.0)
    said = alike.too_alike(women[1], women[:1])
    assert said is not None
    assert said.startswith("seed 22: looks like P_000000, cosine ")


def test_a_build_that_casts_nobody_ends(weights: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "default_screen", lambda *_: RuleScreen(lambda gray: True))
    monkeypatch.setattr(engine, "MOST_REFUSED", 3)
    with pytest.raises(FindingsError, match=r"3 identities in a row were passed over, lastly P_000004 \(odd: it is\)"):
        prepare("", recipe=recipe_of(weights))


def test_a_narrow_device_is_filled_from_main_memory(weights: Path, monkeypatch: pytest.MonkeyPatch):
    table = FluxTable(weights=str(weights), steps=2, precision="fp8")
    (direct, none), start = loading.ready_models(table), noise([1], 64, 64)
    monkeypatch.setattr(loading, "is_narrow", lambda device: True)
    moved, _ = loading.ready_models(table)
    assert none is None
    assert direct.dtype == moved.dtype == torch.bfloat16
    texts = encode(direct, [("a face", "a face")])
    options = SamplingOptions(64, 64, 2, true_cfg=1)
    assert torch.equal(*(denoise(models, texts, None, start, options) for models in (direct, moved)))


def test_networks_that_do_not_fit_say_what_to_do(weights: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loading, "load_models", full)
    with pytest.raises(DeviceFullError, match="out of memory with FLUX in fp32; set --precision fp8"):
        loading.ready_models(FluxTable(weights=str(weights)))


def test_a_casting_is_drawn_once_and_kept(weights: Path, tmp_path: Path):
    loading = loading_text(FluxTable(weights=str(weights), steps=2), 64)
    subject = Subject("P_000001", 1, "male", 5)
    first = FluxEngine(loading, screen=RuleScreen())
    seen = first.casting(subject)
    assert first.casting(subject) is seen
    assert len(first.screen.seen) == 1
    second = FluxEngine(loading, screen=RuleScreen())
    again = second.casting(subject)
    assert second.screen.seen == []
    assert again.reasons == seen.reasons
    assert np.array_equal(again.embedding, seen.embedding)  # type: ignore[arg-type]
    (kept,) = (tmp_path / "cache" / "castings").iterdir()
    kept.write_text('{"reasons": 3}')
    third = FluxEngine(loading, screen=RuleScreen())
    assert np.array_equal(third.casting(subject).embedding, seen.embedding)  # type: ignore[arg-type]
    assert len(third.screen.seen) == 1  # type: ignore[attr-defined]


def test_random_weights_are_not_screened():
    spec = spec_of(recipe_of())
    assert spec.drawing
    assert spec.drawing.screening is None
    assert spec.drawing.further_seeds == ()
    assert FluxEngine(spec.drawing.loading).too_alike(spec.subject, []) is None


def test_fingerprints_follow_what_decides_pixels_and_nothing_else(tmp_path: Path, weights: Path):
    recipe = recipe_of(weights)
    plain = plain_spec(spec_of(recipe))
    moved = recipe.model_copy(update={"flux": recipe.flux.model_copy(update={"device": "cpu", "batch": 1})})
    assert plain_spec(spec_of(moved)) == plain
    for change in ({"guidance": 1.0}, {"steps": 9}, {"preset": "xlabs"}, {"precision": "fp32"}, {"prompt": "else"}):
        other = recipe.model_copy(update={"flux": recipe.flux.model_copy(update=change)})
        assert plain_spec(spec_of(other)) != plain, change
    digests = FluxEngine(loading_text(recipe.flux, 64), screen=RuleScreen()).model_digests()
    assert {name.split("/")[-1] for name in digests} >= {"ae.safetensors", "tokenizer.json", "faces"}


def test_what_it_cannot_make_is_said(tmp_path: Path):
    made, woman = FluxEngine(weights="random"), Subject("P_000000", 0, "female", 5)
    assert made.check(woman, "head_pose") == f"flux makes no head_pose; allowed: {', '.join(schema.CATEGORIES)}"
    assert made.check(woman, "beard") == "a beard needs a male subject"
    assert made.check(woman, "mix") is None
    with pytest.raises(UsageError, match=r"set stills\.engine to 'flux'"):
        made.render(ClipSpec("P_000000_S1", woman, "flux", "head_pose", 1, 2))
    with pytest.raises(UsageError, match="flux draws no scenes"):
        made.render_scene(SceneSpec("scene_0", "flux", 1, 0, "train", ()))
    with pytest.raises(MissingDependencyError, match=r"ae\.safetensors of black-forest-labs"):
        FluxEngine(weights=str(tmp_path)).require()
    assert workers_for({"flux", "phantom"}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("size = 64", "size = 66"), "stills.size is 66; flux draws multiples of 16"),
        (("[flux]", "[radiometric]\nstills = true\n[flux]"), "hold no temperatures: set it to false"),
        (("steps = 2", "steps = 2\npreset = 'webui'"), "flux.preset is 'webui'"),
        (("steps = 2", "step = 2"), "did you mean steps"),
    ],
)
def test_recipes_that_flux_does_not_draw(change: tuple[str, str], message: str):
    with pytest.raises(UsageError, match=message):
        parse_recipe(TEXT.replace(*change))


def test_a_recipe_of_flux_alone_is_read_and_makes_no_release():
    recipe = parse_recipe('name = "L"\nversion = "1.0"\nseed = 0\n[flux]\nprompt = "a face"\n')
    with pytest.raises(UsageError, match=r"subjects\.female and subjects\.male are 0"):
        prepare("", recipe=recipe)
    with pytest.raises(UsageError, match=r"subjects\.female and subjects\.male are 0"):
        parse_recipe('name = "L"\nversion = "1.0"\nseed = 0\n')


def test_doctor_says_what_flux_lacks(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    assert thermvision_db.main(["doctor", "--flux-weights", str(tmp_path / "none")]) == 0
    said = capsys.readouterr().out
    assert "lacking  engine flux" in said
    assert "clip_l.safetensors of comfyanonymous" in said
    assert "type: thermvision doctor --flux-weights FOLDER" in said
    assert thermvision_db.main(["doctor", "--flux-weights", str(weights)]) == 0
    assert "ready    engine flux" in capsys.readouterr().out


@pytest.mark.slow
def test_its_stills_are_animated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faces_module, "default_annotator", OvalAnnotator)
    # noise shows no face: the still's own annotation is given one
    found = FrameAnnotation(np.float32([12, 12, 40, 40]), 1, "given", landmarks=_points())
    monkeypatch.setattr(FluxEngine, "_verdict", lambda *_: Verdict((), {}, found))
    write_video(tmp_path / "nod.mkv", [ovals(64, 64, (30, 26 + 2 * n), radius=14) for n in range(2)])
    text = (
        TEXT.split("[stills]")[0]
        + """
[stills]
engine = "flux"
size = 64
[clips]
engine = "liveportrait"
size = 64
head_pose = 2
driving = "nod.mkv"
weights = "random"
[flux]
weights = "random"
steps = 2
"""
    )
    prepared = prepare(
        text.replace("female = 2", "female = 1").replace("male = 1\n\n[", "male = 0\n\n["), folder=tmp_path
    )
    manifest = build_release(prepared, tmp_path / "release", quiet=True)
    assert not manifest.failed
    assert set(manifest.engines) == {"flux-random@1", "liveportrait-random@1.0"}
    (row,) = rows(tmp_path / "release", "video")
    source = json.loads(row["provenance"])["spec"]["animation"]["source"]
    assert source["engine"] == "flux"
    assert source["drawing"]["seed"] == noise_seed(Subject("P_000000", 0, "f", 5), None)
    assert "loading" not in source["drawing"]


def _points() -> np.ndarray:
    from moving_faces import face_points

    return np.float32(face_points((12, 12, 40, 40)))


def test_the_recipe_of_the_manual_is_one():
    text = (Path(__file__).parents[1] / "docs" / "flux.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    recipe = parse_recipe(block)
    assert recipe.stills.engine == "flux"
    assert recipe.flux.loras[0].strength == 0.9
