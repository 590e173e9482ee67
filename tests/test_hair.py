import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import HAIRSTYLES, SEGMENTS
from thermvision.generation.engines.phantom.hair import HAIR_STYLES, GrownHair, grow_hair, hair_strands, hair_style
from thermvision.generation.engines.phantom.hair_shell import make_shell, over_ears
from thermvision.generation.engines.phantom.hairline import Hairline, draw_hairline, scalp_temperature
from thermvision.generation.engines.phantom.identity import HAIRSTYLES_BY_GENDER, make_head
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject

STYLES = sorted(HAIR_STYLES)


@pytest.fixture(scope="module", params=["female", "male"])
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(Subject("a", 4, request.param, 2))


@pytest.fixture(scope="module")
def hairline(head: Head) -> Hairline:
    return draw_hairline(head, np.random.default_rng(0))


@pytest.fixture(scope="module")
def grown(head: Head, hairline: Hairline) -> dict[str, GrownHair]:
    hair = {style: grow_hair(head, hairline, style, np.random.default_rng(1)) for style in STYLES}
    return {style: h for style, h in hair.items() if h is not None}


def test_every_style_of_the_schema_is_drawn() -> None:
    assert {*HAIR_STYLES, "bald"} == set(HAIRSTYLES)
    assert set().union(*HAIRSTYLES_BY_GENDER.values()) <= set(HAIRSTYLES)
    assert hair_style("bald") is None
    with pytest.raises(UsageError, match=r"mohawk.*allowed: bald, buzz"):
        hair_style("mohawk")


def test_hairline_bears_the_crown_and_not_the_face(head: Head, hairline: Hairline) -> None:
    rows = head.topology.landmarks[3:14]  # the jaw points above lie beneath the sideburns
    rows = np.concatenate([rows, head.topology.landmarks[17:]])
    assert (hairline.inside[rows] < 0).all()
    crown = head.topology.canonical[:, 1].argmax()
    assert hairline.inside[crown] > 0.03
    assert hairline.thickness[crown] == pytest.approx(1)
    assert (hairline.inside[head.topology.ear > 0.46] < 0).all()


def test_shell_is_a_distance(head: Head) -> None:
    shell = make_shell(head)
    crown = head.rest[head.topology.canonical[:, 1].argmax()]
    distance, outward = shell.distance(crown + np.array([[0, 0.02, 0], [0, 0.04, 0], [0, -0.02, 0]]))
    assert distance[1] - distance[0] == pytest.approx(0.02, abs=0.003)
    assert distance[2] < 0 < distance[0]
    assert outward[0] == pytest.approx([0, 1, 0], abs=0.35)
    assert np.linalg.norm(outward, axis=1) == pytest.approx(1)


@pytest.mark.parametrize("style", STYLES)
def test_strands_are_finite_and_leave_the_face_free(head: Head, grown: dict[str, GrownHair], style: str) -> None:
    hair = grown[style]
    n, count, _ = hair.points.shape
    assert count == HAIR_STYLES[style].points
    assert n > 0.5 * HAIR_STYLES[style].strands
    assert np.isfinite(hair.points).all()
    assert hair.height.min() > -0.012
    x, y, z = np.moveaxis(hair.points, -1, 0)
    eyes = head.landmarks[36:48]
    before_eyes = (np.abs(x) < eyes[:, 0].max()) & (z > eyes[:, 2].min() - 0.01)
    before_eyes &= (y < eyes[:, 1].max() + 0.01) & (y > head.landmarks[8, 1])
    assert not before_eyes.any()


@pytest.mark.parametrize(("style", "longest"), [("buzz", 0.006), ("crew", 0.018), ("short", 0.04)])
def test_strand_lengths(grown: dict[str, GrownHair], style: str, longest: float) -> None:
    length = np.linalg.norm(np.diff(grown[style].points, axis=1), axis=2).sum(1)
    # pushes off the head add a little to what the steps cover
    assert np.percentile(length, 90) < 1.7 * longest
    assert np.percentile(length, 90) > 0.3 * longest


def test_bob_ends_at_the_chin_and_long_hair_below(head: Head, grown: dict[str, GrownHair]) -> None:
    chin = head.landmarks[8, 1]
    assert np.percentile(grown["bob"].points[..., 1], 0.5) > chin - 0.07
    assert grown["long"].points[..., 1].min() < chin - 0.10


