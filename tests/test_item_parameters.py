"""What a recipe sets, and that an item's own things never come from its person."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import flip_polarity, from_centikelvin
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.camera import preset_camera
from thermvision.generation.engines.phantom.appearance import dress
from thermvision.generation.engines.phantom.engine import (
    PhantomEngine,
    item_camera,
    item_key,
    sensor_crop,
    sensor_window,
    subject_head,
)
from thermvision.generation.engines.phantom.parameters import draw_still_parameters, settle
from thermvision.generation.specs import Clip, ClipSpec, Still, StillSpec, Subject, seed_sequence

ENGINE = PhantomEngine()
SHORN = Subject("P_000001", 1, "male", 5, {"hairstyle": "buzz"})
MEN = tuple(Subject(f"P_{i:06d}", i, "male", 5) for i in (1, 3))
WALL, CLOTH = SEGMENTS.index("background"), SEGMENTS.index("cloth")


def spec(item: int = 0, subject: Subject = SHORN, **given: Any) -> StillSpec:
    front = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "breath": 0.0}
    return StillSpec("s", subject, "phantom", "frontal_pose", item, 64, True, {**front, **given})


@lru_cache(None)
def _render(given: tuple[tuple[str, Any], ...]) -> Still:
    return ENGINE.render(spec(**dict(given)))


def still(**given: Any) -> Still:
    """One and the same item with other parameters; rendered once."""
    return _render(tuple(given.items()))


def native(made: Still | Clip) -> np.ndarray:
    assert made.radiometry is not None
    return from_centikelvin(made.radiometry.frames[0])


def segment(made: Still) -> np.ndarray:
    assert made.radiometry is not None
    return np.asarray(made.radiometry.truth["segmentation"][0])


def resolved(one: StillSpec) -> Any:
    def rng(stream: str) -> np.random.Generator:
        path = seed_sequence(one.subject.seed, one.subject.index, stream, item_key(one))
        return np.random.default_rng(path)

    given = settle(one.subject, one.parameters, rng("recipe"))
    return draw_still_parameters(one.subject, one.category, given, rng("plan"))


# nothing but the face tells who it is


def test_an_items_things_are_its_own() -> None:
    chosen = [[resolved(spec(k, s)) for k in range(12)] for s in MEN]
    for name in ("distance", "zoom", "shift_x", "shift_y", "ambient"):
        values = np.array([[getattr(p, name) for p in row] for row in chosen])
        assert len(np.unique(values)) == values.size  # neither items of one person nor people share a draw
        assert values.std(1).min() > 0.3 * values.std()
    styles = [{p.attributes["hairstyle"] for p in row} for row in chosen]
    assert min(map(len, styles)) >= 3
    serials = [
        [item_camera(spec(k, s), p).serial for k, p in enumerate(row)] for s, row in zip(MEN, chosen, strict=True)
    ]
    assert len({s for row in serials for s in row}) >= 23
    assert {s.rpartition("-")[0] for s in serials[0]} == {"TV-640"}


def test_hair_may_be_pinned_to_the_person() -> None:
    def styles(subject: Subject, **given: Any) -> set[str | None]:
        return {resolved(spec(k, subject, **given)).attributes.get("hairstyle") for k in range(12)}

    assert styles(MEN[0], pin_hairstyle=True) == {None}  # the identity's own
    assert styles(SHORN) == {None}
    assert styles(MEN[0], hairstyle="crew") == {"crew"}
    head = subject_head(MEN[0])
    for pinned in (True, False):
        hair = [dress(head, MEN[0], {"hairstyle": "crew"}, 22, item, pin_hair=pinned).hair for item in (0, 2)]
        assert np.array_equal(hair[0][0].points, hair[1][0].points) is pinned


def test_clothes_and_room_belong_to_the_item_and_the_face_to_the_person() -> None:
    a, b = (subject_head(s) for s in MEN)
    first, second = dress(a, MEN[0], {}, 22.0, 0), dress(a, MEN[0], {}, 22.0, 2)
    other = dress(b, MEN[1], {}, 22.0, 0)
    rooms = [one.background((24, 24)) for one in (first, second, other)]
    cloth = [np.concatenate([layer.temperature for layer in one.layers]) for one in (first, second, other)]
    for x, y in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(rooms[x] - rooms[y]).mean() > 0.05
        assert len(cloth[x]) != len(cloth[y]) or np.abs(cloth[x] - cloth[y]).mean() > 0.05
    # the same face and the same warm and cool places, a session apart
    np.testing.assert_array_equal(a.rest, subject_head(MEN[0]).rest)
    marks = a.topology.landmarks[[8, 27, 39, 42, 51]]
    change = (first.skin.temperature - second.skin.temperature)[marks]
    assert np.ptp(change) < 0.6
    strangers = (first.skin.temperature - other.skin.temperature)[a.topology.label == SEGMENTS.index("skin")]
    again = (first.skin.temperature - second.skin.temperature)[a.topology.label == SEGMENTS.index("skin")]
    assert again.std() < 0.7 * strangers.std()


def test_one_setting_moves_no_other_draw() -> None:
    free = resolved(spec(4, MEN[0]))
    for name, value in (("fog", [0.1, 0.4]), ("preset", ["qvga-12", "qqvga-12"]), ("heat_sources", [1, 3])):
        fixed = resolved(spec(4, MEN[0], **{name: value}))
        changed = {k for k, v in fixed.as_dict().items() if v != free.as_dict()[k]}
        assert changed == {name}


def test_ranges_are_filled_and_kept() -> None:
    given = {"ambient": [15, 35], "heat_sources": [0, 3], "preset": ["vga-17", "qvga-12"], "netd_mk": [30, 60]}
    drawn = [resolved(spec(k, **given)) for k in range(300)]
    ambient = np.array([p.ambient for p in drawn])
    assert 15 <= ambient.min() < 16.5
    assert 33.5 < ambient.max() <= 35
    assert {p.heat_sources for p in drawn} == {0, 1, 2, 3}
    assert {p.preset for p in drawn} == {"vga-17", "qvga-12"}
    # apart from one another
    assert abs(np.corrcoef(ambient, [p.netd_mk for p in drawn])[0, 1]) < 0.2


# sensors and distance


@pytest.mark.parametrize(("preset", "window"), [("vga-17", 300), ("qvga-12", 244), ("qqvga-12", 102)])
def test_a_portrait_is_read_from_as_many_pixels_as_the_sensor_has(preset: str, window: int) -> None:
    camera = replace(preset_camera(preset), distance_m=0.62)
    assert sensor_crop(camera) == window
    assert sensor_crop(replace(camera, distance_m=1.4)) == round(window / 2)
    assert sensor_crop(replace(camera, distance_m=0.4)) == window
    assert sensor_crop(replace(camera, distance_m=6.0)) == max(12, round(window * 0.7 / 6))
    assert sensor_window(512, window) == window
    assert sensor_window(64, 20) == 20  # a small frame is never finer than the sensor


@pytest.mark.parametrize("distance", [0.5, 1.0, 6.0])
def test_a_face_is_as_large_as_its_distance_has_it(distance: float) -> None:
    made = still(distance=distance, zoom=1.0)
    assert made.radiometry is not None
    points = made.radiometry.truth["landmarks_3d"][0]
    camera = preset_camera("vga-17")
    crop = sensor_crop(replace(camera, distance_m=distance))
    frame = 32 + camera.focal_length_px * 64 / crop * points[17:, :2] / points[17:, 2:]
    np.testing.assert_allclose(made.annotation.landmarks[17:], frame, atol=0.01)
    assert native(made).shape == (sensor_window(64, crop),) * 2
    face = points[[27, 30, 8], 2].mean()
    assert face == pytest.approx(distance, abs=1e-6)


def test_what_the_camera_table_says_reaches_the_record() -> None:
    made = still(preset="qqvga-12", netd_mk=0, mtf_px=1.5, fixed_pattern_mk=0)
    camera = made.engine["camera"]
    assert (camera["width"], camera["netd_mk"], camera["mtf_px"], camera["shutter"]) == (160, 0.0, 1.5, True)
    assert camera["serial"].startswith("TV-160-")
    assert made.engine["parameters"]["polarity"] == "white-hot"


def test_polarity_is_in_the_frame_and_a_palette_is_not() -> None:
    plain, black, iron = still(), still(polarity="black-hot"), still(palette="iron")
    np.testing.assert_array_equal(black.frame, flip_polarity(plain.frame))
    np.testing.assert_array_equal(native(black), native(plain))
    assert black.engine["parameters"]["polarity"] == "black-hot"
    np.testing.assert_array_equal(iron.frame, plain.frame)
    assert iron.engine["parameters"]["palette"] == "iron"


# air, room and body


def test_no_fog_is_bit_for_bit_none_and_thick_fog_hides_all() -> None:
    plain = still()
    np.testing.assert_array_equal(still(fog=0, smoke=0.0).frame, plain.frame)
    np.testing.assert_array_equal(native(still(fog=0.0, smoke_excess=20)), native(plain))
    light, thick = native(still(fog=0.3)), native(still(fog=3))
    skin = segment(plain) == SEGMENTS.index("skin")
    contrast = [n[skin].mean() - n[~skin & (segment(plain) == WALL)].mean() for n in (native(plain), light, thick)]
    assert contrast[0] > 1.1 * contrast[1] > 1.1 * 2 * contrast[2] > 0


def test_heat_sources_warm_the_room_alone() -> None:
    plain, heated = still(), still(heat_sources=4)
    wall = segment(plain) == WALL
    difference = native(heated) - native(plain)
    assert difference[wall].max() > 4
    assert plain.radiometry is not None
    assert heated.radiometry is not None
    inside = segment(plain) == SEGMENTS.index("skin")
    truth = [m.radiometry.truth["temperature"][0].astype(int) for m in (plain, heated) if m.radiometry]
    far = inside & ~_next_to(wall)
    np.testing.assert_array_equal(truth[0][far], truth[1][far])


def _next_to(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    near = [padded[1 + i : 1 + i + len(mask), 1 + j : 1 + j + len(mask)] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return np.asarray(np.any(near, axis=0))


def test_warm_air_warms_skin_by_a_part_of_it() -> None:
    means = []
    for ambient in (15, 25, 35):
        made = still(ambient=ambient)
        assert made.radiometry is not None
        truth = from_centikelvin(made.radiometry.truth["temperature"][0])
        means.append((truth[segment(made) == SEGMENTS.index("skin")].mean(), truth[segment(made) == WALL].mean()))
    assert np.diff([s for s, _ in means]).min() > 1
    assert np.diff([w for _, w in means]).min() > 8
    assert np.diff([s for s, _ in means]).max() < 5


def test_session_and_emissivity() -> None:
    plain, warm, dull = still(), still(session=0.8), still(emissivity=0.92)
    skin = segment(plain) == SEGMENTS.index("skin")
    assert (native(warm) - native(plain))[skin].mean() == pytest.approx(0.8, abs=0.12)
    assert plain.radiometry is not None
    assert dull.radiometry is not None
    np.testing.assert_array_equal(plain.radiometry.truth["temperature"], dull.radiometry.truth["temperature"])
    assert -1.2 < (native(dull) - native(plain))[skin].mean() < -0.4


def clip(frames: int, fps: float, **given: Any) -> Clip:
    fixed = {"yaw": 0, "pitch": 0, "roll": 0, "expression": "neutral", **given}
    return ENGINE.render(ClipSpec("c", SHORN, "phantom", "head_pose", 0, frames, fps, 64, 1, fixed))


def test_the_nose_cools_over_a_clip() -> None:
    from thermvision.annotations.schema import REGIONS

    calm, tense = clip(3, 0.1, breathing_rate=12), clip(3, 0.1, breathing_rate=12, stress=0.8, stress_seconds=20)
    assert calm.radiometry is not None
    assert tense.radiometry is not None
    change = tense.radiometry.truth["region_temperatures"] - calm.radiometry.truth["region_temperatures"]
    nose = change[:, REGIONS.index("nose")]
    assert nose[0] == 0
    assert nose[1] < 0.6 * nose[2] < 0
    assert -0.8 < nose[2] < -0.15
    assert np.abs(change[:, REGIONS.index("forehead")]).max() < 0.01


def test_breathing_rate_is_kept() -> None:
    # twelve breaths a minute, looked at every five seconds: always the same moment of a breath
    stopped, moving = clip(3, 0.2, breathing_rate=12), clip(3, 0.2, breathing_rate=20)
    for made, same in ((stopped, True), (moving, False)):
        assert made.radiometry is not None
        truth = made.radiometry.truth["temperature"]
        assert bool((truth[0] == truth[1]).all()) is same


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ambient": 36}, r"ambient is 36; allowed: a number 5\.\.35.*air warmer than skin is not modelled"),
        ({"netd_mk": -1}, r"netd_mk is -1; allowed: a number 0\.\.500"),
        ({"yaw": 120}, "yaw is 120; allowed: a number -90..90"),
        ({"palette": "viridis"}, "palette is 'viridis'; allowed: white-hot, black-hot, iron"),
        ({"preset": "boson"}, "preset is 'boson'; allowed: vga-17"),
        ({"agc": ["plateau", "auto"]}, "agc lists 'auto'; allowed: plateau, linear, fixed"),
        ({"distance": [2, 1]}, r"distance is \[2, 1\]; allowed: a number 0\.4\.\.6, or \[lowest, highest\] within it"),
        ({"heat_sources": 1.5}, "heat_sources is 1.5; allowed: a whole number"),
        ({"agc_limits": [5, 5]}, "agc_limits.*low < high"),
        ({"pin_hairstyle": 1}, "pin_hairstyle is 1; allowed: true, false"),
        ({"fogg": 1}, "no such parameter: fogg; allowed: yaw"),
    ],
)
def test_what_is_not_allowed_is_said(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ENGINE.render(spec(**given))


def test_no_noise_at_all_is_allowed() -> None:
    made = still(netd_mk=0, fixed_pattern_mk=0)
    wall = segment(made) == WALL
    assert native(made)[wall].std() < native(still())[wall].std()


# what people wear in clips

WORN = ("glasses", "mask", "headwear")


def settled_clip(item: int, **given: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed_sequence(5, 1, "recipe", 2 * item + 1))
    return settle(SHORN, given, rng)


def test_the_share_of_clips_with_accessories() -> None:
    drawn = [settled_clip(k, accessories=0.15) for k in range(600)]
    wearing = [d for d in drawn if any(d.get(name, "none") != "none" for name in WORN)]
    assert 0.11 < len(wearing) / len(drawn) < 0.19
    assert {d[name] for d in wearing for name in WORN} == {"none", "glasses", "mask", "cap", "beanie"}
    assert not any(set(WORN) & set(settled_clip(k, accessories=0)) for k in range(50))
    assert all(set(WORN) <= set(settled_clip(k, accessories=1)) for k in range(50))


def test_accessories_move_no_other_draw_and_yield_to_what_is_given() -> None:
    bare, worn = settled_clip(3, ambient=[18, 30]), settled_clip(3, ambient=[18, 30], accessories=1)
    assert bare == {name: value for name, value in worn.items() if name not in WORN}
    chosen = {settled_clip(k, accessories=1, mask="none")["mask"] for k in range(40)}
    assert chosen == {"none"}
    for wrong in (-0.1, 1.5, "all", True):
        with pytest.raises(UsageError, match="accessories is"):
            settled_clip(0, accessories=wrong)


def test_a_clip_shows_what_it_says_is_worn() -> None:
    item = next(k for k in range(40) if settled_clip(k, accessories=1)["glasses"] == "glasses")
    made = ENGINE.render(
        ClipSpec("c", SHORN, "phantom", "head_pose", item, 2, 30.0, 64, 1, {"accessories": 1, "yaw": 0, "pitch": 0})
    )
    assert made.attributes["glasses"] == "glasses"
    assert made.radiometry is not None
    assert (made.radiometry.truth["segmentation"] == SEGMENTS.index("glasses")).sum() > 20
