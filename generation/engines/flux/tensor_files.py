"""Safetensors files: read defensively, scaled 8-bit weights brought back to numbers, written atomically."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.curation.store import atomic_path, sha256_file

MAX_BYTES = 64 * 2**30  # of one file; FLUX.1-dev has 23.8 GB in bf16, 47.6 GB in fp32
MAX_HEADER_BYTES = 64 * 2**20
MAX_TENSORS = 20_000
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
# of ComfyUI's scaled files: a weight's factor, and factors of activations, which plain products do not need
_SCALES = (".scale_weight", ".weight_scale")
_UNUSED = (".scale_input", ".input_scale", ".comfy_quant")
_MARKER = "scaled_fp8"


def digest(path: Path) -> str:
    """Hex SHA-256 of a file; one that has not changed since is not read again."""
    state = path.stat()
    return _digest(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)


def read_tensors(path: Path, *, keep_dtype: bool = True) -> dict[str, Tensor]:
    """All tensors of a safetensors file by key, on the CPU.

    Weights with a factor beside them (``scaled_fp8`` files) are multiplied by it and come as bfloat16. Otherwise each
    has the type it is stored in, 8-bit floats included; without ``keep_dtype`` all floating ones come as float32.

    Raises:
        MissingDependencyError: there is no such file.
        DamagedInputError: no safetensors file, half-downloaded, or over a limit.
    """
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if not 0 < len(keys) <= MAX_TENSORS:
                raise DamagedInputError(f"{path} has {len(keys)} tensors; allowed: 1 to {MAX_TENSORS}; fetch it again")
            tensors = {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError, AttributeError) as error:
        raise _unreadable(path, error) from error
    tensors = _unscaled(tensors, path)
    if keep_dtype:
        return tensors
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """The text notes in a file's header.

    Raises:
        MissingDependencyError, DamagedInputError: as `read_tensors` does.
    """
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by key, read from the header alone.

    Raises:
        MissingDependencyError, DamagedInputError: as `read_tensors` does.
    """
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def check_header(path: Path) -> None:
    """Raise where ``path`` is missing, over a limit or does not begin as a safetensors file does."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise MissingDependencyError(f"{path} does not exist; give a .safetensors file that does") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if size > MAX_BYTES:
        raise DamagedInputError(f"{path} has {size} bytes; allowed: {MAX_BYTES}; give the .safetensors file itself")
    if len(start) < 9:
        raise DamagedInputError(f"{path} has {size} bytes and is no safetensors file; fetch it again")
    if start.startswith(b"version h"):  # of a Git LFS pointer
        raise DamagedInputError(f"{path} is a Git LFS pointer, not the file; type `git lfs pull` or fetch the file")
    (header,) = struct.unpack("<Q", start[:8])
    if start[8:] != b"{" or header > MAX_HEADER_BYTES:
        kind = "a pickle (.ckpt, .pt, .bin)" if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04") else "something else"
        raise DamagedInputError(
            f"{path} is no safetensors file but {kind}, or its header is over {MAX_HEADER_BYTES} bytes; "
            "only .safetensors files are read: fetch that one"
        )
    if 8 + header > size:
        raise DamagedInputError(
            f"{path} ends within its header ({size} of more than {8 + header} bytes); it is half-downloaded: "
            "fetch it again"
        )


def _unreadable(path: Path, error: Exception) -> DamagedInputError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return DamagedInputError(f"{path} cannot be read ({reason}); it may be half-downloaded: fetch it again")


def _unscaled(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights times their factors, without what only other programs' kernels need."""
    scales = {key[: -len(end)] + ".weight": key for key in tensors for end in _SCALES if key.endswith(end)}
    if not scales and _MARKER not in tensors:
        return tensors
    lost = sorted(key for weight, key in scales.items() if weight not in tensors)
    if lost:
        raise DamagedInputError(f"{path} has {', '.join(lost[:4])} and no weights to them; fetch it again")
    plain: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key in scales:
            scale = tensors[scales[key]].float()
            if scale.numel() not in (1, tensor.shape[0]):
                raise DamagedInputError(
                    f"{path}: {scales[key]} has {scale.numel()} factors for {tensor.shape[0]} rows; allowed: one "
                    "for all or one a row; give the bf16 or fp16 file"
                )
            factor = scale.reshape(-1, *[1] * (tensor.ndim - 1)) if scale.numel() > 1 else scale.reshape(())
            plain[key] = (tensor.float() * factor).to(torch.bfloat16)
        elif key != _MARKER and not key.endswith(_SCALES + _UNUSED) and not key.endswith("." + _MARKER):
            plain[key] = tensor
    return plain


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically, equal bytes for equal content; memory that tensors share is written twice.

    Raises:
        OutputError: no room or no permission.
    """
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        storage = whole.untyped_storage()
        # the format refuses memory that tensors share, as tied matrices and slices do
        alone = storage.nbytes() == whole.numel() * whole.element_size() and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        plain[key] = whole if alone else whole.clone()
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata=dict(metadata) if metadata else None)
        _sort_notes(temporary)


def _sort_notes(path: Path) -> None:
    """Put the header's notes in order, in place: the package writes them in another one each time."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps({k: v for k, v in header.items() if v}, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # written otherwise by another version: then it stays as it is
            file.seek(8)
            file.write(text.ljust(length))
