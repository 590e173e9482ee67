"""Hand-built ONNX graphs with the inputs and outputs of the real models, whose answers can be told in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

BOX = (6.0, 8.0, 10.0, 12.0)  # left, top, right, bottom of every cell's box, pixels of the input
POINTS = (-4.0, -5.0, 6.0, -5.0, 1.0, 0.0, -3.0, 6.0, 5.0, 6.0)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    constants: Mapping[str, ArrayLike],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a graph of float32 inputs and outputs."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [
            numpy_helper.from_array(np.asarray(v, np.int64 if n.startswith("shape") else np.float32), n)
            for n, v in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def detector(
    path: Path,
    box: Sequence[float] = BOX,
    points: Sequence[float] = POINTS,
    black_hot: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Scores are the means of 4 x 4 pixels over 255, boxes and points constant, black-hot the image's mean over 255."""
    node = helper.make_node
    nodes = [
        node("Div", ["image", "white"], ["bright"]),
        node("AveragePool", ["bright"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Squeeze", ["cells", "shape_axis"], ["score"]),
        node("Conv", ["image", "nothing4", "box_bias"], ["box"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Conv", ["image", "nothing10", "points_bias"], ["points"], kernel_shape=[4, 4], strides=[4, 4]),
        node("GlobalAveragePool", ["bright"], ["mean"]),
        node("Reshape", ["mean", "shape_flat"], ["black_hot"]),
    ]
    outputs: dict[str, list[Any]] = {
        "score": ["N", "h", "w"],
        "box": ["N", 4, "h", "w"],
        "points": ["N", 10, "h", "w"],
        "black_hot": ["N"],
    }
    constants = {
        "white": 255,
        "shape_axis": [1],
        "shape_flat": [-1],
        "nothing4": np.zeros((4, 1, 4, 4)),
        "box_bias": box,
        "nothing10": np.zeros((10, 1, 4, 4)),
        "points_bias": points,
    }
    if not black_hot:
        outputs.pop("black_hot")
        nodes, constants = nodes[:-2], {n: v for n, v in constants.items() if n != "shape_flat"}
    return save(path, nodes, {"image": ["N", 1, "H", "W"]}, outputs, constants, metadata)


def answers(
    path: Path,
    values: Mapping[str, ArrayLike],
    input_name: str = "crop",
    input_shape: Sequence[Any] = ("N", 1, 112, 112),
    slopes: Mapping[str, float] | None = None,
) -> Path:
    """For each image of a batch the same arrays, plus ``slopes`` times the image's mean for those named."""
    nodes = [helper.make_node("ReduceMean", [input_name], ["mean"], axes=[1, 2, 3], keepdims=1)]
    nodes.append(helper.make_node("Reshape", ["mean", "shape_column"], ["column"]))
    constants: dict[str, ArrayLike] = {"shape_column": [-1, 1]}
    outputs: dict[str, list[Any]] = {}
    for name, value in values.items():
        array = np.asarray(value, np.float32)
        constants |= {
            f"{name}_slope": np.full((1, array.size), (slopes or {}).get(name, 0.0)),
            f"{name}_bias": array.ravel(),
        }
        constants[f"shape_{name}"] = [-1, *array.shape]
        nodes += [
            helper.make_node("MatMul", ["column", f"{name}_slope"], [f"{name}_product"]),
            helper.make_node("Add", [f"{name}_product", f"{name}_bias"], [f"{name}_sum"]),
            helper.make_node("Reshape", [f"{name}_sum", f"shape_{name}"], [name]),
        ]
        outputs[name] = ["N" if input_shape[0] == "N" else input_shape[0], *array.shape]
    return save(path, nodes, {input_name: list(input_shape)}, outputs, constants)


def face_68() -> np.ndarray:
    """Made-up landmarks (68, 2) float32 in a crop of 112 pixels, all different, all inside."""
    index = np.arange(68)
    return np.stack([10 + index % 10 * 9.0, 8 + index // 10 * 14.0], 1).astype(np.float32)


def landmarker(path: Path, points: ArrayLike | None = None) -> Path:
    """Constant landmarks; states cycle through 1, 2, 3; eye openness is the crop's mean / 255."""
    state = np.full((68, 3), 0.1)
    state[np.arange(68), np.arange(68) % 3] = 0.8
    values = {
        "points": face_68() if points is None else points,
        "sigma": np.full(68, 2.0),
        "state": state,
        "pose": [10.0, -20.0, 5.0],
        "openness": [0.0, 0.0],
    }
    return answers(path, values, slopes={"openness": 1 / 255})


def embedder(path: Path) -> Path:
    """The means of 8 x 16 areas of the crop, without being brought to length one."""
    nodes = [
        helper.make_node("AveragePool", ["crop"], ["areas"], kernel_shape=[14, 7], strides=[14, 7]),
        helper.make_node("Reshape", ["areas", "shape_flat"], ["embedding"]),
    ]
    return save(path, nodes, {"crop": ["N", 1, 112, 112]}, {"embedding": ["N", 128]}, {"shape_flat": [-1, 128]})


def attributes(path: Path) -> Path:
    """Always: male, surprise, no glasses, mask, goatee, beanie."""
    values = {
        "gender": [0.25, 0.75],
        "expression": [0, 0, 0, 1, 0, 0, 0],
        "glasses": [0.75, 0.25],
        "mask": [0.125, 0.875],
        "beard": [0, 0, 0, 0.5, 0.5 + 2**-10],
        "headwear": [0, 0.25, 0.75],
    }
    return answers(path, values)
