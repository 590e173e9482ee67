"""Where FLUX's files lie: single files as ComfyUI has them, a diffusers folder, or some of each. Nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.generation.flux_tables import FluxTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLIP_TOKENS, T5_TOKENS = 77, 512
MAX_TOKENIZER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class FluxFiles:
    """Where each part lies: one file, or the pieces of one; tokenizers are folders."""

    transformer: tuple[Path, ...]
    vae: tuple[Path, ...]
    clip_l: tuple[Path, ...]
    t5: tuple[Path, ...]
    clip_tokenizer: Path
    t5_tokenizer: Path


@dataclass(frozen=True)
class _Part:
    """What a part's files are called, in order of preference, and where they can be had."""

    folders: tuple[str, ...]
    names: tuple[str, ...]
    diffusers: str
    source: str


PARTS = {
    "transformer": _Part(
        ("", "diffusion_models", "unet"),
        ("flux1-dev.safetensors", "flux1-dev.sft", "flux1-dev*.safetensors"),
        "transformer",
        "flux1-dev.safetensors of black-forest-labs/FLUX.1-dev (accept its licence first)",
    ),
    "vae": _Part(
        ("", "vae"),
        ("ae.safetensors", "ae.sft", "flux*vae*.safetensors"),
        "vae",
        "ae.safetensors of black-forest-labs/FLUX.1-dev",
    ),
    "clip_l": _Part(
        ("", "text_encoders", "clip"),
        ("clip_l.safetensors", "clip_l*.safetensors"),
        "text_encoder",
        "clip_l.safetensors of comfyanonymous/flux_text_encoders",
    ),
    "t5": _Part(
        ("", "text_encoders", "clip"),
        (
            "t5xxl_fp16.safetensors",
            "t5xxl.safetensors",
            "t5xxl_fp8_e4m3fn_scaled.safetensors",
            "t5xxl_fp8_e4m3fn.safetensors",
            "t5xxl*.safetensors",
        ),
        "text_encoder_2",
        "t5xxl_fp16.safetensors of comfyanonymous/flux_text_encoders",
    ),
}
TOKENIZERS = {
    "clip_tokenizer": (
        ("tokenizer", "clip_l", "clip", "clip-vit-large-patch14"),
        (("tokenizer.json",), ("vocab.json", "merges.txt")),
        "tokenizer.json, or vocab.json and merges.txt, of openai/clip-vit-large-patch14, as tokenizers/clip_l/",
    ),
    "t5_tokenizer": (
        ("tokenizer_2", "t5xxl", "t5", "t5-v1_1-xxl"),
        (("tokenizer.json",), ("spiece.model",)),
        "tokenizer.json (folder tokenizer_2 of black-forest-labs/FLUX.1-dev), or spiece.model of "
        "google/t5-v1_1-xxl, as tokenizers/t5xxl/",
    ),
}


def find_files(folder: Path, table: FluxTable, *, with_text: bool = True) -> FluxFiles:
    """The files of all parts in ``folder``; paths that ``table`` gives go first and are taken below ``folder`` too.

    Without ``with_text`` the text encoders and tokenizers may be missing.

    Raises:
        MissingDependencyError: with all that is missing, where it was looked for and what to fetch.
        UsageError: several files could be the same part.
    """
    found: dict[str, Any] = {}
    missing: list[str] = []
    for name, part in PARTS.items():
        wanted = getattr(table, name)
        found[name] = _given_file(folder, wanted, part) if wanted else _search(folder, name, part)
        if not found[name] and (with_text or name in ("transformer", "vae")):
            missing.append(f"{name}: {f'{wanted}, which [flux] names' if wanted else part.source}")
    for name, (places, sets, source) in TOKENIZERS.items():
        given = [folder / table.tokenizers, Path(table.tokenizers)] if table.tokenizers else []
        roots = given or [folder / "tokenizers", folder]
        candidates = [root / place for root in roots for place in places] + given
        fits = (p for p in candidates if any(all((p / file).is_file() for file in files) for files in sets))
        found[name] = next(fits, Path())
        if found[name] == Path() and with_text:
            missing.append(f"{name}: {source}")
    if missing:
        looked = sorted({sub or "." for part in PARTS.values() for sub in (*part.folders, part.diffusers)})
        raise MissingDependencyError(
            f"FLUX is not complete in {folder}; missing:\n  "
            + "\n  ".join(missing)
            + f"\nlooked in {', '.join(looked)} and tokenizers below it. Fetch each with `hf download REPOSITORY FILE "
            f'--local-dir {folder}`, or name files in [flux]; weights = "random" tries a build without any'
        )
    return FluxFiles(**found)


