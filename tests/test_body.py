from collections.abc import Sequence

import numpy as np
import pytest

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.body import make_body, shoulder_scale, upper_garment
from thermvision.generation.engines.phantom.garment import CLOTH, make_garment
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head, Layer
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject


@pytest.fixture(scope="module", params=["female", "male"])
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(Subject("a", 2, request.param, 4))


def clothed(head: Head, seed: int, sitting: bool = False) -> tuple[Sequence[Layer], Sequence[Layer]]:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    worn = make_garment(head, skin, 22.0, np.random.default_rng(seed))
    return worn, make_body(head, worn, sitting, 22.0, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
def test_the_trunk_goes_on_where_the_garment_ends(head: Head, seed: int) -> None:
    worn, (trunk, *_) = clothed(head, seed)
    hem = head.rest[:, 1].min() + 0.008
    rim = trunk.vertices[np.abs(trunk.vertices[:, 1] - hem) < 1e-6]
    cloth = np.concatenate([layer.vertices for layer in worn])
    near = cloth[np.abs(cloth[:, 1] - hem) < 0.02]
    distance = np.linalg.norm(rim[:, None] - near[None], axis=2).min(1)
    assert len(rim) == 72
    assert np.median(distance) < 0.008  # metres
    level = trunk.temperature[np.abs(trunk.vertices[:, 1] - hem) < 1e-6]
    warm = np.concatenate([layer.temperature for layer in worn])[np.abs(cloth[:, 1] - hem) < 0.02]
    assert warm.min() <= level.min() <= level.max() <= warm.max()
    top = trunk.vertices[np.argmax(trunk.vertices[:, 1])]
    assert top[1] > hem + 0.01  # it begins beneath the garment


@pytest.mark.parametrize("sitting", [False, True])
def test_a_body_is_whole(head: Head, sitting: bool) -> None:
    _, layers = clothed(head, 3, sitting)
    chin, scale = head.landmarks[8, 1], shoulder_scale(head)
    lowest = min(layer.vertices[:, 1].min() for layer in layers) - chin
    assert lowest == pytest.approx((-1.12 if sitting else -1.52) * scale, abs=0.1)
    assert {SEGMENTS.index("skin"), CLOTH} <= {layer.label for layer in layers}
    for layer in layers:
        assert np.isfinite(layer.vertices).all()
        assert np.isfinite(layer.temperature).all()
        assert 22 < layer.temperature.min() < layer.temperature.max() < 36
        edges = np.sort(np.concatenate([layer.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed


def test_a_garment_is_cut_where_the_body_begins(head: Head) -> None:
    worn, _ = clothed(head, 0)
    cut = upper_garment(worn[0], head).cut
    assert cut is not None
    below = worn[0].vertices[:, 1] < head.rest[:, 1].min()
    beside = np.abs(worn[0].vertices[:, 0]) > head.rest[:, 0].max()
    assert (cut[below | beside] < 0).all()
    assert (cut > 0).sum() > 2000
