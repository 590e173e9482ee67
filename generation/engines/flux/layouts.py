"""Names of FLUX's tensors: diffusers', the authors' ("BFL", what ComfyUI reads), and kohya's for LoRA modules.

Pure maps, exact to the bit both ways; every size is read from shapes, so that a model of any width goes through.
The correspondence is that of the public conversion scripts of diffusers (Apache-2.0), written down anew as tables.
What a map does not know keeps its name, and whoever loads the tensors then reports it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import gcd

import torch
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError

PREFIXES = ("model.diffusion_model.", "diffusion_model.")

_TOP = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
}
# BFL linear of a block -> diffusers' linears, whose rows it stacks in this order
_DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
}
_DOUBLE_NORMS = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
_SINGLE_NORMS = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
_KINDS = (
    ("double_blocks", "transformer_blocks", _DOUBLE, _DOUBLE_NORMS),
    ("single_blocks", "single_transformer_blocks", _SINGLE, _SINGLE_NORMS),
)
SHIFT_SCALE = ("final_layer.adaLN_modulation.1", "norm_out.linear")  # BFL stacks shift on scale, diffusers the reverse


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names they have without ``model.diffusion_model.`` or ``diffusion_model.``."""
    return {next((key.removeprefix(p) for p in PREFIXES if key.startswith(p)), key): t for key, t in tensors.items()}


def block_counts(keys: Mapping[str, object]) -> tuple[int, int]:
    """Number of double and single blocks that the names, of either layout, speak of.

    >>> block_counts({"double_blocks.1.img_mod.lin.weight": 0, "single_blocks.0.linear1.weight": 0})
    (2, 1)
    """
    counts = []
    for bfl, diffusers, _, _ in _KINDS:
        name = re.compile(rf"(?:{bfl}|{diffusers})\.(\d{{1,4}})\.")
        counts.append(max((int(found[1]) + 1 for key in keys if (found := name.match(key))), default=0))
    return counts[0], counts[1]


def block_linears(doubles: int, singles: int) -> dict[str, tuple[str, ...]]:
    """Linears of the blocks: BFL's module to diffusers' modules, whose rows it stacks in that order.

    >>> block_linears(1, 1)["single_blocks.0.linear2"]
    ('single_transformer_blocks.0.proj_out',)
    """
    return {
        f"{bfl}.{i}.{ours}": tuple(f"{diffusers}.{i}.{name}" for name in names)
        for (bfl, diffusers, linears, _), count in zip(_KINDS, (doubles, singles), strict=True)
        for i in range(count)
        for ours, names in linears.items()
    }


def kohya_modules(doubles: int, singles: int) -> dict[str, tuple[str, ...]]:
    """LoRA modules as kohya's scripts name them, to diffusers' modules that share their down matrix.

    >>> len(kohya_modules(19, 38)), sum(map(len, kohya_modules(19, 38).values()))
    (304, 494)
    """
    return {"lora_unet_" + key.replace(".", "_"): names for key, names in block_linears(doubles, singles).items()}


def top_linears() -> dict[str, str]:
    """Linears outside the blocks: BFL's module to diffusers'. Halves of `SHIFT_SCALE`'s rows change places."""
    return _TOP | {SHIFT_SCALE[0]: SHIFT_SCALE[1]}


def _block_norms(doubles: int, singles: int) -> dict[str, str]:
    return {
        f"{bfl}.{i}.{ours}": f"{diffusers}.{i}.{name}"
        for (bfl, diffusers, _, norms), count in zip(_KINDS, (doubles, singles), strict=True)
        for i in range(count)
        for ours, name in norms.items()
    }


def swapped_halves(tensor: Tensor) -> Tensor:
    """Rows 2n in number with the second n first."""
    return torch.cat(tensor.chunk(2, 0)[::-1])


