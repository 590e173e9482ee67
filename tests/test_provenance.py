"""Provenance to spec: what was written is read back, and what somebody has edited is refused."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import CATEGORIES, GENDERS, SEQUENCES
from thermvision.curation.store import canonical_json
from thermvision.generation.regeneration.provenance import (
    MAX_PIXELS,
    Provenance,
    disagreement,
    pixels_of,
    read_provenance,
)
from thermvision.generation.regeneration.supplies import Supplies, supplied
from thermvision.generation.specs import (
    Animation,
    ClipSpec,
    Drawing,
    InputFile,
    MotionTrack,
    SceneSpec,
    StillSpec,
    Subject,
    plain_spec,
)

ZEROS = "0" * 64
SUBJECT = Subject("P_000003", 3, "male", 7)
STILL = StillSpec("P_000003_beard_000", SUBJECT, "phantom", "beard", 300000, 64, True, {"ambient": [18, 30]})
CLIP = ClipSpec("P_000003_S1", SUBJECT, "phantom", "head_pose", 1, 6, 30.0, 64, 3, {"accessories": 0.15})
SCENE = SceneSpec("scene_000000", "phantom", 7, 0, "train", (SUBJECT,), 64, 96, (1.0, 6.0))
DRAWING = Drawing(
    ("a", "b"), ("", ""), {"age": "40"}, 12, (5, 6), {"steps": 4}, {"limits": {}}, (("x", ZEROS, 1.0, 0.5),)
)
DRAWN = replace(STILL, engine="flux", radiometric=False, parameters={}, drawing=DRAWING)
MOVED = replace(
    CLIP,
    engine="liveportrait",
    parameters={},
    animation=Animation(DRAWN, InputFile("talk.mp4", ZEROS, ""), {"region": "exp"}, preprocess=("normalize",)),
)
RECORDED = replace(CLIP, motion=MotionTrack("talk.npz", ZEROS, 25.0, [[1.0, 2.0, -3.5]], [0.5], None))


def text_of(spec: Any, **more: Any) -> str:
    told = {"spec": plain_spec(spec), "engine": "phantom@1.3", "resolved": {"anything": 1}, "models": ZEROS}
    return canonical_json({**told, "encoder": {"codec": "png", "level": 4}, "raw_pixels_sha256": ZEROS, **more})


def read(text: str) -> Provenance:
    told = read_provenance(text)
    assert told is not None
    return told


@pytest.mark.parametrize("spec", [STILL, CLIP, SCENE, DRAWN, MOVED, RECORDED])
def test_every_kind_of_spec_is_read_back(spec: Any) -> None:
    told = read(text_of(spec))
    assert told.spec == spec
    assert type(told.spec) is type(spec)
    assert (told.engine, told.models, told.pixels, told.cuts) == ("phantom@1.3", ZEROS, ZEROS, ())


subjects = st.builds(
    Subject,
    st.text(min_size=1, max_size=20),
    st.integers(0, 10**6),
    st.sampled_from(GENDERS),
    st.integers(0, 2**63 - 1),
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.floats(0, 1)), max_size=2),
)
values = st.dictionaries(st.text(max_size=5), st.one_of(st.floats(-9, 9), st.lists(st.text(max_size=3))), max_size=3)
sizes = st.integers(16, 1024).map(lambda n: 2 * n)
stills = st.builds(
    StillSpec, st.text(min_size=1, max_size=9), subjects, st.just("phantom"), st.sampled_from(CATEGORIES),
    st.integers(0, 10**9), sizes, st.booleans(), values,
)  # fmt: skip
clips = st.builds(
    ClipSpec, st.text(min_size=1, max_size=9), subjects, st.just("phantom"), st.sampled_from(SEQUENCES),
    st.integers(0, 10**9), st.integers(1, 400), st.floats(1, 240), sizes, st.integers(0, 99), values,
)  # fmt: skip


@given(st.one_of(stills, clips))
def test_any_spec_is_read_back_the_same(spec: StillSpec | ClipSpec) -> None:
    assert read(text_of(spec)).spec == spec


plain = st.recursive(st.none() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x))


@given(st.text() | plain.map(json.dumps))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with contextlib.suppress(DamagedInputError):
        assert read_provenance(text) is None


@pytest.mark.parametrize("text", [None, "", "{}", '{"member":"a.zip/F_01.mp4","sha256":"0"}', "[]", "3"])
def test_what_nobody_rendered_has_no_spec(text: str | None) -> None:
    assert read_provenance(text) is None


def edited(spec: Any, /, **values: Any) -> str:
    told = json.loads(text_of(spec))
    for path, value in values.items():
        *above, last = path.split("__")
        place = told
        for key in above:
            place = place[key]
        place[last] = value
    return json.dumps(told)


DEEP: Any = {}
for _ in range(300):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (edited(STILL, spec__size=10**9), "size"),
        (edited(STILL, spec__size=65), "size"),
        (edited(STILL, spec__size="64"), "not as this software writes it"),
        (edited(STILL, spec__engine="os.system"), "is not allowed; allowed: phantom"),
        (edited(STILL, spec__category="../../etc"), "category"),
        (edited(STILL, spec__subject__seed=-1), "seed"),
        (edited(STILL, spec__subject__seed=10**30), "seed"),
        (edited(STILL, spec__subject__gender="robot"), "gender"),
        (edited(STILL, spec__subject__path="/etc/passwd"), "path"),
        (edited(STILL, spec__parameters={"ambient": float("nan")}), "refused"),
        (edited(STILL, spec__parameters=[1]), "parameters"),
        (edited(STILL, spec__loading="x"), "loading"),
        (edited(CLIP, spec__num_frames=10**7), "num_frames"),
        (edited(CLIP, spec__num_frames=100_000, spec__size=2048), f"allowed: {MAX_PIXELS}"),
        (edited(CLIP, spec__fps=0), "fps"),
        (edited(CLIP, cuts=[{"first": -1}]), "cuts"),
        (edited(CLIP, raw_pixels_sha256="none"), "raw_pixels_sha256"),
        (edited(CLIP, encoder="x264"), "encoder"),
        (edited(CLIP, spec=[]), "spec"),
        (edited(MOVED, spec__animation__driving__name="../../etc/passwd"), "name"),
        (edited(MOVED, spec__animation__driving__path="/etc/passwd"), "path"),
        (edited(MOVED, spec__animation__weights="/tmp"), "weights"),
        (edited(DRAWN, spec__drawing__loading="{}"), "loading"),
        (edited(SCENE, spec__subjects=[plain_spec(STILL)["subject"]] * 21), "subjects"),
        (edited(SCENE, spec__width=1 << 40), "width"),
        ('{"spec": ', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"spec": {"a": ' + "9" * 5000 + "}}", "no JSON"),
    ],
)
def test_an_edited_one_is_refused(text: str, said: str) -> None:
    with pytest.raises(DamagedInputError, match="provenance") as told:
        read_provenance(text)
    assert said in str(told.value)
    assert len(str(told.value)) < 1000


def test_a_deep_one_is_refused_or_read() -> None:
    assert read(edited(STILL, spec__parameters=DEEP)).spec.parameters == DEEP


def test_pixels() -> None:
    assert [pixels_of(s) for s in (STILL, CLIP, SCENE)] == [64 * 64, 6 * 64 * 64, 64 * 96]


ROWS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "still": (STILL, "beard", {"image_id": STILL.item_id, "category": CATEGORIES.index("beard")}),
    "clip": (CLIP, "video", {"clip_id": CLIP.item_id, "sequence": 0, "num_frames": 6, "fps": 30.0}),
    "scene": (SCENE, "scenes", {"image_id": SCENE.item_id, "width": 64, "height": 96}),
}
SHARED = {"subject_id": "P_000003", "gender": 1, "width": 64, "height": 64}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_and_its_provenance_agree(kind: str) -> None:
    spec, config, row = ROWS[kind]
    told = read(text_of(spec))
    assert disagreement(told, SHARED | row, config) is None
    columns = [*row, *([] if kind == "scene" else SHARED)]
    for column in columns:
        assert disagreement(told, SHARED | row | {column: 99}, config), column
    assert disagreement(told, SHARED | row, "scenes" if kind == "still" else "beard")


def test_cuts_count_in_the_number_of_frames() -> None:
    spec, config, row = ROWS["clip"]
    cut = {"video_sha256": ZEROS, "encoder": {"crf": 18}, "pixels_sha256": ZEROS}
    told = read(text_of(spec, cuts=[{"first": 1, "last": 4, **cut}, {"first": 0, "last": 1, **cut}]))
    assert disagreement(told, SHARED | row | {"num_frames": 2}, config) is None
    beyond = read(text_of(spec, cuts=[{"first": 1, "last": 6, **cut}]))
    assert "cut" in str(disagreement(beyond, SHARED | row, config))


def test_files_are_found_by_content_and_never_by_name() -> None:
    told = read(text_of(MOVED)).spec
    with pytest.raises(DamagedInputError, match="--files"):
        supplied(told, Supplies())
    made = supplied(told, Supplies({ZEROS: "/here/other.mp4"}, "random", "{}"))
    assert isinstance(made, ClipSpec)
    assert made.animation is not None
    assert made.animation.driving == InputFile("talk.mp4", ZEROS, "/here/other.mp4")
    assert made.animation.weights == "random"
    assert isinstance(made.animation.source, StillSpec)
    assert made.animation.source.drawing is not None
    assert made.animation.source.drawing.loading == "{}"
    assert plain_spec(made) == plain_spec(told)
    assert supplied(CLIP, Supplies()) is CLIP
