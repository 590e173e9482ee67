"""LivePortrait's networks: the golden numbers of the public implementation, and drawing in batches and precisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import golden_liveportrait as golden
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.liveportrait import networks as module
from thermvision.generation.engines.liveportrait import quick_spade, quick_warping, tiled
from thermvision.generation.engines.liveportrait.checkpoint import normalise
from thermvision.generation.engines.liveportrait.keypoints import headpose_degrees, transform_keypoints
from thermvision.generation.engines.liveportrait.layers import NARROW, PUBLISHED
from thermvision.generation.engines.liveportrait.modules import NETWORKS, network_of
from thermvision.generation.engines.liveportrait.motion_extractor import ChannelNorm
from thermvision.generation.engines.liveportrait.networks import Networks, Painter, random_networks, to_gray
from thermvision.generation.engines.liveportrait.quick_spade import QuickGenerator
from thermvision.generation.engines.liveportrait.random_weights import random_state
from thermvision.generation.engines.liveportrait.warping import (
    SourceFeatures,
    heatmaps,
    identity_grid,
    sample,
    with_keypoints,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# with one halving in the hourglass any multiple of 8 will do as a picture's side
TINY = dataclasses.replace(NARROW, hourglass=(4, 4))
SIDE = 64
FILES = {"appearance": "appearance", "motion": "motion", "warp": "warping", "spade": "spade"}


def golden_network(case: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    stored = case if case in FILES else "stitch_retarget"
    net = FILES.get(case, case)
    state = golden.state_dict(stored, golden.read_keys()[stored], dtype=dtype)
    return network_of(net, normalise(net, state), PUBLISHED)


def outputs(case: str, dtype: torch.dtype = torch.float32) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Wanted and found numbers of each output."""
    with torch.no_grad():
        found = golden_network(case, dtype)(**golden.inputs(case, dtype=dtype, **golden.facts()["cases"][case]))
    found = found if isinstance(found, dict) else {"out": found}
    result = {}
    for name, value in found.items():
        key = f"net/{case}/{name}"
        result[name] = (golden.arrays()[key], value.reshape(-1)[:: golden.facts()["stride"][key]].numpy())
    return result


@pytest.mark.slow  # the published widths
@pytest.mark.parametrize("case", ["appearance", "motion", "warp", "spade", "stitching", "lip", "eye"])
def test_golden_numbers(case: str) -> None:
    found = outputs(case)
    stored = {key.split("/")[2] for key in golden.arrays() if key.startswith(f"net/{case}/")}
    assert found.keys() == stored
    for wanted, got in found.values():
        assert golden.relative_error(wanted, got) < (5e-4 if case == "warp" else 1e-4)


@pytest.mark.slow
def test_golden_motion_in_double_precision() -> None:
    # a layer norm's epsilon of 1e-5 instead of 1e-6 gives 2e-6 and more
    for wanted, got in outputs("motion", torch.float64).values():
        error = np.sqrt(np.mean((wanted - got) ** 2) / np.mean(np.square(wanted, dtype=np.float64)))
        assert error < 1.5e-6


def test_layer_norms_have_their_epsilon() -> None:
    x = torch.tensor([1e-3, -1e-3], dtype=torch.float64).reshape(1, 2, 1, 1)  # variance 1e-6
    assert ChannelNorm(2).double()(x).flatten().tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], rel=1e-12)
    norms = [layer for layer in network("motion").modules() if isinstance(layer, nn.LayerNorm)]
    assert len(norms) == 9
    assert {layer.eps for layer in norms} == {1e-6}


def network(net: str) -> nn.Module:
    return network_of(net, random_state(net, TINY), TINY)


def tiny(**more: Any) -> Networks:
    return random_networks(TINY, **more)


def scene(nets: Networks, frames: int = 5) -> tuple[SourceFeatures, Tensor, Tensor]:
    """Features and keypoints of a random picture, and keypoints of frames that move."""
    source = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, SIDE, SIDE, generator=source)
    still = transform_keypoints(nets.motion_of(image))
    return nets.features(image), still, still + 0.1 * torch.randn(frames, 21, 3, generator=source)


