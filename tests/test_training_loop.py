from __future__ import annotations

import json
import math
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from training_chunks import prepare_numbers

from thermvision.annotations.errors import MissingDependencyError
from thermvision.annotations.schema import OUTSIDE, SELF_OCCLUDED, VISIBLE
from thermvision.annotations.session import open_model
from thermvision.annotations.training import networks, train_crops, train_detector
from thermvision.annotations.training.compositor import compose
from thermvision.annotations.training.corpus import CLASSES, UNKNOWN, open_corpus
from thermvision.annotations.training.export import export
from thermvision.annotations.training.loop import Curve, Run, train
from thermvision.annotations.training.pool import Chunk, batches
from thermvision.annotations.training.train_detector import generalised_iou, targets

# pool ----------------------------------------------------------------------------------------------------------------


def numbers(seed: int = 1, count: int = 8, size: int = 4, workers: int = 0, uses: int = 2) -> Iterator[Chunk]:
    return batches(prepare_numbers, (count,), seed, size, workers, uses)


def test_workers_change_nothing_and_go_when_they_are_done() -> None:
    here, there = numbers(), numbers(workers=1)
    for a, b in islice(zip(here, there, strict=True), 14):
        assert a.keys() == b.keys() == {"chunk", "place"}
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    there.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("size", "uses", "expected"), [(4, 2, 4), (4, 1, 2), (8, 3, 3), (5, 2, 3), (100, 2, 1)])
def test_every_chunk_is_used_so_often(size: int, uses: int, expected: int) -> None:
    # after n * expected batches exactly n chunks were made, of which the last four are drawn from
    taken = list(islice(numbers(size=size, uses=uses), 12 * expected))
    assert all(len(b["chunk"]) == size for b in taken)
    made = [int(np.random.default_rng(np.random.SeedSequence(1, spawn_key=(k,))).integers(1 << 30)) for k in range(12)]
    for k in range(12):
        drawn = {int(c) for b in taken[k * expected : (k + 1) * expected] for c in b["chunk"]}
        assert drawn <= set(made[max(0, k - 3) : k + 1])
    assert {int(p) for b in taken for p in b["place"]} == set(range(8))


def test_a_seed_is_a_run() -> None:
    a, b, c = (list(islice(numbers(seed), 5)) for seed in (0, 0, 1))
    assert all((x["chunk"] == y["chunk"]).all() and (x["place"] == y["place"]).all() for x, y in zip(a, b, strict=True))
    assert {int(v) for x in a for v in x["chunk"]}.isdisjoint(int(v) for x in c for v in x["chunk"])


# loop ----------------------------------------------------------------------------------------------------------------


