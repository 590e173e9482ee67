"""Checkpoint files of LivePortrait: every layout that is about, and every way in which a file can be wrong."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden_liveportrait as golden
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.generation.engines.liveportrait import checkpoint
from thermvision.generation.engines.liveportrait.layers import NARROW, PUBLISHED, Widths
from thermvision.generation.engines.liveportrait.modules import NETWORKS, empty_network, network_of
from thermvision.generation.engines.liveportrait.networks import load_networks
from thermvision.generation.engines.liveportrait.random_weights import RANDOM_NOTE, random_checkpoint, random_state
from thermvision.generation.engines.liveportrait.widths import infer_widths

PARTS = ("stitching", "lip", "eye")
OTHER = replace(NARROW, appearance=(4, 6, 6, 6), depth=3, hourglass=(3, 5, 7), motion=(4, 8), motion_blocks=(2, 1))
State = dict[str, Tensor]


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_checkpoint(tmp_path, NARROW, 3)
    return tmp_path


def test_the_published_keys_and_shapes_are_ours() -> None:
    ours = {net: empty_network(net, PUBLISHED).state_dict() for net in NETWORKS}
    shared = [checkpoint.published_layout(part, ours[part]) for part in PARTS]
    found = {"stitch_retarget": {key: tensor for state in shared for key, tensor in state.items()}}
    found |= {
        "appearance": ours["appearance"],
        "motion": ours["motion"],
        "warp": ours["warping"],
        "spade": ours["spade"],
    }
    for net, keys in golden.read_keys().items():
        folded = {key.replace("weight_orig", "weight"): shape for key, shape in keys.items()}
        wanted = {key: shape for key, shape in folded.items() if not key.endswith(("weight_u", "weight_v"))}
        state = found.get(net) or ours["warping" if net == "warp" else net]
        assert {key: tuple(tensor.shape) for key, tensor in state.items()} == wanted


def test_published_widths_are_read_off_the_published_shapes() -> None:
    states = {net: empty_network(net, PUBLISHED).state_dict() for net in NETWORKS}
    assert infer_widths(states) == PUBLISHED
    assert infer_widths({}) == PUBLISHED


SPELLINGS: dict[str, dict[str, str]] = {
    "module": {
        "stitching": "retarget_shoulder_module",
        "lip": "retarget_mouth_module",
        "eye": "retarget_eye_module",
    },
    "nested": {
        "stitching": "retarget_shoulder.module",
        "lip": "retarget_mouth.module",
        "eye": "retarget_eye.module",
    },
    "plain nested": {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"},
    "by purpose": {"stitching": "stitching", "lip": "retarget_lip", "eye": "retarget_eye"},
    "distributed": {
        "stitching": "module.stitching",
        "lip": "module.retarget_lip",
        "eye": "module.retarget_eye",
    },
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_perceptrons_are_found_under_all_their_names(spelling: str) -> None:
    states = {part: random_state(part, NARROW) for part in PARTS}
    names = SPELLINGS[spelling]
    raw = {f"{names[part]}.{key}": tensor for part, state in states.items() for key, tensor in state.items()}
    for part, state in states.items():
        assert same(checkpoint.normalise(part, raw), state)


@pytest.mark.parametrize("net", ["appearance", "motion", "warping", "spade"])
def test_distributed_prefix_and_absent_counts_are_tolerated(net: str) -> None:
    state = random_state(net, NARROW)
    raw = {f"module.{key}": t for key, t in state.items() if not key.endswith("num_batches_tracked")}
    module = network_of(net, checkpoint.normalise(net, raw), NARROW)
    assert all(torch.equal(module.state_dict()[key.removeprefix("module.")], tensor) for key, tensor in raw.items())


def test_folding_is_what_torch_computes() -> None:
    conv = nn.Conv2d(3, 5, 3, bias=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        normed = nn.utils.spectral_norm(conv).eval()
    normed(torch.zeros(1, 3, 4, 4))
    assert torch.equal(checkpoint.fold_spectral(normed.state_dict())["weight"], normed.weight)


@pytest.mark.parametrize("seed", [0, 5])
def test_golden_vectors_are_folded_exactly_and_are_not_the_exact_norm(seed: int) -> None:
    shapes = {key: shape for key, shape in golden.read_keys()["spade"].items() if key.startswith("up_1.conv_")}
    state = golden.state_dict("spade", shapes, seed)
    weight = state["up_1.conv_1.weight_orig"]
    sigma = state["up_1.conv_1.weight_u"] @ (weight.flatten(1) @ state["up_1.conv_1.weight_v"])
    folded = checkpoint.fold_spectral(state)["up_1.conv_1.weight"]
    torch.testing.assert_close(folded * sigma, weight, rtol=1e-6, atol=0)
    assert torch.linalg.matrix_norm(folded.flatten(1), 2) > 1.01


def test_the_generator_comes_back_to_the_bit_and_public_code_computes_the_same() -> None:
    state = random_state("spade", NARROW)
    written = checkpoint.published_layout("spade", state)
    assert same(checkpoint.normalise("spade", written), state)
    bases = [key.removesuffix("_orig") for key in written if key.endswith("weight_orig")]
    public_bases = {key.removesuffix("_orig") for key in golden.read_keys()["spade"] if key.endswith("_orig")}
    assert set(bases) == public_bases & set(state)
    assert not any(base in written for base in bases)
    for base in bases:
        public = written[f"{base}_orig"] / torch.dot(
            written[f"{base}_u"], torch.mv(written[f"{base}_orig"].flatten(1), written[f"{base}_v"])
        )
        torch.testing.assert_close(public, state[base], rtol=1e-5, atol=1e-8)


def test_a_folded_generator_loads_like_the_published_one(folder: Path) -> None:
    published = load_networks(folder).spade.state_dict()
    save_file(random_state("spade", NARROW, 3), folder / "thermal_spade_generator.safetensors")
    assert same(load_networks(folder).spade.state_dict(), published)


@pytest.mark.parametrize("widths", [NARROW, OTHER], ids=["narrow", "other"])
def test_what_is_written_is_what_is_read(tmp_path: Path, widths: Widths) -> None:
    random_checkpoint(tmp_path, widths, 7)
    loaded = load_networks(tmp_path)
    assert loaded.widths == widths
    assert loaded.random
    assert not loaded.fell_back
    assert {path.name for path in tmp_path.iterdir()} == set(loaded.digests)
    for net in NETWORKS:
        assert same(getattr(loaded, net).state_dict(), random_state(net, widths, 7))
        assert not getattr(loaded, net).training


def test_public_files_are_found_in_their_folders(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "own", NARROW, 1)
    public = {
        "base_models": ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator"),
        "retargeting_models": ("stitching_retargeting_module",),
    }
    for place, names in public.items():
        (tmp_path / place).mkdir()
        for name in names:
            (written,) = (tmp_path / "own").glob(f"*{name}.safetensors")
            weights: dict[str, Any] = load_file(written)
            if place == "retargeting_models":
                nested: dict[str, dict[str, Tensor]] = {}
                for key, tensor in weights.items():
                    part, _, inner = key.partition("_module.")
                    nested.setdefault(part, {})[f"module.{inner}"] = tensor
                weights = nested
            torch.save(weights, tmp_path / place / f"{name}.pth")
    with pytest.raises(MissingDependencyError, match=r"motion_extractor\.pth.*--allow-pth"):
        load_networks(tmp_path)
    ours, theirs = load_networks(tmp_path / "own"), load_networks(tmp_path, allow_pth=True)
    assert not theirs.random  # the note is in safetensors files alone
    for net in NETWORKS:
        assert same(getattr(ours, net).state_dict(), getattr(theirs, net).state_dict())


def test_all_missing_files_are_told_at_once(folder: Path) -> None:
    (folder / "warping_module.safetensors").unlink()
    (folder / "thermal_motion_extractor.safetensors").unlink()
    with pytest.raises(MissingDependencyError) as told:
        checkpoint.find_files(folder)
    assert "warping_module.safetensors" in str(told.value)
    assert "or motion_extractor.safetensors" in str(told.value)
    assert "hf download" in str(told.value)
    assert "appearance_feature" not in str(told.value)


def change(path: Path, edit: Callable[[State], object]) -> None:
    weights = load_file(path)
    edit(weights)
    save_file(weights, path)


FAULTS: dict[str, tuple[str, Callable[[State], object], str]] = {
    "missing": (
        "warping_module",
        lambda w: w.pop("third.conv.weight"),
        r"warping_module\.safetensors.*missing: third\.conv\.weight;",
    ),
    "many missing": (
        "appearance_feature_extractor",
        lambda w: [w.pop(key) for key in list(w) if "norm" in key],
        r"missing: first\.norm\.weight, .* and 16 more",
    ),
    "missing stage": (
        "thermal_motion_extractor",
        lambda w: w.pop("detector.downsample_layers.2.1.weight"),
        r"missing: detector\.downsample_layers\.2\.1\.weight",
    ),
    "unexpected": (
        "thermal_motion_extractor",
        lambda w: w.update({"detector.fc_gaze.weight": torch.zeros(2, 16)}),
        r"unexpected: detector\.fc_gaze\.weight",
    ),
    "another shape": (
        "thermal_motion_extractor",
        lambda w: w.update({"detector.fc_t.weight": torch.zeros(4, 16)}),
        r"detector\.fc_t\.weight \(4, 16\) instead of \(3, 16\)",
    ),
    "NaN": (
        "warping_module",
        lambda w: w["fourth.weight"].view(-1)[:2].fill_(float("nan")),
        r"warping_module\.safetensors: fourth\.weight has 2 NaN",
    ),
    "infinite": (
        "warping_module",
        lambda w: w["fourth.bias"][0].fill_(float("inf")),
        r"fourth\.bias has 1 NaN or infinite",
    ),
    "whole numbers": (
        "warping_module",
        lambda w: w.update({"fourth.bias": w["fourth.bias"].to(torch.int32)}),
        r"fourth\.bias is torch\.int32",
    ),
    "no elements": (
        "warping_module",
        lambda w: w.update({"fourth.bias": torch.zeros(0)}),
        r"fourth\.bias is no plain tensor",
    ),
    "half a spectral norm": (
        "thermal_spade_generator",
        lambda w: w.pop("up_0.conv_s.weight_u"),
        r"up_0\.conv_s\.weight is not whole",
    ),
    "zero spectral norm": (
        "thermal_spade_generator",
        lambda w: w["up_0.conv_s.weight_u"].zero_(),
        r"up_0\.conv_s\.weight is zero",
    ),
    "other perceptron": (
        "stitching_retargeting_module",
        lambda w: w.update({"retarget_nose_module.mlp.0.bias": torch.zeros(2)}),
        r"unexpected in the weights of stitching: retarget_nose_module\.mlp\.0\.bias",
    ),
    "perceptron missing": (
        "stitching_retargeting_module",
        lambda w: [w.pop(key) for key in list(w) if "eye" in key],
        r"weights of eye .*missing: mlp\.0\.weight",
    ),
    "twice": (
        "warping_module",
        lambda w: w.update({"module.fourth.bias": w["fourth.bias"].clone()}),
        r"fourth\.bias twice, last as module\.fourth\.bias",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_do_not_fit_are_named(folder: Path, fault: str) -> None:
    name, edit, said = FAULTS[fault]
    change(folder / f"{name}.safetensors", edit)
    with pytest.raises(DamagedInputError, match=said):
        load_networks(folder)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_half_downloaded_file_is_told(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "weights.safetensors"
    checkpoint.save_weights(path, random_state("lip", NARROW))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedInputError, match="half-downloaded"):
        checkpoint.read_weights(path)


def test_half_precision_files_are_widened(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.tensor([0.5, 1.25], dtype=torch.float16), "b": torch.ones(3, dtype=torch.bfloat16)}, path)
    read = checkpoint.read_weights(path)
    assert read["a"].dtype == read["b"].dtype == torch.float32
    assert read["a"].tolist() == [0.5, 1.25]


class Runs:
    """A pickle that writes a file when it is loaded as pickles are."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    path, trace = tmp_path / "motion_extractor.pth", tmp_path / "ran"
    torch.save({"weight": torch.ones(1), "payload": Runs(trace)}, path)
    with pytest.raises(DamagedInputError, match=r"motion_extractor\.pth holds more than tensors and was not run"):
        checkpoint.read_weights(path, allow_pth=True)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the trap works
    assert trace.exists()