def _given_file(folder: Path, given: str, part: _Part) -> tuple[Path, ...]:
    places = [Path(given), *(folder / sub / given for sub in part.folders)]
    return next(((path,) for path in places if path.is_file()), ())


def _search(folder: Path, name: str, part: _Part) -> tuple[Path, ...]:
    for pattern in part.names:
        found = sorted({path for sub in part.folders for path in (folder / sub).glob(pattern) if path.is_file()})
        if len(found) > 1:
            raise UsageError(
                f"{name} could be any of {', '.join(str(path.relative_to(folder)) for path in found)} in {folder}; "
                f'say which: {name} = "{found[0].relative_to(folder)}" in [flux]'
            )
        if found:
            return tuple(found)
    # diffusers: one file, or numbered pieces of one
    pieces = sorted((folder / part.diffusers).glob("*.safetensors"))
    whole = [path for path in pieces if "-of-" not in path.name and ".fp16" not in path.name]
    return tuple(whole[:1] or pieces)


def load_tokenizer(kind: str, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of "clip" or "t5" in a folder: ``tokenizer.json``, ``vocab.json`` with ``merges.txt``, or
    ``spiece.model``.

    Raises:
        MissingDependencyError: there is none, or ``spiece.model`` alone without the package that reads it.
        DamagedInputError: it cannot be read, or lacks the tokens that begin, end and pad a text.
    """
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Tokenizer

    sets = TOKENIZERS[f"{kind}_tokenizer"][1]
    files = next((s for s in sets if all((folder / file).is_file() for file in s)), None)
    if files is None:
        raise MissingDependencyError(f"{folder} has no tokenizer; fetch {TOKENIZERS[f'{kind}_tokenizer'][2]}")
    for file in files:
        if (size := (folder / file).stat().st_size) > MAX_TOKENIZER_BYTES:
            raise DamagedInputError(
                f"{folder / file} has {size} bytes; allowed: {MAX_TOKENIZER_BYTES}; fetch the tokenizer again"
            )
    if files == ("spiece.model",) and find_spec("sentencepiece") is None:
        raise MissingDependencyError(
            f"{folder / files[0]} needs sentencepiece; type `pip install sentencepiece protobuf`, or fetch "
            "tokenizer.json"
        )
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": T5_TOKENS}
    if kind == "clip":
        special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
        special |= {"bos_token": "<|startoftext|>", "model_max_length": CLIP_TOKENS}
    tokenizer: Any
    try:
        if files == ("tokenizer.json",):
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / files[0]), **special)
        elif files == ("spiece.model",):
            tokenizer = T5Tokenizer.from_pretrained(folder, local_files_only=True, model_max_length=T5_TOKENS)
        else:
            tokenizer = CLIPTokenizer(
                vocab=str(folder / files[0]), merges=str(folder / files[1]), model_max_length=CLIP_TOKENS
            )
        # without what transformers adds of its own where a token is not there
        known = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    except Exception as error:  # tokenizers raises bare Exception
        raise DamagedInputError(f"{folder / files[0]} cannot be read ({error}); fetch the tokenizer again") from error
    wanted = ("<|startoftext|>", "<|endoftext|>") if kind == "clip" else ("</s>", "<pad>")
    lacking = [token for token in wanted if token not in known]
    if lacking:
        raise DamagedInputError(
            f"{folder / files[0]} has {len(known)} tokens and lacks {', '.join(lacking)}; it is no tokenizer of "
            f"{kind}: fetch {TOKENIZERS[f'{kind}_tokenizer'][2]}"
        )
    return tokenizer
