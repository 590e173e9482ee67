"""Split tables: folds are balanced and share nobody, what is held out is never trained on, files say what was dealt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS
from thermvision.curation.protocols import deals
from thermvision.curation.protocols.items import people_of, read_items
from thermvision.curation.split_tables import (
    EXCLUDED,
    SplitTable,
    balance,
    check_split_table,
    dealt_items,
    read_split_table,
    signed,
    write_split_table,
)
from thermvision_db import main

HAIR = ATTRIBUTES["hairstyle"]


def made_items(genders: str, per_person: int = 3, seed: int = 0) -> pd.DataFrame:
    """Items of people whose genders are the letters f and m, with attributes drawn from a seed."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, letter in enumerate(genders):
        for item in range(per_person):
            worn = {name: str(rng.choice(values)) for name, values in ATTRIBUTES.items()}
            rows.append({
                "item_id": f"P_{number:03d}_{item}", "subject_id": f"P_{number:03d}",
                "gender": "female" if letter == "f" else "male", "birth": "train",
                "recording": ("00-head_pose", "01-expression", "10-frontal_pose")[item % 3], "is_clip": item % 3 < 2,
                "frames": 10 if item % 3 < 2 else 1, **worn,
                "expressions": 1 << int(rng.integers(len(EXPRESSIONS))),
            })  # fmt: skip
    return pd.DataFrame(rows)


@settings(max_examples=40, deadline=None)
@given(st.text("fm", min_size=2, max_size=30), st.integers(2, 10), st.integers(0, 5))
def test_folds_hold_everybody_once_and_are_as_even_as_can_be(genders: str, k: int, seed: int) -> None:
    items = made_items(genders, seed=seed)
    if k > len(genders):
        with pytest.raises(UsageError, match=rf"--k is {k}; allowed: 2 to {len(genders)}"):
            deals.folds(items, k, seed)
        return
    fold = deals.folds(items, k, seed)
    assert sorted(fold) == sorted(items["subject_id"].unique())
    assert fold == deals.folds(items.sample(frac=1, random_state=1), k, seed)  # the order of rows says nothing
    for letters in ("f", "m", "fm"):
        sizes = [sum(genders[int(s[2:])] in letters and n == f for s, n in fold.items()) for f in range(k)]
        assert max(sizes) - min(sizes) <= 1
    assert not check_split_table(deals.kfold(items, k, seed), items)


def test_folds_share_out_a_rare_attribute() -> None:
    items = made_items("f" * 20 + "m" * 20)
    items["hairstyle"], items["glasses"] = "short", "none"
    rare = {f"P_{n:03d}" for n in (0, 1, 2, 3, 20)}
    items.loc[items["subject_id"].isin(rare), "glasses"] = "glasses"
    for name in ("beard", "mask", "headwear", "jewellery"):
        items[name] = "none"
    for seed in range(5):
        fold = deals.folds(items, 5, seed)
        assert sorted(fold[s] for s in rare) == [0, 1, 2, 3, 4]
    assert deals.folds(items, 5, 0) != deals.folds(items, 5, 1)


def test_one_fold_is_tested() -> None:
    items = made_items("fmfmfm")
    folds, table = deals.folds(items, 3), deals.kfold(items, 3, test_fold=1)
    assert {s for s, name in table.splits.items() if name == "test"} == {s for s, n in folds.items() if n == 1}
    assert table.names == ["test", "train"]
    with pytest.raises(UsageError, match="--fold is 3; allowed: 0 to 2"):
        deals.kfold(items, 3, test_fold=3)


