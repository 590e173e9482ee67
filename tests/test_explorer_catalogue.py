"""The catalogue: filters give what loops give, counts what filters give, and broken shards cost only their own."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ZEROS, clip_row, face_annotation, finish_release, frame_rows, still_row
from explorer_stage import scene_row
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import EXPRESSIONS, GENDERS
from thermvision.curation.pack import write_shard
from thermvision.curation.reviews.decisions import decide
from thermvision.dataset_card.explorer import light_columns
from thermvision.dataset_card.explorer.catalogue import Catalogue, open_catalogue
from thermvision.dataset_card.explorer.filters import MAX_LIMIT, Query, parse_query
from thermvision.dataset_card.explorer.loading import Loaded, database
from thermvision.dataset_card.explorer.seen import SeenFinding

HOSTILE = ["a'; DROP TABLE items; --", 'b"<script>', "c\n\t%_\\", "d/../../e", "é漢😀", "f\x00g", "P_1'"]
SIZE = 64
OF_EVERY_ITEM = ("config", "split", "gender", "glasses", "source", "decision")
FINDINGS = (
    SeenFinding(HOSTILE[0], "blurred", "soft", None, None, "check"),
    SeenFinding("P_a_S1", "repeat", "as before", 2, 3, "check"),
    SeenFinding("P_a_S1", "repeat", "as before", 5, None, "check"),
    SeenFinding("P_b_S1", "jump", "beyond the end", 70, 90, "check"),
    SeenFinding("P_b_S1", "blurred", "soft", 0, 1, "audit"),
    SeenFinding("nobody", "blurred", "soft", 0, 1, "audit"),
)


def found(catalogue: Catalogue, **asked: Any) -> list[str]:
    return [item["id"] for item in catalogue.find(Query(**asked))["items"]]


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Catalogue]]:
    """Opens catalogues, waits for their frames and closes them."""
    made = []

    def catalogue(root: Path) -> Catalogue:
        made.append(open_catalogue(root))
        made[-1].wait()
        return made[-1]

    yield catalogue
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def odd_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, stills and a scene with what releases of others hold: odd ids, nulls, and classes without a name."""
    root, subjects = tmp_path_factory.mktemp("odd") / "release", ["P_a", "P_b", "P_c'\""]
    clips, frames = [], []
    for number, subject in enumerate(subjects[:2]):
        annotations = [
            face_annotation(SIZE, 0, k != 4, yaw=10.0 * k - 20 * number, expression=EXPRESSIONS[(k + number) % 3])
            for k in range(6)
        ]
        clips.append(clip_row(f"{subject}_S1", subject, subjects, "head_pose", annotations, SIZE))
        frames += frame_rows(clips[-1], annotations)
    stills = [still_row(name, subjects[n % 3], subjects, "mix", SIZE) for n, name in enumerate(HOSTILE)]
    for number, still in enumerate(stills):
        still |= {"gender": None if number == 0 else 9 if number == 1 else number % 2}
        still |= {"glasses": number % 2, "expression": 40 if number == 2 else None if number == 3 else number % 7}
        still["head_pose"] = [number, -number / 2, 0]
        still["annotation_source"] = None if number == 4 else "ground_truth" if number % 2 else "a'b model"
        frames += [
            {**row, "expression": still["expression"], "gender": still["gender"]}
            for row in frame_rows(still, [face_annotation(SIZE, 0, True, yaw=float(number))])
        ]
    scene = scene_row(["P_a", "P_c'\""], [0, 2])
    tables = [("video", clips), ("mix", stills), ("scenes", [scene]), ("frames", frames)]
    shards = [write_shard(root, name, "train", "1.0", 0, rows, subjects, ZEROS) for name, rows in tables]
    return finish_release(root, "build", subjects, shards)


@pytest.fixture(scope="module")
def odd(odd_release: Path) -> Iterator[Catalogue]:
    catalogue = open_catalogue(odd_release)
    catalogue.wait()
    catalogue.put_findings(FINDINGS)
    by = {"why": "seen", "version": "1.0", "digest": "0" * 16}
    catalogue.put_decisions([
        decide("P_a_S1", "reject", who="Ana", **by),
        decide("P_a_S1", "tag", who="Ana", value="nice", **by),
        decide(HOSTILE[4], "accept", who="Ana", **by),
    ])  # fmt: skip
    catalogue.put_changes({"P_a_S1": "changed", "P_b_S1": "same", "gone": "removed"})
    yield catalogue
    catalogue.close()


