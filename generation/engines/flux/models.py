"""FLUX's networks: found in a folder, built at the size that their files have, loaded strictly.

A folder of single files as ComfyUI has them, a diffusers folder, or a mixture of both; nothing is fetched. Sizes come
from the tensors' shapes, so that the published model and a tiny one take the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError
from thermvision.curation.store import read_json, sha256_bytes
from thermvision.generation.engines.flux.files import FluxFiles, find_files, load_tokenizer
from thermvision.generation.engines.flux.layouts import (
    block_counts,
    clip_from_single,
    group_count,
    rotary_axes,
    t5_from_single,
    transformer_from_bfl,
    vae_from_bfl,
    without_prefix,
)
from thermvision.generation.engines.flux.precision import choose_precision, working_dtype
from thermvision.generation.engines.flux.tensor_files import digest, read_tensors
from thermvision.generation.flux_tables import FluxTable

__all__ = ["FluxFiles", "FluxModels", "find_files", "load_models", "load_tokenizer"]

MAX_BLOCKS = 200
LATENT_CHANNELS = 16
SCALING, SHIFT = 0.3611, 0.1159  # of FLUX's latents: (encoded - shift) × scaling, from the published configuration
_SHOWN = 6


@dataclass
class FluxModels:
    """The networks, in evaluation mode and without gradients, on ``device`` in ``dtype``.

    Attributes:
        transformer: diffusers' ``FluxTransformer2DModel``.
        vae: diffusers' ``AutoencoderKL``.
        clip: ``CLIPTextModel``, gives the pooled text; None once it is dropped or where no text is needed.
        t5: ``T5EncoderModel``, gives the text's tokens; None likewise.
        clip_tokenizer: of at most 77 tokens; None where no text is needed.
        t5_tokenizer: of at most 512 tokens; None likewise.
        digests: SHA-256 of each file by the part it is of.
        random: whether the weights are random, so that pictures are noise.
    """

    transformer: Any  # Any: these packages import lazily, and type checkers see no members
    vae: Any
    clip: Any
    t5: Any
    clip_tokenizer: Any
    t5_tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    digests: dict[str, str] = field(default_factory=dict)
    random: bool = False

    def parts(self) -> dict[str, Any]:
        """The networks that are there, by name."""
        named = {"transformer": self.transformer, "vae": self.vae, "clip_l": self.clip, "t5": self.t5}
        return {name: module for name, module in named.items() if module is not None}


def load_models(table: FluxTable, folder: Path | None = None, *, with_text: bool = True) -> FluxModels:
    """The networks that ``table`` asks for, on its device, wide enough for adapters to be fused into them.

    Precision fp8 is not applied yet: `precision.cast_transformer` does that once adapters are in.

    Args:
        table: of a recipe.
        folder: overrides ``table.weights``.
        with_text: also load the text encoders and tokenizers.

    Raises:
        MissingDependencyError: files are missing.
        DamagedInputError: a file is not what it should be; names it and the tensors that do not fit.
        UsageError: several files could be meant, or no such device.
    """
    from thermvision.generation.engines.liveportrait.networks import choose_device

    if folder is None and table.weights == "random":
        return _random_models(table, with_text)
    device = choose_device(table.device)
    dtype = working_dtype(choose_precision(table.precision, device))
    files = find_files(folder if folder is not None else Path(table.weights), table, with_text=with_text)
    parts: dict[str, Any] = dict.fromkeys(("clip", "t5", "clip_tokenizer", "t5_tokenizer"))
    parts["transformer"] = load_transformer(files.transformer, device, dtype)
    parts["vae"] = load_vae(files.vae, device, dtype)
    names = ["transformer", "vae"]
    if with_text:
        names += ["clip_l", "t5"]
        parts["clip"] = load_clip(files.clip_l, device, dtype)
        parts["t5"] = load_t5(files.t5, device, dtype)
        parts["clip_tokenizer"] = load_tokenizer("clip", files.clip_tokenizer)
        parts["t5_tokenizer"] = load_tokenizer("t5", files.t5_tokenizer)
        for part, rows in (("clip", parts["clip"].config.vocab_size), ("t5", parts["t5"].config.vocab_size)):
            if len(parts[f"{part}_tokenizer"]) > rows:
                raise DamagedInputError(
                    f"{getattr(files, f'{part}_tokenizer')} has {len(parts[f'{part}_tokenizer'])} tokens and the "
                    f"{part} encoder {rows}; they are of different models: fetch the tokenizer that belongs to it"
                )
    digests = {name: _files_digest(getattr(files, name)) for name in names}
    return FluxModels(**parts, device=device, dtype=dtype, digests=digests)


def _random_models(table: FluxTable, with_text: bool) -> FluxModels:
    from thermvision.generation.engines.flux.random_models import tiny_models
    from thermvision.generation.engines.liveportrait.networks import choose_device

    models = tiny_models()
    models.device = choose_device(table.device)
    models.dtype = working_dtype(choose_precision(table.precision, models.device))
    for module in models.parts().values():
        module.to(models.device, models.dtype)
    if not with_text:
        models.clip = models.t5 = models.clip_tokenizer = models.t5_tokenizer = None
    return models


def _files_digest(paths: Sequence[Path]) -> str:
    digests = [digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else sha256_bytes("\n".join(digests).encode())


def _read(paths: Sequence[Path]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in paths:
        piece = read_tensors(path)
        twice = sorted(tensors.keys() & piece.keys())
        if twice:
            raise DamagedInputError(
                f"{path} has {', '.join(twice[:_SHOWN])}, which another file beside it has, too; keep one set of files"
            )
        tensors |= piece
    return tensors


def _config(paths: Sequence[Path]) -> dict[str, Any] | None:
    """The ``config.json`` beside a part of a diffusers folder; None beside single files."""
    path = paths[0].parent / "config.json"
    if not path.is_file():
        return None
    config = read_json(path)
    if not isinstance(config, dict):
        raise DamagedInputError(f"{path} holds a {type(config).__name__}; allowed: settings by name; fetch it again")
    return config


def _count(tensors: Mapping[str, Tensor], start: str) -> int:
    """How many numbers follow ``start`` in the keys."""
    found = [key[len(start) :].split(".")[0] for key in tensors if key.startswith(start)]
    return max((int(number) + 1 for number in found if number.isdigit() and len(number) < 4), default=0)


def _size(tensors: Mapping[str, Tensor], key: str, paths: Sequence[Path], axis: int = 0) -> int:
    tensor = tensors.get(key)
    if tensor is None or tensor.ndim <= axis:
        shown = ", ".join(list(tensors)[:3])
        raise DamagedInputError(
            f"{_shown(paths)} has no {key} (it has {shown}, …); it is not the file that is needed: see docs/flux.md"
        )
    return int(tensor.shape[axis])


def _shown(paths: Sequence[Path]) -> str:
    return str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def load_transformer(paths: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Any:
    """The transformer in single files by the authors' names, or in diffusers'.

    Raises:
        DamagedInputError: tensors are missing, unknown or of other shapes; not FLUX.1-dev.
    """
    from diffusers import FluxTransformer2DModel

    tensors, config = without_prefix(_read(paths)), _config(paths)
    if any(key.startswith("text_encoders.") for key in tensors):
        raise DamagedInputError(
            f"{_shown(paths)} is a whole checkpoint with text encoders and autoencoder in it; only single parts are "
            "read: give flux1-dev.safetensors of black-forest-labs/FLUX.1-dev"
        )
    if "img_in.weight" in tensors:
        tensors, config = transformer_from_bfl(tensors), None
    width, channels = (_size(tensors, "x_embedder.weight", paths, axis) for axis in (0, 1))
    head = _size(tensors, "transformer_blocks.0.attn.norm_q.weight", paths)
    if channels != 4 * LATENT_CHANNELS:
        raise DamagedInputError(
            f"{_shown(paths)} takes {channels} channels; allowed: 64, as FLUX.1-dev (Fill, Canny and Depth differ)"
        )
    if not any("guidance_embedder" in key for key in tensors):
        raise DamagedInputError(f"{_shown(paths)} has no guidance_in, so it is FLUX.1-schnell; give FLUX.1-dev")
    doubles, singles = block_counts(tensors)
    if head < 8 or width % head or not 0 < doubles + singles <= MAX_BLOCKS:
        raise DamagedInputError(
            f"{_shown(paths)} has a width of {width}, heads of {head} and {doubles} + {singles} blocks; allowed: whole "
            f"heads and at most {MAX_BLOCKS} blocks, as FLUX.1-dev (3072, 128, 19 + 38); fetch it again"
        )
    settings = {
        "in_channels": channels,
        "num_layers": doubles,
        "num_single_layers": singles,
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": _size(tensors, "context_embedder.weight", paths, 1),
        "pooled_projection_dim": _size(tensors, "time_text_embed.text_embedder.linear_1.weight", paths, 1),
        "guidance_embeds": True,
        "axes_dims_rope": rotary_axes(head),
    }
    if config is not None and "axes_dims_rope" in config:
        axes = config["axes_dims_rope"]
        if not isinstance(axes, list) or any(type(a) is not int or a <= 0 or a % 2 for a in axes) or sum(axes) != head:
            raise DamagedInputError(
                f"{paths[0].parent / 'config.json'}: axes_dims_rope is {axes!r}; allowed: even numbers that make "
                f"{head}; fetch it again"
            )
        settings["axes_dims_rope"] = tuple(axes)
    return _filled(lambda: FluxTransformer2DModel(**settings), tensors, paths, device, dtype)


def load_vae(paths: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Any:
    """The autoencoder in ``ae.safetensors`` or in diffusers' names.

    Raises:
        DamagedInputError: as `load_transformer`.
    """
    from diffusers import AutoencoderKL

    tensors, config = _read(paths), _config(paths) or {}
    tensors = {key.removeprefix("vae."): tensor for key, tensor in tensors.items()}
    if any(key.startswith("decoder.up.") for key in tensors):
        tensors = vae_from_bfl(tensors)
    levels = _count(tensors, "encoder.down_blocks.")
    if not levels:
        _size(tensors, "encoder.down_blocks.0.resnets.0.conv1.weight", paths)
    channels = [_size(tensors, f"encoder.down_blocks.{i}.resnets.0.conv1.weight", paths) for i in range(levels)]
    latents = _size(tensors, "encoder.conv_out.weight", paths) // 2
    if latents != LATENT_CHANNELS:
        raise DamagedInputError(
            f"{_shown(paths)} has {latents} latent channels; allowed: {LATENT_CHANNELS}, as FLUX's ae.safetensors "
            "(4: of Stable Diffusion 1.5 or XL)"
        )
    settings = {
        "latent_channels": latents,
        "block_out_channels": tuple(channels),
        "layers_per_block": _count(tensors, "encoder.down_blocks.0.resnets."),
        "norm_num_groups": config.get("norm_num_groups", group_count(channels)),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "scaling_factor": config.get("scaling_factor", SCALING),
        "shift_factor": config.get("shift_factor", SHIFT),
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return _filled(lambda: AutoencoderKL(**settings), tensors, paths, device, dtype)


def load_clip(paths: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Any:
    """CLIP-L's text encoder.

    Raises:
        DamagedInputError: as `load_transformer`.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    tensors, config = clip_from_single(_read(paths)), _config(paths) or {}
    vocabulary, width = (_size(tensors, "embeddings.token_embedding.weight", paths, axis) for axis in (0, 1))
    settings = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=_size(tensors, "encoder.layers.0.mlp.fc1.weight", paths),
        num_hidden_layers=_count(tensors, "encoder.layers."),
        num_attention_heads=config.get("num_attention_heads", max(1, width // 64)),
        max_position_embeddings=_size(tensors, "embeddings.position_embedding.weight", paths),
        # start and end are the last two tokens; with a smaller number transformers would look for the end elsewhere
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return _filled(lambda: CLIPTextModel(settings), tensors, paths, device, dtype)


def load_t5(paths: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Any:
    """T5's encoder.

    Raises:
        DamagedInputError: as `load_transformer`.
    """
    from transformers import T5Config, T5EncoderModel

    tensors = t5_from_single(_read(paths))
    vocabulary, width = (_size(tensors, "shared.weight", paths, axis) for axis in (0, 1))
    layer = "encoder.block.0.layer."
    heads = _size(tensors, f"{layer}0.SelfAttention.relative_attention_bias.weight", paths, 1)
    settings = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=_size(tensors, f"{layer}0.SelfAttention.q.weight", paths) // max(heads, 1),
        d_ff=_size(tensors, f"{layer}1.DenseReluDense.wi_0.weight", paths),
        num_layers=_count(tensors, "encoder.block."),
        num_heads=heads,
        relative_attention_num_buckets=_size(
            tensors, f"{layer}0.SelfAttention.relative_attention_bias.weight", paths, 0
        ),
        feed_forward_proj="gated-gelu",
    )
    model = _filled(lambda: T5EncoderModel(settings), tensors, paths, device, dtype)
    model.tie_weights()
    return model


def _filled(
    build: Callable[[], Any],
    tensors: dict[str, Tensor],
    paths: Sequence[Path],
    device: torch.device,
    dtype: torch.dtype,
) -> Any:
    """The module that ``build`` makes, with exactly these tensors; ``tensors`` is emptied, so that memory is freed."""
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=False):
            model = build()
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError, AttributeError) as error:
        raise DamagedInputError(
            f"{_shown(paths)} has tensors or a config.json of impossible sizes ({error}); fetch it again"
        ) from error
    check_tensors(tensors, model.state_dict(), _shown(paths))
    for key in list(tensors):
        tensors[key] = tensors[key].to(device, dtype)
    model.load_state_dict(tensors, strict=True, assign=True)
    tensors.clear()
    return model.to(device).eval().requires_grad_(False)


def check_tensors(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Raise with all that does not fit.

    Raises:
        DamagedInputError: tensors are missing, unknown, of other shapes or not floating.
    """
    both = [key for key in wanted if key in tensors]
    faults = {
        "missing": [key for key in wanted if key not in tensors],
        "unknown": [key for key in tensors if key not in wanted],
        "of another shape": [
            f"{key} {tuple(tensors[key].shape)} for {tuple(wanted[key].shape)}"
            for key in both
            if tensors[key].shape != wanted[key].shape
        ],
        "not floating": [f"{key} {tensors[key].dtype}" for key in both if not tensors[key].is_floating_point()],
    }
    told = [
        f"{len(keys)} {fault}: {', '.join(keys[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''}"
        for fault, keys in faults.items()
        if keys
    ]
    if told:
        raise DamagedInputError(
            f"{source} is not the file that is needed, or damaged; tensors {'; '.join(told)}. Fetch it again, in bf16, "
            "fp16 or fp8 (no GGUF, NF4 or other packing)"
        )
