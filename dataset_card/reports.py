"""Reports that ride in a release: the facts of what check, audit, dedupe, stats and protocols found on these very rows.

A card tells only what its release holds, so a report is taken into ``reports/`` first, as a small JSON file that the
manifest lists. It stays true for the rows it was made on; the next version starts without.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.contents import content_digest, rows_digest
from thermvision.curation.evaluation.by_pose import known_bins
from thermvision.curation.release import Manifest, read_release
from thermvision.curation.store import atomic_write, read_json
from thermvision.dataset_card import quality

FOLDER = "reports"
FILES = ("check.json", "audit.json", "dedupe.json", "statistics.json")  # what the commands write into folders
COMMANDS = {
    "check": "thermvision check {root} --out findings",
    "audit": "thermvision audit {root} --out audit",
    "dedupe": "thermvision dedupe {root} --out duplicates",
    "statistics": "thermvision stats {root} --out statistics",
    "protocols": "thermvision evaluate {root} --protocol all --out results.json",
}
FORMATS = {f"thermvision-{kind}/1": kind for kind in COMMANDS if kind != "protocols"}
FORMATS["thermvision-benchmark/1"] = "protocols"
MOST_BYTES = 64 * 2**20  # of a report that is read
FEWEST = 10  # faces of a bin that can be the worst
# what the card and its plots read of a kept report, and what speaks of it
_SHOWN = {
    "audit": ("verdict", "people", "frames", "options", "answers", "recognition", "chance"),
    "check": ("items", "frames", "kinds"),
    "dedupe": ("read", "found"),
    "statistics": ("frames",),
    "protocols": ("split", "seed", "predictions", "baselines_from", "tasks", "worst"),
}
_SAID: dict[str, tuple[Callable[[Mapping[str, Any]], Any], ...]] = {
    "audit": (quality.audit_rows,),
    "check": (quality.check_rows, quality.check_line),
    "dedupe": (quality.dedupe_line,),
    "statistics": (lambda facts: list(quality.statistics_lines(facts)),),
    "protocols": (quality.protocol_rows,),
}
_WORST = 3  # findings of a kind that are kept


def take_reports(root: Path, paths: Sequence[Path]) -> list[Path]:
    """Write the facts of reports into ``reports/`` of the release in ``root``; a report takes the place of its like.

    Args:
        root: the release, which is not sealed by this.
        paths: folders or JSON files that the commands of `COMMANDS` wrote.

    Raises:
        UsageError: one is no such report, or was made on other rows than those of this release.
        DamagedInputError: one does not read.
        OutputError: no room or no permission.
    """
    manifest = read_release(root)
    made: dict[str, dict[str, Any]] = {}
    for path in paths:
        for file in _files(path):
            kind, facts = _facts(file, manifest, root)
            split = facts.get("split")
            made[f"{kind}-{split}.json" if kind == "protocols" and split else f"{kind}.json"] = facts
    for name, facts in made.items():
        atomic_write(root / FOLDER / name, json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return [root / FOLDER / name for name in made]


def read_reports(root: Path, manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    """By kind, the facts of the reports in a release, in the order of their names; those on other rows are left out.

    Raises:
        DamagedInputError: one does not read.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((root / FOLDER).glob("*.json")) if (root / FOLDER).is_dir() else ():
        facts = _read(path)
        try:
            if facts.get("kind") in COMMANDS and _is_of(facts, manifest):
                _tell(facts["kind"], facts)
                found.setdefault(facts["kind"], []).append(facts)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DamagedInputError(
                f"{path} is damaged ({type(error).__name__}: {error}); remove it, or take the report in anew:"
                f" {COMMANDS[str(facts['kind'])].format(root=root)}"
            ) from error
    return found


