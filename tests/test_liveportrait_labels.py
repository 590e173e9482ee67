"""Exact labels in LivePortrait's terms: poses, crops and losses of its fine-tuning; and what of a release is taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.conventions import MIRROR
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.pose import rotation_from_pose
from thermvision.generation.engines.liveportrait.driving import DrivingOptions, driving_keypoints
from thermvision.generation.engines.liveportrait.keypoints import MotionInfo, rotation_matrix, transform_keypoints
from thermvision.generation.engines.liveportrait.template import template_of
from thermvision.generation.engines.liveportrait.training.clips import Clips, read_clips
from thermvision.generation.engines.liveportrait.training.crops import (
    crop_units,
    face_matrix,
    make_crop,
    pose_angles,
    shaken,
    window_matrix,
)
from thermvision.generation.engines.liveportrait.training.decoder_losses import (
    DecoderWeights,
    decoder_figures,
    decoder_losses,
    region_mask,
)
from thermvision.generation.engines.liveportrait.training.motion_losses import (
    Guide,
    MotionWeights,
    match_guide,
    motion_figures,
    motion_losses,
)
from thermvision.generation.engines.liveportrait.training.pairs import draw_pairs, draw_people, pair_rows, pairs_batch
from thermvision.generation.engines.liveportrait.training.retargeting_losses import (
    RetargetingWeights,
    border_keypoints,
    retargeting_parts,
    stitched,
    stitching_parts,
)
from thermvision.generation.engines.liveportrait.training.tasks import driven
from thermvision.generation.engines.liveportrait.warping import identity_grid

poses = st.tuples(st.floats(-75, 75), st.floats(-60, 60), st.floats(-60, 60))
CENTRE = np.array([60.0, 70.0])


def symmetric_head() -> np.ndarray:
    """68 points (68, 3) whose mirror images are each other's: x the head's left, y up, z out of the face."""
    points = np.random.default_rng(3).normal(0, 10, (68, 3))
    return (points + points[list(MIRROR)] * [-1, 1, 1]) / 2


def shown(pose: tuple[float, float, float], person: int = 0) -> Clips:
    """One frame of a head in that pose, seen from far away; a bright spot at its landmark 30."""
    points = symmetric_head() @ rotation_from_pose(pose).T
    landmarks = CENTRE + points[:, :2] * [1, -1]
    y, x = np.mgrid[:140, :120]
    spot = np.exp(-((x - landmarks[30, 0]) ** 2 + (y - landmarks[30, 1]) ** 2) / 18)
    one = np.zeros(1, np.int32)
    return Clips(
        frames=[(250 * spot).astype(np.uint8)],
        landmarks=landmarks[None].astype(np.float32),
        head_pose=np.array([pose], np.float32),
        neutral=np.ones(1, np.bool_),
        clip=one,
        person=one + person,
        held_out=np.zeros(1, np.bool_),
        people=("P",),
        digest="",
    )


@given(poses)
def test_angles_are_those_by_which_liveportrait_turns_the_same_head(pose: tuple[float, float, float]) -> None:
    head = symmetric_head()
    ours = head @ rotation_from_pose(pose).T * [1, -1, -1]  # then x right, y down, z away
    pitch, yaw, roll = torch.tensor(pose_angles(pose)).split(1)
    theirs = (head * [1, -1, -1]) @ rotation_matrix(pitch, yaw, roll)[0].numpy()
    np.testing.assert_allclose(theirs, ours, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(poses, st.integers(0, 1000), st.booleans(), st.booleans())
def test_labels_of_a_crop_are_of_one_head(
    pose: tuple[float, float, float], seed: int, mirrored: bool, upright: bool
) -> None:
    clips = shown(pose)
    matrix = (face_matrix if upright else window_matrix)(clips, 0, 128)
    crop = make_crop(clips, 0, shaken(matrix, 128, np.random.default_rng(seed), mirrored), 128)
    # the canonical head is its own mirror image, so only the angles differ
    pitch, yaw, roll = torch.tensor(crop.angles).split(1)
    turned = ((symmetric_head() * [1, -1, -1]) @ rotation_matrix(pitch, yaw, roll)[0].numpy())[:, :2]
    seen = crop.landmarks - crop.landmarks.mean(0)
    turned -= turned.mean(0)
    size = (seen * turned).sum() / (turned**2).sum()
    assert size > 0
    np.testing.assert_allclose(seen, size * turned, atol=1e-4 * np.abs(seen).max())


@pytest.mark.parametrize("mirrored", [False, True])
def test_landmarks_lie_where_the_picture_has_them(mirrored: bool) -> None:
    clips = shown((20, 10, 15))
    crop = make_crop(clips, 0, shaken(face_matrix(clips, 0, 128), 128, np.random.default_rng(1), mirrored), 128)
    small = crop.small().astype(float)
    assert small.shape == (128, 128)
    assert small.max() > 200
    y, x = np.mgrid[:128, :128]
    middle = crop_units([(small * x).sum() / small.sum(), (small * y).sum() / small.sum()], 128)
    # MIRROR[30] is 30; a gray level is cut off at the spot's rim
    np.testing.assert_allclose(middle, crop.landmarks[30], atol=0.01)


def test_crop_units_are_the_coordinates_of_the_warping() -> None:
    cells = identity_grid((16, 64, 64), torch.zeros(()))
    np.testing.assert_allclose(crop_units(1.5 + 4 * np.arange(64), 256), cells[0, 0, :, 0], atol=1e-6)
    np.testing.assert_allclose(crop_units(1.5 + 4 * np.arange(64), 256), cells[0, :, 0, 1], atol=1e-6)


# losses --------------------------------------------------------------------------------------------------------------


def perfect() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Heads of four crops, and labels by which they are right."""
    generator = torch.Generator().manual_seed(0)
    bins = torch.tensor([[10, 33, 40], [20, 30, 33], [33, 50, 30], [40, 12, 36]])
    heads = {
        name: 1000 * torch.nn.functional.one_hot(bins[:, i], 66).float()
        for i, name in enumerate(("pitch", "yaw", "roll"))
    }
    kp = torch.randn(2, 63, generator=generator) * 0.3
    heads |= {
        "kp": kp[[0, 0, 1, 1]],
        "exp": torch.zeros(4, 63),
        "scale": torch.full((4, 1), 1.3),
        "t": torch.zeros(4, 3),
    }
    angles = 3.0 * bins - 97.5
    info = MotionInfo(
        kp=heads["kp"].unflatten(1, (21, 3)), exp=torch.zeros(4, 21, 3), scale=heads["scale"], t=heads["t"],
        pitch=angles[:, :1], yaw=angles[:, 1:2], roll=angles[:, 2:],
    )  # fmt: skip
    landmarks = torch.randn(4, 68, 2, generator=generator)
    landmarks[:, 36:57] = transform_keypoints(info)[..., :2] + 0.05  # landmark 36 + k beside keypoint k
    batch = {
        "angles": angles,
        "landmarks": landmarks,
        "person": torch.tensor([0, 0, 1, 1]),
        "neutral": torch.tensor([True, False, True, False]),
    }
    return heads, batch


