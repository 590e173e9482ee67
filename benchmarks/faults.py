"""What `thermvision check` finds of planted faults, and what it says of clean items.

    python benchmarks/faults.py release --json faults.json

A release is made of copies of the clean release's items, each with one fault (`curation/checks/faults`), in real
shards and encoded anew; faults of files damage copies of a small release. Both are checked as a user checks them. A
planted fault counts as found when the item (or, of faults of files, the release) has a finding of any kind that the
fault names. False alarms are findings on the clean release itself: the share of its items that have one of the kind.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and ONNX Runtime read them

from thermvision.annotations import registry  # noqa: E402
from thermvision.curation.annotate_commands import make_annotator  # noqa: E402
from thermvision.curation.checks.catalogue import KINDS, Found, Options, choose  # noqa: E402
from thermvision.curation.checks.check import Report, check  # noqa: E402
from thermvision.curation.checks.faults import Fault  # noqa: E402
from thermvision.curation.checks.faults.known import FAULTS  # noqa: E402
from thermvision.curation.checks.faults.plant import damage, plant  # noqa: E402

SMALL = 12  # items of the release whose files are damaged
RECALL, FALSE_ALARMS = 0.95, 0.01  # what is aimed at, of each kind


def look(source: Path, options: Options, workers: int, limit: int | None = None) -> tuple[Report, list[Found]]:
    """The report and all findings of a release."""
    found: list[Found] = []
    asked = any(KINDS[c].group != "integrity" for c in options.codes)
    annotator = make_annotator("thermal", "thermal", False, "auto") if asked else None
    embedder = registry.embedder() if asked else None
    report = check(
        str(source), annotator, embedder, options=options, each=found.append, workers=workers, limit=limit, quiet=False
    )
    return report, found


def planted_rows(
    release: Path, work: Path, faults: Sequence[Fault], per_kind: int, seed: int, workers: int
) -> list[dict[str, Any]]:
    """A row a fault that is planted in items."""
    truth = plant(release, work / "planted", faults, per_kind, seed)
    report, found = look(work / "planted", Options(), workers)
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for one in found:
        seen[one.item_id][one.code] += 1
    rows = []
    for fault in faults:
        mine = [p for p in truth if p.fault == fault.name]
        missed = [p.item_id for p in mine if not seen[p.item_id].keys() & set(fault.codes)]
        by: Counter[str] = Counter(c for p in mine for c in seen[p.item_id] if c in fault.codes)
        other: Counter[str] = Counter(c for p in mine for c in seen[p.item_id] if c not in fault.codes)
        rows.append(row(fault, len(mine), missed, by, other))
    print(f"planted: {report.items} items, {report.frames} frames")
    return rows


def damaged_rows(
    release: Path, work: Path, faults: Sequence[Fault], per_kind: int, seed: int, workers: int
) -> list[dict[str, Any]]:
    """A row a fault of files."""
    small = work / "small"
    plant(release, small, (), clean=SMALL, seed=seed)
    (small / "truth.json").unlink()
    rows = []
    for fault in faults:
        missed, by, other = [], Counter[str](), Counter[str]()
        for k in range(per_kind):
            place = work / f"damaged-{fault.name}-{k}"
            path = damage(small, place, fault, seed + k)
            found = look(place, Options(choose(["integrity"])), workers)[1]
            codes = {f.code for f in found}
            by.update(codes & set(fault.codes))
            other.update(codes - set(fault.codes))
            if not codes & set(fault.codes):
                missed.append(path)
            shutil.rmtree(place)
        rows.append(row(fault, per_kind, missed, by, other))
    return rows


def row(fault: Fault, planted: int, missed: list[str], by: Counter[str], other: Counter[str]) -> dict[str, Any]:
    """One line of the table."""
    found = planted - len(missed)
    return {
        "fault": fault.name, "meaning": fault.meaning, "codes": list(fault.codes), "planted": planted, "found": found,
        "recall": found / planted if planted else None, "by": dict(by.most_common()), "also": dict(other.most_common()),
        "missed": missed,
    }  # fmt: skip


def clean_rows(report: Report, found: Sequence[Found]) -> dict[str, dict[str, Any]]:
    """By kind: items of a clean release with a finding, their share, and which."""
    items: dict[str, set[str]] = defaultdict(set)
    for one in found:
        items[one.code].add(one.item_id or one.path)
    return {
        code: {"items": len(items[code]), "share": len(items[code]) / max(report.items, 1), "scored":
               report.scored.get(code, (0, None))[0], "worst": report.scored.get(code, (0, None))[1],
               "which": sorted(items[code])[:20]}
        for code in KINDS
    }  # fmt: skip


def markdown(told: dict[str, Any]) -> str:
    """A page with both tables."""
    rows, clean, how = told["faults"], told["clean"], told["how"]
    planted, found = sum(r["planted"] for r in rows), sum(r["found"] for r in rows)
    low = [r["fault"] for r in rows if r["recall"] is None or r["recall"] < RECALL]
    lines = [
        "# Planted faults",
        "",
        f"`python benchmarks/faults.py {how['release']} --per-kind {how['per_kind']}` plants {len(rows)} kinds of",
        f"faults, {planted} in all, and checks what comes of it (see checks.md). {found} were found; recall is below",
        f"{RECALL} for {', '.join(low) or 'none'}. A fault counts as found when its item (of faults of files: the",
        "release) has a finding of a kind that the fault names; the last column lists those, the most frequent first.",
        "",
        "| fault | what is done | planted | found | recall | found as |",
        "|---|---|---:|---:|---:|---|",
    ]
    for one in rows:
        recall = "" if one["recall"] is None else f"{one['recall']:.2f}"
        by = ", ".join(f"`{code}`" for code in one["by"])
        lines.append(f"| {one['fault']} | {one['meaning']} | {one['planted']} | {one['found']} | {recall} | {by} |")
    if clean:
        alarms = {code: c for code, c in clean.items() if c["items"]}
        quiet = len(clean) - len(alarms)
        lines += [
            "",
            "## False alarms",
            "",
            f"The clean release itself: {how['clean_items']} clips and stills, {how['clean_frames']} frames.",
            f"{quiet} of {len(clean)} kinds say nothing of it; the others:",
            "",
            "| kind | items with it | share of the items |",
            "|---|---:|---:|",
        ]
        for code, one in sorted(alarms.items(), key=lambda pair: -pair[1]["items"]):
            lines.append(f"| `{code}` | {one['items']} | {one['share']:.2%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, help="a clean release")
    parser.add_argument("--per-kind", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="faults; all of them when left out")
    parser.add_argument("--limit", type=int, help="at most this many clean clips and stills")
    parser.add_argument("--no-clean", action="store_true", help="leave the clean release out")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep the planted release here")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write both tables as a page")
    options = parser.parse_args()
    faults = [f for f in FAULTS if not options.only or f.name in options.only]
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        some = options.per_kind, options.seed, options.workers
        of_items = [f for f in faults if f.on_release is None]
        rows = planted_rows(options.release, work, of_items, *some) if of_items else []
        of_files = [f for f in faults if f.on_release is not None]
        rows += damaged_rows(options.release, work, of_files, *some) if of_files else []
    how: dict[str, Any] = {"release": options.release.name, "per_kind": options.per_kind, "seed": options.seed}
    clean: dict[str, dict[str, Any]] = {}
    if not options.no_clean:
        report, found = look(options.release, Options(), options.workers, options.limit)
        clean = clean_rows(report, found)
        how |= {"clean_items": report.items, "clean_frames": report.frames}
        print(f"clean: {report.items} items, {report.frames} frames, {report.total} findings")
    told = {"how": how, "faults": rows, "clean": clean}
    print(markdown(told))
    low = [r["fault"] for r in rows if r["recall"] is None or r["recall"] < RECALL]
    loud = [code for code, c in clean.items() if c["share"] > FALSE_ALARMS]
    print(f"{len(rows)} kinds of faults; recall below {RECALL}: {', '.join(low) or 'none'};", end=" ")
    print(f"false alarms above {FALSE_ALARMS:.0%}: {', '.join(loud) or 'none'}; {time.time() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(told))


if __name__ == "__main__":
    main()