def test_a_bun_sits_on_top_and_a_tail_hangs_behind(head: Head, grown: dict[str, GrownHair]) -> None:
    top, back = head.rest[:, 1].max(), head.rest[head.rest[:, 1] > head.landmarks[30, 1], 2].min()
    assert np.percentile(grown["bun"].points[..., 1], 99) > top + 0.02
    tail = grown["ponytail"].points[:, -1]
    assert np.median(tail[:, 1]) < head.landmarks[30, 1] - 0.03
    assert np.median(tail[:, 2]) < back + 0.03


def test_a_fringe_ends_above_the_eyes(head: Head, grown: dict[str, GrownHair]) -> None:
    points = grown["fringe"].points
    front = (np.abs(points[..., 0]) < 0.03) & (points[..., 2] > head.landmarks[16, 2] + 0.03)
    lowest = points[..., 1][front].min()
    assert head.landmarks[36:48, 1].max() < lowest < head.landmarks[17:27, 1].max() + 0.02


def test_tied_hair_leaves_the_sides_of_the_neck_free(head: Head, grown: dict[str, GrownHair]) -> None:
    low = grown["back"].points[..., 1] < head.landmarks[8, 1]
    assert low.mean() < 0.02


def test_growth_repeats(head: Head, hairline: Hairline, grown: dict[str, GrownHair]) -> None:
    again = grow_hair(head, hairline, "side", np.random.default_rng(1))
    assert again is not None
    assert np.array_equal(again.points, grown["side"].points)
    other = grow_hair(head, hairline, "side", np.random.default_rng(2))
    assert other is not None
    assert other.points.shape != again.points.shape or not np.allclose(other.points, again.points)


@pytest.mark.parametrize("style", STYLES)
def test_hair_lies_between_air_and_skin(
    head: Head, hairline: Hairline, grown: dict[str, GrownHair], style: str
) -> None:
    skin = skin_temperature(head, np.random.default_rng(3), np.random.default_rng(4), 21.0)
    (strands,) = hair_strands(head, grown[style], hairline, skin, 21.0)
    assert strands.label == SEGMENTS.index("hair")
    assert strands.points.shape[:2] == strands.temperature.shape
    assert strands.half_width.shape == (len(strands.points),)
    assert np.isfinite(strands.temperature).all()
    assert np.percentile(strands.temperature, 0.1) > 21.0
    assert strands.temperature.max() < skin.base + 2.5
    if style in ("short", "side", "long"):
        assert strands.temperature[:, 0].mean() > strands.temperature[:, -1].mean() + 0.5


def test_scalp_changes_only_inside_the_hairline(head: Head, hairline: Hairline) -> None:
    skin = skin_temperature(head, np.random.default_rng(3), np.random.default_rng(4), 22.0)
    for insulation in (0.0, 0.6):
        scalp = scalp_temperature(head, hairline, skin, insulation, 0.5, 22.0, np.random.default_rng(0))
        outside = hairline.inside <= 0
        assert np.array_equal(scalp.temperature[outside], skin.temperature[outside])
        crown = hairline.inside > 0.04
        assert scalp.temperature[crown].mean() < skin.temperature[crown].mean()


def test_loose_hair_passes_outside_the_ears() -> None:
    head = make_head(Subject("a", 2, "female", 4))
    ear = head.rest[(head.topology.ear > 0.5) & (head.topology.canonical[:, 0] > 0)]
    tip = ear[ear[:, 0].argmax()]
    down = np.linspace(0.08, -0.08, 17)[:, None] * [0, 1.0, 0]
    strand = (tip * [0, 1, 1] + [tip[0] - 0.012, 0, 0] + down)[None]
    passed = over_ears(head, strand)
    assert passed[0, 8, 0] > tip[0]  # beside the ear's tip
    np.testing.assert_array_equal(passed[0, [0, -1]], strand[0, [0, -1]])  # and nowhere else
    np.testing.assert_array_equal(passed[..., 1:], strand[..., 1:])
    mirrored = over_ears(head, strand * [-1, 1, 1])
    assert mirrored[0, 8, 0] < -tip[0] + 0.004
