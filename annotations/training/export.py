"""A trained network as the ONNX file that is shipped, with what made it in its metadata."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermvision.annotations.errors import MissingDependencyError

OPSET = 18


def export(
    net: nn.Module,
    path: Path,
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
) -> int:
    """Write ``net`` to ``path`` and return the file's size in bytes.

    Args:
        net: what is exported, in evaluation mode.
        path: of the ``.onnx`` file; it is replaced at once, never half-written.
        inputs: shape of an example of each input.
        outputs: names, in the order in which the network returns them.
        free: for each input, the dimensions that may vary, and their names.
        metadata: text that the file carries.

    Raises:
        MissingDependencyError: the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("training writes ONNX; type: pip install 'thermvision-db[train]'") from error
    buffer: Any = io.BytesIO()  # the exporter takes one and does not say so
    example = tuple(torch.full(shape, 90.0) for shape in inputs.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's advice about itself
        torch.onnx.export(
            net.eval(), example, buffer, input_names=list(inputs), output_names=list(outputs), dynamic_axes=dict(free),
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    _halve(model)
    onnx.helper.set_model_props(model, dict(metadata))
    return _write(model, path)


def set_metadata(path: Path, entries: Mapping[str, str]) -> None:
    """Add or replace text that the ONNX file at ``path`` carries."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | dict(entries))
    _write(model, path)


def _write(model: Any, path: Path) -> int:
    import onnx

    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)
    return len(content)


def _halve(model: Any) -> None:
    """Store large weights as 16-bit floats that the graph widens when it is loaded: half the file, the same speed."""
    from onnx import TensorProto, helper, numpy_helper

    graph, nodes = model.graph, []
    for weights in graph.initializer:
        if weights.data_type != TensorProto.FLOAT or len(weights.dims) < 2:
            continue
        narrow = f"{weights.name}_half"
        nodes.append(helper.make_node("Cast", [narrow], [weights.name], to=TensorProto.FLOAT))
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights).astype("float16"), narrow))
    for node in reversed(nodes):
        graph.node.insert(0, node)