def test_items_lie_where_the_catalogue_says(oval_release: Path, opened: Callable[[Path], Catalogue]) -> None:
    catalogue = opened(oval_release)
    assert len(catalogue) == 14
    assert catalogue.state == "whole"
    assert catalogue.problems == []
    for key in range(len(catalogue)):
        row = catalogue.row(key)
        stored = pq.read_table(oval_release / row.shard).to_pylist()[row.row]
        assert stored["clip_id" if row.config == "video" else "image_id"] == row.item_id
        assert (row.key, catalogue.key_of(row.item_id)) == (key, key)
        assert (row.width, row.num_frames, row.subject_id) == (
            stored["width"], stored.get("num_frames", 1), stored["subject_id"],
        )  # fmt: skip
        assert row.split in row.shard
        assert row.fps == stored.get("fps")
        assert (row.radiometric is not None) == (row.item_id.endswith("_frontal_pose_0"))
        if row.radiometric is not None:
            shard, number = row.radiometric
            assert pq.read_table(oval_release / shard, columns=["item_id"])["item_id"][number].as_py() == row.item_id
    for key in (-1, 14):
        with pytest.raises(UsageError, match="0 to 13"):
            catalogue.row(key)
    assert catalogue.key_of("nobody") is None


def test_conditions_on_frames_hold_on_one_frame(oval_release: Path, opened: Callable[[Path], Catalogue]) -> None:
    catalogue = opened(oval_release)  # clips turn 5 degrees a frame and smile on odd ones
    reply = catalogue.find(Query(yaw_min=10, yaw_max=10, expression=("neutral",)))
    assert (reply["total"], reply["frames"]) == (4, 4)
    assert {(i["hit"], i["hits"], i["cover"]) for i in reply["items"]} == {(2, 1, 2)}
    assert catalogue.find(Query(yaw_min=10, yaw_max=10, expression=("smile",)))["total"] == 0
    reply = catalogue.find(Query(yaw_min=10, expression=("smile",), pitch_min=-20))  # pitch is half the yaw
    assert {(i["hit"], i["hits"]) for i in reply["items"]} == {(3, 3)}
    assert reply["frames"] == 12
    plain = catalogue.find(Query(config=("video",)))
    assert {(i["hit"], i["hits"], i["cover"]) for i in plain["items"]} == {(None, None, 6)}
    assert plain["frames"] == 48


PARTS = {
    "config": st.sampled_from(["video", "image", "scenes"]),
    "gender": st.sampled_from([*GENDERS, "unknown", "class 9"]),
    "expression": st.sampled_from([*EXPRESSIONS[:4], "unknown", "class 40"]),
    "glasses": st.sampled_from(["none", "glasses", "unknown"]),
    "source": st.sampled_from(["ground_truth", "a'b model", "unknown"]),
    "subject": st.sampled_from(["P_a", "P_b", "P_c'\"", "nobody"]),
    "finding": st.sampled_from(["blurred", "repeat", "jump", "none such"]),
    "decision": st.sampled_from(["accept", "reject", "tag", "none"]),
    "change": st.sampled_from(["same", "changed"]),
}
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.lists(values, min_size=1, max_size=2, unique=True).map(tuple) for name, values in PARTS.items()},
        "yaw_min": st.sampled_from([-60.0, 0.0, 3.0, 20.0]),
        "yaw_max": st.sampled_from([-10.0, 5.0, 30.0]),
        "q": st.sampled_from(["P_", "'", "%", "漢", "é", "É", "\x00", "\n", "p_c"]),
    },
)


