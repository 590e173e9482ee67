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
        ("[environment]\nambient = 40", r"environment.ambient is 40: allowed: a number 5\.\.35.*warmer than skin"),
        ("[environment]\nambient = [30, 20]", r"environment.ambient is \[30, 20\]: allowed: .*lowest, highest"),
        ("[environment]\nambiance = 20", "environment.ambiance is no key; .*did you mean ambient"),
        ("[environment]\nfog = nan", r"environment.fog is nan: allowed: a number 0\.\.3"),
        ("[environment]\nheat_sources = 1.5", "environment.heat_sources is 1.5: allowed: a whole number"),
        ("[physiology]\nstress = true", "physiology.stress is True"),
        ("[physiology]\nbreathing_rate = 0", r"breathing_rate is 0: allowed: a number 4\.\.60"),
        ("[camera]\nnetd_mk = -1", r"camera.netd_mk is -1: allowed: a number 0\.\.500"),
        ("[camera]\npreset = 'boson'", "camera.preset is 'boson': allowed: vga-17, qvga-12, qqvga-12"),
        ("[camera]\npalette = ['iron', 'viridis']", "camera.palette is .*allowed: white-hot, black-hot, iron"),
        ("[camera]\nagc = 'auto'", "camera.agc is 'auto': allowed: plateau, linear, fixed"),
        ("[camera]\nagc = []", "camera.agc is"),
        ("[camera]\nagc_limits = [3]", "camera.agc_limits is .*low < high"),
        ("[camera]\ndistance = 9", r"camera.distance is 9: allowed: a number 0\.4\.\.6"),
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
    with pytest.raises(UsageError, match=r"a \.toml file, or audit or paper or quickstart"):
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
    adapters = ["thermal_lora", "thermal_lora_adamw"]
    training = ["training", "training_people", "training_turned"]
    assert bundled_recipes() == ["audit", "paper", "quickstart", "robustness", *adapters, *training]
    assert all(read_recipe(name)[0] for name in bundled_recipes())
    paper, quick = read_recipe("paper")[0], read_recipe("quickstart")[0]
    assert (paper.subjects.female, paper.subjects.male) == (25, 25)
    frames = paper.clips.head_pose, paper.clips.expression
    assert (frames, paper.clips.size, paper.clips.fps) == ((354, 250), 512, 30)
    assert sum(frames) * 50 == 30_200
    assert (quick.subjects.female, quick.subjects.male, quick.clips.head_pose, quick.clips.expression) == (2, 2, 60, 60)
    assert {quick.stills.mix.count, quick.stills.beard.count, quick.stills.frontal_pose.count} == {5}


def test_tables_of_parameters_reach_the_items_as_written():
    text = "[clips]\nhead_pose = 1\n[environment]\nambient = [15, 35]\nfog = 0\nheat_sources = [0, 3]\n"
    text += "[physiology]\nstress = 0.5\n[camera]\npreset = ['vga-17', 'qvga-12']\nnetd_mk = 0\nagc = 'fixed'\n"
    recipe = parse_recipe(BASE + text)
    assert recipe.parameters == {
        "ambient": [15, 35], "fog": 0, "heat_sources": [0, 3], "stress": 0.5,
        "preset": ["vga-17", "qvga-12"], "netd_mk": 0, "agc": "fixed",
    }  # fmt: skip
    assert parse_recipe(BASE + "[clips]\nhead_pose = 1").parameters == {}
    pinned = BASE.replace("male = 1", "male = 1\npin_hairstyle = true")
    assert parse_recipe(pinned + "[clips]\nhead_pose = 1").parameters == {"pin_hairstyle": True}
