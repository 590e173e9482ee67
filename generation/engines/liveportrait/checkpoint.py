"""Checkpoint files: found in a folder, read without running their code, checked key by key, written as published.

Layouts that are read (public repositories KwaiVGI/LivePortrait and Kijai/LivePortrait_safetensors): the four large
networks as flat lists of tensors, with or without a leading ``module.``; the generator with ``weight_orig``,
``weight_u`` and ``weight_v`` of its spectral norm or folded; the three perceptrons of stitching and retargeting in one
file, nested (``retarget_shoulder`` / ``module.mlp.0.weight``) or flat (``retarget_shoulder_module.mlp.0.weight``,
``stitching.mlp.0.weight``).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.curation.store import atomic_path

# file of each network without its ending; the name of the thermal set first
FILES = {
    "appearance": ("appearance_feature_extractor", "thermal_appearance_feature_extractor"),
    "motion": ("thermal_motion_extractor", "motion_extractor"),
    "warping": ("warping_module", "thermal_warping_module"),
    "spade": ("thermal_spade_generator", "spade_generator"),
    "stitching_retargeting": ("stitching_retargeting_module", "thermal_stitching_retargeting_module"),
}
SUBFOLDERS = (".", "base_models", "retargeting_models")
PERCEPTRONS = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
_ALIASES = {"stitching": "stitching", "retarget_lip": "lip"} | {name: part for part, name in PERCEPTRONS.items()}
_PERCEPTRON_KEY = re.compile(rf"({'|'.join(_ALIASES)})(?:_module|\.module)?\.(mlp\.\d+\.(?:weight|bias))")
_STATISTIC = "num_batches_tracked"  # of a batch norm: counts steps of training, decides nothing

MAX_BYTES = 2**30  # of one file; the largest public one has 222 MB
MAX_TENSORS = 4096
_SHOWN = 4
HOW_TO_GET = (
    "copy the published thermal checkpoints there, or fetch the public ones with "
    "`hf download Kijai/LivePortrait_safetensors --local-dir {folder}`"
)


def find_files(folder: Path, allow_pth: bool = False) -> dict[str, Path]:
    """The checkpoint of each network of `FILES` in ``folder``, ``base_models/`` or ``retargeting_models/`` below it.

    A ``.safetensors`` goes before a ``.pth``, which is taken only with ``allow_pth``.

    Raises:
        MissingDependencyError: with all that is missing and how to get it.
    """
    found = {net: _first(folder, net, ".safetensors") for net in FILES}
    pickled = {net: _first(folder, net, ".pth") for net, path in found.items() if path is None}
    if allow_pth:
        found |= pickled
    missing = [net for net, path in found.items() if path is None]
    if missing:
        wanted = ", ".join(" or ".join(f"{name}.safetensors" for name in FILES[net]) for net in missing)
        only = [path.name for net in missing if (path := pickled.get(net)) is not None]
        hint = f"; {', '.join(only)} would be read with --allow-pth, without running its code" if only else ""
        raise MissingDependencyError(
            f"LivePortrait's weights are not complete in {folder}: wanted {wanted}{hint}; "
            + HOW_TO_GET.format(folder=folder)
        )
    return {net: path for net, path in found.items() if path is not None}


def _first(folder: Path, net: str, ending: str) -> Path | None:
    places = (folder / sub / (name + ending) for sub in SUBFOLDERS for name in FILES[net])
    return next((path for path in places if path.is_file()), None)


def read_metadata(path: Path) -> dict[str, str]:
    """The text notes in a safetensors file; empty for other files."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_weights(path: Path, allow_pth: bool = False) -> dict[str, Tensor]:
    """All tensors of a checkpoint by key, floating ones as float32, on the CPU; nested keys are joined by dots.

    Raises:
        DamagedInputError: not readable, half-downloaded, over a limit, not made of numbers, NaN or infinite values,
            a pickle with anything but tensors in it, or a ``.pth`` without ``allow_pth``.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    if size > MAX_BYTES:
        raise DamagedInputError(f"{path} has {size} bytes; allowed: {MAX_BYTES}; fetch the checkpoint again")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif path.suffix == ".pth" and allow_pth:
        tensors = dict(_flatten(_read_pickle(path), path))
    else:
        raise DamagedInputError(
            f"{path} is no .safetensors file, and only those are read by default; fetch that one, or pass --allow-pth "
            "to read a .pth, which takes tensors only and never runs its code"
        )
    elements = sum(tensor.numel() for tensor in tensors.values())
    if not 0 < len(tensors) <= MAX_TENSORS or elements > MAX_BYTES // 2:
        raise DamagedInputError(
            f"{path} has {len(tensors)} tensors of {elements} numbers; allowed: 1 to {MAX_TENSORS} tensors of "
            f"{MAX_BYTES // 2} numbers; fetch the checkpoint again"
        )
    return {key: _checked(tensor, key, path) for key, tensor in tensors.items()}


def _unreadable(path: Path, error: Exception) -> DamagedInputError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return DamagedInputError(f"{path} cannot be read ({reason}); it may be half-downloaded: fetch it again")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_BYTES:
            raise DamagedInputError(f"{path} unpacks to {unpacked} bytes; allowed: {MAX_BYTES}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamagedInputError(
            f"{path} holds more than tensors and was not run; use a .safetensors file of the same weights"
        ) from error
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _flatten(value: Any, path: Path, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, Mapping) and depth < 3:
        for key, inner in value.items():
            yield from _flatten(inner, path, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    else:
        raise DamagedInputError(
            f"{path} has a {type(value).__name__} at {prefix or 'its top'!r}; allowed: tensors by name"
        )


def _checked(tensor: Tensor, key: str, path: Path) -> Tensor:
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    # a pickle may claim more elements than it holds; asked before anything touches them
    claimed = tensor.numel() * tensor.element_size()
    if not dense or tensor.is_complex() or not 0 < claimed <= tensor.untyped_storage().nbytes():
        raise DamagedInputError(f"{path}: {key} is no plain tensor of numbers; fetch the checkpoint again")
    if not tensor.is_floating_point():
        if not key.endswith(_STATISTIC):
            raise DamagedInputError(f"{path}: {key} is {tensor.dtype}; allowed: floating-point weights")
        return tensor
    values = tensor.detach().to(torch.float32).contiguous()
    if not bool(values.isfinite().all()):
        bad = int((~values.isfinite()).sum())
        raise DamagedInputError(f"{path}: {key} has {bad} NaN or infinite values; fetch the checkpoint again")
    return values


def normalise(net: str, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys of our modules, whatever the layout: net appearance, motion, warping, spade, stitching, lip or eye.

    The spectral norm of ``spade`` is folded. For the three perceptrons ``raw`` is the file of them all.

    >>> raw = {"retarget_mouth": 65, "retarget_eye": 66}
    >>> raw = {f"{name}_module.mlp.0.weight": torch.zeros(8, width) for name, width in raw.items()}
    >>> {key: tuple(tensor.shape) for key, tensor in normalise("lip", raw).items()}
    {'mlp.0.weight': (8, 65)}

    Raises:
        DamagedInputError: two keys mean the same tensor, a perceptron's file has others, spectral vectors do not fit.
    """
    plain: dict[str, Tensor] = {}
    strange = []
    for key, tensor in raw.items():
        name = key.removeprefix("module.")
        if net in PERCEPTRONS:
            match = _PERCEPTRON_KEY.fullmatch(name)
            if match is None:
                strange.append(key)
            if match is None or _ALIASES[match[1]] != net:
                continue
            name = match[2]
        if name in plain:
            raise DamagedInputError(
                f"the weights of {net} have {name} twice, last as {key}; fetch the checkpoint again"
            )
        plain[name] = tensor
    if strange:
        raise DamagedInputError(f"unexpected in the weights of {net}: {_some(strange)}; fetch the checkpoint again")
    return fold_spectral(plain) if net == "spade" else plain