def test_a_guide_is_found_beside_its_landmark() -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.normal(0, 1, (30, 68, 2))
    placed = rng.normal(0, 1, (30, 21, 3))
    placed[:, 11, :2] = landmarks[:, 37] + [0.1, -0.05] + rng.normal(0, 0.01, (30, 2))
    placed[:, 20, :2] = landmarks[:, 51] + [0, 0.02]
    guide = match_guide(placed, landmarks)
    assert guide.keypoints.tolist() == [11, 13, 15, 16, 18, 6, 12, 14, 17, 19, 20]
    assert guide.landmarks[0] == 37
    assert guide.landmarks[-1] == 51
    np.testing.assert_allclose(guide.offsets[[0, -1]], [[0.1, -0.05], [0, 0.02]], atol=0.01)
    assert all(mark in range(36, 48) for mark in guide.landmarks[:5])
    assert all(mark in range(48, 68) for mark in guide.landmarks[5:])


def test_each_motion_loss_sees_its_own_mistake() -> None:
    heads, batch = perfect()
    weights = MotionWeights(1, 1, 1, 1, 1, 1)
    followed = torch.arange(11, 21)
    guide = Guide(followed, 36 + followed, torch.full((10, 2), -0.05))

    def losses(**changed: torch.Tensor) -> dict[str, float]:
        found = motion_losses({**heads, **changed}, heads, batch, guide, weights)
        return {name: float(value) for name, value in found.items()}

    for name, value in losses().items():
        assert value == pytest.approx(0, abs=2e-3), name
    wrong = {
        "bins": {"yaw": heads["yaw"].roll(1, 1)},
        "angles": {"pitch": heads["pitch"].roll(1, 1)},
        "guide": {"t": heads["t"] + 0.1},
        "canonical": {"kp": heads["kp"] + torch.tensor([[0.1], [0], [0], [0]])},
        "rest": {"exp": heads["exp"] + torch.tensor([[0.1], [0], [0], [0]])},
        "keep": {"kp": heads["kp"] + 0.1},
    }
    for name, change in wrong.items():
        assert losses(**change)[name] > 0.02, name
    # an expression where the face is not at rest is no mistake
    assert losses(exp=heads["exp"] + torch.tensor([[0], [0.1], [0], [0.1]]))["rest"] == 0
    only = motion_losses(heads, heads, batch, guide, MotionWeights(1, 0, 0, 0, 0, 0))
    assert list(only) == ["bins"]
    figures = motion_figures(heads | {"yaw": heads["yaw"].roll(1, 1)}, batch, guide)
    assert figures["yaw error, degrees"] == pytest.approx(3)
    assert figures["pitch error, degrees"] == pytest.approx(0, abs=1e-3)


