from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.reviews.decisions import Decision, append, decide, read_decisions, table_bytes
from thermvision.curation.reviews.resolving import longest_accepted, resolve
from thermvision.curation.reviews.tables import from_csv, from_findings, parse_place, parse_value
from thermvision.curation.reviews.values import RELABELLED, checked_value
from thermvision.curation.sources import ReleaseSource

SAID = {"version": "1.0", "digest": "0" * 16, "when": "2026-01-02T03:04:05Z", "why": "seen", "who": "Ana"}


def say(item: str, action: str = "reject", **more: Any) -> Decision:
    return decide(item, action, **{**SAID, **more})


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SPANS = st.none() | st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(tuple)


@st.composite
def any_decision(draw: st.DrawFn, items: st.SearchStrategy[str] = TEXT) -> Decision:
    action = draw(st.sampled_from(["accept", "reject", "relabel", "tag"]))
    value: Any = draw(TEXT) if action == "tag" else None
    if action == "relabel":
        value = draw(st.none() | TEXT | st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4))
    column = draw(st.sampled_from(RELABELLED)) if action == "relabel" else None
    who, why = draw(st.sampled_from(["Ana", "Ben"])), draw(TEXT)
    return say(draw(items), action, frames=draw(SPANS), column=column, value=value, who=who, why=why)


@given(st.lists(any_decision(), max_size=8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, decisions: list[Decision]) -> None:
    path = tmp_path_factory.mktemp("table") / "d.jsonl"
    unique = list({d.decision_id: d for d in decisions}.values())
    assert append(path, decisions) == len(unique)
    assert append(path, decisions) == 0  # what is there already is not said twice
    assert read_decisions(path) == (unique, [])
    assert path.read_bytes() == table_bytes(unique)


@given(st.lists(any_decision(), min_size=2, max_size=4, unique_by=lambda d: d.decision_id), st.data())
def test_a_killed_writer_costs_its_line_only(
    tmp_path_factory: pytest.TempPathFactory, decisions: list[Decision], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("table") / "d.jsonl"
    *before, last, after = decisions
    line = last.line().encode()
    cut = data.draw(st.integers(1, len(line)))
    path.write_bytes(table_bytes(before) + line[:cut])
    append(path, [after])
    found, findings = read_decisions(path)
    assert found == [*before, *([last] if cut == len(line) else []), after]
    assert [f.code for f in findings] == ([] if cut == len(line) else ["torn-line"])


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    sets = [[say(f"{who}_{n}", who=who) for n in range(25)] for who in ("Ana", "Ben", "Cem")]

    def one_by_one(decisions: list[Decision]) -> None:
        for decision in decisions:
            append(path, [decision])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one_by_one, sets))
    found, findings = read_decisions(path)
    assert not findings
    assert sorted(d.item_id for d in found) == sorted(d.item_id for s in sets for d in s)


def test_a_changed_line_shows(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    append(path, [say("a"), say("b")])
    path.write_text(path.read_text().replace('"seen"', '"not seen"', 1))
    with pytest.raises(DamagedInputError, match=r"line 1 .* was changed"):
        read_decisions(path)
    with pytest.raises(UsageError, match="nothing was added"):
        append(path, [say("c")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "line 1 is no JSON"),
        ("[]\n", "line 1 is no decision"),
        ("{}\n", "line 1 is no decision"),
        ("\n" + "[" * 100_000 + "\n", "line 2 is no"),
        ('{"a": ' + "9" * 2**20 + "}\n", "allowed: 1048576"),
    ],
)
def test_other_files_are_no_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.jsonl").write_text(text)
    with pytest.raises(DamagedInputError, match=message):
        read_decisions(tmp_path / "d.jsonl")
    with pytest.raises(UsageError, match="is no decision table"):
        read_decisions(tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"action": "delete"}, "accept"),
        ({"frames": (3, 2)}, "run backwards"),
        ({"frames": (-1, 2)}, "greater than or equal to 0"),
        ({"action": "relabel", "value": 1}, "column is None and the action relabel; relabel has a column"),
        ({"action": "relabel", "column": "subject_id", "value": "F_01"}, "allowed: bbox"),
        ({"column": "bbox"}, "column is 'bbox' and the action reject"),
        ({"action": "tag"}, "value is None; allowed: the tag's text"),
        ({"value": 1}, "takes no value"),
        ({"who": ""}, "who"),
        ({"why": ""}, "why"),
        ({"when": "yesterday"}, "when"),
        ({"supersedes": "x"}, "supersedes"),
        ({"action": "relabel", "column": "bbox", "value": [float("nan")]}, "is no JSON"),
        ({"action": "relabel", "column": "bbox", "value": {1, 2}}, "is no JSON"),
    ],
)
def test_what_is_no_decision_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        say("P_1", **more)


