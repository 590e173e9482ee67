"""Safetensors files: what is read, what is refused and how, scaled 8-bit weights, atomic writing."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.curation.store import sha256_bytes
from thermvision.generation.engines.flux import tensor_files
from thermvision.generation.engines.flux.tensor_files import (
    digest,
    read_metadata,
    read_shapes,
    read_tensors,
    write_tensors,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_round_trip_keeps_types(path: Path, dtype: torch.dtype) -> None:
    tensor = torch.linspace(-2, 2, 12).reshape(3, 4).to(dtype)
    write_tensors(path, {"w": tensor, "n": torch.arange(3)}, {"note": "x"})
    back = read_tensors(path)
    assert back["w"].dtype == dtype
    assert torch.equal(back["w"].float(), tensor.float())
    assert read_metadata(path) == {"note": "x"}
    assert read_shapes(path) == {"w": (3, 4), "n": (3,)}
    wide = read_tensors(path, keep_dtype=False)
    assert (wide["w"].dtype, wide["n"].dtype) == (torch.float32, torch.int64)
    assert digest(path) == sha256_bytes(path.read_bytes())
    path.write_bytes(b"changed")
    assert digest(path) == sha256_bytes(b"changed")


def test_shared_memory_is_written_out(path: Path) -> None:
    whole = torch.arange(12.0).reshape(4, 3)
    write_tensors(path, {"a": whole, "b": whole, "part": whole[1:3], "turned": whole.T})
    back = read_tensors(path)
    assert torch.equal(back["b"], whole)
    assert torch.equal(back["part"], whole[1:3])
    assert torch.equal(back["turned"], whole.T)


def test_scaled_weights_are_multiplied(path: Path) -> None:
    wide = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    write_tensors(
        path,
        {
            "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn),
            "a.weight": wide.to(torch.float8_e4m3fn),
            "a.scale_weight": torch.tensor(0.25),
            "a.scale_input": torch.tensor(3.0),
            "a.bias": torch.ones(2),
            "b.weight": wide.to(torch.float8_e4m3fn),
            "b.weight_scale": torch.tensor([[0.5], [2.0]]),
        },
    )
    back = read_tensors(path)
    assert sorted(back) == ["a.bias", "a.weight", "b.weight"]
    assert torch.equal(back["a.weight"].float(), wide * 0.25)
    assert torch.equal(back["b.weight"].float(), wide * torch.tensor([[0.5], [2.0]]))
    assert back["a.weight"].dtype == torch.bfloat16


def test_factors_without_weights_or_of_another_number(path: Path) -> None:
    write_tensors(path, {"a.scale_weight": torch.tensor(1.0)})
    with pytest.raises(DamagedInputError, match=r"a\.scale_weight and no weights to them"):
        read_tensors(path)
    write_tensors(path, {"a.weight": torch.ones(2, 2), "a.scale_weight": torch.ones(3)})
    with pytest.raises(DamagedInputError, match="has 3 factors for 2 rows"):
        read_tensors(path)


def test_missing_file(path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="does not exist"):
        read_tensors(path)


@pytest.mark.parametrize("kept", [0, 5, 9, 40, -1])
def test_half_downloaded(path: Path, kept: int) -> None:
    write_tensors(path, {"w": torch.ones(64)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedInputError, match=r"a\.safetensors.*fetch"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PK\x03\x04" + b"x" * 100, "a pickle"),
        (b"\x80\x02" + b"x" * 100, "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<html>not found</html>", "something else"),
        (struct.pack("<Q", 2**40) + b"{" * 100, "something else"),
        (struct.pack("<Q", 500) + b"{" * 100, "ends within its header"),
        (struct.pack("<Q", 2) + b"{}", "has 0 tensors"),
        (struct.pack("<Q", 60) + b"{" * 100, "cannot be read"),
    ],
)
def test_no_safetensors_file(path: Path, data: bytes, told: str) -> None:
    path.write_bytes(data)
    with pytest.raises(DamagedInputError, match=told):
        read_tensors(path)
    if "0 tensors" not in told:
        with pytest.raises(DamagedInputError, match=told):
            read_shapes(path)


def test_offsets_beyond_the_file(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(DamagedInputError, match="cannot be read"):
        read_tensors(path)


def test_limits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(path, {"a": torch.ones(4), "b": torch.ones(4)})
    monkeypatch.setattr(tensor_files, "MAX_TENSORS", 1)
    with pytest.raises(DamagedInputError, match="has 2 tensors; allowed: 1 to 1"):
        read_tensors(path)
    monkeypatch.setattr(tensor_files, "MAX_BYTES", 10)
    with pytest.raises(DamagedInputError, match="bytes; allowed: 10"):
        read_tensors(path)


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_refused_politely(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(DamagedInputError):
        read_tensors(path)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(path, {"w": torch.ones(2)})

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("stop")

    monkeypatch.setattr(tensor_files, "save_file", fail)
    with pytest.raises(RuntimeError, match="stop"):
        write_tensors(path, {"w": torch.zeros(2)})
    assert read_tensors(path)["w"].tolist() == [1, 1]
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]