def _tell(kind: str, facts: Mapping[str, Any]) -> None:
    """Say what a card says of a report, which whoever sent the release may have changed."""
    missing = [name for name in _SHOWN[kind] if name not in facts]
    if missing:
        raise KeyError(", ".join(missing))
    for say in _SAID[kind]:
        say(facts)
    list(quality.worst_lines({kind: [facts]}))
    quality.agreement({kind: [facts]})


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [path / name for name in FILES if (path / name).is_file()]
    if not found:
        seen = "does not exist" if not path.exists() else f"holds none of {', '.join(FILES)}"
        raise UsageError(
            f"--report {path} {seen}; allowed: a folder that check, audit, dedupe or stats wrote with --out, or the"
            " JSON file of evaluate --protocol"
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_BYTES:
        raise DamagedInputError(f"{path} has {path.stat().st_size:,} bytes; a report has at most {MOST_BYTES:,}")
    value = read_json(path)
    if not isinstance(value, dict):
        raise DamagedInputError(f"{path} is no report: it holds a {type(value).__name__}; run the command again")
    return value


def _facts(path: Path, manifest: Manifest, root: Path) -> tuple[str, dict[str, Any]]:
    """Kind and facts of a report that was made on this release."""
    value = _read(path)
    kind = FORMATS.get(str(value.get("format")))
    if kind is None:
        raise UsageError(
            f"--report {path} has the format {str(value.get('format'))[:60]!r}; allowed: {', '.join(FORMATS)}; make it"
            f" anew: {COMMANDS[path.stem if path.stem in COMMANDS else 'protocols'].format(root=root)}"
        )
    try:
        facts = {"kind": kind, "release": _release(value), **_KEPT[kind](value)}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedInputError(
            f"{path} is a damaged report ({type(error).__name__}: {error}); make it anew:"
            f" {COMMANDS[kind].format(root=root)}"
        ) from error
    if not _is_of(facts, manifest):
        made_on = facts["release"]
        raise UsageError(
            f"--report {path} was made on {made_on['name']} {made_on['version']} (rows {made_on['digest'][:12]}), and"
            f" {root} is {manifest.name} {manifest.version} (rows {_digest(manifest, made_on)[:12]}); allowed: reports"
            f" on these very rows; type: {COMMANDS[kind].format(root=root)}"
        )
    return kind, facts


def _release(value: Mapping[str, Any]) -> dict[str, str]:
    """Name, version and digest of the release; an audit has them beside its answers, with the digest of all rows."""
    own = value["release"] if isinstance(value.get("release"), dict) else value
    name = own["name"] if "name" in own else value["release"]
    found = {"name": name, "version": own["version"], "digest": own["digest"]}
    if not all(isinstance(v, str) and v and v.isprintable() for v in found.values()):
        raise ValueError(f"release is {found}; allowed: name, version and digest")
    return found


def _digest(manifest: Manifest, made_on: Mapping[str, str]) -> str:
    # 16 digits: that of `ReleaseSource`, which an audit names
    return rows_digest(manifest)[:16] if len(made_on["digest"]) == 16 else content_digest(manifest)


def _is_of(facts: Mapping[str, Any], manifest: Manifest) -> bool:
    made_on = facts["release"]
    return bool(made_on["digest"] == _digest(manifest, made_on) and made_on["version"] == manifest.version)


def _number(value: Any) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value if isinstance(value, int) else float(f"{value:.6g}")  # more digits say no more


def _count(value: Any) -> int:
    number = _number(value)
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"{value!r} is no count")
    return number


def _interval(value: Any) -> list[Any] | None:
    return None if value is None else [_number(value[0]), _number(value[1])]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return " ".join(value.split())[:500]


def _measure(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": _text(value["name"]),
        "value": _number(value["value"]),
        "interval": _interval(value["interval"]),
        "baseline": _number(value["baseline"]),
        "count": _count(value["count"]),
        "unit": _text(value["unit"]),
        "higher_is_better": bool(value["higher_is_better"]),
    }


def _audit(value: Mapping[str, Any]) -> dict[str, Any]:
    recognition, parity, splits = value["recognition"], value["parity"], value["splits"]
    return {
        "verdict": _text(value["verdict"]),
        "people": _count(value["people"]),
        "options": {k: value["options"].get(k) for k in ("split", "frames", "people", "seed")},
        "answers": [{k: _text(a[k]) for k in ("name", "question", "level", "statement")} for a in value["answers"]],
        "chance": _number(recognition["chance"]) if recognition["people"] else None,
        "recognition": {
            name: {
                **{k: _number(score[k]) for k in ("rank1", "clips")},
                **{k: _interval(score[k]) for k in ("interval", "clips_interval")},
                "probes": _count(score["probes"]),
            }
            for name, score in recognition["best"].items()
            if name.endswith(", across")
        },
        "compared": len(parity["differences"]),
        "uneven": sum(bool(d["uneven"]) for d in parity["differences"]),
        "genders": {_text(g): _count(n) for g, n in parity["people"].items()},
        "truth": bool(value["labels"]["ground_truth"]),
        "frames": _count(value["labels"]["frames"]),
        "measures": {_text(t): [_measure(m) for m in ms] for t, ms in value["labels"]["measures"].items()},
        "splits": {_text(s): _count(n) for s, n in splits["splits"].items()},
        "shared": len(splits["shared"]),
        "picture_pairs": _count(splits["picture_pairs"]),
        "look_alikes": len(splits["look_alikes"]),
    }