def test_pictures_are_noise_that_moves() -> None:
    nets = tiny()
    frames = nets.draw(*scene(nets))
    assert frames.shape == (5, 2 * SIDE, 2 * SIDE)
    assert frames.dtype == np.uint8
    assert nets.random
    assert frames.std() > 10
    assert all((frames[i] != frames[j]).mean() > 0.01 for i in range(5) for j in range(i))


def test_256_pixels_make_512() -> None:
    nets = random_networks()
    image = torch.rand(1, 3, 256, 256)
    features = nets.features(image)
    assert features.volume.shape == (1, NARROW.volume, NARROW.depth, 64, 64)
    still = transform_keypoints(nets.motion_of(image))
    assert nets.draw(features, still, still).shape == (1, 512, 512)


def test_batches_draw_what_single_frames_do() -> None:
    nets = tiny()
    source, still, moving = scene(nets)
    one_by_one = np.concatenate([nets.draw(source, still, moving[i : i + 1]) for i in range(5)])
    for batch in (1, 2, 5, 8):
        frames = nets.draw(source, still, moving, batch)
        assert np.abs(frames.astype(int) - one_by_one).max() <= 1
        assert (frames != one_by_one).mean() < 0.01
    assert [len(part) for part in nets.draw_batches(source, still, moving, 2)] == [2, 2, 1]


def test_what_depends_on_the_source_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = tiny()
    calls = []
    nets.warping.dense_motion_network.compress.register_forward_hook(lambda *_: calls.append("compress"))
    real = with_keypoints
    monkeypatch.setattr(module, "with_keypoints", lambda *given: (calls.append("heat"), real(*given))[1])
    scenery = scene(nets)
    nets.draw(*scenery, batch=2)
    assert calls == ["compress", "heat"]


def test_a_prepared_source_warps_like_an_unprepared_one() -> None:
    nets = tiny()
    source, still, moving = scene(nets)
    with torch.inference_mode():
        prepared = nets.warping.warp(with_keypoints(source, still), still, moving)
        count = len(moving)
        whole = nets.warping(source.volume.repeat(count, 1, 1, 1, 1), still.repeat(count, 1, 1), moving)
    for name, value in whole.items():
        torch.testing.assert_close(prepared[name], value, rtol=1e-4, atol=1e-5)


def test_equal_channels_keep_their_level_whatever_the_level() -> None:
    levels = torch.arange(1, 255, dtype=torch.float64)
    logits = torch.logit((levels + 0.5) / 255).float().reshape(1, 1, 1, -1).expand(-1, 3, -1, -1)
    assert to_gray(logits).flatten().tolist() == levels.int().tolist()
    colours = torch.tensor([[40.0, -40, -40], [-40, 40, -40], [-40, -40, 40]]).T.reshape(1, 3, 1, 3)
    assert to_gray(colours).flatten().tolist() == [76, 150, 29]


