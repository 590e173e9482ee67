import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.generation.recipe import bundled_recipes, parse_recipe, read_recipe

BASE = 'name = "a"\nversion = "1.0"\nseed = 0\n[subjects]\nmale = 1\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[stills]\nbeards = 2", "stills.beards is no key; allowed: beard, engine,.*did you mean beard"),
        ("[stil]\nbeard = 2", "stil is no key; .*did you mean stills"),
        ("[stills]\nbeard = -2", "stills.beard.count is -2: input should be greater than or equal to 0"),
        ("[stills]\nbeard = '2'", "stills.beard is '2': allowed: a whole number"),
        ("[stills]\nbeard = true", "stills.beard is True: allowed: a whole number"),
        ("[stills]\nbeard = { count = 1, gander = 'male' }", "did you mean gender"),
        (
            "[stills]\nbeard = { count = 1, gender = 'female' }",
            "stills.beard is for female subjects and subjects.female is 0",
        ),
        ("[clips]\nhead_pose = 1.5", "clips.head_pose is 1.5"),
        ("[clips]\nhead_pose = true", "clips.head_pose is True"),
        ("[clips]\nhead_pose = 9\nsize = 33", "clips.size is 33: input should be a multiple of 2"),
        ("[clips]\nhead_pose = 9\nsize = 100000", "clips.size is 100000"),
        ("[clips]\nhead_pose = 9\nfps = 0", "clips.fps is 0"),
        ("[clips]\nhead_pose = 9\nengine = 'blender'", "engine 'blender' does not exist; allowed: phantom"),
        ("", "asks for nothing"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse_recipe(BASE + text)
    assert caught.value.exit_code == 2


def test_all_findings_come_at_once():
    with pytest.raises(UsageError) as caught:
        parse_recipe(BASE + "[stills]\nbeards = 2\n[clips]\nsize = 3\nfps = -1")
    assert all(word in str(caught.value) for word in ("stills.beards", "clips.size", "clips.fps"))


@pytest.mark.parametrize("missing", ["name", "version", "seed", "[subjects]"])
def test_required_keys(missing):
    lines = [line for line in BASE.splitlines() if not line.startswith(missing)]
    with pytest.raises(UsageError, match=r"field required|subjects"):
        parse_recipe("\n".join(lines) + "\n[clips]\nhead_pose = 1")


def test_no_subject_at_all():
    with pytest.raises(UsageError, match="at least one subject"):
        parse_recipe(BASE.replace("male = 1", "male = 0") + "[clips]\nhead_pose = 1")


def test_zero_is_a_seed_like_any_other():
    assert parse_recipe(BASE + "[clips]\nhead_pose = 1").seed == 0


def test_text_that_is_no_toml_and_files_that_are_no_recipes(tmp_path):
    with pytest.raises(DamagedInputError, match="mend that line"):
        parse_recipe("name = [")
    with pytest.raises(UsageError, match=r"a \.toml file, or paper or quickstart"):
        read_recipe(str(tmp_path / "none.toml"))
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedInputError, match="UTF-8"):
        read_recipe(str(path))
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(DamagedInputError, match="allowed: 1048576"):
        read_recipe(str(path))


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_clear_error(text):
    with pytest.raises(ThermVisionError):
        parse_recipe(text)


def test_the_bundled_recipes():
    assert bundled_recipes() == ["paper", "quickstart"]
    paper, quick = read_recipe("paper")[0], read_recipe("quickstart")[0]
    assert (paper.subjects.female, paper.subjects.male) == (25, 25)
    frames = paper.clips.head_pose, paper.clips.expression
    assert (frames, paper.clips.size, paper.clips.fps) == ((354, 250), 512, 30)
    assert sum(frames) * 50 == 30_200
    assert (quick.subjects.female, quick.subjects.male, quick.clips.head_pose, quick.clips.expression) == (2, 2, 60, 60)
    assert {quick.stills.mix.count, quick.stills.beard.count, quick.stills.frontal_pose.count} == {5}