def test_pickles_are_read_only_when_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"outer": {"weight": torch.ones(2)}}, path)
    with pytest.raises(DamagedInputError, match="--allow-pth"):
        checkpoint.read_weights(path)
    assert list(checkpoint.read_weights(path, allow_pth=True)) == ["outer.weight"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, 2]}, "has a list at 'a'"),
        (torch.ones(1).expand(2**20), "1048576 numbers|no plain tensor"),
        ({"a": torch.ones(1).expand(2**40)}, "1099511627776 numbers"),
        ({"a": torch.ones(1).expand(2**20)}, "a is no plain tensor"),
        ({"a": torch.ones(3).to_sparse()}, "a is no plain tensor"),
        ({"a": torch.ones(3, dtype=torch.complex64)}, "a is no plain tensor"),
        ({}, "has 0 tensors"),
    ],
)
def test_pickles_of_other_things_are_refused(tmp_path: Path, value: object, said: str) -> None:
    path = tmp_path / "a.pth"
    torch.save(value, path)
    with pytest.raises(DamagedInputError, match=said):
        checkpoint.read_weights(path, allow_pth=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps({"a": 1}), b"\x00" * 200])
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DamagedInputError, match=f"{name} cannot be read"):
            checkpoint.read_weights(tmp_path / name, allow_pth=True)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 5000)
    large, packed = tmp_path / "a.safetensors", tmp_path / "b.pth"
    save_file({"a": torch.zeros(2000)}, large)
    with pytest.raises(DamagedInputError, match="allowed: 5000"):
        checkpoint.read_weights(large)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(DamagedInputError, match="unpacks to 1000000 bytes"):
        checkpoint.read_weights(packed, allow_pth=True)


def test_notes_are_kept(folder: Path) -> None:
    path = folder / "warping_module.safetensors"
    assert checkpoint.read_metadata(path)[RANDOM_NOTE] == "seed 3"
    assert checkpoint.read_metadata(folder / "a.pth") == {}
    path.write_bytes(b"")
    with pytest.raises(DamagedInputError, match=re.escape(str(path))):
        checkpoint.read_metadata(path)
