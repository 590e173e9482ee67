"""LoRA files to layers: kohya's, diffusers' and the authors' naming, and what is no LoRA for FLUX named as that.

Kohya's files name the authors' modules, of which one stands for q, k and v (and for the first linear of a single
block's perceptron) with a single down matrix; diffusers' name each linear. Both become layers by diffusers' module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.flux.layouts import (
    SHIFT_SCALE,
    block_counts,
    block_linears,
    swapped_halves,
    top_linears,
)
from thermvision.generation.engines.flux.tensor_files import digest, read_metadata, read_tensors

DIFFUSERS_METADATA = "lora_adapter_metadata"  # header key under which diffusers keeps peft's settings
MAX_BLOCKS = 200
_SHOWN = 6
_TENSOR = re.compile(r"(.+)\.(?:(lora_down|lora_A)|(lora_up|lora_B))(?:\.default)?\.weight")
_PREFIXES = ("transformer.", "base_model.model.", "model.diffusion_model.", "diffusion_model.")
_KOHYA_BLOCK = re.compile(r"lora_unet_(double|single)_blocks_(\d{1,4})_")
_KOHYA_TEXT = re.compile(
    r"lora_te1_text_model_encoder_layers_(\d{1,3})_(?:(self_attn)_((?:q|k|v|out)_proj)|(mlp)_(fc[12]))"
)
_TEXT = re.compile(r"encoder\.layers\.\d{1,3}\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])")
# what keys that are not FLUX's look like, most telling first
_FOREIGN = (
    (r"hada_|lokr_|oft_|\.glora", "a LyCORIS file (LoHa, LoKr or OFT), not LoRA"),
    (r"dora_scale", "a DoRA file, which scales weights besides adding to them"),
    (r"\.processor\.", "XLabs' own layout"),
    (r"lora_te2_|add_embedding|conditioner\.", "Stable Diffusion XL's"),
    (r"lora_te3_|text_encoder_2\.|t5", "layers of T5, which is never changed here"),
    (r"joint_blocks", "Stable Diffusion 3's"),
    (r"down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block", "Stable Diffusion 1.5's or XL's"),
    (r"cross_attn|self_attn|attn1|attn2", "another model's (a video model, PixArt or Lumina)"),
    (r"img_attn|txt_attn|attn\.|linear1", "FLUX's, with modules that FLUX.1-dev does not have"),
)


@dataclass(frozen=True, eq=False)
class Layer:
    """What is added to one linear: alpha / rank × ``up`` (out, rank) · ``down`` (rank, in).

    Layers of q, k and v may share one ``down``; ``keys`` are the tensors of the file that it comes from.
    """

    down: Tensor
    up: Tensor
    alpha: float
    keys: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Rows of ``down``."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """Factor of the product.

        >>> import torch
        >>> Layer(torch.zeros(4, 8), torch.zeros(6, 4), alpha=2.0).scale
        0.5
        """
        return self.alpha / self.rank

    def delta(self) -> Tensor:
        """What is added to the weight at strength 1: (out, in) float32."""
        return self.scale * (self.up.float() @ self.down.float())


@dataclass(frozen=True, eq=False)
class Adapter:
    """Layers by the module they belong to, named as in `diffusers` and, for CLIP-L (``text``), as in transformers.

    Attributes:
        name: of the file, without its ending.
        modules: layers of the transformer.
        text: layers of CLIP-L.
        digest: SHA-256 of the file; empty when there is none yet.
        fmt: naming of the file, "kohya" or "diffusers".
        tensors: number of tensors in the file.
        metadata: notes in its header.
    """

    name: str
    modules: Mapping[str, Layer]
    text: Mapping[str, Layer] = field(default_factory=dict)
    digest: str = ""
    fmt: str = "kohya"
    tensors: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The highest of all layers; 0 without any."""
        return max((layer.rank for layer in (*self.modules.values(), *self.text.values())), default=0)


