"""Reports that ride in a release, and what its card says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.contents import may_be_sealed, seal, stamp
from thermvision.curation.release import read_release
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.verify import verify_release
from thermvision.dataset_card import card, quality
from thermvision.dataset_card.commands import finish
from thermvision.dataset_card.reports import FORMATS, read_reports, take_reports
from thermvision_db import main


def measured(name: str, value: float | None, baseline: float | None = 0.25, better: bool = True) -> dict[str, Any]:
    unit = "°" if name.startswith("MAE") else ""
    return {
        "name": name, "value": value, "interval": [0.5, 1.0], "baseline": baseline, "count": 40, "unit": unit,
        "higher_is_better": better,
    }  # fmt: skip


def score(rank1: float) -> dict[str, Any]:
    both = {"rank1": rank1, "interval": [rank1 - 0.1, rank1 + 0.02], "clips": rank1, "clips_interval": [0.9, 1.0]}
    return {**both, "probes": 420, "frames": 0.5, "view": "aligned"}


def audit_report(root: Path) -> dict[str, Any]:
    """Like that of `thermvision audit`, as far as a card reads it."""
    manifest = read_release(root)
    names = ("identity-in-face", "identity-outside-face", "trivial-answers", "parity", "label-quality", "splits")
    levels = ("pass", "doubt", "fail", "pass", "pass", "pass")
    answers = [
        {"name": n, "question": f"Is {n} right?", "level": level, "statement": f"{n} <b>told</b> | [x](y)"}
        for n, level in zip(names, levels, strict=True)
    ]
    detection = [measured("AP50", 0.9, 0.75), measured("recall, score 0.4", 0.97)]
    landmarks = [measured("NME, box", 0.017, 0.085, better=False)]
    return {
        "format": "thermvision-audit/1", "release": manifest.name, "version": manifest.version, "identities": 60,
        "people": 60, "digest": ReleaseSource(root).digest, "verdict": "fail", "answers": answers,
        "options": {"split": None, "frames": 12, "people": 50, "seed": 0},
        "recognition": {
            "people": 60, "chance": 1 / 60,
            "best": {"face, across": score(0.967), "masked, across": score(0.0667), "masked, within": score(1.0)},
        },
        "parity": {"people": {"female": 30, "male": 30}, "differences": [{"uneven": True}, {"uneven": False}]},
        "labels": {"ground_truth": True, "frames": 40, "measures": {"detection": detection, "landmarks": landmarks}},
        "splits": {"splits": {"train": 42, "test": 18}, "shared": {}, "picture_pairs": 0, "look_alikes": []},
    }  # fmt: skip


def check_report(root: Path) -> dict[str, Any]:
    worst = {"item_id": "P_000001_S2", "path": "", "first": 40, "last": 40, "score": 0.1234, "threshold": 0.12}
    kind = {
        "severity": "warning", "meaning": "Orbits glow.", "findings": 2, "items": 1, "scored": 58, "worst": [worst] * 5,
    }  # fmt: skip
    return {
        "format": "thermvision-check/1", "release": stamp(read_release(root)), "items": 14, "frames": 58, "findings": 2,
        "options": {"limit": None, "every": 1, "only": ["physics"], "skip": []}, "kinds": {"orbits-glowing": kind},
        "scored": {"orbits-glowing": [58, 0.1234, 0.12], "neck-cold": [58, None, 1]},
    }  # fmt: skip


def protocol_report(root: Path) -> dict[str, Any]:
    bins = {"bins": ["0–10", "60–75", "≥ 75"], "count": [30, 12, 3]}
    curve = {n: {"value": v} for n, v in (("recall", [1.0, 0.9, 0.1]), ("nme", [0.01, 0.03, 0.5]))}
    curve |= {n: {"value": v} for n, v in (("pose", [1.0, 2.0, 9.0]), ("tar", [0.8, 0.4, 0.0]))}
    curve["nme"] |= {"interval": [[0.008, 0.012], [0.02, 0.04], None], "baseline": [0.05, 0.09, 0.2]}
    tasks = {
        "verification": {"measures": [measured("cross-sequence, EER", 0.07, 0.49, better=False)], "notes": []},
        "detection": {"measures": [measured("AP50", 0.99), measured("AP", 0.81), measured("other", 1)], "notes": []},
        "head-pose": {"measures": [measured("MAE, mean of the three", 1.35, 8.85, better=False)], "notes": ["a"]},
        "robustness": {"measures": [measured("recall", None)], "notes": [], "curves": {"yaw": {**bins, **curve}}},
    }
    return {
        "format": "thermvision-benchmark/1", "release": stamp(read_release(root)), "split": "test", "seed": 0,
        "predictions": "detector@1", "baselines_from": "the training split", "tasks": tasks,
        "lists": {"detection": {"rows": 40, "sha256": "0" * 64, "path": "detection.csv"}},
    }  # fmt: skip


def dedupe_report(root: Path) -> dict[str, Any]:
    return {
        "format": "thermvision-dedupe/1", "release": stamp(read_release(root)), "read": {"clips": 4, "stills": 10},
        "found": {"near-duplicate": 3, "look-alikes": 0}, "across_splits": 2, "limit": None,
        "look_alikes": {"subjects": 2, "pairs": 1, "threshold": 0.65},
    }  # fmt: skip


def statistics_report(root: Path) -> dict[str, Any]:
    gray = {
        "frames": 57, "share": {"face_black": 0.001, "face_white": 0.0},
        "face_contrast": {"5 %": 101.2, "50 %": 168, "95 %": 212.0},
    }  # fmt: skip
    coverage = {"pose_cells": 72, "pose_covered": {"female": 7}, "covered_from_frames": 10, "never": ["male: beard x"]}
    band = {"5 %": 8.5, "50 %": 9.0, "95 %": 9.5, "low": 2.0, "high": 4.2, "mean": 9.0, "sd": 0.2}
    spectra = [{"kind": "stills", "frames": 10, **band}] * 6
    facts = {**stamp(read_release(root)), "frames": 58, "gray": gray, "coverage": coverage, "spectra": spectra}
    return {"format": "thermvision-statistics/1", **facts}


MADE = {
    "audit": audit_report,
    "check": check_report,
    "protocols": protocol_report,
    "dedupe": dedupe_report,
    "statistics": statistics_report,
}


def written(folder: Path, **reports: Any) -> list[Path]:
    """Reports in files and folders as the commands leave them."""
    paths = []
    for kind, value in reports.items():
        path = folder / ("results.json" if kind == "protocols" else f"{kind}/{kind}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
        paths.append(path if kind == "protocols" else path.parent)
    return paths


@pytest.fixture
def root(oval_release: Path, copied: Callable[[Path], Path]) -> Path:
    return copied(oval_release)


def section(text: str, title: str) -> str:
    """What stands below a heading, up to the next of its rank."""
    rank = title.split(" ")[0]
    return text.partition(f"\n{title}\n")[2].partition(f"\n{rank} ")[0]


def test_the_card_shows_what_reports_found(root: Path, tmp_path: Path) -> None:
    assert "## Quality" not in card.card_text(root, read_release(root))
    paths = written(tmp_path, **{kind: make(root) for kind, make in MADE.items()})
    made = take_reports(root, paths)
    names = ["audit.json", "check.json", "protocols-test.json", "dedupe.json", "statistics.json"]
    assert [p.relative_to(root / "reports").as_posix() for p in made] == names
    assert all(p.stat().st_size < 6000 for p in made)
    text = card.card_text(root, read_release(root))
    rows = section(text, "### Audit")
    assert (
        "| Is identity-in-face right? | **pass** | Rank-1 96.7 % | 90.0 to 100 % | at least 95.0 % | 420 probes of"
        in rows
    )
    assert "| **doubt** | Rank-1 6.7 % | -3.3 to 8.7 % | at most 5.0 % | 420 probes of 60 people |" in rows
    assert "| **fail** | AP50 0.750 | – | at most 0.5 | 40 frames |" in rows
    assert "| **pass** | 1 of 2 uneven | – | 0, with 10 people each | 30 female, 30 male |" in rows
    assert "| **pass** | recall 97.0 % | 50.0 to 100 % | at least 95.0 % | 40 frames |" in rows
    assert "0 people and 0 pictures shared | – | 0 | 42 in train, 18 in test |" in rows
    assert r"identity-in-face &lt;b&gt;told&lt;/b&gt; \| \[x\](y)." in rows  # no tag, cell or link of the report's
    checks = section(text, "### Checks")
    looked = "looked at 14 items, 58 frames and scored 2 kinds of faults"
    assert f"{looked}: 2 findings; asked with --only physics." in checks
    place = r"P\_000001\_S2, frame 40 (0.123, limit 0.120)"
    assert f"| `orbits-glowing` | warning | Orbits glow. | 2 | 1 | {place} |" in checks
    assert "compared 4 clips, 10 stills and 1 pair of people: 3 near-duplicate, 2 of them across splits." in checks
    assert "0.1 % black, 0.0 % white; contrast within the face box 168 gray levels (5 % to 95 %: 101 to 212)" in checks
    results = section(text, "## Reference results")
    order = [line.split(" | ")[1] for line in results.splitlines() if line.startswith("| ") and "---" not in line]
    assert order == ["measure", "AP50 ↑", "AP ↑", "cross-sequence, EER ↓"]
    assert "| detection | AP ↑ | 0.810 | 0.500 to 1.000 | 0.250 | 40 |" in results
    limits = section(text, "## Limits and failure cases")
    assert "* Audit, fail: Is trivial-answers right?" in limits
    assert "2 findings in 1 item, such as P\\_000001\\_S2." in limits
    assert "recall of the shipped detector 0.900 at yaw 60–75 (12 faces)" in limits  # the bin of 3 says nothing
    labels = section(text, "### How far to trust the labels")
    assert "| face box | 58 of 58 | ground truth | AP50 0.900, 0.750 by a trivial answer |" in labels  # of the audit
    assert "| 68 landmarks | 58 of 58 | ground truth | off by 1.7 % of the box, 8.5 % by a mean face |" in labels
    assert "| head pose | 58 of 58 | ground truth | off by 1.35°, 8.85° by a trivial answer |" in labels
    assert "| audit | fails: [4 pass, 1 doubt, 1 fail](#audit) |" in text


def test_reports_are_sealed_small_and_always_equal(root: Path, tmp_path: Path) -> None:
    audit, protocols = written(tmp_path, audit=audit_report(root), protocols=protocol_report(root))
    first = {p.name: p.read_bytes() for p in take_reports(root, [audit, protocols])}
    assert first == {p.name: p.read_bytes() for p in take_reports(root, [protocols, audit / "audit.json"])}
    finish(root)
    listed = read_release(root).files
    assert {"reports/audit.json", "reports/protocols-test.json"} <= listed.keys()
    before = (root / "README.md").read_bytes()
    assert [f for f in verify_release(root) if f.path.startswith("reports/")] == []
    finish(root)
    assert (root / "README.md").read_bytes() == before
    assert read_release(root).files == listed
    (root / "reports" / "audit.json").write_text("{}")
    assert ("reports/audit.json", "digest") in {(f.path, f.code) for f in verify_release(root)}
    assert may_be_sealed("reports/check.json")


def test_what_the_commands_write_today_is_taken(root: Path, tmp_path: Path) -> None:
    from thermvision.curation import benchmark
    from thermvision.curation.audits import audit
    from thermvision.curation.checks import catalogue, check, report
    from thermvision.curation.duplicates import dedupe
    from thermvision.curation.statistics.collect import statistics

    assert {m.FORMAT for m in (benchmark, audit, dedupe, report)} < FORMATS.keys()
    findings = tmp_path / "findings"
    found = check.check(str(root), None, options=catalogue.Options(catalogue.choose(["integrity"], [])))
    report.write_summary(found, root, findings, {"limit": 3, "only": ["integrity"]})
    facts = statistics(root, sample=4).facts()
    made = take_reports(root, [findings, *written(tmp_path, statistics=json.loads(json.dumps(facts)))])
    assert [p.name for p in made] == ["check.json", "statistics.json"]
    told = section(card.card_text(root, read_release(root)), "### Checks")
    assert "; asked with --limit 3, --only integrity." in told
    assert f"{found.total} finding" in told if found.total else "no finding" in told
    assert f"decoded {facts['gray']['frames']} frames" in told


@pytest.mark.parametrize("kind", sorted(MADE))
def test_reports_on_other_rows_are_refused(kind: str, root: Path, imported_release: Path, tmp_path: Path) -> None:
    (path,) = written(tmp_path, **{kind: MADE[kind](imported_release)})
    with pytest.raises(UsageError, match=r"was made on Ovals 1.0 \(rows [0-9a-f]{12}\), and .* type: thermvision"):
        take_reports(root, [path])
    assert not (root / "reports").exists()


@pytest.mark.parametrize("kind", sorted(MADE))
def test_a_report_within_that_another_hand_changed(kind: str, root: Path, tmp_path: Path) -> None:
    (path,) = take_reports(root, written(tmp_path, **{kind: MADE[kind](root)}))
    kept = json.loads(path.read_text())
    assert kept["kind"] == kind
    path.write_text(json.dumps({k: kept[k] for k in ("kind", "release")}))
    with pytest.raises(DamagedInputError, match=r"\.json is damaged .* remove it, or take the report in anew: therm"):
        read_reports(root, read_release(root))


def test_a_report_on_rows_that_changed_is_not_shown(root: Path, tmp_path: Path) -> None:
    take_reports(root, written(tmp_path, check=check_report(root)))
    manifest = read_release(root)
    assert [*read_reports(root, manifest)] == ["check"]
    fewer = manifest.model_copy(update={"shards": manifest.shards[1:]})
    assert read_reports(root, fewer) == {}
    assert read_reports(root, manifest.model_copy(update={"version": "1.1"})) == {}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"format": "thermvision-audit/9"}, UsageError, "has the format 'thermvision-audit/9'; allowed: thermvision-c"),
        ({"answers": [{"name": "x"}]}, DamagedInputError, "is a damaged report .* make it anew: thermvision audit"),
        ({"people": -1}, DamagedInputError, "is no count"),
        ({"people": True}, DamagedInputError, "is no number"),
        ({"verdict": 3}, DamagedInputError, "is no text"),
        ({"digest": ""}, DamagedInputError, "name, version and digest"),
        ({"version": "1.0\n# x"}, DamagedInputError, "name, version and digest"),
        ({"recognition": None}, DamagedInputError, "damaged report"),
    ],
)
def test_damaged_reports(change: dict[str, Any], error: type, match: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        take_reports(root, written(tmp_path, audit={**audit_report(root), **change}))
    assert not (root / "reports").exists()


def test_paths_that_hold_no_report(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="does not exist; allowed: a folder that check"):
        take_reports(root, [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds none of check.json, audit.json"):
        take_reports(root, [tmp_path / "empty"])
    for text, match in (("[1]", "holds a list"), ("{", "not readable JSON"), ('{"a": NaN}', "has the format")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises((DamagedInputError, UsageError), match=match):
            take_reports(root, [tmp_path / "x.json"])
    monkeypatch.setattr("thermvision.dataset_card.reports.MOST_BYTES", 1)
    with pytest.raises(DamagedInputError, match="at most 1"):
        take_reports(root, [tmp_path / "x.json"])


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seal(root)
    (path,) = written(tmp_path, dedupe=dedupe_report(root))
    assert main(["card", str(root), "--report", str(path), "--keep"]) == 2
    assert "--keep leaves the card as it is" in capsys.readouterr().err
    assert main(["card", str(root), "--report", str(path)]) == 0
    assert f"report:        {root}/reports/dedupe.json" in capsys.readouterr().out
    assert "thermvision dedupe" in (root / "README.md").read_text()
    assert "reports/dedupe.json" in read_release(root).files


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a|b", "[a](javascript:x)", "![a](b)", "`x`", "a\nb", "$x$"]
)
def test_cells_hold_text_only(text: str) -> None:
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| a |\n|---|\n| {quality.cell(text)} |\n")
    plain = shown.partition("<tbody>")[2].partition("<td>")[2].partition("</td>")[0]
    assert "<" not in plain
    assert plain.replace("&lt;", "<").replace("&gt;", ">") == text.replace("\n", " ")