def test_only_what_is_there_is_taken_back(tmp_path: Path) -> None:
    path, first = tmp_path / "said.jsonl", say("a")
    with pytest.raises(UsageError, match=f"has no decision {first.decision_id} to take back; it has 0"):
        append(path, [say("a", "accept", supersedes=first.decision_id)])
    assert append(path, [first]) == append(path, [say("a", "accept", supersedes=first.decision_id)]) == 1
    both = say("b"), say("b", "accept", supersedes=say("b").decision_id)
    assert append(path, both) == 2


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder; allowed: a table of decisions, .*decisions\.jsonl"):
        append(tmp_path, [say("a")])


def test_the_last_decision_wins_frame_by_frame() -> None:
    said = [
        say("a", "reject", frames=(2, 5)),
        say("a", "accept", frames=(4, 4)),
        say("a", "relabel", column="expression", value="smile", frames=(0, 3)),
        say("a", "relabel", column="expression", value="talk", frames=(3, 3)),
        say("a", "relabel", column="glasses", value="none"),
        say("a", "relabel", column="glasses", value="glasses"),
        say("a", "tag", value="nice"),
        say("b", "reject"),
        say("elsewhere", "reject"),
    ]
    verdicts, conflicts = resolve(said, {"a": 7, "b": 1})
    assert conflicts == []  # one person may change her mind
    assert sorted(verdicts) == ["a", "b"]
    a = verdicts["a"]
    assert a.rejected.tolist() == [0, 0, 1, 1, 0, 1, 0]
    assert a.accepted.tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert [d.value for d in a.relabels] == ["smile", "talk", "glasses"]
    assert a.holds["expression"].tolist() == [0, 0, 0, 1, -1, -1, -1]
    assert set(a.holds["glasses"].tolist()) == {2}
    assert a.tags == ("nice",)
    assert verdicts["b"].rejected.tolist() == [True]


def test_two_people_who_disagree_are_a_conflict_until_one_takes_the_other_back() -> None:
    first = say("a", "reject", frames=(2, 5))
    second = say("a", "accept", frames=(5, 6), who="Ben")
    _, conflicts = resolve([first, second], {"a": 7})
    assert [(c.earlier, c.later) for c in conflicts] == [(first, second)]
    assert "Ana says reject of a:2-5" in str(conflicts[0])
    assert resolve([first, say("a", "reject", frames=(5, 6), who="Ben")], {"a": 7})[1] == []  # they agree
    assert resolve([first, say("a", "accept", frames=(6, 6), who="Ben")], {"a": 7})[1] == []  # of other frames
    taken_back = say("a", "accept", frames=(5, 6), who="Ben", supersedes=first.decision_id)
    verdicts, conflicts = resolve([first, taken_back], {"a": 7})
    assert conflicts == []
    assert not verdicts["a"].rejected.any()
    labels = [say("a", "relabel", column="mask", value=v, who=w) for v, w in (("mask", "Ana"), ("none", "Ben"))]
    assert len(resolve(labels, {"a": 7})[1]) == 1


@given(st.lists(any_decision(st.sampled_from(["a", "b"])), max_size=10))
def test_each_frame_follows_the_last_word_on_it(decisions: list[Decision]) -> None:
    verdicts, _ = resolve(decisions, {"a": 12, "b": 1})
    for item, count in (("a", 12), ("b", 1)):
        judged = [d for d in decisions if d.item_id == item and d.action in ("accept", "reject")]
        for frame in range(count):
            of_frame = [d for d in judged if d.frames is None or d.frames[0] <= frame <= d.frames[1]]
            expected = bool(of_frame) and of_frame[-1].action == "reject"
            assert (item in verdicts and bool(verdicts[item].rejected[frame])) == expected