@settings(max_examples=40, deadline=None)
@given(
    st.text("fm", min_size=2, max_size=20),
    st.sampled_from(
        [("hairstyle", "bob"), ("glasses", "glasses"), ("expression", "smile"), ("category", "frontal_pose")]
    ),
    st.integers(0, 3),
)
def test_what_is_held_out_is_never_trained_on(genders: str, held: tuple[str, str], seed: int) -> None:
    items = made_items(genders, seed=seed)
    has, _ = deals.shows(items, *held)
    if not has.any():
        with pytest.raises(UsageError, match="nothing to hold out"):
            deals.leave_attribute_out(items, *held, seed)
        return
    table = deals.leave_attribute_out(items, *held, seed)
    dealt = dealt_items(table, items).set_index("item_id")
    shown = pd.Series(has, index=items["item_id"])
    assert dealt.index[shown[dealt.index]].map(dealt["split"]).unique().tolist() == ["test"]
    people = {name: set(part["subject_id"]) for name, part in dealt.groupby("split")}
    assert not people["test"] & people.get("train", set())
    assert people.get("control", set()) <= people["test"]
    assert len(people["test"]) <= max(1, len(genders) // 2)
    assert set(table.splits) == set(items["item_id"])  # nothing goes unsaid
    assert not check_split_table(table, items)


def test_what_nobody_knows_is_left_out() -> None:
    items = made_items("ffmm")
    items["glasses"] = ["glasses", "none", "none"] * 2 + ["", "none", "none"] * 2
    table = deals.leave_attribute_out(items, "glasses", "glasses")
    assert table.splits["P_000_0"] == "test"
    assert table.splits["P_000_1"] == "control"
    assert table.splits["P_002_0"] == EXCLUDED
    assert table.reasons["P_002_0"] == "glasses: glasses is not known"
    assert table.splits["P_002_1"] == "train"
    items["glasses"] = ""
    with pytest.raises(UsageError, match="glasses is known of no item"):
        deals.leave_attribute_out(items, "glasses", "glasses")
    with pytest.raises(UsageError, match="--value is 'red'; allowed for glasses: none, glasses"):
        deals.leave_attribute_out(items, "glasses", "red")
    with pytest.raises(UsageError, match="--attribute is 'shoes'"):
        deals.leave_attribute_out(items, "shoes", "red")
    with pytest.raises(UsageError, match="nobody is left to train on"):
        deals.leave_attribute_out(items, "category", "frontal_pose", most=1.0)


def test_searches_have_galleries_probes_and_strangers() -> None:
    items = made_items("ffffffmmm")
    closed = deals.closed_set(items)
    assert [closed.splits[f"P_000_{n}"] for n in range(3)] == ["gallery", "probe", "probe"]
    opened = deals.open_set(items, 1 / 3, seed=4)
    dealt = dealt_items(opened, items)
    strangers = dealt[dealt["split"] == "unknown"]
    assert strangers.drop_duplicates("subject_id")["gender"].tolist().count("female") == 2
    assert strangers["subject_id"].nunique() == 3
    assert not set(strangers["subject_id"]) & set(dealt["subject_id"][dealt["split"] != "unknown"])
    assert not check_split_table(opened, items)
    assert not check_split_table(closed, items)
    alone = items[(items["subject_id"] != "P_000") | (items["recording"] == "00-head_pose")]
    assert deals.closed_set(alone).splits["P_000_0"] == EXCLUDED
    with pytest.raises(UsageError, match="--unknown is 1"):
        deals.open_set(items, 1.0)


def test_a_table_that_is_wrong_is_found_out() -> None:
    items = made_items("fm")
    splits = dict.fromkeys(items["item_id"], "train")
    assert not check_split_table(SplitTable("item_id", splits), items)
    shared = SplitTable("item_id", {**splits, "P_000_0": "test", "nobody": "empty"})
    codes = [f.code for f in check_split_table(shared, items)]
    assert codes == ["unknown-item", "identity-in-two-splits", "empty-split"]
    del splits["P_001_2"]
    (finding,) = check_split_table(SplitTable("item_id", splits), items)
    assert (finding.path, finding.code) == ("P_001_2", "unnamed-item")
    excluded = {**splits, "P_001_2": EXCLUDED}
    assert not check_split_table(SplitTable("item_id", excluded), items)
    assert [f.code for f in check_split_table(SplitTable("subject_id", {"P_000": "a"}), items)] == ["unnamed-subject"]


def test_balance_counts_what_is_dealt() -> None:
    items = made_items("ffm")
    items["glasses"] = ["glasses", "none", ""] * 3
    table = SplitTable("subject_id", {"P_000": "a", "P_001": EXCLUDED, "P_002": "b"})
    figures = balance(table, items)
    assert list(figures) == ["a", "b"]
    assert {k: figures["a"][k] for k in ("people", "female", "male", "items", "frames")} == {
        "people": 1, "female": 1, "male": 0, "items": 3, "frames": 21,
    }  # fmt: skip
    assert figures["a"]["attributes"]["glasses"] == {"none": 0.5, "glasses": 0.5}


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, names, min_size=1, max_size=6), st.sampled_from([".csv", ".parquet"]), st.booleans())
def test_a_file_gives_back_the_table(tmp_path_factory, splits: dict[str, str], suffix: str, by_item: bool) -> None:
    path = tmp_path_factory.mktemp("table") / f"t{suffix}"
    why = {k: f"why, {v}" for k, v in splits.items()}
    table = SplitTable(
        "item_id" if by_item else "subject_id", splits, why, dict.fromkeys(splits, "x") if by_item else {}
    )
    table = signed(table, "me, myself")
    write_split_table(table, path)
    assert read_split_table(path) == table


def test_unreadable_tables_say_so(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DamagedInputError, match="does not read"):
        read_split_table(path)
    path = tmp_path / "t.csv"
    path.write_text("item_id,split\na,\n")
    with pytest.raises(UsageError, match="has an empty cell"):
        read_split_table(path)
    path.write_text("item_id,split\na,b,c,d\n")
    with pytest.raises(UsageError, match="more cells than its header"):
        read_split_table(path)
    path.write_text("item_id,split\na,b\na,c\n")
    with pytest.raises(UsageError, match="names a twice"):
        read_split_table(path)
    with pytest.raises(UsageError, match=r"ends in \.csv or \.parquet"):
        write_split_table(SplitTable("item_id", {"a": "b"}), tmp_path / "t.txt")