def read_adapter(path: Path) -> Adapter:
    """The adapter in a file with kohya's, diffusers' or the authors' names.

    Raises:
        MissingDependencyError: there is no such file.
        DamagedInputError: not readable, half a pair, ranks that do not match, numbers that are none.
        UsageError: of another model or another method than LoRA.
    """
    tensors, notes = read_tensors(path), read_metadata(path)
    pairs: dict[str, dict[str, str]] = {}
    unknown = []
    for key in tensors:
        found = _TENSOR.fullmatch(key)
        if found:
            pairs.setdefault(found[1], {})["down" if found[2] else "up"] = key
        elif key.endswith(".alpha"):
            pairs.setdefault(key.removesuffix(".alpha"), {})["alpha"] = key
        else:
            unknown.append(key)
    targets = _targets(pairs)
    unknown += [key for base, keys in pairs.items() if base not in targets for key in keys.values()]
    if unknown:
        raise UsageError(_strange(path, unknown, len(tensors)))
    settings = _peft_settings(notes, path)
    modules: dict[str, Layer] = {}
    text: dict[str, Layer] = {}
    for base, keys in pairs.items():
        names, is_text = targets[base]
        layers = _layers(path, base, keys, tensors, names, settings)
        into = text if is_text else modules
        twice = sorted(into.keys() & layers.keys())
        if twice:
            raise DamagedInputError(f"{path} has two layers for {', '.join(twice[:_SHOWN])}; fetch it again")
        into.update(layers)
    fmt = "kohya" if any(key.startswith("lora_") for key in pairs) else "diffusers"
    return Adapter(path.stem, modules, text, digest(path), fmt, len(tensors), notes)


def _targets(bases: Iterable[str]) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Modules that each name in a file stands for, and whether they are CLIP-L's; names of neither are left out."""
    bases = list(bases)
    plain = {base: next((base.removeprefix(p) for p in _PREFIXES if base.startswith(p)), base) for base in bases}
    counts = list(block_counts({name + ".": None for name in plain.values()}))
    for base in bases:
        if found := _KOHYA_BLOCK.match(base):
            kind = ("double", "single").index(found[1])
            counts[kind] = max(counts[kind], int(found[2]) + 1)
    doubles, singles = (min(count, MAX_BLOCKS) for count in counts)
    dotted = block_linears(doubles, singles) | {key: (name,) for key, name in top_linears().items()}
    known = {name for names in dotted.values() for name in names}
    kohya = {"lora_unet_" + key.replace(".", "_"): names for key, names in dotted.items()}
    targets: dict[str, tuple[tuple[str, ...], bool]] = {}
    for base in bases:
        name = plain[base]
        text = base.removeprefix("text_encoder.").removeprefix("text_model.")
        if base in kohya:
            targets[base] = kohya[base], False
        elif found := _KOHYA_TEXT.fullmatch(base):
            part = ".".join(group for group in found.groups()[1:] if group)
            targets[base] = (f"encoder.layers.{found[1]}.{part}",), True
        elif base.startswith("text_encoder.") and _TEXT.fullmatch(text):
            targets[base] = (text,), True
        elif name in dotted and name != "proj_out":
            targets[base] = dotted[name], False
        elif name in known:
            targets[base] = (name,), False
    return targets


def _strange(path: Path, keys: Sequence[str], total: int) -> str:
    joined = "\n".join(keys)
    kind = next((kind for pattern, kind in _FOREIGN if re.search(pattern, joined)), "no LoRA's that is known here")
    return (
        f"{path}: {len(keys)} of {total} tensors are not of a LoRA for FLUX.1-dev: {', '.join(sorted(keys)[:_SHOWN])}"
        f"{', …' if len(keys) > _SHOWN else ''}; they look like {kind}. Allowed: LoRA in kohya's or diffusers' naming; "
        "give a file that was trained for FLUX.1-dev"
    )


def _peft_settings(notes: Mapping[str, str], path: Path) -> Mapping[str, Any]:
    if DIFFUSERS_METADATA not in notes:
        return {}
    try:
        settings = json.loads(notes[DIFFUSERS_METADATA])
        if not isinstance(settings, dict):
            raise ValueError(f"{type(settings).__name__} in place of settings")
    except (ValueError, RecursionError) as error:
        raise DamagedInputError(
            f"{path}: its header's {DIFFUSERS_METADATA} is unreadable ({error}); without it alpha is unknown: write "
            "the adapter again"
        ) from error
    return settings