@given(st.lists(st.booleans(), max_size=30))
def test_the_longest_run_left(rejected: list[bool]) -> None:
    runs = [(a, b) for a in range(len(rejected)) for b in range(a, len(rejected)) if not any(rejected[a : b + 1])]
    expected = max(runs, key=lambda r: (r[1] - r[0], -r[0])) if runs else None
    assert longest_accepted(np.array(rejected, bool)) == expected


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("glasses", "sunglasses", "allowed: none, glasses"),
        ("expression", ["smile"], "1 values for 2 frames"),
        ("expression", 3, "allowed: neutral"),
        ("bbox", [1, 2, 3], r"allowed: \(4,\)"),
        ("bbox", [1, 2, 0, 4], "no area"),
        ("bbox", [1, 2, 3, float("inf")], "NaN or inf"),
        ("bbox", "big", "allowed: numbers"),
        ("bbox", [[1, 2, 3, 4]] * 3, "for each frame"),
        ("head_pose", [0, 0, 200], "-180 to 180"),
        ("landmark_state", [4] * 68, "0 to 3"),
        ("landmark_state", [0.5] * 68, "whole"),
        ("face_count", 300, "0 to 255"),
        ("eye_openness", -1, "0 to 10"),
        ("gender", "female", "cannot be relabelled"),
    ],
)
def test_values_that_a_column_does_not_take(column: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_value(column, value, 2)


def test_values_that_it_takes() -> None:
    assert checked_value("mask", None, 2) is None
    assert checked_value("landmark_state", [3] * 68, 2) == [[3] * 68] * 2
    assert checked_value("bbox", None, 2) == [None, None]
    assert np.shape(checked_value("landmarks", np.zeros((2, 68, 2)).tolist(), 2)) == (2, 68, 2)


def test_places_and_values_as_they_are_typed() -> None:
    assert parse_place("folder:x:3-4") == ("folder:x", (3, 4))
    assert parse_value("NaN") == "NaN"
    with pytest.raises(UsageError, match="type a:3-5"):
        parse_place("a:5-3")
    with pytest.raises(UsageError, match="names no item"):
        parse_place("")


def test_a_csv_of_decisions(oval_release: Path, tmp_path: Path) -> None:
    source, path = ReleaseSource(oval_release), tmp_path / "d.csv"
    path.write_text(
        "item_id,action,first_frame,last_frame,column,value,who,when,why\n"
        'P_000000_S1,relabel,1,2,bbox,"[1, 2, 3, 4]",Ben,2026-01-01T00:00:00Z,moved\n'
        "P_000000_S2:3-4,reject,,,,,,,\n",
        encoding="utf-8-sig",
    )
    made = from_csv(path, source, "Ana", "blurred")
    assert [(d.place, d.action, d.value, d.who, d.why) for d in made] == [
        ("P_000000_S1:1-2", "relabel", [1, 2, 3, 4], "Ben", "moved"),
        ("P_000000_S2:3-4", "reject", None, "Ana", "blurred"),
    ]
    assert made[0].when == "2026-01-01T00:00:00Z"
    assert {(d.version, d.digest) for d in made} == {("1.0", source.digest)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,action\n", "columns item; allowed: item_id"),
        ("item_id\n", "lacks action"),
        ("", "lacks action, item_id"),
        ("item_id,action\nx,drop\ny,reject,z\nz\n", "3 rows .*line 2: action is 'drop'.*line 3: it has more"),
        ("item_id,action,first_frame\nx,reject,1\n", "frames are '1' to None"),
        ('item_id,action\n"x,reject\n', "plain CSV"),
        ("item_id,action\nx,reject\n", "who"),
    ],
)
def test_a_csv_that_is_none(oval_release: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        from_csv(tmp_path / "d.csv", ReleaseSource(oval_release), None, "why")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        from_csv(tmp_path / "d.csv", ReleaseSource(oval_release), None, "why")


def test_findings_reject(oval_release: Path, tmp_path: Path) -> None:
    source, path = ReleaseSource(oval_release), tmp_path / "findings.parquet"
    rows = [
        {"code": "blur", "item_id": "P_000000_S1", "first": 3, "last": 5, "detail": "width 3 px"},
        {"code": "dark", "item_id": "P_000000_S1", "first": 3, "last": 5, "detail": ""},
        {"code": "blur", "item_id": "P_000001_S1", "first": None, "last": None, "detail": ""},
        {"code": "size", "item_id": "", "first": None, "last": None, "detail": ""},
        {"code": "other", "item_id": "P_000001_S2", "first": None, "last": None, "detail": ""},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    made = from_findings(path, source, ["blur", "dark"], "check")
    assert [(d.place, d.action, d.why) for d in made] == [
        ("P_000000_S1:3-5", "reject", "blur: width 3 px; dark"),
        ("P_000001_S1", "reject", "blur"),
    ]
    with pytest.raises(UsageError, match=r"has no glare, size of an item; it has: blur, dark, other$"):
        from_findings(path, source, ["size", "glare"], "check")
    pq.write_table(pa.table({"code": ["x"]}), path)
    with pytest.raises(DamagedInputError, match="lacks first, item_id, last"):
        from_findings(path, source, ["x"], "check")
    path.write_text(json.dumps(rows))
    with pytest.raises(DamagedInputError, match="no whole Parquet"):
        from_findings(path, source, ["x"], "check")
