"""A shipped ONNX model as a network again, so that training can go on where it ended.

The exporter folds every batch normalisation into the convolution before it. What it folded cannot be told apart again,
but any normalisation with the same outcome serves: its statistics are measured on a batch, and its scale and shift
chosen so that they undo it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thermvision.annotations.errors import UsageError


def restore(exported: nn.Module, path: Path, sample: Tensor) -> None:
    """Give the modules within ``exported`` the weights of the ONNX file at ``path``.

    Args:
        exported: the network as it is exported, with any weights; it is left in evaluation mode.
        path: a file that `thermvision.annotations.training.export.export` wrote of such a network.
        sample: inputs (N, 1, H, W) like those of the training, to measure statistics on.

    Raises:
        UsageError: the file is of another network.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except Exception as error:  # whatever a file that is no ONNX provokes
        raise UsageError(f"{path} is no ONNX model ({str(error)[:200]}); allowed: one that a training wrote") from error
    stored = {w.name: torch.tensor(numpy_helper.to_array(w)).float() for w in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    exported.eval()
    folded = _normalised(exported, sample[:1])
    within = {id(module) for pair in folded for module in pair}
    named = {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, module in exported.named_modules()
        if id(module) not in within
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if value.dtype.is_floating_point
    }
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.input[1] not in named]
    if len(convolutions) != len(folded):
        raise UsageError(f"{path} has {len(convolutions)} layers where this network has {len(folded)}")
    transposed = {n.input[1] for n in graph.node if n.op_type == "MatMul"}
    with torch.no_grad():
        for name, value in named.items():
            _copy(value, stored, name, path, name in transposed)
        for (convolution, normalisation), node in zip(folded, convolutions, strict=True):
            _copy(convolution.weight, stored, node.input[1], path)
            _copy(normalisation.bias, stored, node.input[2], path)
            normalisation.running_mean.zero_()
            normalisation.running_var.fill_(1 - normalisation.eps)
            normalisation.weight.fill_(1)
        _spread(exported, [normalisation for _, normalisation in folded], sample)


def _copy(value: Tensor, stored: dict[str, Tensor], name: str, path: Path, transposed: bool = False) -> None:
    found = stored.get(name)
    found = found.T if transposed and found is not None else found
    if found is None or found.shape != value.shape:
        shape = "nothing" if found is None else tuple(found.shape)
        raise UsageError(f"{path} has {shape} for {name}; this network wants {tuple(value.shape)}")
    value.copy_(found)


def _normalised(net: nn.Module, sample: Tensor) -> list[tuple[Any, Any]]:
    """Convolutions with the normalisation that follows each, in the order in which they are run."""
    follows = {
        id(a): b
        for module in net.modules()
        if isinstance(module, nn.Sequential)
        for a, b in pairwise(module)
        if isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d)
    }
    order: list[Any] = []
    hooks = [m.register_forward_hook(lambda m, *_: order.append(m)) for m in net.modules() if id(m) in follows]
    with torch.no_grad():
        net(sample)
    for hook in hooks:
        hook.remove()
    return [(convolution, follows[id(convolution)]) for convolution in order]


def _spread(net: nn.Module, normalisations: list[Any], sample: Tensor) -> None:
    """Set statistics to those of ``sample``, and scale and shift so that nothing changes."""
    seen: dict[int, Tensor] = {}

    def look(module: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        seen[id(module)] = inputs[0]

    hooks = [n.register_forward_hook(look) for n in normalisations]
    net(sample)
    for hook in hooks:
        hook.remove()
    for normalisation in normalisations:
        variance, mean = torch.var_mean(seen[id(normalisation)], (0, 2, 3))
        normalisation.running_mean.copy_(mean)
        normalisation.running_var.copy_(variance)
        normalisation.weight.copy_((variance + normalisation.eps).sqrt())
        normalisation.bias.add_(mean)
