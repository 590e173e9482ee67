"""Hand-written workflows in ComfyUI's UI form, wired as the article's two graphs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thermvision.generation.workflows.nodes import node_types

Wires = Mapping[str, tuple[int, int]]  # input -> (node, slot)


def ui_node(key: int, kind: str, widgets: Any = (), wires: Wires | None = None, **more: Any) -> dict[str, Any]:
    """A node as the editor saves it; links are numbered when the sheet is made."""
    known = node_types().get(kind)
    outputs = [{"name": n, "type": t, "links": []} for n, t in known.outputs] if known else []
    return {"id": key, "type": kind, "widgets_values": widgets, "wires": dict(wires or {}), "outputs": outputs} | more


def ui_sheet(nodes: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The UI document of nodes."""
    links: list[list[Any]] = []
    for node in nodes:
        given = node.pop("inputs", [])
        node["inputs"] = [*given]
        for place, (name, (source, slot)) in enumerate(node.pop("wires").items()):
            links.append([len(links) + 1, source, slot, node["id"], place, "*"])
            node["inputs"].append({"name": name, "type": "*", "link": len(links)})
    return {"nodes": list(nodes), "links": links, "version": 0.4, **more}


def article_inference() -> dict[str, Any]:
    """The wiring of the article's inference graph: what dangles dangles, and the LoRA's CLIP goes nowhere."""
    return ui_sheet(
        [
            ui_node(10, "UNETLoader", ["flux1-dev-fp8.safetensors", "fp8_e4m3fn"]),
            ui_node(4, "DualCLIPLoader", ["clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors", "flux"]),
            ui_node(8, "VAELoader", ["ae.safetensors"]),
            ui_node(24, "LoraLoader", ["thermal_rank16.safetensors", 0.9, 1.05], {"model": (10, 0), "clip": (4, 0)}),
            ui_node(23, "FluxLoraLoader", ["thermal_rank60.safetensors", 0.9]),
            ui_node(36, "ControlNetLoader", ["canny.pth"]),
            ui_node(35, "ControlNetApplySD3", [1, 0, 1], {"control_net": (36, 0)}),
            ui_node(5, "CLIPTextEncodeFlux", ["a thermal face", "surprised", 4.5], {"clip": (4, 0)}),
            ui_node(19, "CLIPTextEncodeFlux", ["watermarks", "", 4], {"clip": (4, 0)}),
            ui_node(6, "EmptyLatentImage", [512, 512, 2]),
            ui_node(
                3,
                "XlabsSampler",
                [749840386044620, "fixed", 40, 3, 3.5, 0, 0.88],
                {"model": (24, 0), "conditioning": (5, 0), "neg_conditioning": (19, 0), "latent_image": (6, 0)},
            ),
            ui_node(7, "VAEDecode", [], {"samples": (3, 0), "vae": (8, 0)}),
            ui_node(25, "SaveImage", ["ComfyUI"], {"images": (7, 0)}),
            ui_node(21, "PreviewImage", [], {"images": (7, 0)}),
        ]
    )


def article_training() -> dict[str, Any]:
    """The wiring of the article's training graph: Set and Get nodes, a muted upload, stale values."""
    nodes = [
        ui_node(135, "StringConstantMultiline", ["a face| a face in profile |a face with glasses", True]),
        ui_node(136, "FluxTrainModelSelect", ["flux1-dev-fp8.safetensors", "ae.sft", "clip_l.sft", "t5\\xxl.sft", ""]),
        ui_node(137, "TrainDatasetGeneralConfig", [False, False, False, 0, False, False, ".txt"]),
        ui_node(95, "OptimizerConfig", ["CAME", 1, "constant", 0, 1, 1, 5, ""]),
        ui_node(37, "FluxTrainValidationSettings", [20, 1024, 1024, 3, 42, "fixed", True, 0.5, 1.15]),
        ui_node(38, "SetNode", ["settings"], {"VALSETTINGS": (37, 0)}),
    ]  # fmt: skip
    before = 137
    for key, side in ((109, 512), (111, 768), (112, 1024)):
        values = [side, side, 1, "../datasets/faces", "thermal", True, False, 1, 256, 1024]
        nodes.append(ui_node(key, "TrainDatasetAdd", values, {"dataset_config": (before, 0)}))
        before = key
    start = [
        "thermal", "out", 16, 1, 0.0004, 3000, True, "disk", "disk", False, "logit_normal", 0, 1, 1.29, "shift", 1,
        "raw", 1, 3.1582000000000003, False, True, "bf16", "bf16", "sdpa", "", "", "disabled", 0, 0, "enabled",
    ]  # fmt: skip
    wires = {"flux_models": (136, 0), "dataset": (112, 0), "optimizer_settings": (95, 0), "sample_prompts": (135, 0)}
    nodes.append(ui_node(107, "InitFluxLoRATraining", start, wires))
    trainer = (107, 0)
    for loop in range(4):
        first = 200 + 10 * loop
        nodes += [
            ui_node(first, "FluxTrainLoop", [750], {"network_trainer": trainer}),
            ui_node(
                first + 1, "VisualizeLoss", ["ggplot", 100, True, 768, 512, False], {"network_trainer": (first, 0)}
            ),
            ui_node(first + 2, "SaveImage", ["loss"], {"images": (first + 1, 0)}),
            ui_node(first + 3, "FluxTrainSave", [False, False], {"network_trainer": (first, 0)}),
            ui_node(first + 4, "GetNode", ["settings"], outputs=[{"name": "VALSETTINGS", "type": "VALSETTINGS"}]),
            ui_node(
                first + 5,
                "FluxTrainValidate",
                [],
                {"network_trainer": (first + 3, 0), "validation_settings": (first + 4, 0)},
            ),
            ui_node(
                first + 6, "SomethingToString", ["steps ", ""], {"input": (first, 1)}, outputs=[{"type": "STRING"}]
            ),
            ui_node(first + 7, "Display Any (rgthree)", [""], {"source": (first + 6, 0)}),
        ]
        trainer = (first + 5, 0)
    nodes += [
        ui_node(133, "FluxTrainEnd", [False], {"network_trainer": trainer}),
        ui_node(89, "UploadToHuggingFace", ["", "", "", True, ""], {"source_path": (133, 2)}, mode=2),
        ui_node(131, "Note", ["check the arguments"]),
    ]
    return ui_sheet(nodes)