def _check(value: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {}
    for code, kind in value["kinds"].items():
        worst = [
            {
                "item_id": _text(w["item_id"] or w["path"]),
                **{k: None if w[k] is None else _count(w[k]) for k in ("first", "last")},
                **{k: _number(w[k]) for k in ("score", "threshold")},
            }
            for w in kind["worst"][:_WORST]
        ]
        counts = {k: _count(kind[k]) for k in ("findings", "items", "scored")}
        texts = {k: _text(kind[k]) for k in ("severity", "meaning")}
        kinds[_text(code)] = {**texts, **counts, "worst": worst}
    return {
        **{k: _count(value[k]) for k in ("items", "frames", "findings")},
        "options": {_text(k): v for k, v in value["options"].items()},
        "kinds": kinds,
        "kinds_scored": len(value["scored"]),
    }


def _dedupe(value: Mapping[str, Any]) -> dict[str, Any]:
    people = value["look_alikes"]
    return {
        "read": {_text(k): _count(n) for k, n in value["read"].items()},
        "limit": value.get("limit"),
        "against": None if value.get("against") is None else _text(value["against"]),
        "found": {_text(k): _count(n) for k, n in value["found"].items()},
        "across_splits": _count(value["across_splits"]),
        "people": {k: _number(people[k]) for k in ("subjects", "pairs", "threshold")},
        "memorisation": {
            k: _number(n) for k, n in value.get("memorisation", {}).items() if isinstance(n, (int, float))
        },
    }


def _statistics(value: Mapping[str, Any]) -> dict[str, Any]:
    gray = value.get("gray")
    kept: dict[str, Any] = {"frames": _count(value["frames"])}
    if gray is not None:
        kept["gray"] = {
            "frames": _count(gray["frames"]),
            "share": {_text(k): _number(v) for k, v in gray["share"].items()},
            "contrast": {k: _number(gray["face_contrast"][k]) for k in ("5 %", "50 %", "95 %")},
        }
    kept["spectra"] = [
        {
            "kind": _text(row["kind"]),
            "frames": _count(row["frames"]),
            **{k: _number(row[k]) for k in ("5 %", "50 %", "95 %")},
        }
        for row in value.get("spectra", ())
    ]
    kept["coverage"] = {
        "pose_cells": _count(value["coverage"]["pose_cells"]),
        "pose_covered": {_text(g): _count(n) for g, n in value["coverage"]["pose_covered"].items()},
        "covered_from_frames": _count(value["coverage"]["covered_from_frames"]),
        "never": [_text(t) for t in value["coverage"]["never"]],
    }
    return kept


def _worst_bins(curves: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each measure of the robustness protocol, the bin of any condition where it is worst, of ten faces or more."""
    found: list[dict[str, Any]] = []
    for name, higher_is_better in (("recall", True), ("nme", False), ("pose", False), ("tar", True)):
        bins: list[tuple[float, dict[str, Any]]] = []
        for condition, curve in curves.items():
            rows = zip(curve["bins"], curve[name]["value"], curve["count"], strict=True)
            for label, value, number in rows if len(curve["bins"]) > 1 else ():
                if value is not None and _count(number) >= FEWEST:
                    told = {"measure": name, "condition": _text(condition), "bin": _text(label), "count": number}
                    bins.append((value if higher_is_better else -value, {**told, "value": _number(value)}))
        if bins:
            found.append(min(bins, key=lambda pair: pair[0])[1])
    return found


def _landmark_curves(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """Error of the landmarks by yaw and by pitch, of the task landmarks or of robustness."""
    for task in ("landmarks", "robustness"):
        curves = tasks.get(task, {}).get("curves", {})
        if known := known_bins(curves):
            return {angle: _landmark_curve(curves[angle]) for angle in known}
    return {}


def _landmark_curve(curve: Mapping[str, Any]) -> dict[str, Any]:
    nme = curve["nme"]
    names = ("bins", "count", "value", "interval", "baseline")
    rows = [
        (_text(label), _count(n), _number(value), _interval(ends), _number(trivial))
        for label, n, value, ends, trivial in zip(
            curve["bins"], curve["count"], nme["value"], nme["interval"], nme["baseline"], strict=True
        )
    ]
    told = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return {"bins": told.pop("bins"), "count": told.pop("count"), "nme": told}


def _protocols(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "landmarks_by_pose": _landmark_curves(value["tasks"]),
        "worst": _worst_bins(value["tasks"].get("robustness", {}).get("curves", {})),
        "split": _text(value["split"]),
        "seed": _count(value["seed"]),
        "predictions": _text(value["predictions"]),
        "baselines_from": _text(value["baselines_from"]),
        "lists": {
            _text(n): {"rows": _count(x["rows"]), "sha256": _text(x["sha256"])} for n, x in value["lists"].items()
        },
        "tasks": {
            _text(name): {
                "measures": [_measure(m) for m in task["measures"]],
                "notes": [_text(note) for note in task["notes"]],
            }
            for name, task in value["tasks"].items()
        },
    }


_KEPT = {
    "audit": _audit, "check": _check, "dedupe": _dedupe, "statistics": _statistics, "protocols": _protocols
}  # fmt: skip
