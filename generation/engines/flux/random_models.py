"""FLUX's networks at a tiny size with random weights, and checkpoint folders of them: for tests and for dry runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from string import ascii_lowercase, digits, punctuation
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from thermvision.curation.store import atomic_write
from thermvision.generation.engines.flux.layouts import (
    clip_to_single,
    group_count,
    rotary_axes,
    transformer_to_bfl,
    vae_to_bfl,
)
from thermvision.generation.engines.flux.models import FluxModels
from thermvision.generation.engines.flux.tensor_files import write_tensors

HEADS, HEAD_WIDTH, TEXT_WIDTH, POOLED_WIDTH = 2, 16, 32, 64
CHANNELS = (8, 8, 16, 16)
CLIP_TOKENS, T5_TOKENS = 77, 512
DIFFUSERS_FILES = {
    "transformer": "transformer/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "clip_l": "text_encoder/model.safetensors",
    "t5": "text_encoder_2/model.safetensors",
}
# whole words of the tiny vocabularies; any other is spelt letter by letter, so that texts that differ stay different
WORDS = (
    *("a", "the", "thermal", "lwir", "infrared", "image", "photo", "portrait", "of", "face", "man", "woman", "male"),
    *("female", "person", "with", "without", "glasses", "front", "side", "looking", "left", "right", "hot", "cold"),
    *("white", "black", "background", "beard", "neutral", "smile", "blurry", "text"),
)


def tiny_models(seed: int = 0) -> FluxModels:
    """Random networks in float32 on the CPU, with tokenizers that need no file; equal for equal seeds.

    The transformer has two double and two single blocks of width 32; a still of 64 × 64 takes milliseconds.

    >>> models = tiny_models()
    >>> sum(p.numel() for p in models.transformer.parameters()), models.t5_tokenizer("a face").input_ids[-1]
    (136320, 1)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip_tokenizer, t5_tokenizer = tiny_tokenizer("clip"), tiny_tokenizer("t5")
        parts: dict[str, Any] = {
            "transformer": tiny_transformer(),
            "vae": _tiny_vae(),
            "clip": _tiny_clip(len(clip_tokenizer)),
            "t5": _tiny_t5(len(t5_tokenizer)),
        }
    for module in parts.values():
        module.eval().requires_grad_(False)
    return FluxModels(
        **parts,
        clip_tokenizer=clip_tokenizer,
        t5_tokenizer=t5_tokenizer,
        device=torch.device("cpu"),
        dtype=torch.float32,
        digests={"clip_l" if name == "clip" else name: weights_digest(module) for name, module in parts.items()},
        random=True,
    )


def tiny_transformer(doubles: int = 2, singles: int = 2, heads: int = HEADS) -> Any:
    """A random transformer of the tiny width, or of ``heads`` × 16."""
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=doubles,
        num_single_layers=singles,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=heads,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=rotary_axes(HEAD_WIDTH),
    )


def _tiny_vae() -> Any:
    return AutoencoderKL(
        latent_channels=16,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=group_count(list(CHANNELS)),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _tiny_clip(vocabulary: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=POOLED_WIDTH,
            intermediate_size=64,
            projection_dim=POOLED_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=1,
            max_position_embeddings=CLIP_TOKENS,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def _tiny_t5(vocabulary: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )


def tiny_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer with the special tokens of ``kind``: "clip" (start and end; padded with end) or "t5" (end)."""
    letters = ascii_lowercase + digits + punctuation
    pieces = list(dict.fromkeys([*WORDS, *letters, *(f"##{letter}" for letter in letters)]))
    if kind == "clip":
        # the end has the highest number: the pooled state is looked for at the largest token
        tokens = ["<unk>", *pieces, "<|startoftext|>", "<|endoftext|>"]
        start, end, pad, length = "<|startoftext|>", "<|endoftext|>", "<|endoftext|>", CLIP_TOKENS
    else:
        tokens = ["<pad>", "</s>", "<unk>", *pieces]
        start, end, pad, length = "", "</s>", "<pad>", T5_TOKENS
    numbers = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}".strip(), special_tokens=[(t, numbers[t]) for t in (start, end) if t]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=start or None,
        eos_token=end,
        pad_token=pad,
        unk_token="<unk>",
        model_max_length=length,
    )


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of all tensors."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_comfy(models: FluxModels, folder: Path) -> Path:
    """Write the single files that ComfyUI reads, in its folders, and the tokenizers; returns ``folder``."""
    write_tensors(
        folder / "diffusion_models" / "flux1-dev.safetensors",
        transformer_to_bfl(models.transformer.state_dict()),
    )
    write_tensors(folder / "vae" / "ae.safetensors", vae_to_bfl(models.vae.state_dict()))
    write_tensors(folder / "text_encoders" / "clip_l.safetensors", clip_to_single(models.clip.state_dict()))
    t5 = {key: tensor for key, tensor in models.t5.state_dict().items() if key != "encoder.embed_tokens.weight"}
    write_tensors(folder / "text_encoders" / "t5xxl_fp16.safetensors", t5)
    for name, tokenizer in (("clip_l", models.clip_tokenizer), ("t5xxl", models.t5_tokenizer)):
        _save_tokenizer(tokenizer, folder / "tokenizers" / name)
    return folder


def save_diffusers(models: FluxModels, folder: Path) -> Path:
    """Write the folder that `diffusers.FluxPipeline.from_pretrained` reads; returns ``folder``."""
    models.transformer.save_config(folder / "transformer")
    models.vae.save_config(folder / "vae")
    models.clip.config.save_pretrained(folder / "text_encoder")
    models.t5.config.save_pretrained(folder / "text_encoder_2")
    for part, name in DIFFUSERS_FILES.items():
        tensors = models.parts()[part].state_dict()
        tensors.pop("encoder.embed_tokens.weight", None)  # of T5, tied to `shared`
        write_tensors(folder / name, tensors, {"format": "pt"})
    _save_tokenizer(models.clip_tokenizer, folder / "tokenizer")
    _save_tokenizer(models.t5_tokenizer, folder / "tokenizer_2")
    tiny_scheduler().save_config(folder / "scheduler")
    index = {
        "_class_name": "FluxPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    atomic_write(folder / "model_index.json", json.dumps(index, indent=2))
    return folder


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)


def tiny_scheduler() -> Any:
    """The scheduler of FLUX.1-dev as diffusers' folder configures it."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