def by_hand(root: Path, asked: dict[str, Any]) -> dict[str, int | None]:
    """Item id to the number of frames that match, None where nothing is asked of frames: rows and loops only."""
    kept: dict[str, int | None] = {}
    decided = {"P_a_S1": {"reject", "tag"}, HOSTILE[4]: {"accept"}}
    for path in sorted((root / "data").rglob("*.parquet")):
        config = path.relative_to(root / "data").parts[0]
        if config == "frames":
            continue
        for row in pq.read_table(path).to_pylist():
            name = row["clip_id"] if config == "video" else row["image_id"]
            if config == "scenes":
                subjects, genders = row["faces"]["subject_id"], row["faces"]["gender"]
                frames = [
                    (0, p[0], e) for p, e in zip(row["faces"]["head_pose"], row["faces"]["expression"], strict=False)
                ]
            elif config == "video":
                subjects, genders = [row["subject_id"]], [row["gender"]]
                frames = [
                    (k, p and p[0], e)
                    for k, (p, e) in enumerate(zip(row["head_pose"], row["expression"], strict=False))
                ]
            else:
                subjects, genders = [row["subject_id"]], [row["gender"]]
                frames = [(0, row["head_pose"][0], row["expression"])]
            said = decided.get(name, {"none"})
            change = {"P_a_S1": "changed", "P_b_S1": "same"}.get(name)
            names = {None: "unknown", 9: "class 9", 0: "female", 1: "male"}
            glasses = {None: "unknown", 0: "none", 1: "glasses"}[row.get("glasses")]
            searched = f"{name}\n{' '.join(subjects)}".lower()
            wanted = {
                "config": {config}, "gender": {names[g] for g in genders}, "glasses": {glasses},
                "source": {row["annotation_source"] or "unknown"}, "subject": set(subjects), "decision": said,
                "change": {change},
            }  # fmt: skip
            if any(n in asked and not set(asked[n]) & values for n, values in wanted.items()):
                continue
            if asked.get("q", "").lower() not in searched:
                continue
            if not asked.keys() & {"expression", "finding", "yaw_min", "yaw_max"}:
                kept[name] = None
                continue
            hits = {k for k, yaw, expression in frames if _fits(asked, name, k, yaw, expression)}
            if hits:
                kept[name] = len(hits)
    return kept


def _about(finding: SeenFinding, k: int) -> bool:
    first = min(finding.first_frame or 0, 5)  # clips have six frames
    return first <= k <= (first if finding.last_frame is None else finding.last_frame)


def _fits(asked: dict[str, Any], name: str, k: int, yaw: float | None, expression: int | None) -> bool:
    called = "unknown" if expression is None else EXPRESSIONS[expression] if expression < 7 else f"class {expression}"
    codes = {f.code for f in FINDINGS if f.item_id == name and (f.first_frame is None or _about(f, k))}
    return (
        ("expression" not in asked or called in asked["expression"])
        and ("finding" not in asked or bool(codes & set(asked["finding"])))
        and ("yaw_min" not in asked or (yaw is not None and yaw >= asked["yaw_min"]))
        and ("yaw_max" not in asked or (yaw is not None and yaw <= asked["yaw_max"]))
    )


@settings(max_examples=120, deadline=None)
@given(asked=QUERIES)
def test_filters_find_what_loops_over_rows_find(odd: Catalogue, odd_release: Path, asked: dict[str, Any]) -> None:
    reply = odd.find(Query(**asked))
    assert {i["id"]: i["hits"] for i in reply["items"]} == by_hand(odd_release, asked)
    assert reply["total"] == len(reply["items"])
    if reply["items"] and reply["items"][0]["hits"] is not None:
        assert reply["frames"] == sum(i["hits"] for i in reply["items"])


@settings(max_examples=40, deadline=None)
@given(asked=QUERIES)
def test_counts_are_of_what_the_filter_would_leave(odd: Catalogue, asked: dict[str, Any]) -> None:
    query = Query(**asked)
    for facet, counts in odd.find(query.model_copy(update={"facets": True}))["facets"].items():
        name = "source" if facet == "annotation_source" else facet
        other = query.without(name).model_dump()
        for value, count in counts.items():
            assert odd.find(Query(**{**other, name: (value,)}))["total"] == count, (facet, value)
        if name in OF_EVERY_ITEM:
            assert sum(counts.values()) >= odd.find(query.without(name))["total"], facet


def test_hostile_ids_are_only_text(odd: Catalogue) -> None:
    for name in HOSTILE:
        key = odd.key_of(name)
        assert key is not None
        assert odd.row(key).item_id == name
        assert found(odd, q=name) == [name] if name != "P_1'" else name in found(odd, q=name)
    assert found(odd, q="%") == [HOSTILE[2]]
    assert found(odd, q="_\\") == [HOSTILE[2]]
    assert found(odd, subject=("'; DROP TABLE items; --",)) == []
    assert found(odd, finding=("x' OR '1'='1",)) == []
    assert len(odd) == 10