def test_items_of_a_release(oval_release: Path) -> None:
    items = read_items(oval_release)
    assert len(items) == 14  # 4 clips, 4 + 6 stills
    assert items["frames"].sum() == 4 * 12 + 10
    clip = items.set_index("item_id").loc["P_000000_S1"]
    assert (clip["recording"], clip["frames"], clip["is_clip"], clip["birth"]) == ("00-head_pose", 12, True, "train")
    assert clip["expressions"] == 0b11  # neutral and smile
    assert clip["glasses"] == ""  # nobody says
    people = people_of(items)
    assert people["gender"].tolist() == ["female", "male"]
    assert people["labels"][1] == {"hairstyle=short": 6, "beard=full": 2, "beard": 2}


@pytest.mark.parametrize("config", ["video", "image", "frames", "radiometric"])
def test_a_table_by_item_deals_every_config(oval_release: Path, config: str) -> None:
    table = deals.closed_set(read_items(oval_release))
    rows = thermvision_db.load(config, oval_release, split_table=table)
    column = {"video": "clip_id", "image": "image_id"}.get(config, "item_id")
    seen = 0
    for name, part in rows.items():
        assert {table.splits[i] for i in part[column]} <= {name}
        seen += len(part)
    assert seen == {"video": 4, "image": 10, "frames": 58, "radiometric": 2}[config]


def test_a_table_by_item_deals_streams(oval_release: Path) -> None:
    table = deals.closed_set(read_items(oval_release))
    probes = thermvision_db.load("video", oval_release, split="probe", split_table=table, streaming=True)
    assert sorted(row["clip_id"] for row in probes) == ["P_000000_S2", "P_000001_S2"]
    with pytest.raises(UsageError, match="does not name the item P_000000_S1"):
        thermvision_db.load("video", oval_release, split_table=SplitTable("item_id", {"a": "b"}))


_BEARD = ("--kind", "leave-attribute-out", "--attribute", "beard", "--value", "full")


def test_the_command(oval_release: Path, imported_release: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "folds.csv"
    run = ["split", str(oval_release), "--out", str(out), "--k", "2", "--by", "me", "--reason", "trial"]
    assert main(run) == 0
    said = capsys.readouterr().out
    assert "fold0" in said
    assert f'next: thermvision_db.load("frames", "{oval_release}", split_table="{out}")' in said
    lines = out.read_text().splitlines()
    assert lines[0] == "subject_id,split,reason,made_by,made_at"
    assert ',"trial: fold ' in lines[1]
    assert main(["split", str(oval_release), "--check", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["fold1"]["people"] == 1
    bad = tmp_path / "bad.csv"
    bad.write_text("subject_id,split\nP_000000,train\n")
    assert main(["split", str(oval_release), "--check", str(bad)]) == 1
    assert "[unnamed-subject]" in capsys.readouterr().out
    # a table of another release gives a finding for each item, and does not fill the screen with them
    bad.write_text("item_id,split\n" + "".join(f"x{n},train\n" for n in range(40)))
    assert main(["split", str(oval_release), "--check", str(bad)]) == 1
    said = capsys.readouterr().out
    assert said.count("the release has no such item") == 10
    assert "... and 30 more [unknown-item]; --json lists all" in said
    assert main(["split", str(oval_release), "--check", str(bad), "--json"]) == 1
    assert len([f for f in json.loads(capsys.readouterr().out)["findings"] if f["code"] == "unknown-item"]) == 40
    usage = {
        ("--kind", "magic"): "--kind is 'magic'",
        ("--kind", "leave-attribute-out"): "--attribute glasses --value glasses",
        ("--kind", "protocol", "--protocol", "half"): "--protocol is 'half'",
        ("--k", "3"): "--k is 3; allowed: 2 to 2",
        (*_BEARD, "--most", "-1"): "--most is -1; allowed: above 0 and at most 1",
        (*_BEARD, "--most", "nan"): "--most is nan; allowed",
        ("--check", "a.csv"): "--check makes no table, and --out is given",
    }
    for options, message in usage.items():
        assert main(["split", str(oval_release), *options, "--out", str(tmp_path / "x.csv")]) == 2
        assert message in capsys.readouterr().err
    assert main(["split", str(oval_release)]) == 2
    assert "--out is missing" in capsys.readouterr().err
    # an import of one person, whose labels are boxes only
    assert main(["split", str(imported_release), "--out", str(out)]) == 2
    searched = ["split", str(imported_release), "--kind", "protocol", "--out", str(out)]
    assert main(searched) == 0
    assert "F_01_S1,F_01,excluded,has one recording only" in out.read_text()


def test_the_command_holds_out(oval_release: Path, tmp_path: Path) -> None:
    out = tmp_path / "held.parquet"
    options = ["--kind", "leave-attribute-out", "--attribute", "beard", "--value", "full", "--out", str(out)]
    assert main(["split", str(oval_release), *options]) == 0
    table = read_split_table(out)
    assert {i for i, s in table.splits.items() if s == "test"} == {"P_000001_beard_0", "P_000001_beard_1"}
    assert table.splits["P_000000_S1"] == EXCLUDED  # nobody says whether this clip shows a beard