def transformer_from_bfl(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors by diffusers' names.

    Raises:
        DamagedInputError: there is no ``img_in.weight`` to read the width from, or stacked rows do not fit that width.
    """
    plain = without_prefix(tensors)
    if "img_in.weight" not in plain:
        shown = ", ".join(list(plain)[:4]) or "nothing"
        raise DamagedInputError(
            f"this is no FLUX transformer: img_in.weight is missing, found {shown}; give flux1-dev.safetensors"
        )
    width = plain["img_in.weight"].shape[0]
    linears = block_linears(*block_counts(plain)) | {key: (name,) for key, name in _TOP.items()}
    norms = _block_norms(*block_counts(plain))
    named: dict[str, Tensor] = {}
    for key, tensor in plain.items():
        module, _, kind = key.rpartition(".")
        if module in linears and kind in ("weight", "bias"):
            names = linears[module]
            for name, part in zip(names, _split_rows(key, tensor, len(names), width), strict=True):
                named[f"{name}.{kind}"] = part
        elif module in norms and kind == "scale":
            named[f"{norms[module]}.weight"] = tensor
        elif module == SHIFT_SCALE[0]:
            named[f"{SHIFT_SCALE[1]}.{kind}"] = swapped_halves(tensor)
        else:
            named[key] = tensor
    return named


def _split_rows(key: str, tensor: Tensor, count: int, width: int) -> list[Tensor]:
    """Rows of a stack of ``count`` parts: q, k and v have ``width`` each, what follows has the rest."""
    if count == 1:
        return [tensor]
    rest = tensor.shape[0] - 3 * width if tensor.ndim else -1
    if (rest != 0) if count == 3 else (rest <= 0):
        raise DamagedInputError(
            f"{key} has the shape {tuple(tensor.shape)}, which does not hold {count} parts of a model {width} wide; "
            "fetch the file again"
        )
    return [part.contiguous() for part in tensor.split([width] * 3 + [rest] * (count - 3))]


def transformer_to_bfl(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a whole diffusers transformer by the authors' names, behind ``prefix``.

    Raises:
        DamagedInputError: a part of a stack is missing.
    """
    rest = dict(tensors)
    linears = block_linears(*block_counts(tensors)) | {key: (name,) for key, name in _TOP.items()}
    named: dict[str, Tensor] = {}
    for module, names in linears.items():
        for kind in ("weight", "bias"):
            parts = [rest.pop(f"{name}.{kind}") for name in names if f"{name}.{kind}" in rest]
            if parts and len(parts) != len(names):
                raise DamagedInputError(f"{module}.{kind} cannot be made: not all of {', '.join(names)} are there")
            if parts:
                named[f"{module}.{kind}"] = torch.cat(parts) if len(parts) > 1 else parts[0]
    for module, name in _block_norms(*block_counts(tensors)).items():
        if f"{name}.weight" in rest:
            named[f"{module}.scale"] = rest.pop(f"{name}.weight")
    for kind in ("weight", "bias"):
        if f"{SHIFT_SCALE[1]}.{kind}" in rest:
            named[f"{SHIFT_SCALE[0]}.{kind}"] = swapped_halves(rest.pop(f"{SHIFT_SCALE[1]}.{kind}"))
    return {prefix + key: tensor for key, tensor in (named | rest).items()}


_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_VAE_ENDS = (("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"))


def vae_to_bfl(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors by ``ae.safetensors``' names; the attention's linears become 1 × 1 convolutions."""
    ups = _vae_ups(tensors, r"decoder\.up_blocks\.(\d{1,3})\.")
    named = {}
    for key, tensor in tensors.items():
        name = key
        for ours, theirs in _VAE_ENDS:
            name = name.replace(ours, theirs)
        name = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2", name)
        name = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample", name)
        name = re.sub(
            r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)",
            lambda m: f"decoder.up.{ups - 1 - int(m[1])}.block.{m[2]}",
            name,
        )
        name = re.sub(
            r"decoder\.up_blocks\.(\d+)\.upsamplers\.0",
            lambda m: f"decoder.up.{ups - 1 - int(m[1])}.upsample",
            name,
        )
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        found = re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.+)\.(weight|bias)", name)
        if found and found[2] in _VAE_ATTENTION:
            name = f"{found[1]}mid.attn_1.{_VAE_ATTENTION[found[2]]}.{found[3]}"
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        named[name] = tensor
    return named


def vae_from_bfl(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors by diffusers' names, from those of ``ae.safetensors``."""
    ups = _vae_ups(tensors, r"decoder\.up\.(\d{1,3})\.")
    attention = {theirs: ours for ours, theirs in _VAE_ATTENTION.items()}
    named = {}
    for key, tensor in tensors.items():
        name = key.replace(".nin_shortcut.", ".conv_shortcut.")
        found = re.fullmatch(r"(.*)mid\.attn_1\.(\w+)\.(weight|bias)", name)
        if found and found[2] in attention:
            name = f"{found[1]}mid_block.attentions.0.{attention[found[2]]}.{found[3]}"
            tensor = tensor[:, :, 0, 0] if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) else tensor
        name = re.sub(r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out.", name)
        name = re.sub(r"encoder\.down\.(\d+)\.block\.(\d+)", r"encoder.down_blocks.\1.resnets.\2", name)
        name = re.sub(r"encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", name)
        name = re.sub(
            r"decoder\.up\.(\d+)\.block\.(\d+)",
            lambda m: f"decoder.up_blocks.{ups - 1 - int(m[1])}.resnets.{m[2]}",
            name,
        )
        name = re.sub(
            r"decoder\.up\.(\d+)\.upsample\.",
            lambda m: f"decoder.up_blocks.{ups - 1 - int(m[1])}.upsamplers.0.",
            name,
        )
        name = re.sub(r"mid\.block_(\d+)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}", name)
        named[name] = tensor
    return named


def _vae_ups(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return max((int(found[1]) + 1 for key in tensors if (found := re.match(pattern, key))), default=0)


def clip_from_single(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP-L's tensors as transformers 5 names them: without ``text_model.``, which single files carry.

    Buffers and the text projection that some files hold besides are left out: FLUX takes the pooled state before it.
    """
    plain = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    unused = ("embeddings.position_ids", "text_projection.weight", "logit_scale")
    return {key: tensor for key, tensor in plain.items() if key not in unused}


def clip_to_single(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP-L's tensors as ``clip_l.safetensors`` names them."""
    return {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in tensors.items()}


def t5_from_single(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The T5 encoder's tensors; the embedding, of which files may hold either of two equal copies, stands at both."""
    named = dict(tensors)
    embedding = named.get("shared.weight", named.get("encoder.embed_tokens.weight"))
    if embedding is not None:
        named["shared.weight"] = named["encoder.embed_tokens.weight"] = embedding
    return named


def group_count(channels: list[int]) -> int:
    """Groups of the autoencoder's norms, which no shape tells: 32 at FLUX's channels, fewer where those are few.

    >>> group_count([128, 256, 512, 512]), group_count([8, 8, 16, 16])
    (32, 4)
    """
    return max(1, min(32, gcd(*channels) // 2))


def rotary_axes(head_width: int) -> tuple[int, int, int]:
    """How a head's dimensions are shared by the three position axes: an eighth for the first, the rest in halves.

    >>> rotary_axes(128), rotary_axes(16)
    ((16, 56, 56), (4, 6, 6))
    """
    first = head_width // 8
    first += (head_width - first) % 4
    return first, (head_width - first) // 2, (head_width - first) // 2