def test_facts_name_what_there_is_and_nothing_else(odd: Catalogue) -> None:
    facts = odd.facts()
    assert facts["facets"]["gender"] == ["female", "male", "class 9", "unknown"]
    assert facts["facets"]["category"] == ["mix"]
    assert facts["facets"]["mask"] == []
    assert facts["facets"]["annotation_source"] == ["ground_truth", "a'b model", "unknown"]
    assert "class 40" in facts["facets"]["expression"]
    assert facts["ranges"]["yaw"] == [-50, 50]
    assert facts["findings"] == ["blurred", "jump", "repeat"]
    side = facts["side"]
    assert (side["items"], side["clips"], side["stills"], side["scenes"], side["frames"]) == (10, 2, 7, 1, 20)
    assert side["subjects"] == 3
    assert side["missing"] == []
    json.dumps(facts, allow_nan=False)


def test_marks_are_shown_with_the_item(odd: Catalogue) -> None:
    items = {i["id"]: i for i in odd.find(Query())["items"]}
    marked = items["P_a_S1"]
    shown = [marked[name] for name in ("findings", "decision", "tags", "change")]
    assert shown == [2, "reject", ["nice"], "changed"]
    assert items[HOSTILE[4]]["decision"] == "accept"
    assert items["P_b_S1"]["decision"] is None


@pytest.mark.parametrize("sort", ["id", "subject", "yaw", "frames", "findings"])
def test_order(odd: Catalogue, sort: str) -> None:
    subjects = {i["id"]: i["subject"] for i in odd.find(Query())["items"]}
    yaws = {"P_a_S1": 30.0, "P_b_S1": 10.0, **{n: float(k) for k, n in enumerate(HOSTILE)}}
    of = {
        "id": lambda n: n,
        "subject": lambda n: subjects[n] or "~",  # the scene, last
        "yaw": lambda n: yaws.get(n, 99.0),
        "frames": lambda n: 6 if n.endswith("_S1") else 1,
        "findings": lambda n: {"P_a_S1": 2, "P_b_S1": 2, HOSTILE[0]: 1}.get(n, 0),
    }[sort]
    everything = list(subjects)
    given_order = found(odd, sort=sort)
    if sort == "yaw":  # the scene has two faces: either is the one of its only frame
        everything.remove("scene_0")
        given_order.remove("scene_0")
    assert given_order == sorted(everything, key=of)
    turned = found(odd, sort=sort, desc=True)
    assert [of(n) for n in turned if n in everything] == sorted(map(of, everything), reverse=True)


def test_pages_are_parts_of_one_order(odd: Catalogue) -> None:
    whole = found(odd, sort="id")
    assert [name for start in range(0, 12, 3) for name in found(odd, sort="id", offset=start, limit=3)] == whole
    assert found(odd, offset=100) == []
    assert found(odd, limit=0) == []


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("splitt", "test")], "allowed: q, config, split"),
        ([("split", "tset")], "allowed: train, validation, test"),
        ([("expression", "smirk")], "allowed: neutral, smile"),
        ([("limit", str(MAX_LIMIT + 1))], "500"),
        ([("limit", "many")], "limit is 'many'"),
        ([("offset", "-1")], "offset"),
        ([("yaw_min", "nan")], "yaw_min"),
        ([("sort", "size")], "'id', 'subject', 'yaw', 'frames' or 'findings'"),
        ([("sort", "id"), ("sort", "yaw")], "twice"),
        ([("subject", "x")] * 101, "subject"),
        ([("q", "x" * 201)], "q"),
    ],
)
def test_a_query_that_is_none_says_what_is_allowed(pairs: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_query(pairs)


def test_an_unheard_source_says_which_there_are(odd: Catalogue) -> None:
    with pytest.raises(UsageError, match=r"allowed: (a'b model, ground_truth|ground_truth, a'b model)"):
        odd.find(parse_query([("annotation_source", "guess")]))


def _lose_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["gender"]), path)


def _text_for_number(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("width"), "width", pa.array(["x"] * len(table))), path)


def _replaced(path: Path, name: str, values: pa.Array) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, values), path)


def _no_size(path: Path) -> None:
    _replaced(path, "height", pa.array([64, -5], pa.int32()))


def _long_text(path: Path) -> None:
    # as a dictionary it is in the file once, however many rows name it
    _replaced(path, "subject_id", pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array(["P" * 100_000])))


def _out(path: Path) -> None:
    shutil.move(path, path.parents[4] / "elsewhere.parquet")
    path.symlink_to(path.parents[4] / "elsewhere.parquet")