def test_motion_is_the_heads_in_degrees_and_rows() -> None:
    nets = tiny()
    images = torch.rand(module.MOTION_BATCH + 3, 3, 32, 32)
    with torch.no_grad():
        heads = nets.motion(images)
    motion = nets.motion_of(images)
    assert len(motion) == len(images)
    torch.testing.assert_close(motion.kp[:, 4, 2], heads["kp"][:, 14], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(motion.exp.flatten(1), heads["exp"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(motion.yaw[:, 0], headpose_degrees(heads["yaw"]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(motion.t, heads["t"], rtol=1e-4, atol=1e-5)
    assert motion.scale.shape == motion.pitch.shape == motion.roll.shape == (len(images), 1)


def test_stitching_moves_points_and_shifts_the_picture_plane() -> None:
    nets = tiny()
    still, moving = torch.rand(1, 21, 3), torch.rand(4, 21, 3)
    before = moving.clone()
    with torch.no_grad():
        answer = nets.stitching(torch.cat([still.expand(4, -1, -1).flatten(1), moving.flatten(1)], 1))
    wanted = moving + answer[:, :63].reshape(4, 21, 3)
    wanted[:, :, 0] += answer[:, 63, None]
    wanted[:, :, 1] += answer[:, 64, None]
    for source in (still, still.expand(4, -1, -1)):
        torch.testing.assert_close(nets.stitch(source, moving), wanted)
    assert torch.equal(moving, before)
    eyes, lips = nets.retarget_eye(still, torch.rand(4, 3)), nets.retarget_lip(still, torch.rand(4, 2))
    assert eyes.shape == lips.shape == (4, 21, 3)


def in_half(dtype: torch.dtype, spoil: Callable[[Networks], object] = lambda _: None) -> tuple[Networks, Networks]:
    """The same networks in half precision, past the refusal of fp16 on a CPU, and in float32."""
    whole = tiny()
    spoil(whole)
    values = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    return Networks(**values | {"dtype": dtype}), whole


def test_half_precision_is_near() -> None:
    half, whole = in_half(torch.bfloat16)
    scenery = scene(whole)
    difference = half.draw(*scenery).astype(int) - whole.draw(*scenery)
    assert 0 < np.abs(difference).mean() < 6
    assert not half.fell_back
    assert half.warping.third.norm.running_var.dtype == torch.float32  # what is saved or trained stays as it was


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "size"),
    [
        (160, 130, 3, (8, 16)),
        (60, 150, 3, (3, 8, 12)),
        (50, 46, 7, (2, 8, 16)),
        (20, 10, 3, (12, 8)),
        (20, 10, 3, (5, 7)),
    ],
)
def test_convolutions_by_tiles_are_convolutions(
    inputs: int, outputs: int, kernel: int, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled, "PAYS", dict.fromkeys(tiled.PAYS, 1_000))
    monkeypatch.setattr(tiled, "CELLS", 4)  # several strips
    source = torch.Generator().manual_seed(3)
    x = torch.randn(2, *size, inputs, generator=source)
    weight = torch.randn(outputs, inputs, *[kernel] * len(size), generator=source)
    bias = torch.randn(outputs, generator=source)
    conv = tiled.Conv(weight, bias, torch.float32)
    assert conv.tiled(x) == (inputs > 20)
    whole = nn.functional.conv2d if len(size) == 2 else nn.functional.conv3d
    wanted = whole(x.double().movedim(-1, 1), weight.double(), bias.double(), padding="same").movedim(1, -1)
    for found in (conv(x), tiled.gathered(conv.strips(x), x)):
        assert golden.relative_error(wanted.numpy(), found) < 5e-6


@pytest.mark.parametrize("factor", [2, 4])
def test_a_convolution_of_an_enlarged_picture_is_one_of_the_picture(factor: int) -> None:
    label = torch.rand(2, NARROW.label, 4, 6)
    norms = [network("spade").get_submodule(name).double() for name in ("up_0.norm_0", "up_0.norm_s")]
    steering = quick_spade.Steering(norms, factor, torch.float64)  # type: ignore[arg-type]
    with torch.no_grad():
        found = steering(label.double().movedim(1, -1).contiguous())
        for norm, steer in zip(norms, found, strict=True):
            wide = nn.functional.interpolate(label.double(), scale_factor=factor, mode="nearest")
            wanted = norm.mlp_shared(wide).relu()  # type: ignore[operator, union-attr]
            torch.testing.assert_close(steer.movedim(-1, 1), wanted, rtol=1e-12, atol=1e-12)


def test_moves_of_the_identity_fall_apart_into_axes() -> None:
    volume, shift = torch.rand(1, 2, 3, 4, 6), torch.randn(2, 21, 3) * 0.4
    field = identity_grid((3, 4, 6), volume) + shift[:, :, None, None, None]
    found = quick_warping.shifted(volume, shift)
    for frame in range(2):
        wanted = sample(volume.expand(21, -1, -1, -1, -1), field[frame])
        torch.testing.assert_close(found[frame], wanted, rtol=1e-4, atol=1e-5)
    grid = identity_grid((3, 4, 6), volume)
    torch.testing.assert_close(quick_warping.heat(volume.shape[2:], shift), heatmaps(grid, shift))


@pytest.mark.parametrize("everywhere", [False, True])
def test_what_draws_is_what_is_trained(everywhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if everywhere:
        monkeypatch.setattr(tiled, "PAYS", dict.fromkeys(tiled.PAYS, 0))
        monkeypatch.setattr(tiled, "LEAST", 2)
    nets = tiny()
    source, still, moving = scene(nets)
    with torch.inference_mode():
        plain = Painter(nets.warping, nets.spade)(source, still, moving)
        torch.testing.assert_close(nets._painter()(source, still, moving), plain, rtol=1e-2, atol=1e-2)


@pytest.mark.slow  # the published widths
def test_golden_numbers_of_what_draws() -> None:
    tensors = golden.inputs("spade", **golden.facts()["cases"]["spade"])
    with torch.no_grad():
        generator = QuickGenerator(golden_network("spade"), torch.float32)  # type: ignore[arg-type]
        painted = generator.logits(tensors["feature"]).sigmoid()
    key = "net/spade/out"
    found = painted.reshape(-1)[:: golden.facts()["stride"][key]]
    assert golden.relative_error(golden.arrays()[key], found) < 1e-4
    tensors = golden.inputs("warp", **golden.facts()["cases"]["warp"])
    with torch.no_grad():
        plain: Any = golden_network("warp")
        source = plain.prepare(tensors["feature"])
        warped = quick_warping.QuickWarping(plain, torch.float32).warp(
            source, tensors["kp_source"], tensors["kp_driving"]
        )
    for name, value in warped.items():
        key = f"net/warp/{name}"
        found = value.reshape(-1)[:: golden.facts()["stride"][key]]
        assert golden.relative_error(golden.arrays()[key], found) < 5e-4


def overflow(nets: Networks) -> None:
    nets.spade.fc.weight.mul_(1e6)


def test_an_overflow_is_drawn_again_in_float32() -> None:
    half, whole = in_half(torch.float16, overflow)
    scenery = scene(whole, 3)
    frames = half.draw(*scenery, batch=1)
    assert half.fell_back
    assert half.dtype == torch.float32
    np.testing.assert_array_equal(frames, whole.draw(*scenery, batch=1))


def test_a_black_frame_is_drawn_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    half, whole = in_half(torch.bfloat16)
    scenery = scene(whole)
    made = []
    real = half._paint

    def dark_second(source: SourceFeatures, still: Tensor, moving: Tensor) -> Tensor:
        made.append(len(moving))
        logits = real(source, still, moving)
        return logits - 40 * (torch.arange(len(moving)) == 1).reshape(-1, 1, 1, 1)

    half._paint = dark_second
    frames = half.draw(*scenery, batch=2)
    assert made == [2]  # all that follows is in float32
    assert half.fell_back
    np.testing.assert_array_equal(frames, whole.draw(*scenery, batch=2))


def test_black_in_float32_is_black() -> None:
    nets = tiny()
    nets.spade.conv_img[0].bias.fill_(-60)
    assert nets.draw(*scene(nets)).max() == 0
    assert not nets.fell_back


def test_numbers_that_are_not_finite_in_float32_are_told() -> None:
    nets = tiny()
    nets.spade.fc.weight.fill_(3e38)
    with pytest.raises(DamagedInputError, match="not finite in float32"):
        nets.draw(*scene(nets))


@pytest.mark.parametrize(
    ("still", "moving"), [((2, 21, 3), (2, 21, 3)), ((1, 21, 3), (0, 21, 3)), ((1, 68, 3), (1, 68, 3))]
)
def test_keypoints_of_other_shapes_are_refused(still: tuple[int, ...], moving: tuple[int, ...]) -> None:
    nets = tiny()
    with pytest.raises(UsageError, match="allowed"):
        nets.draw(scene(nets)[0], torch.zeros(still), torch.zeros(moving))


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [
        ("tpu", "auto", "device is 'tpu'"),
        ("meta", "auto", "device is 'meta'"),
        ("cuda:99", "auto", "CUDA devices"),
        ("cpu", "fp8", "precision is 'fp8'"),
        ("cpu", "fp16", "slower"),
    ],
)
def test_devices_and_precisions_that_are_not_there(device: str, precision: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        random_networks(TINY, device=device, precision=precision)


def test_random_weights_are_their_seed() -> None:
    first, again, other = (random_state("lip", NARROW, seed)["mlp.0.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert tiny().digests == tiny().digests != tiny(seed=1).digests
    for net in NETWORKS:
        state = random_state(net, NARROW)
        starts = [key for key, t in state.items() if t.is_floating_point() and t.numel() > 1 and t.std() == 0]
        assert not starts, "a norm or bias that is constant hides mistakes"