class Slope(nn.Module):
    """One weight and the statistics of one batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1, affine=False)


def steps_of(weights: list[float]) -> Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]:
    """Losses with the gradient 1 that note the weight before each step; one part is the number of the batch."""

    def losses(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(net, Slope)
        weights.append(float(net.weight.detach()))
        net.norm(batch["x"])
        return {"slope": net.weight.sum(), "count": batch["number"].float().mean()}

    return losses


def counted() -> Iterator[Chunk]:
    for number in range(10**6):
        yield {"x": np.array([[1.0], [3.0]], np.float32), "number": np.array([number])}


def test_rate_and_averaged_weights_are_those_of_the_formulas() -> None:
    net, weights = Slope(), list[float]()
    average, _ = train(net, steps_of(weights), counted(), Run(steps=6, size=2, rate=3e-3))
    weights.append(float(net.weight.detach()))
    assert not average.training
    assert float(next(iter(average.parameters())).detach()) != weights[-1]
    expected = 0.0
    for k in range(6):
        rate = 3e-3 * (k + 1) / 150 * (0.02 + 0.49 * (1 + math.cos(math.pi * k / 6)))
        # a constant gradient moves AdamW by its rate, and decay by a thousandth of the weight
        assert weights[k] - weights[k + 1] == pytest.approx(rate * (1 + 1e-3 * weights[k]), rel=1e-3)
        decay = (k + 1) / (k + 20)
        expected = decay * expected + (1 - decay) * weights[k + 1]
    state = average.state_dict()
    assert float(state["weight"]) == pytest.approx(expected, rel=1e-4)
    assert int(state["norm.num_batches_tracked"]) == 6
    # a running mean of 2 towards which each batch goes a tenth, and the average follows
    assert 0 < float(state["norm.running_mean"]) < float(net.norm.running_mean) < 2  # type: ignore[arg-type]


def test_the_curve_has_the_mean_of_every_hundred_batches(tmp_path: Path) -> None:
    lines = list[str]()
    run = Run(steps=250, size=2, seed=5)
    _, curve = train(Slope(), steps_of([]), counted(), run, lines.append)
    assert [p["step"] for p in curve.points] == [100, 200, 250]
    assert [p["count"] for p in curve.points] == [49.5, 149.5, 224.5]
    assert len(lines) == 3
    assert lines[0].startswith("step 100 seconds ")
    assert "count 49.5" in lines[0]
    curve.write(tmp_path / "curve.json")
    kept = json.loads((tmp_path / "curve.json").read_text())
    assert kept["run"] == {
        "steps": 250, "size": 2, "rate": 2e-3, "seed": 5, "device": "cpu", "workers": 1, "threads": 1
    }  # fmt: skip
    assert kept["points"] == curve.points
    assert Curve.read(tmp_path / "curve.json") == curve


# networks ------------------------------------------------------------------------------------------------------------


def test_every_picture_is_evened_by_itself() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 40, (2, 1, 32, 32)).astype(np.float32))
    even = networks.evened(torch.cat([noise + 100, torch.full((1, 1, 32, 32), 77.0)]))
    torch.testing.assert_close(even.mean((2, 3)), torch.zeros(3, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(even[:2].std((2, 3)), torch.full((2, 1), 40 / 48), atol=0.02, rtol=0)
    assert (even[2] == 0).all()
    torch.testing.assert_close(even[:2], networks.evened(noise + 30), atol=1e-4, rtol=0)


def test_shapes() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        logits, sides, points, polarity = networks.DetectorNet().eval()(torch.rand(2, 1, 64, 96) * 255)
        assert (logits.shape, sides.shape, points.shape) == ((2, 16, 24), (2, 4, 16, 24), (2, 10, 16, 24))
        assert polarity.shape == (2,)
        assert (sides > 0).all()
        assert torch.sigmoid(logits).mean() < 0.1  # a face is rare
        crops = torch.rand(2, 1, 112, 112) * 255
        assert [tuple(o.shape) for o in networks.LandmarkerNet().eval()(crops)] == [
            (2, 68, 2), (2, 68), (2, 68, 3), (2, 3), (2, 2)
        ]  # fmt: skip
        vectors = networks.EmbedderNet().eval()(crops)
        assert vectors.shape == (2, 128)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
        found = networks.AttributesNet().eval()(crops)
        assert {name: o.shape[1] for name, o in found.items()} == networks.ATTRIBUTE_SIZES


def test_landmarks_are_the_mean_of_their_maps() -> None:
    torch.manual_seed(0)
    net = networks.LandmarkerNet().eval()
    crop = torch.rand(1, 1, 112, 112) * 255
    with torch.no_grad():
        net.maps.weight.zero_()
        net.trust.fill_(50)  # the maps alone: even ones have their mean in the middle
        torch.testing.assert_close(net(crop)[0], torch.full((1, 68, 2), 56.0), atol=1e-3, rtol=0)
        net.trust.fill_(-50)  # the face as a whole alone
        net.shape.weight.zero_()
        net.shape.bias.copy_(torch.linspace(-1, 1, 136))
        expected = 56 + 28 * torch.linspace(-1, 1, 136).view(1, 68, 2)
        torch.testing.assert_close(net(crop)[0], expected, atol=1e-3, rtol=0)


# what the detector is asked for --------------------------------------------------------------------------------------

NONE = [math.nan] * 4


def asked(
    boxes: list[list[float]], ignored: list[list[float]] | None = None, side: int = 32, five: float = 0.0
) -> dict[str, Tensor]:
    """A batch of one picture; the points of every face lie at (``five``, ``five``)."""
    return {
        "image": torch.zeros(1, side, side, dtype=torch.uint8),
        "boxes": torch.tensor([boxes or [NONE]]),
        "points": torch.full((1, max(1, len(boxes)), 10), five),
        "ignored": torch.tensor([ignored or [NONE]]),
        "black_hot": torch.zeros(1),
    }


def test_maps_of_a_small_face() -> None:
    aim = targets(asked([[8, 8, 24, 24]], five=20.0))
    heat, weight = aim["heat"][0], aim["weight"][0]
    assert heat.shape == (8, 8)
    assert (heat == 1).nonzero().tolist() == [[4, 4]]  # the middle, 16, lies in the cell whose centre is 18
    assert float(heat[4, 5]) == pytest.approx(math.exp(-0.5 * (4 / 2.2) ** 2))
    assert float(heat[3, 5]) == pytest.approx(math.exp(-((4 / 2.2) ** 2)))
    assert weight.nonzero().tolist() == [[4, 4]]
    assert float(weight[4, 4]) == 1
    assert aim["sides"][0, :, 4, 4].tolist() == [10, 10, 6, 6]
    assert aim["points"][0, :, 4, 4].tolist() == [2.0] * 10
    assert (aim["valid"] == 1).all()


def test_maps_of_a_large_face() -> None:
    aim = targets(asked([[8, 8, 88, 88]], side=96))
    core = aim["weight"][0] > 0  # bells of 8 px: two cells to each side, without the corners
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[10:15, 10:15] = True
    expected[[10, 10, 14, 14], [10, 14, 10, 14]] = False
    assert torch.equal(core, expected)
    assert float(aim["weight"].sum()) == pytest.approx(1)
    assert float(aim["weight"][0, 12, 13] / aim["weight"][0, 12, 12]) == pytest.approx(math.exp(-0.125))
    assert aim["sides"][0, :, 11, 14].tolist() == [58 - 8, 46 - 8, 88 - 58, 88 - 46]


def test_the_smallest_face_takes_the_cell_in_any_order() -> None:
    large, small = [8.0, 8.0, 88.0, 88.0], [40.0, 40.0, 56.0, 56.0]
    one, other = targets(asked([large, small], side=96)), targets(asked([small, NONE, large], side=96))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name])
    assert one["sides"][0, :, 12, 12].tolist() == [10, 10, 6, 6]
    assert one["sides"][0, :, 12, 14].tolist() == [50, 42, 30, 38]  # beside its core the large one answers


def test_unused_rows_count_for_nothing() -> None:
    empty = targets(asked([]))
    assert (empty["heat"] == 0).all()
    assert (empty["weight"] == 0).all()
    assert (empty["valid"] == 1).all()
    one, padded = targets(asked([[8, 8, 24, 24]])), targets(asked([NONE, [8, 8, 24, 24], NONE]))
    for name, value in one.items():
        torch.testing.assert_close(value, padded[name])


def test_ignored_cells_are_not_valid_but_for_peaks() -> None:
    aim = targets(asked([[8, 8, 24, 24]], [NONE, [12, 12, 32, 24]]))
    expected = torch.ones(8, 8)
    expected[3:6, 3:8] = 0  # cells whose centres 14, 18, 22 lie in it
    expected[4, 4] = 1
    torch.testing.assert_close(aim["valid"][0], expected)


def sides(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 4)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((2, 2, 2, 2), (2, 2, 2, 2), 1),
        ((2, 2, 2, 2), (0, 2, 4, 2), 1 / 3),
        ((2, 2, 2, 2), (0, 0, 4, 4), 4 / 28 - 8 / 36),
        ((1, 1, 1, 1), (2, 2, 2, 2), 1 / 4),
    ],
)
def test_generalised_iou_by_hand(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert float(generalised_iou(sides(*a), sides(*b))[0]) == pytest.approx(expected)


LENGTHS = st.tuples(*[st.floats(0.5, 300, width=32)] * 4)


@settings(deadline=None)
@given(LENGTHS, LENGTHS)
def test_generalised_iou_is_symmetric_and_bounded(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    one, other = generalised_iou(sides(*a), sides(*b)), generalised_iou(sides(*b), sides(*a))
    torch.testing.assert_close(one, other)
    assert -1 <= float(one[0]) <= 1 + 1e-5
    assert float(generalised_iou(sides(*a), sides(*a))[0]) == pytest.approx(1, abs=1e-4)


# losses --------------------------------------------------------------------------------------------------------------


class Says(nn.Module):
    """A network that gives the same answer to everything."""

    def __init__(self, *answer: Tensor | dict[str, Tensor]) -> None:
        super().__init__()
        self.answer = answer[0] if len(answer) == 1 else answer

    def forward(self, _: Tensor) -> Any:
        return self.answer


def test_a_perfect_detector_loses_nothing() -> None:
    batch = asked([[8, 8, 88, 88], [4, 70, 14, 84]], [[60, 60, 96, 96]], side=96, five=30.0)
    aim = targets(batch)
    logits = torch.where(aim["heat"] > 0.999, 20.0, -20.0)
    perfect = train_detector.losses(Says(logits, aim["sides"], aim["points"], torch.tensor([-30.0])), batch)
    assert perfect.keys() == {"peaks", "boxes", "points", "polarity"}
    assert all(float(v) == pytest.approx(0, abs=1e-5) for v in perfect.values())
    # a peak in the ignored corner costs nothing, one elsewhere does
    for at, costs in ((slice(20, 22), False), (slice(0, 2), True)):
        noisy = logits.clone()
        noisy[0, at, at] = 20
        lost = train_detector.losses(Says(noisy, aim["sides"], aim["points"], torch.tensor([-30.0])), batch)
        assert (float(lost["peaks"]) > 1) == costs
    # all points one pixel off, in parts of each box's side
    off = train_detector.losses(Says(logits, aim["sides"], aim["points"] + 1, torch.tensor([30.0])), batch)
    assert float(off["points"]) == pytest.approx(10 * (1 / 80 + 1 / 12) / 2, rel=1e-4)
    assert float(off["polarity"]) == pytest.approx(0.3 * 30)


def test_a_picture_without_faces_has_a_loss() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        lost = train_detector.losses(networks.DetectorNet(), asked([], side=64) | {"image": torch.rand(1, 64, 64)})
    assert all(math.isfinite(float(v)) for v in lost.values())
    assert (float(lost["boxes"]), float(lost["points"])) == (0, 0)


def test_losses_of_landmarks() -> None:
    state = torch.full((1, 68), VISIBLE)
    state[0, :20], state[0, 20:25] = SELF_OCCLUDED, OUTSIDE
    batch = {
        "image": torch.zeros(1, 112, 112, dtype=torch.uint8),
        "landmarks": torch.rand(1, 68, 2) * 112,
        "state": state,
        "pose": torch.tensor([[10.0, -5, 2]]),
        "openness": torch.tensor([[0.3, 0.1]]),
    }
    right = nn.functional.one_hot((state - 1).clamp(min=0), 3).float() * 60
    points = batch["landmarks"] + torch.tensor([3.0, -4.0])
    points[0, 20:25] += 1000  # of no account: outside
    points[0, :20] += torch.tensor([0.0, -7.0])  # 14 off in sum, but two fifths of the weight
    mean = (14 * 0.4 * 20 + 7 * 43) / (0.4 * 20 + 43)
    says = Says(points, torch.zeros(1, 68), right, batch["pose"] + 2, batch["openness"] - 0.1)
    lost = {name: float(v) for name, v in train_crops.landmarker_losses(says, batch).items()}
    expected = {"landmarks": 0.5 * mean, "spread": 0.05 * mean, "states": 0, "pose": 0.2, "openness": 0.3}
    assert lost == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_claimed_spread_is_best_at_half_the_error() -> None:
    spread = torch.zeros(1, 68, requires_grad=True)
    batch = {
        "image": torch.zeros(1, 112, 112),
        "landmarks": torch.zeros(1, 68, 2),
        "state": torch.full((1, 68), VISIBLE),
        "pose": torch.zeros(1, 3),
        "openness": torch.zeros(1, 2),
    }
    # |dx| + |dy| of 2 fits a Laplace scale of 1 on each axis, whose logarithm is 0
    says = Says(torch.ones(1, 68, 2), spread, torch.zeros(1, 68, 3), batch["pose"], batch["openness"])
    (gradient,) = torch.autograd.grad(train_crops.landmarker_losses(says, batch)["spread"], spread)
    torch.testing.assert_close(gradient, torch.zeros(1, 68))


def test_unknown_attributes_count_for_nothing() -> None:
    classes = torch.full((3, len(CLASSES)), UNKNOWN)
    classes[0] = 0
    logits = {name: torch.zeros(3, n) for name, n in networks.ATTRIBUTE_SIZES.items()}
    for values in logits.values():
        values[1:, 0] = -50  # wrong, if it counted
    lost = train_crops.attribute_losses(Says(logits), {"image": torch.zeros(3, 112, 112), "classes": classes})
    assert {n: float(v) for n, v in lost.items()} == pytest.approx(
        {name: math.log(n) for name, n in networks.ATTRIBUTE_SIZES.items()}
    )


def test_the_margin_is_added_to_the_own_angle() -> None:
    batch = {"image": torch.zeros(2, 112, 112), "person": torch.tensor([0, 1])}
    cosine = torch.tensor([[0.0, 0.0], [0.5, math.cos(0.75)]])
    own = [24 * math.cos(math.pi / 2 + 0.25), 24 * math.cos(1.0)]
    other = [0.0, 12.0]
    expected = sum(math.log1p(math.exp(b - a)) for a, b in zip(own, other, strict=True)) / 2
    assert float(train_crops.embedder_losses(Says(cosine), batch)["identity"]) == pytest.approx(expected, rel=1e-4)


def test_recognition_compares_with_unit_directions() -> None:
    torch.manual_seed(0)
    net = train_crops.Recognition(Says(nn.functional.normalize(torch.rand(4, 128))), 3)
    cosine = net(torch.zeros(4, 1, 112, 112))
    assert cosine.shape == (4, 3)
    assert cosine.abs().max() <= 1
    with torch.no_grad():
        net.directions.mul_(7)
    torch.testing.assert_close(net(torch.zeros(4, 1, 112, 112)), cosine)


# learning ------------------------------------------------------------------------------------------------------------


def small_pictures(corpus: Path) -> Chunk:
    opened, rng = open_corpus(corpus), np.random.default_rng(3)
    made = [compose(opened, opened.rows("train"), rng, (96, 96)) for _ in range(4)]
    return {
        "image": np.stack([p.image for p in made]),
        "boxes": np.stack([train_detector._padded(p.boxes, 4) for p in made]),
        "points": np.stack([train_detector._padded(p.points.reshape(-1, 10), 4) for p in made]),
        "ignored": np.stack([train_detector._padded(p.ignored, 4) for p in made]),
        "black_hot": np.array([p.black_hot for p in made], np.float32),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector", "landmarker", "embedder", "attributes"])
def test_a_batch_is_learned_by_heart(monkeypatch: pytest.MonkeyPatch, doll_corpus: Path, name: str) -> None:
    monkeypatch.setattr(train_crops, "_CHUNK", 6)
    net: nn.Module
    if name == "detector":
        chunk, net, losses = small_pictures(doll_corpus), networks.DetectorNet(), train_detector.losses
    else:
        chunk = train_crops.prepare(doll_corpus, ("train",), name)(np.random.default_rng(2))
        net, losses = {
            "landmarker": (networks.LandmarkerNet(), train_crops.landmarker_losses),
            "embedder": (train_crops.Recognition(networks.EmbedderNet(), 3), train_crops.embedder_losses),
            "attributes": (networks.AttributesNet(), train_crops.attribute_losses),
        }[name]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch = {key: torch.from_numpy(value) for key, value in chunk.items()}
    optimiser, totals = torch.optim.Adam(net.parameters(), 2e-3), list[float]()
    for _ in range(14):
        total = torch.stack(list(losses(net, batch).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert np.isfinite(totals).all()
    assert totals[-1] < 0.6 * totals[0]


def test_chunks_of_crops(monkeypatch: pytest.MonkeyPatch, doll_corpus: Path) -> None:
    monkeypatch.setattr(train_crops, "_CHUNK", 3)
    rng = np.random.default_rng(0)
    made = {
        kind: train_crops.prepare(doll_corpus, ("train",), kind)(rng)
        for kind in ("landmarker", "attributes", "embedder")
    }
    assert {kind: {name: value.shape for name, value in chunk.items()} for kind, chunk in made.items()} == {
        "landmarker": {
            "image": (3, 112, 112), "landmarks": (3, 68, 2), "state": (3, 68), "pose": (3, 3), "openness": (3, 2)
        },
        "attributes": {"image": (3, 112, 112), "classes": (3, 6)},
        "embedder": {"image": (3, 112, 112), "person": (3,)},
    }  # fmt: skip
    assert all(chunk["image"].dtype == np.uint8 for chunk in made.values())
    assert made["embedder"]["person"].max() < 3  # numbered among those that are learned from


def test_chunks_of_pictures(monkeypatch: pytest.MonkeyPatch, doll_corpus: Path) -> None:
    monkeypatch.setattr(train_detector, "_CHUNK", 2)
    chunk = train_detector.prepare(doll_corpus, ("train",))(np.random.default_rng(0))
    assert {name: value.shape for name, value in chunk.items()} == {
        "image": (2, 192, 224), "boxes": (2, 6, 4), "points": (2, 6, 10), "ignored": (2, 8, 4), "black_hot": (2,)
    }  # fmt: skip
    there = ~np.isnan(chunk["boxes"]).any(2)
    assert (np.isnan(chunk["points"]).any(2) == ~there).all()


def test_padding() -> None:
    padded = train_detector._padded(np.ones((1, 2), np.float32), 3)
    assert np.isnan(padded[1:]).all()
    assert padded[0].tolist() == [1, 1]
    assert train_detector._padded(np.ones((5, 2), np.float32), 3).shape == (3, 2)


# export --------------------------------------------------------------------------------------------------------------


def test_only_peaks_score() -> None:
    logits = torch.full((1, 6, 6), -3.0)
    logits[0, 1, 1], logits[0, 1, 2], logits[0, 4, 4] = 2.0, 1.0, 0.0
    shipped = train_detector.Exported(Says(logits, torch.ones(1, 4, 6, 6), torch.ones(1, 10, 6, 6), torch.zeros(1)))
    score, _, _, black_hot = shipped(torch.zeros(1, 1, 24, 24))
    assert float(score[0, 1, 1]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert float(score[0, 1, 2]) == 0
    assert float(score[0, 4, 4]) == 0.5
    assert float(black_hot[0]) == 0.5


def test_what_crop_models_ship() -> None:
    answer = torch.rand(2, 68, 2), torch.full((2, 68), 0.5), torch.rand(2, 68, 3), torch.rand(2, 3), -torch.ones(2, 2)
    points, sigma, state, pose, openness = train_crops.ExportedLandmarker(Says(*answer))(torch.zeros(2, 1, 112, 112))
    assert torch.equal(points, answer[0])
    torch.testing.assert_close(sigma, torch.full((2, 68), math.sqrt(2 * math.e)))
    torch.testing.assert_close(state.sum(2), torch.ones(2, 68))
    assert torch.equal(pose, answer[3])
    assert (openness == 0).all()
    logits = {name: torch.arange(n).float().repeat(2, 1) for name, n in networks.ATTRIBUTE_SIZES.items()}
    shipped = train_crops.ExportedAttributes(Says(logits))(torch.zeros(2, 1, 112, 112))
    assert [o.shape[1] for o in shipped] == list(networks.ATTRIBUTE_SIZES.values())
    torch.testing.assert_close(shipped[1], logits["expression"].softmax(1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, int]:
    """A detector with weights drawn at random, and its file."""
    torch.manual_seed(1)
    net, path = train_detector.Exported(networks.DetectorNet()).eval(), tmp_path_factory.mktemp("export") / "d.onnx"
    torch.nn.init.normal_(net.net.out.weight, 0, 0.1)  # type: ignore[union-attr, arg-type]
    shape = {"image": (1, 1, 64, 64)}
    size = export(
        net, path, shape, train_detector.EXPORT["outputs"], train_detector.EXPORT["free"], {"threshold": "0.35"}
    )
    return net, path, size


def test_the_file_computes_what_the_network_does(exported: tuple[nn.Module, Path, int]) -> None:
    net, path, _ = exported
    model = open_model(path)
    assert list(model.outputs) == ["score", "box", "points", "black_hot"]
    image = np.random.default_rng(0).uniform(0, 255, (2, 1, 96, 128)).astype(np.float32)  # not as it was traced
    found = model.run({"image": image})
    with torch.no_grad():
        score, box, points, black_hot = (t.numpy() for t in net(torch.from_numpy(image)))
    np.testing.assert_allclose(found["box"], box, rtol=0.02)  # weights of 11 bits
    np.testing.assert_allclose(found["points"], points, atol=0.02 * np.abs(points).max())
    np.testing.assert_allclose(found["black_hot"], black_hot, atol=5e-3)
    assert found["black_hot"].shape == (2,)
    same = (found["score"] > 0) == (score > 0)
    assert same.mean() > 0.97  # neighbours that are nearly equal may change places
    both = same & (score > 0)
    assert both.sum() > 20
    np.testing.assert_allclose(found["score"][both], score[both], rtol=0.02)


def test_the_file_is_half_as_large_and_carries_its_metadata(exported: tuple[nn.Module, Path, int]) -> None:
    net, path, size = exported
    weights = 4 * sum(p.numel() for p in net.parameters())
    assert size == path.stat().st_size
    assert 0.45 * weights < size < 0.6 * weights
    assert open_model(path).metadata["threshold"] == "0.35"
    assert [p.name for p in path.parent.iterdir()] == ["d.onnx"]  # nothing half-written is left


def test_an_export_that_fails_leaves_the_file_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"before")

    def refuse(_: Any) -> None:
        raise ValueError("no model")

    monkeypatch.setattr("onnx.checker.check_model", refuse)
    with pytest.raises(ValueError, match="no model"):
        export(nn.Linear(2, 2), path, {"x": (1, 2)}, ("y",), {"x": {0: "n"}}, {})
    assert path.read_bytes() == b"before"
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"thermvision-db\[train\]"):
        export(nn.Linear(2, 2), path, {"x": (1, 2)}, ("y",), {}, {})