def fold_spectral(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with every ``weight_orig`` divided by σ = uᵀ W v of the vectors beside it, as torch evaluates it.

    Folded weights stay as they are.

    >>> state = {"conv.weight_orig": torch.full((1, 1, 1, 1), 6.0), "conv.weight_u": torch.ones(1)}
    >>> fold_spectral(state | {"conv.weight_v": torch.full((1,), 0.5)})["conv.weight"].item()
    2.0

    Raises:
        DamagedInputError: a vector is missing, has another length, or gives σ = 0.
    """
    folded = dict(state)
    for key in [key for key in state if key.endswith("weight_orig")]:
        base = key.removesuffix("_orig")
        weight, u, v = folded.pop(key), folded.pop(f"{base}_u", None), folded.pop(f"{base}_v", None)
        matrix = weight.flatten(1)
        if u is None or v is None or (u.shape, v.shape) != (matrix.shape[:1], matrix.shape[1:]) or base in folded:
            raise DamagedInputError(f"the spectral norm of {base} is not whole; fetch the checkpoint again")
        exact = float(u.double() @ (matrix.double() @ v.double()))
        sigma = torch.dot(u, torch.mv(matrix, v))
        if sigma == 0:
            raise DamagedInputError(f"the spectral norm of {base} is zero; fetch the checkpoint again")
        # what `unfold_spectral` wrote has σ = 1 but for rounding, and comes back to the bit
        folded[base] = weight if abs(exact - 1) < 1e-6 else weight / sigma
    return folded


def unfold_spectral(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The generator's weights with ``weight_orig``, ``weight_u``, ``weight_v`` for its spectrally normed convolutions.

    v is the leading right singular vector (power iteration), and u the left one over its singular value: the stored σ
    is 1, so the public code, too, computes with exactly these weights.
    """
    unfolded = dict(state)
    for key in [key for key in state if re.fullmatch(r".+\.conv_[01s]\.weight", key)]:
        weight = unfolded.pop(key)
        matrix = weight.flatten(1).double()
        v = matrix.T @ torch.ones(len(matrix), dtype=matrix.dtype, device=matrix.device)
        for _ in range(8):
            v = matrix.T @ (matrix @ (v / v.norm()))
        v = (v / v.norm()).to(weight.dtype)
        image = matrix @ v.double()
        u = (image / image.square().sum()).to(weight.dtype)
        unfolded |= {f"{key}_orig": weight, f"{key}_u": u, f"{key}_v": v}
    return unfolded


def published_layout(net: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back of `normalise`: the state of our module under the keys of the public safetensors files.

    Perceptrons share a file: merge the three.

    >>> list(published_layout("stitching", {"mlp.0.bias": torch.zeros(1)}))
    ['retarget_shoulder_module.mlp.0.bias']
    """
    if net == "spade":
        return unfold_spectral(state)
    prefix = f"{PERCEPTRONS[net]}_module." if net in PERCEPTRONS else ""
    return {prefix + key: tensor for key, tensor in state.items()}


def save_weights(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all, with ``notes`` as its metadata.

    Raises:
        OutputError: no room or no permission.
    """
    # tensors that share memory, or lie in another order of dimensions, are refused by the format
    owned = {
        key: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for key, tensor in weights.items()
    }
    with atomic_path(path) as temporary:
        save_file(owned, temporary, {"format": "pt"} | dict(notes or {}))


def check_keys(net: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with batch counts that were left out, when it has just the keys and shapes of ``wanted``.

    Raises:
        DamagedInputError: keys are missing, unexpected or of another shape; the first of each and how many.
    """
    counts = {key: torch.tensor(0) for key in wanted if key.endswith(_STATISTIC)}
    state = counts | dict(state)
    problems = []
    if missing := [key for key in wanted if key not in state]:
        problems.append(f"missing: {_some(missing)}")
    if unexpected := [key for key in state if key not in wanted]:
        problems.append(f"unexpected: {_some(unexpected)}")
    if other := [key for key in wanted if key in state and state[key].shape != wanted[key].shape]:
        shapes = [f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}" for key in other]
        problems.append(f"of another shape: {_some(shapes)}")
    if problems:
        raise DamagedInputError(f"the weights of {net} do not fit; {'; '.join(problems)}; fetch the checkpoint again")
    return state


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
