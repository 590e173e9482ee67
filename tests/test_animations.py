"""Recipes of the engine liveportrait: what they may say, whose face each clip has, and what counts in a fingerprint."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from moving_faces import ovals

from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.curation.store import sha256_bytes
from thermvision.generation.animations import animations, deal_pictures, weights_of
from thermvision.generation.build import prepare
from thermvision.generation.recipe import parse_recipe
from thermvision.generation.run import encode_png
from thermvision.generation.specs import ClipSpec, InputFile, StillSpec, Subject, engine_settings, plain_spec

BASE = """
name = "Moved"
version = "1.0"
seed = 3
[subjects]
female = 1
male = 2
"""
CLIPS = """
[clips]
engine = "liveportrait"
size = 64
head_pose = 3
expression = 2
driving = { head_pose = "nod.mp4", expression = "smile.npz" }
weights = "random"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nod.mp4").write_bytes(b"nod")
    (tmp_path / "smile.npz").write_bytes(b"smile")
    (tmp_path / "faces").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "faces" / name).write_bytes(encode_png(ovals(64, 64, (len(name), 30))) + name.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[clips]\nhead_pose = 1\ndriving = 'a.mp4'", "clips.driving goes with clips.engine = 'liveportrait'"),
        ("[clips]\nhead_pose = 1\nsource = 'stills'", "clips.source goes with"),
        ("[clips]\nhead_pose = 1\n[liveportrait]", "the table liveportrait goes with"),
        ("[clips]\nengine = 'liveportrait'\nhead_pose = 1", "clips.driving names nothing for head_pose"),
        (
            "[clips]\nengine = 'liveportrait'\nhead_pose = 1\nexpression = 1\ndriving = { head_pose = 'a.mp4' }",
            "nothing for expression",
        ),
        ("[clips]\nengine = 'liveportrait'\nhead_pose = 1\ndriving = 'a'\nmotion = 'b.npz'", "motion is for phantom"),
        (CLIPS + "[radiometric]\nclip_every = 2", "no temperatures: set it to 0"),
        ("[stills]\nengine = 'liveportrait'\nmix = 1", "'liveportrait' makes no stills; allowed: phantom"),
        ("[scenes]\nengine = 'liveportrait'\ncount = 1", "'liveportrait' makes no scenes; allowed: phantom"),
        (CLIPS + "[liveportrait]\nregion = 'nose'", "liveportrait.region is 'nose': input should be 'all', 'exp'"),
        (CLIPS + "[liveportrait]\nmultiplier = 11", "liveportrait.multiplier is 11"),
        (CLIPS + "[liveportrait]\nmultiplier = nan", "liveportrait.multiplier is nan"),
        (CLIPS + "[liveportrait]\npreprocess = ['blur']", "'blur' does not exist; allowed: normalize"),
        (CLIPS + "[liveportrait]\nanchor = 'worst'", "liveportrait.anchor"),
        (CLIPS + "[liveportrait]\nstiching = true", "did you mean stitching"),
        (CLIPS + "[liveportrait]\nprecision = 'int8'", "liveportrait.precision is 'int8'"),
        (CLIPS + "[liveportrait]\ndevice = 'a b'", "liveportrait.device is 'a b'"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str):
    with pytest.raises(UsageError, match=words):
        parse_recipe(BASE + text)


def test_each_clip_says_what_moves_whom(folder: Path):
    text = BASE + CLIPS + "[liveportrait]\nregion = 'exp'\nanchor = 4\npreprocess = ['equalize', 'normalize']\n"
    plan = prepare(text, folder=folder).plan
    assert [c.item_id for c in plan.clips] == [f"P_00000{i}_S{n}" for i in (0, 1, 3) for n in (1, 2)]
    for clip in plan.clips:
        moved = clip.animation
        assert moved is not None
        assert isinstance(moved.source, StillSpec)
        assert (moved.source.item_id, moved.source.subject) == (
            f"{clip.subject.subject_id}_frontal_pose_000",
            clip.subject,
        )
        assert moved.source.engine == "phantom"
        name = {"head_pose": "nod.mp4", "expression": "smile.npz"}[clip.sequence]
        assert moved.driving == InputFile(name, sha256_bytes(name[:-4].encode()), str(folder / name))
        assert (moved.options, moved.anchor, moved.preprocess) == ({"region": "exp"}, "4", ("normalize", "equalize"))
        assert engine_settings(clip) == {"weights": "random", "device": "auto", "precision": "auto"}
        assert clip.parameters == {}


def test_the_source_is_the_subjects_first_released_frontal_still(folder: Path):
    plan = prepare(BASE + CLIPS + "[stills]\nsize = 64\nfrontal_pose = 3\n", folder=folder).plan
    stills = {s.item_id: s for s in plan.stills}
    for clip in plan.clips:
        assert clip.animation is not None
        source = clip.animation.source
        assert isinstance(source, StillSpec)
        assert replace(source, radiometric=True) == stills[source.item_id]


def test_nothing_but_content_counts(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    def fingerprints(where: Path, text: str = BASE + CLIPS) -> list[str]:
        return [job.fingerprint for job in prepare(text, folder=where).jobs]

    first = fingerprints(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in folder.glob("*.*"):
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert fingerprints(elsewhere) == first
    assert fingerprints(folder, BASE + CLIPS + "[liveportrait]\ndevice = 'cpu'\n") == first
    assert fingerprints(folder, BASE + CLIPS + "[liveportrait]\nstitching = false\n") != first
    assert fingerprints(folder, BASE + CLIPS + "[environment]\nambient = 30\n") != first  # of the source still
    (elsewhere / "nod.mp4").write_bytes(b"shake")
    assert fingerprints(elsewhere) != first
    spec = prepare(BASE + CLIPS, folder=folder).plan.clips[0]
    text = json.dumps(plain_spec(spec))
    assert str(folder) not in text
    assert "random" not in text


def test_specs_of_other_clips_are_as_they_were():
    clip = ClipSpec("a", Subject("P_000000", 0, "female", 7), "phantom", "expression", 2, 9)
    assert plain_spec(clip) == {k: v for k, v in asdict(clip).items() if k != "animation"}
    assert engine_settings(clip) == {}


def test_a_folder_of_pictures(folder: Path):
    text = BASE + CLIPS.replace("weights", "source = 'faces'\nweights")
    prepared = prepare(text, folder=folder)
    assert list(prepared.engines) == ["liveportrait"]  # nothing of phantom is asked for
    sources = [
        c.animation.source.name
        for c in prepared.plan.clips
        if c.animation and isinstance(c.animation.source, InputFile)
    ]
    assert sources == ["a.png", "a.png", "b.png", "b.png", "c.png", "c.png"]
    with pytest.raises(UsageError, match="holds 3 pictures and the recipe asks for 4 subjects"):
        prepare(text.replace("male = 2", "male = 3"), folder=folder)


def test_pictures_by_gender(folder: Path):
    for gender, names in (("female", ["z.png"]), ("male", ["k.png", "l.png"])):
        (folder / gender).mkdir()
        for name in names:
            (folder / gender / name).write_bytes(name.encode())
    wanted = {"female": 1, "male": 2}
    deal = deal_pictures(folder, wanted)
    # numbers may be passed over; nobody's picture is
    people = [Subject(f"P_{i}", i, ("female", "male")[i % 2], 3) for i in (4, 7, 9, 4)]
    assert [deal(p).name for p in people] == ["z.png", "k.png", "l.png", "z.png"]
    (folder / "female" / "z.png").unlink()
    with pytest.raises(UsageError, match="female holds 0 pictures"):
        deal_pictures(folder, wanted)


def test_paths_stay_below_the_recipe_and_weights_need_not(folder: Path):
    for given, words in (
        ("../nod.mp4", "below the recipe's folder"),
        ("/nod.mp4", "below"),
        ("none.mp4", "nothing in"),
    ):
        with pytest.raises(UsageError, match=words):
            animations(parse_recipe(BASE + CLIPS.replace("nod.mp4", given)), folder)
    with pytest.raises(UsageError, match="save it beside"):
        animations(parse_recipe(BASE + CLIPS), None)
    recipe = parse_recipe(BASE + CLIPS.replace('"random"', '"../lp"'))
    assert weights_of(recipe, folder) == str(folder.parent / "lp")
    assert weights_of(parse_recipe(BASE + CLIPS), folder) == "random"
    with pytest.raises(MissingDependencyError, match=r"thermal_motion_extractor.safetensors.*Kijai.*--weights random"):
        prepare(BASE + CLIPS.replace('"random"', '"../lp"'), folder=folder)
