"""Fine-tuning from a folder of checkpoints to another, with a curve for each module that was trained."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from thermvision.annotations.errors import UsageError
from thermvision.curation.store import atomic_path, atomic_write, canonical_json, sha256_file
from thermvision.generation.engines.liveportrait.checkpoint import (
    FILES,
    PERCEPTRONS,
    find_files,
    published_layout,
    read_metadata,
    read_weights,
    save_weights,
)
from thermvision.generation.engines.liveportrait.networks import Networks, load_networks
from thermvision.generation.engines.liveportrait.random_weights import RANDOM_NOTE
from thermvision.generation.engines.liveportrait.tensors import INPUT_SIZE
from thermvision.generation.engines.liveportrait.training.clips import Clips
from thermvision.generation.engines.liveportrait.training.layers import (
    MODULES,
    check_layers,
    close_layers,
    default_layers,
)
from thermvision.generation.engines.liveportrait.training.loop import Curve, Run, train
from thermvision.generation.engines.liveportrait.training.tasks import Weights, make_task

TRAINED_NOTE = "thermvision_trained"  # in the metadata of files written here
# batches, samples a batch and learning rate of a full run
DEFAULTS: dict[str, tuple[int, int, float]] = {
    "motion": (4_000, 16, 1e-4),
    "decoder": (8_000, 4, 5e-5),
    "retargeting": (6_000, 64, 5e-4),
}
ORDER = ("motion", "retargeting", "decoder")  # perceptrons and pictures rest on the keypoints
# files that a module's training may change
_CHANGED = {"motion": ("motion",), "decoder": ("spade", "warping"), "retargeting": ("stitching_retargeting",)}


def default_run(
    module: str, steps: int | None = None, seed: int = 0, device: str = "auto", rate: float | None = None,
    size: int | None = None,
) -> Run:  # fmt: skip
    """The run of a module; what is None is at its default.

    >>> default_run("decoder", steps=10).size
    4
    """
    usual = DEFAULTS[module]
    return Run(steps or usual[0], size or usual[1], usual[2] if rate is None else rate, seed, device)


def chosen_modules(module: str, layers: str) -> dict[str, str]:
    """The modules to train, in their order, with their layers.

    Raises:
        UsageError: no such module, or layers that it does not have.

    >>> chosen_modules("all", "")
    {'motion': 'heads', 'retargeting': 'all', 'decoder': 'spade'}
    """
    if module != "all" and module not in MODULES:
        raise UsageError(f"module is {module!r}; allowed: {', '.join(MODULES)}, all")
    chosen = {name: layers or default_layers(name) for name in (ORDER if module == "all" else (module,))}
    for name, wanted in chosen.items():
        check_layers(name, wanted)
    return chosen


def finetune(
    weights: Path,
    clips: Clips,
    out: Path,
    modules: Mapping[str, str],
    runs: Mapping[str, Run],
    *,
    losses: Weights | None = None,
    command: str = "",
    allow_pth: bool = False,
    side: int = INPUT_SIZE,
    report: Callable[[str], None] | None = None,
) -> dict[str, Curve]:
    """Train ``modules`` in turn and write all five checkpoints to ``out``, which can be trained on from there.

    Files are written when a module is done, and every 500 batches before. Beside them lies ``MODULE.curve.json`` of
    each: command, run, digests, curve, and figures on held-out people before and after.

    Args:
        weights: folder of the checkpoints to begin with.
        clips: frames of `read_clips`.
        out: folder; may be ``weights`` itself.
        modules: layers of each module, see `chosen_modules`.
        runs: of each module.
        losses: how much each counts.
        command: what was typed, for the curve.
        allow_pth: read .pth files too.
        side: pixels of the networks' input, a multiple of 128; smaller ones are quicker and less true.
        report: told how it goes.

    Raises:
        MissingDependencyError, DamagedInputError: the checkpoints are not there or broken.
        UsageError: layers, devices or clips that do not serve, or a loss that is no number.
        OutputError: no room or no permission.
    """
    device = next(iter(runs.values())).device
    networks = load_networks(weights, device, "fp32", allow_pth=allow_pth)
    began = dict(networks.digests)
    copy_files(weights, out, allow_pth)
    counted = losses or Weights()
    curves = {}
    for module, layers in modules.items():
        run = runs[module]
        if report:
            report(f"{module}: {layers}, {run.steps} batches of {run.size}")
        task = make_task(networks, clips, module, layers, run.size, counted, side)
        note = {"module": module, "layers": layers, "run": asdict(run), "releases": clips.digest}

        def keep(module: str = module, note: dict[str, Any] = note) -> None:
            save_module(networks, out, module, note)

        try:
            curve = train(task, run, networks.device, report, keep)
        finally:
            close_layers(networks)
        keep()
        curves[module] = curve
        facts = {
            "command": command,
            "module": module,
            "layers": layers,
            "weights": asdict(getattr(counted, module)),
            "machine": f"{platform.machine()}, {_processor(networks.device)}",
            "parameters": sum(parameter.numel() for parameter in task.parameters.values()),
            "people": {"learned": _people(clips, False), "held_out": _people(clips, True)},
            "releases": clips.digest,
            "began": began,
            "written": {name: sha256_file(out / name) for name in _names(module)},
        }
        atomic_write(out / f"{module}.curve.json", json.dumps({**facts, **asdict(curve)}, indent=1) + "\n")
    return curves


def _people(clips: Clips, held_out: bool) -> int:
    return len({int(person) for person in clips.person[clips.rows(held_out)]})


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads"


def _names(module: str) -> list[str]:
    return [f"{FILES[file][0]}.safetensors" for file in _CHANGED[module]]


def copy_files(weights: Path, out: Path, allow_pth: bool = False) -> None:
    """Bring the five checkpoints to ``out`` under the names of the thermal set, where they are looked for first."""
    for file, path in find_files(weights, allow_pth).items():
        target = out / f"{FILES[file][0]}.safetensors"
        if target.exists() and target.samefile(path):
            continue
        if path.suffix == ".safetensors":
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
        else:
            save_weights(target, read_weights(path, allow_pth))


def save_module(networks: Networks, out: Path, module: str, note: Mapping[str, Any]) -> None:
    """Write the checkpoints that ``module`` changes, in the published layout."""
    for file in _CHANGED[module]:
        nets = tuple(PERCEPTRONS) if file == "stitching_retargeting" else (file,)
        weights: dict[str, torch.Tensor] = {}
        for net in nets:
            weights |= published_layout(net, getattr(networks, net).state_dict())
        path = out / f"{FILES[file][0]}.safetensors"
        # noise stays noise however long it is trained
        known = read_metadata(path) if path.is_file() else {}
        notes = {TRAINED_NOTE: canonical_json(note)} | {k: v for k, v in known.items() if k == RANDOM_NOTE}
        save_weights(path, weights, notes)