def test_relative_motion_is_that_of_animation() -> None:
    generator = torch.Generator().manual_seed(1)

    def info(count: int) -> MotionInfo:
        draw = lambda *shape: torch.randn(count, *shape, generator=generator)  # noqa: E731
        return MotionInfo(
            0.3 * draw(21, 3), 0.02 * draw(21, 3), 1.4 + 0.1 * draw(1), 0.1 * draw(3), *(20 * draw(1) for _ in "pyr")
        )

    source, driver = info(1), info(2)
    options = DrivingOptions(option="pose-friendly", stitching=False)
    none = lambda *_: pytest.fail("not asked for")  # noqa: E731
    wanted = driving_keypoints(source, None, template_of(driver, 30), options, none, none, none)
    torch.testing.assert_close(driven(source, driver[:1], driver[1:]), wanted[1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(driven(source, driver[:1], driver[:1]), transform_keypoints(source), atol=1e-5, rtol=0)


def test_stitching_and_retargeting_parts() -> None:
    source, driver = torch.zeros(2, 21, 3), torch.zeros(2, 21, 3)
    driver[:, 4] = 0.3
    moves = torch.zeros(2, 65)

    def stitching() -> list[float]:
        return [v.abs().mean().item() for v in stitching_parts(moves, source, driver, [4])]

    assert stitching() == pytest.approx([0.3, 0])
    moves[:, 12:15] = -0.3  # keypoint 4
    assert stitching() == pytest.approx([0, 0], abs=1e-7)
    moves[:, 63] = 0.6  # everything, along x
    assert stitching() == pytest.approx([0.2, 0.2])
    assert stitched(moves, driver)[0, 0].tolist() == pytest.approx([0.6, 0, 0])

    wanted = torch.zeros(2, 21, 3)
    wanted[:, 11] = 0.5
    given = torch.zeros(2, 63)

    def retargeting() -> list[float]:
        return [v.abs().mean().item() for v in retargeting_parts(given, wanted, (11, 13))]

    assert retargeting() == pytest.approx([0.25, 0])
    given[:, 33:36] = 0.5
    assert retargeting() == pytest.approx([0, 0])
    given[:, 0] = 0.19
    assert retargeting()[1] == pytest.approx(0.19 / 57)


def test_the_border_is_what_lies_outside_the_face() -> None:
    landmarks = np.random.default_rng(0).uniform(-0.5, 0.5, (5, 68, 2))
    placed = np.random.default_rng(1).uniform(-0.3, 0.3, (5, 21, 3))
    placed[:, [2, 7, 9, 18], 1] = 0.9
    assert border_keypoints(placed, landmarks) == [2, 7, 9, 18]


def test_the_decoder_sees_levels_edges_eyes_and_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 1, 32, 32, generator=generator)
    picture = target.expand(-1, 3, -1, -1)
    landmarks = torch.zeros(1, 68, 2)
    landmarks[:, 36:42] = torch.tensor([-0.5, -0.5])

    def losses(drawn: torch.Tensor) -> dict[str, float]:
        return {n: float(v) for n, v in decoder_losses(drawn, target, landmarks, DecoderWeights(1, 1, 1, 1)).items()}

    assert losses(picture) == pytest.approx(dict.fromkeys(("levels", "gradients", "regions", "gray"), 0), abs=1e-6)
    brighter = losses(picture + 0.1)
    assert brighter["levels"] == pytest.approx(0.1)
    assert brighter["gradients"] == pytest.approx(0, abs=1e-6)
    assert brighter["regions"] == pytest.approx(0.1)
    assert losses(picture.flip(3))["gradients"] > 0.1
    assert losses(picture + torch.tensor([0.1, 0, 0])[:, None, None])["gray"] > 0.02
    assert decoder_figures(picture + 0.1, target)["picture error, gray levels"] == pytest.approx(25.5, rel=1e-4)
    mask = region_mask(landmarks, 32)[0, 0]
    rows, columns = torch.nonzero(mask, as_tuple=True)
    assert mask[8, 8] == 1  # (-.5, -.5)
    assert mask[15, 15] == 1  # the other regions, all at 0
    assert mask[24, 24] == 0
    assert rows.min() >= 7
    assert columns.max() <= 17


@pytest.mark.parametrize("weights", [MotionWeights, DecoderWeights, RetargetingWeights])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_from_0(weights: Callable[..., object], value: float) -> None:
    with pytest.raises(UsageError, match="allowed: 0 or more"):
        weights(value)


# releases ------------------------------------------------------------------------------------------------------------


def test_frames_of_a_release(oval_release: Path) -> None:
    clips = read_clips([oval_release], per_clip=5)
    assert len(clips) == 20  # of four clips of twelve frames
    assert clips.clip.tolist() == [k // 5 for k in range(20)]
    assert len(clips.people) == 2
    assert clips.held_out.tolist() == [bool(clips.people[p].endswith("1")) for p in clips.person]
    assert clips.neutral.tolist()[:5] == [k % 2 == 0 for k in (0, 3, 6, 8, 11)]
    # annotations count pixels from the edge, crops from the first pixel's centre
    whole = read_clips([oval_release], per_clip=12)
    row = next(iter(pq.read_table(next(iter(sorted((oval_release / "data/video").glob("train*"))))).to_pylist()))
    start = int(np.flatnonzero(~whole.held_out)[0])
    np.testing.assert_allclose(whole.landmarks[start], np.array(row["landmarks"][0]) - 0.5, atol=1e-5)
    np.testing.assert_allclose(whole.head_pose[start + 3], row["head_pose"][3])
    equal = read_clips([oval_release], per_clip=5, steps=["equalize"])
    assert not np.array_equal(equal.frames[0], clips.frames[0])
    assert equal.digest == clips.digest


def test_batches_depend_on_the_seed_alone(oval_release: Path) -> None:
    clips = read_clips([oval_release], per_clip=4)
    learned = clips.rows(held_out=False)
    groups = pair_rows(clips.clip, learned)
    assert sorted(np.concatenate(groups).tolist()) == learned.tolist()

    def batches(seed: int) -> list[dict[str, torch.Tensor]]:
        rng = np.random.default_rng(seed)
        people = draw_people(clips, learned, 6, rng, 128)
        return [people, pairs_batch(clips, draw_pairs(groups, 3, rng), 128, rng)]

    first, again, other = batches(1), batches(1), batches(2)
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(first[0]["image"], other[0]["image"])
    people, pairs = first
    assert people["image"].shape == (6, 3, 128, 128)
    assert people["person"].tolist()[:4] == [people["person"][0]] * 4
    assert pairs["target"].shape == (3, 1, 256, 256)
    # the target is the driving frame at twice the size
    halved = torch.nn.functional.avg_pool2d(pairs["target"], 2)
    assert float((halved[:, 0] - pairs["driving"][:, 0]).abs().max()) <= 0.5 / 255 + 1e-6


def rewritten(release: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    for shard in (release / "data" / "video").glob("*.parquet"):
        pq.write_table(change(pq.read_table(shard)), shard)


def replaced(table: pa.Table, column: str, values: list[object]) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, column, pa.array(values, table.schema.field(column).type))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["head_pose"]), "no column head_pose"),
        (lambda t: replaced(t, "head_pose", [[[0.0] * 3] * 5] * len(t)), r"head_pose of shape \(5, 3\)"),
        (lambda t: replaced(t, "head_pose", [None] * len(t)), "head_pose of shape"),
        (lambda t: replaced(t, "video", [{"bytes": b"", "path": "a"}] * len(t)), "video of 0 bytes"),
        (lambda t: replaced(t, "video", [{"bytes": b"none", "path": "a"}] * len(t)), "decode|video"),
        (lambda t: replaced(t, "num_frames", [10**6] * len(t)), "frames"),
    ],
)
def test_damaged_releases_are_told(
    change: Callable[[pa.Table], pa.Table], message: str, oval_release: Path, copied: Callable[[Path], Path]
) -> None:
    release = copied(oval_release)
    rewritten(release, change)
    with pytest.raises(DamagedInputError, match=message):
        read_clips([release])