def _alpha(base: str, settings: Mapping[str, Any], rank: int, path: Path) -> float:
    """What peft's settings say about ``base``; its rank, that is scale 1, where they say nothing."""
    part, _, module = base.partition(".")
    if f"{part}.lora_alpha" not in settings:
        return float(rank)
    words = module.split(".")
    endings = (".".join(words[i:]) for i in range(len(words)))  # peft's patterns are ends of names
    try:
        pattern = dict(settings.get(f"{part}.alpha_pattern") or {})
        alpha = float(next((pattern[end] for end in endings if end in pattern), settings[f"{part}.lora_alpha"]))
        # rank-stabilised adapters divide by the root of the rank
        return alpha * rank**0.5 if settings.get(f"{part}.use_rslora") else alpha
    except (TypeError, ValueError) as error:
        raise DamagedInputError(f"{path}: alpha of {base} in its header is no number; write it again") from error


def _layers(
    path: Path,
    base: str,
    keys: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    names: Sequence[str],
    settings: Mapping[str, Any],
) -> dict[str, Layer]:
    missing = [part for part in ("down", "up") if part not in keys]
    if missing:
        raise DamagedInputError(
            f"{path}: {base} has {', '.join(keys.values())} and no {' and no '.join(missing)} matrix; write it again"
        )
    down, up = tensors[keys["down"]], tensors[keys["up"]]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1] or not down.numel() or not up.numel():
        raise DamagedInputError(
            f"{path}: ranks do not match: {keys['down']} is {tuple(down.shape)} and {keys['up']} {tuple(up.shape)}; "
            "allowed: (rank, in) and (out, rank); write the adapter again"
        )
    for key in keys.values():
        if not tensors[key].is_floating_point() or not _is_finite(tensors[key]):
            raise DamagedInputError(f"{path}: {key} has values that are no numbers; use an earlier checkpoint")
    rank = down.shape[0]
    if "alpha" in keys and tensors[keys["alpha"]].numel() != 1:
        raise DamagedInputError(f"{path}: {keys['alpha']} has {tensors[keys['alpha']].numel()} values; allowed: one")
    alpha = float(tensors[keys["alpha"]].float()) if "alpha" in keys else _alpha(base, settings, rank, path)
    used = tuple(keys.values())
    if len(names) == 1:
        if names[0] == SHIFT_SCALE[1] and "final_layer" in base:
            up = swapped_halves(up)
        return {names[0]: Layer(down, up, alpha, used)}
    width, rest = down.shape[1], up.shape[0] - 3 * down.shape[1]
    if (rest != 0) if len(names) == 3 else (rest <= 0):
        raise DamagedInputError(
            f"{path}: {keys['up']} has {up.shape[0]} rows, which do not make {len(names)} parts of a model {width} "
            "wide; it is of another model, or damaged"
        )
    ups = up.split([width] * 3 + [rest] * (len(names) - 3))
    blocks = _diagonal(ups, len(names), rank)
    if blocks is None:
        return {name: Layer(down, part, alpha, used) for name, part in zip(names, ups, strict=True)}
    downs = down.chunk(len(names))
    return {
        name: Layer(part_down, part_up, alpha / len(names), used)
        for name, part_down, part_up in zip(names, downs, blocks, strict=True)
        if bool(part_down.count_nonzero()) or bool(part_up.count_nonzero())
    }


def _is_finite(tensor: Tensor) -> bool:
    # the largest magnitude is NaN or infinite where any is, and is found much faster than asking each
    return bool((tensor.float() if tensor.itemsize == 1 else tensor).abs().amax().isfinite())


def _diagonal(ups: Sequence[Tensor], count: int, rank: int) -> list[Tensor] | None:
    """The blocks where the stacked ``ups`` are block-diagonal, that is, each part has a down of its own; else None."""
    if rank % count:
        return None
    own = rank // count
    blocks = []
    for i, up in enumerate(ups):
        if bool(up[:, : i * own].count_nonzero()) or bool(up[:, (i + 1) * own :].count_nonzero()):
            return None
        blocks.append(up[:, i * own : (i + 1) * own].contiguous())
    return blocks