@pytest.mark.parametrize(
    ("hurt", "code"),
    [
        (Path.unlink, "shard-missing"),
        (lambda p: p.write_bytes(b""), "shard-broken"),
        (lambda p: p.write_bytes(p.read_bytes()[:-400]), "shard-broken"),
        (lambda p: p.write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1"), "shard-broken"),
        (_lose_column, "shard-columns"),
        (_text_for_number, "shard-columns"),
        (_no_size, "shard-columns"),
        (_long_text, "shard-columns"),
        (_out, "shard-outside"),
        (lambda p: (p.unlink(), p.mkdir()), "shard-missing"),
    ],
)
def test_a_broken_shard_costs_its_own_items(
    oval_release: Path, tmp_path: Path, opened: Callable[[Path], Catalogue], hurt: Callable[[Path], Any], code: str
) -> None:
    root = Path(shutil.copytree(oval_release, tmp_path / "deep" / "release"))
    hurt(root / "data/image/head_poses/train-v1.0-00000.parquet")
    catalogue = opened(root)
    assert [(p.path, p.code) for p in catalogue.problems] == [("data/image/head_poses/train-v1.0-00000.parquet", code)]
    assert len(catalogue) == 12
    assert catalogue.find(Query(yaw_min=1))["total"] == 4
    assert found(catalogue, category=("head_poses",)) == ["P_000001_head_poses_0", "P_000001_head_poses_1"]
    assert bool(catalogue.facts()["side"]["missing"]) == (code == "shard-missing")


def test_what_unfolds_is_left_out_before_it_does(
    oval_release: Path, opened: Callable[[Path], Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light_columns, "MAX_BYTES", 500)
    catalogue = opened(oval_release)
    assert {p.code for p in catalogue.problems} == {"shard-size"}
    with pytest.raises(UsageError, match="there is no item 0; there is none yet"):
        catalogue.row(0)


def test_frames_come_from_the_items_where_their_table_lacks_them(
    odd_release: Path, odd: Catalogue, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root = copied(odd_release)
    (root / "data/frames/train-v1.0-00000.parquet").unlink()
    catalogue = opened(root)
    for asked in ({"yaw_min": -10}, {"expression": ("smile", "unknown")}, {"expression": ("class 40",)}):
        assert catalogue.find(Query(**asked))["items"]
        assert hits(catalogue, asked) == hits(odd, asked)
    assert catalogue.facts()["ranges"] == odd.facts()["ranges"]


def hits(catalogue: Catalogue, asked: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(i["id"], i["hit"], i["hits"]) for i in catalogue.find(Query(**asked))["items"]]


def test_an_import_has_no_attributes_to_ask_for(imported_release: Path, opened: Callable[[Path], Catalogue]) -> None:
    facts = (catalogue := opened(imported_release)).facts()
    assert facts["facets"]["glasses"] == facts["facets"]["expression"] == []
    assert facts["ranges"] == {}
    assert catalogue.find(Query(yaw_min=-360))["total"] == 0
    assert catalogue.find(Query(expression=("unknown",)))["frames"] == 5


def test_columns_that_came_later_may_be_missing(
    oval_release: Path, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root = copied(oval_release)
    for path in (root / "data").rglob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["jewellery"]), path)
    catalogue = opened(root)
    assert catalogue.problems == []
    assert len(catalogue) == 14
    assert catalogue.facts()["facets"]["jewellery"] == []


def test_a_release_that_grows(oval_release: Path, tmp_path: Path, opened: Callable[[Path], Catalogue]) -> None:
    root = tmp_path / "growing"
    (root / ".build").mkdir(parents=True)
    catalogue = opened(root)
    assert (catalogue.state, len(catalogue), catalogue.manifest) == ("building", 0, None)
    assert catalogue.find(Query(facets=True))["total"] == 0
    assert not catalogue.refresh()
    assert catalogue.facts()["ranges"] == {}
    shutil.copytree(oval_release / "data/video", root / "data/video")
    (root / "data/video/.train-v1.0-00001.parquet.abc.partial").write_bytes(b"half")
    assert catalogue.refresh()
    assert catalogue.generation == 2
    assert not catalogue.refresh()
    assert (catalogue.state, len(catalogue), catalogue.find(Query(yaw_min=55))["total"]) == ("building", 4, 4)
    shutil.copytree(oval_release, root, dirs_exist_ok=True)
    shutil.rmtree(root / ".build")
    assert catalogue.refresh()
    assert catalogue.generation == 3
    assert (catalogue.state, len(catalogue), catalogue.facts()["side"]["name"]) == ("whole", 14, "Ovals")
    (root / "release.json").write_text("{")
    assert not catalogue.refresh()
    assert len(catalogue) == 14
    assert [p.code for p in catalogue.problems] == ["release-changed"]


def test_marks_survive_a_refresh(
    oval_release: Path, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root = copied(oval_release)
    catalogue = opened(root)
    catalogue.put_findings([SeenFinding("P_000001_S1", "blurred", "soft", 0, 3, "check")])
    catalogue.put_changes({"P_000001_S1": "added"})
    assert found(catalogue, finding=("blurred",)) == found(catalogue, change=("added",)) == ["P_000001_S1"]
    (root / "data/video/train-v1.0-00000.parquet").unlink()
    assert catalogue.refresh()
    assert catalogue.row(0).item_id == "P_000001_S1"
    assert found(catalogue, finding=("blurred",)) == found(catalogue, change=("added",)) == ["P_000001_S1"]


def test_an_id_that_is_there_twice_is_told(
    oval_release: Path, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root = copied(oval_release)
    shutil.copy(root / "data/video/train-v1.0-00000.parquet", root / "data/video/test-v1.0-00000.parquet")
    catalogue = opened(root)
    assert [p.code for p in catalogue.problems] == ["item-twice"]
    assert len(catalogue) == 14
    assert catalogue.key_of("P_000000_S1") == 0
    assert catalogue.row(2).item_id == "P_000000_S1"


def test_what_is_no_release_is_refused(tmp_path: Path, oval_release: Path, copied: Callable[[Path], Path]) -> None:
    with pytest.raises(UsageError, match="no folder"):
        open_catalogue(tmp_path / "nowhere")
    root = copied(oval_release)
    (root / "release.json").write_text("{}")
    with pytest.raises(DamagedInputError, match=r"release\.json"):
        open_catalogue(root)


def test_many_ask_while_the_folder_changes(
    oval_release: Path, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root, wrong = copied(oval_release), []
    catalogue = opened(root)
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                reply = catalogue.find(Query(facets=True, yaw_min=0, finding=("blurred",)))
                assert reply["total"] in (0, 2)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(6):
        names = ["P_000001_S1", "P_000001_S2"] if number % 2 else []
        catalogue.put_findings([SeenFinding(n, "blurred", "soft", None, None, "check") for n in names])
        (root / "data/video/train-v1.0-00000.parquet").touch()
        catalogue.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert catalogue.generation == 7


def test_the_database_reaches_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    connection = database()
    for statement in (f"SELECT * FROM read_csv('{tmp_path}/secret.csv')", "SET enable_external_access = true"):
        with pytest.raises(Exception, match=r"(?i)disabled|permission|locked"):
            connection.execute(statement)


def test_without_frame_labels_the_items_are_shown(
    oval_release: Path, opened: Callable[[Path], Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Loaded, "_load_frames", broken)
    catalogue = opened(oval_release)
    assert [p.code for p in catalogue.problems] == ["frames-broken"]
    assert catalogue.find(Query(facets=True))["total"] == 14
    assert catalogue.find(Query(yaw_min=0, facets=True))["total"] == 0


def test_numbers_of_a_hostile_clip_are_bounded(
    odd_release: Path, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root = copied(odd_release)
    path = root / "data/video/train-v1.0-00000.parquet"
    table = pq.read_table(path)
    counts = pa.array(np.array([2**31 - 1, 6], np.int32))
    pq.write_table(table.set_column(table.column_names.index("num_frames"), "num_frames", counts), path)
    catalogue = opened(root)
    assert [p.code for p in catalogue.problems] == ["shard-columns"]
    assert len(catalogue) == 8


def test_rows_of_frames_that_are_of_nothing_are_told(
    oval_release: Path, copied: Callable[[Path], Path], opened: Callable[[Path], Catalogue]
) -> None:
    root = copied(oval_release)
    path = root / "data/frames/train-v1.0-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1] |= {"frame_index": 12}  # of a clip of twelve frames
    rows[2] |= {"frame_index": -1}
    rows[3] |= {"item_id": "nobody"}
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    catalogue = opened(root)
    assert [(p.code, p.message.split()[0]) for p in catalogue.problems] == [("frames-unknown", "3")]
    assert catalogue.find(Query(yaw_min=-360))["frames"] == 58 - 3
    assert hits(catalogue, {"yaw_min": 5, "subject": ("P_000000",)})[0] == ("P_000000_S1", 4, 8)