def test_a_truncated_shard_is_told(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    release = copied(oval_release)
    shard = next((release / "data" / "video").glob("train*"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(DamagedInputError, match=r"cannot be read .* thermvision verify"):
        read_clips([release])


def test_what_cannot_be_trained_on_is_refused(
    oval_release: Path, imported_release: Path, copied: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="annotated by published labels; allowed: ground_truth"):
        read_clips([imported_release])
    with pytest.raises(UsageError, match=r"is no release, it has no release\.json"):
        read_clips([tmp_path])
    release = copied(oval_release)
    shutil.rmtree(release / "data" / "video")
    with pytest.raises(UsageError, match="nobody to learn from"):
        read_clips([release])
    shutil.rmtree(release)
    release = copied(oval_release)
    next((release / "data" / "video").glob("test*")).unlink()
    with pytest.raises(UsageError, match="nobody to hold out"):
        read_clips([release])
    with pytest.raises(UsageError, match="does not exist"):
        read_clips([oval_release], steps=["sharpen"])


def test_faces_that_look_away_are_left_out(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    release = copied(oval_release)
    poses = [[80.0, 0, 0] if k < 9 else [float(k), 0, 0] for k in range(12)]
    rewritten(release, lambda t: replaced(t, "head_pose", [poses] * len(t)))
    clips = read_clips([release], per_clip=8)
    assert clips.head_pose[:, 0].tolist() == [9, 10, 11] * 4
