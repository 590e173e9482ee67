"""Graphs of ComfyUI: both forms, PNGs, and what only the editor knows."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from workflow_graphs import article_inference, article_training, ui_node, ui_sheet

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.generation.workflows import graph as graphs
from thermvision.generation.workflows.graph import Link, api_of_graph, graph_of, graph_of_api, read_workflow
from thermvision.generation.workflows.nodes import VIRTUAL, node_types
from thermvision.generation.workflows.ui_writing import ui_of_graph


def codes(graph: graphs.Graph) -> list[str]:
    return sorted(f.code for f in graph.findings)


def test_table_knows_what_the_engines_read() -> None:
    table = node_types()
    assert {*graphs.SAMPLERS, *graphs.TRAINERS} < set(table)
    assert not set(VIRTUAL) & set(table)
    assert [w.name for w in table["XlabsSampler"].widgets] == [
        "noise_seed", "steps", "timestep_to_start_cfg", "true_gs", "image_to_image_strength", "denoise_strength",
    ]  # fmt: skip
    assert len(table["InitFluxLoRATraining"].inputs) == 37
    for kind in table.values():
        assert all(i.default is None or i.fits(i.default) for i in kind.inputs if i.widget), kind.name
        assert kind.value is None or kind.input(kind.value)


def test_article_inference_resolves() -> None:
    graph = graph_of(article_inference())
    assert graph.nodes["3"].inputs == {
        "noise_seed": 749840386044620, "steps": 40, "timestep_to_start_cfg": 3, "true_gs": 3.5,
        "image_to_image_strength": 0, "denoise_strength": 0.88, "model": Link("24", 0), "conditioning": Link("5", 0),
        "neg_conditioning": Link("19", 0), "latent_image": Link("6", 0),
    }  # fmt: skip
    assert graph.dangling() == ["23", "36", "35"]
    assert [(f.path, f.code) for f in graph.findings] == [("DualCLIPLoader 4", "short-widgets")]


def test_article_training_resolves() -> None:
    graph = graph_of(article_training())
    assert not {"38", "204", "89", "131"} & set(graph.nodes)
    assert graph.dangling() == []
    assert graph.nodes["205"].inputs["validation_settings"] == Link("37", 0)
    assert graph.nodes["107"].inputs["blocks_to_swap"] == 0
    assert codes(graph) == ["muted", "stale-widgets", "stale-widgets", "unknown-node", "unknown-node"]


def chain(*between: dict[str, Any], last: tuple[int, int]) -> dict[str, Any]:
    """A VAELoader, what lies between, and a reader of ``last``."""
    decode = ui_node(9, "VAEDecode", [], {"vae": last})
    return ui_sheet(
        [ui_node(1, "VAELoader", ["a"]), *between, decode, ui_node(10, "SaveImage", ["x"], {"images": (9, 0)})]
    )


VAE = [{"name": "VAE", "type": "VAE"}]


@pytest.mark.parametrize(
    ("document", "source"),
    [
        (chain(last=(1, 0)), Link("1", 0)),
        (chain(ui_node(2, "Reroute", None, {"": (1, 0)}), last=(2, 0)), Link("1", 0)),
        (chain(ui_node(2, "SetNode", ["v"], {"VAE": (1, 0)}), ui_node(3, "GetNode", ["v"]), last=(3, 0)), Link("1", 0)),
        (chain(ui_node(2, "SetNode", ["v"], {"VAE": (1, 0)}), last=(2, 0)), Link("1", 0)),
        (chain(ui_node(2, "GetNode", ["nobody"]), last=(2, 0)), None),
        (chain(ui_node(2, "Other", [], {"vae": (1, 0)}, mode=2, outputs=VAE), last=(2, 0)), None),
        (
            chain(ui_node(2, "Reroute", None, {"": (3, 0)}), ui_node(3, "Reroute", None, {"": (2, 0)}), last=(2, 0)),
            None,
        ),
        (chain(last=(77, 0)), None),
    ],
)
def test_links_lead_to_what_the_server_sees(document: dict[str, Any], source: Link | None) -> None:
    graph = graph_of(document)
    assert graph.nodes["9"].inputs.get("vae") == source
    assert set(graph.nodes) == {"1", "9", "10"}
    assert ([c for c in codes(graph) if c in ("set-get", "muted", "cycle", "missing-node")] == []) is (
        source is not None
    )


@pytest.mark.parametrize(
    ("inputs", "kept"),
    [
        (("MODEL", "VAE linked"), Link("1", 0)),
        (("VAE linked", "MODEL"), Link("1", 0)),
        (("MODEL", "VAE", "VAE linked"), None),  # the editor takes the first of the type, linked or not
        (("VAE linked", "VAE"), None),  # and the one in the output's place before all others
        (("MODEL linked",), None),
    ],
)
def test_bypassed_nodes_hand_on_their_first_input_of_the_type(inputs: tuple[str, ...], kept: Link | None) -> None:
    sockets = [{"name": t, "type": t.split()[0], "link": 50 if "linked" in t else None} for t in inputs]
    document = chain(ui_node(2, "Both", [], mode=4, outputs=[{"type": "MODEL"}, *VAE], inputs=sockets), last=(2, 1))
    document["links"].append([50, 1, 0, 2, 0, "VAE"])
    graph = graph_of(document)
    assert graph.nodes["9"].inputs.get("vae") == kept
    assert codes(graph) == ["bypassed"]


def test_primitive_values_and_seed_controls() -> None:
    latent = ui_node(2, "EmptyLatentImage", [64, 64, 1], {"width": (1, 0)})
    sheet = ui_sheet([ui_node(1, "PrimitiveNode", [640, "fixed"]), latent])
    assert graph_of(sheet).nodes["2"].inputs == {"width": 640, "height": 64, "batch_size": 1}
    for values, read in (([7, "randomize"], 7), ([7], 7)):
        assert graph_of(ui_sheet([ui_node(1, "RandomNoise", values)])).nodes["1"].inputs == {"noise_seed": read}
    sampler = ui_node(1, "KSampler", [5, 30, 1.5, "euler", "simple", 1])  # an old file, without the seed's control
    assert graph_of(ui_sheet([sampler])).nodes["1"].inputs["scheduler"] == "simple"


def test_values_of_the_wrong_type_are_not_guessed() -> None:
    graph = graph_of(ui_sheet([ui_node(1, "EmptyLatentImage", ["512", 640.0, True])]))
    assert graph.nodes["1"].inputs == {"width": 512, "height": 640, "batch_size": 1}
    messages = [f.message for f in graph.findings if f.code == "stale-widgets"]
    assert [m.rpartition("; ")[2] for m in messages] == ["the node's default counts", "read as 640", "read as 1"]


def test_subgraphs_are_opened() -> None:
    inside = {
        "id": "abc",
        "nodes": [
            ui_node(1, "LoraLoaderModelOnly", ["a.safetensors", 0.5], inputs=[{"name": "model", "link": 7}]),
            ui_node(2, "Reroute", None, inputs=[{"name": "", "type": "*", "link": 8}]),
        ],
        "links": [
            {"id": 7, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
            {"id": 8, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0},
            {"id": 9, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
        "inputs": [{"name": "model", "type": "MODEL", "linkIds": [7]}],
        "outputs": [{"name": "out", "type": "MODEL", "linkIds": [9]}],
    }  # fmt: skip
    for node in inside["nodes"]:
        del node["wires"]
    outer = [
        ui_node(1, "UNETLoader", ["flux.safetensors", "default"]),
        ui_node(5, "abc", [], {"model": (1, 0)}, outputs=[{"name": "out", "type": "MODEL"}]),
        ui_node(6, "BasicScheduler", ["simple", 4, 1.0], {"model": (5, 0)}),
    ]
    graph = graph_of(ui_sheet(outer, definitions={"subgraphs": [inside]}))
    assert list(graph.nodes) == ["1", "5:1", "6"]
    assert graph.nodes["6"].inputs["model"] == Link("5:1", 0)
    assert graph.nodes["5:1"].inputs == {"model": Link("1", 0), "lora_name": "a.safetensors", "strength_model": 0.5}
    inside["nodes"].append({"id": 3, "type": "abc"})  # itself inside itself
    with pytest.raises(DamagedInputError, match="more than 16 deep"):
        graph_of(ui_sheet([ui_node(1, "abc")], definitions={"subgraphs": [inside]}))


def test_both_forms_come_from_files_and_pictures(tmp_path: Path) -> None:
    ui = article_inference()
    api = api_of_graph(graph_of(ui))
    assert api["24"] == {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "thermal_rank16.safetensors", "strength_model": 0.9, "strength_clip": 1.05,
            "model": ["10", 0], "clip": ["4", 0],
        },
    }  # fmt: skip
    for name, text in (("ui", ui), ("api", api), ("post", {"prompt": api, "client_id": "a"})):
        (tmp_path / f"{name}.json").write_text(json.dumps(text), encoding="utf-8")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("prompt", json.dumps(api))
    chunks.add_text("workflow", json.dumps(ui_sheet([])))
    Image.new("L", (4, 4)).save(tmp_path / "both.png", pnginfo=chunks)
    only = PngImagePlugin.PngInfo()
    only.add_text("workflow", json.dumps(ui), zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "workflow.png", pnginfo=only)
    for name in ("ui.json", "api.json", "post.json", "both.png", "workflow.png"):
        assert api_of_graph(read_workflow(tmp_path / name)) == api, name


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (None, UsageError, "does not exist; allowed: a workflow of ComfyUI"),
        (b"{", DamagedInputError, "is not readable"),
        (b"\xff\xfe", DamagedInputError, "is not readable"),
        (b"[" * 200_000, DamagedInputError, "is not readable"),
        (b"[]", UsageError, "is no workflow: it has no JSON object"),
        (b"{}", UsageError, "is no workflow"),
        (b'{"a": 1}', UsageError, "it has keys a"),
        (b'{"1": {"inputs": {}}}', DamagedInputError, "node 1 lacks class_type"),
        (b'{"nodes": [{"id": 1}]}', DamagedInputError, "lacks its id or type"),
        (b'{"nodes": [3]}', DamagedInputError, "nodes is no list of objects"),
        (b'{"nodes": [], "links": [[1]]}', DamagedInputError, "link .* is broken"),
        (b"\x89PNG\r\n\x1a\nnothing", DamagedInputError, "no whole PNG"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, data: bytes | None, error: type[Exception], words: str) -> None:
    path = tmp_path / "w.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(error, match=words):
        read_workflow(path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    with pytest.raises(UsageError, match="carries no workflow"):
        read_workflow(path)
    (tmp_path / "a.json").write_text(json.dumps(article_inference()), encoding="utf-8")
    monkeypatch.setattr(graphs, "MAX_NODES", 13)
    with pytest.raises(DamagedInputError, match="has 14 nodes; allowed: 13"):
        read_workflow(tmp_path / "a.json")
    monkeypatch.setattr(graphs, "MAX_JSON_BYTES", 10)
    with pytest.raises(DamagedInputError, match="allowed: 10"):
        read_workflow(tmp_path / "a.json")


SCALARS = st.one_of(
    st.integers(-(2**70), 2**70), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.none(), st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def api_documents(draw: st.DrawFn) -> dict[str, Any]:
    """API forms of known and unknown nodes, with inputs left out, unknown, mistyped, linked or linked to nothing."""
    keys = draw(
        st.lists(st.one_of(st.integers(0, 99).map(str), st.text(max_size=4)), min_size=1, max_size=5, unique=True)
    )
    document: dict[str, Any] = {}
    for key in keys:
        kind = draw(st.one_of(st.sampled_from(sorted(node_types())), st.sampled_from(["Other", "Note2"])))
        names = [i.name for i in node_types()[kind].inputs] if kind in node_types() else ["a", "b"]
        links = st.tuples(st.sampled_from([*keys, "gone"]), st.integers(-1, 300)).map(list)
        chosen = draw(st.lists(st.sampled_from([*names, "extra"]), unique=True, max_size=8))
        values = {n: draw(st.one_of(links, SCALARS, fitting(kind, n))) for n in chosen}
        document[key] = {"class_type": kind, "inputs": values}
        if draw(st.booleans()):
            document[key]["_meta"] = {"title": draw(st.text(max_size=5))}
    return document


def fitting(kind: str, name: str) -> st.SearchStrategy[Any]:
    declared = node_types()[kind].input(name) if kind in node_types() else None
    kinds = {"INT": st.integers(0, 2**64 - 1), "FLOAT": st.floats(0, 100), "BOOLEAN": st.booleans()}
    return kinds.get(declared.type if declared else "", st.text(max_size=8))


@settings(max_examples=300, deadline=None)
@given(api_documents())
def test_api_to_ui_to_api_is_identical(document: dict[str, Any]) -> None:
    ui = json.loads(json.dumps(ui_of_graph(graph_of_api(document))))
    assert api_of_graph(graph_of(ui)) == document
    ends = {entry["id"]: entry for entry in ui["nodes"]}
    assert len(ends) == len(document)
    for number, source, slot, target, place, kind in ui["links"]:
        assert number in ends[source]["outputs"][slot]["links"]
        assert kind == ends[source]["outputs"][slot]["type"]
        assert ends[target]["inputs"][place]["link"] == number


def test_what_the_editor_changed_wins_over_what_was_kept() -> None:
    document = {"1": {"class_type": "EmptyLatentImage", "inputs": {"width": "odd", "height": 64}}}
    ui = ui_of_graph(graph_of_api(document))
    assert ui["nodes"][0]["widgets_values"] == [512, 64, 1]
    ui["nodes"][0]["widgets_values"] = [256, 64, 4]
    assert graph_of(ui).nodes["1"].inputs == {"width": 256, "height": 64, "batch_size": 4}


@pytest.mark.parametrize("seed", range(4))
def test_mutated_documents_end_in_a_graph_or_a_clear_error(seed: int) -> None:
    rng = random.Random(seed)
    junk = [None, 0, -1, 10**30, 1.5, "", "x", [], [1], {}, {"a": 1}, True, [[]]]
    for _ in range(150):
        document: Any = copy.deepcopy(rng.choice([article_inference, article_training])())
        for _ in range(rng.randint(1, 4)):
            at = document
            for _ in range(6):
                if not isinstance(at, dict | list) or not at:
                    break
                key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
                if isinstance(at[key], dict | list) and rng.random() < 0.8:
                    at = at[key]
                else:
                    at[key] = copy.deepcopy(rng.choice(junk))
                    break
        try:
            read = graph_of(document)
        except ThermVisionError:
            continue
        read.dangling()
        assert len(api_of_graph(read)) == len(read.nodes)
