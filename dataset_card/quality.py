"""What the reports of a release say, as rows and lines of its card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thermvision.annotations.schema import SPLITS
from thermvision.curation.audits.leakage import FACE_RANK, GUESSING
from thermvision.curation.audits.verdict import EASY_BOX, FEWEST, GOOD_LANDMARKS, GOOD_RECALL
from thermvision.dataset_card.sheet import count

VERDICTS = {"pass": "passes", "doubt": "is in doubt", "fail": "fails", "unknown": "cannot be told"}
# of each protocol, beginnings of the names of the measures that a card shows
SHOWN = {
    "detection": ("AP50", "AP", "recall, score"),
    "landmarks": ("NME, box", "failures, box"),
    "head-pose": ("MAE, yaw", "MAE, pitch", "MAE, roll"),
    "expression": ("expression, balanced accuracy",),
    "gender": ("gender, balanced accuracy",),
    "verification": ("same-sequence, EER", "cross-sequence, EER", "cross-sequence, TAR", "face masked, EER"),
    "closed-set": ("Rank-1",),
    "open-set": ("Rank-1", "DIR at FAR 0.01"),
    "tracking": ("success AUC", "identity stays"),
    "robustness": ("recall", "NME, box", "pose MAE", "TAR at FAR"),
}
_MEASURES = {
    "recall": "recall of the shipped detector",
    "nme": "landmarks' error over the box",
    "pose": "error of pose in degrees",
    "tar": "true accepts at FAR 0.01",
}
_QUESTIONS = {
    "identity-in-face": "face",
    "identity-outside-face": "masked",
    "identity-in-outline": "silhouette",
    "identity-in-background": "background",
}


def cell(text: Any) -> str:
    """Text of another file within a Markdown table: no tags, links, pictures or line ends of its own.

    >>> cell("a | <b>  [c](d)")
    'a \\\\| &lt;b&gt; \\\\[c\\\\](d)'
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|\[\]`*_~$])", r"\\\1", plain)


def percent(value: float | None) -> str:
    """A share in percent; one that is not known is a dash.

    >>> percent(0.9833), percent(1), percent(None)
    ('98.3 %', '100 %', '–')
    """
    return "–" if value is None else f"{100 * value:.1f} %".replace("100.0", "100")


def number(value: float | None, unit: str = "") -> str:
    """A measure to three digits, or as many as it has before the point.

    >>> number(0.017821), number(1.366, "°"), number(47.0, "count"), number(1.0), number(0.8106)
    ('0.0178', '1.37°', '47', '1.000', '0.811')
    """
    if value is None:
        return "–"
    whole = unit == "count" or abs(value) >= 1000 or value == 0
    told = f"{value:,.0f}" if whole else f"{value:.3f}" if 0.1 <= value <= 1 and not unit else f"{value:.3g}"
    return f"{told}°" if unit == "°" else told


def _between(interval: Sequence[float] | None, say: Any = number, unit: str = "") -> str:
    if interval is None:
        return "–"
    low, high = ((say(v, unit) if say is number else say(v)) for v in interval)
    return f"{low.removesuffix(' %').removesuffix('°')} to {high}"


def audit_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each question: answer, estimate, 95 % interval, limit, what it was counted on, and the sentence."""
    return [
        {
            "question": cell(answer["question"]),
            "answer": cell(answer["level"]),
            "statement": cell(answer["statement"]),
            **dict(zip(("estimate", "interval", "limit", "count"), _estimate(answer["name"], facts), strict=True)),
        }
        for answer in facts["answers"]
    ]


def _estimate(name: str, facts: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Estimate, interval, limit and count behind an answer."""
    if name in _QUESTIONS:
        best = facts["recognition"].get(f"{_QUESTIONS[name]}, across")
        if best is None or facts["chance"] is None:
            return "–", "–", "–", "–"
        over = f"{count(best['probes'], 'probe')} of {facts['people']:,} people"
        if name == "identity-in-face":
            clips = best["clips"] is not None
            value, ends = (best["clips"], best["clips_interval"]) if clips else (best["rank1"], best["interval"])
            return f"Rank-1 {percent(value)}", _between(ends, percent), f"at least {percent(FACE_RANK)}", over
        limit = min(GUESSING * facts["chance"], 1)
        return (
            f"Rank-1 {percent(best['rank1'])}",
            _between(best["interval"], percent),
            f"at most {percent(limit)}",
            over,
        )
    if name == "trivial-answers" and (box := measure(facts["measures"], "detection", "AP50")):
        return f"AP50 {number(box['baseline'])}", "–", f"at most {EASY_BOX}", count(box["count"], "frame")
    if name == "label-quality" and (recall := measure(facts["measures"], "detection", "recall, score")):
        told = f"recall {percent(recall['value'])}"
        return (
            told,
            _between(recall["interval"], percent),
            f"at least {percent(GOOD_RECALL)}",
            count(recall["count"], "frame"),
        )
    if name == "parity":
        people = ", ".join(f"{n:,} {g}" for g, n in facts["genders"].items())
        return f"{facts['uneven']:,} of {facts['compared']:,} uneven", "–", f"0, with {FEWEST} people each", people
    if name == "splits":
        told = f"{facts['shared']:,} people and {facts['picture_pairs']:,} pictures shared"
        alike = f", {facts['look_alikes']:,} look-alikes" if facts["look_alikes"] else ""
        over = ", ".join(f"{facts['splits'][s]:,} in {s}" for s in SPLITS if s in facts["splits"])
        return told + alike, "–", "0", over
    return "–", "–", "–", "–"


def measure(measures: Mapping[str, Sequence[Mapping[str, Any]]], task: str, name: str) -> Mapping[str, Any] | None:
    """The measure of a task of that name, else the first whose name begins so; None without a value."""
    own = [m for m in measures.get(task, ()) if m["name"].startswith(name) and m["value"] is not None]
    return min(own, key=lambda m: m["name"] != name, default=None)


def check_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each kind of finding: its code, severity, meaning, counts, and where it is worst."""
    rows = []
    for code, kind in facts["kinds"].items():
        worst = kind["worst"][0] if kind["worst"] else None
        where = ""
        if worst is not None:
            frames = "" if worst["first"] is None else f", frame {worst['first']}"
            limit = f" ({number(worst['score'])}, limit {number(worst['threshold'])})" if worst["threshold"] else ""
            where = f"{cell(worst['item_id'])}{frames}{limit}"
        rows.append({
            "code": cell(code), "severity": cell(kind["severity"]), "meaning": cell(kind["meaning"]), "worst": where,
            "findings": f"{kind['findings']:,}", "among": f"{kind['items']:,}",
        })  # fmt: skip
    return rows


def check_line(facts: Mapping[str, Any]) -> str:
    """How much `check` looked at, and what it found."""
    asked = {k: v for k, v in facts["options"].items() if v not in (None, [], 1)}
    only = "; asked with " + ", ".join(f"--{k} {_option(v)}" for k, v in asked.items()) if asked else ""
    found = count(facts["findings"], "finding") if facts["findings"] else "no finding"
    looked = f"{count(facts['items'], 'item')}, {count(facts['frames'], 'frame')}"
    scored = f" and scored {facts['kinds_scored']:,} kinds of faults" if facts["kinds_scored"] else ""
    return f"`thermvision check` looked at {looked}{scored}: {found}{only}."


def _option(value: Any) -> str:
    return cell(" ".join(map(str, value)) if isinstance(value, list) else value)


def dedupe_line(facts: Mapping[str, Any]) -> str:
    """What is there twice."""
    read = facts["read"]
    looked = ", ".join(count(n, k.removesuffix("s")) for k, n in read.items() if n and k in ("clips", "stills"))
    found = ", ".join(f"{n:,} {cell(code)}" for code, n in sorted(facts["found"].items()) if n)
    people = facts["people"]
    against = f" beside {cell(facts['against'])}" if facts["against"] else ""
    limited = f", --limit {_option(facts['limit'])}" if facts["limit"] else ""
    across = f", {facts['across_splits']:,} of them across splits" if found else ""
    memory = facts["memorisation"]
    seeds = ""
    if memory.get("items"):
        seeds = f" Memorised training pictures: {memory.get('memorised', 0):,} of {memory['items']:,} items."
    return (
        f"`thermvision dedupe` compared {looked}{against} and {count(people['pairs'], 'pair')} of people{limited}:"
        f" {found or 'nothing twice, no look-alikes'}{across}.{seeds}"
    )


def statistics_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Gray levels, from decoded frames."""
    if "gray" in facts:
        gray, share = facts["gray"], facts["gray"]["share"]
        ends = ", ".join(
            f"{percent(share[f'face_{end}'])} {end}" for end in ("black", "white") if f"face_{end}" in share
        )
        middle = gray["contrast"]
        yield (
            f"`thermvision stats` decoded {count(gray['frames'], 'frame')}: pixels of faces clipped: {ends}; contrast"
            f" within the face box {middle['50 %']:.0f} gray levels (5 % to 95 %: {middle['5 %']:.0f} to"
            f" {middle['95 %']:.0f})."
        )


def protocol_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each measure that is shown: protocol, name, value, 95 % interval, trivial baseline and count."""
    rows = []
    for task, names in SHOWN.items():
        for wanted in names if task in facts["tasks"] else ():
            found = measure({task: facts["tasks"][task]["measures"]}, task, wanted)
            if found is None:
                continue
            arrow = "↑" if found["higher_is_better"] else "↓"
            rows.append({
                "protocol": cell(task),
                "name": f"{cell(found['name'])} {arrow}",
                "value": number(found["value"], found["unit"]),
                "interval": _between(found["interval"], number, found["unit"]),
                "baseline": number(found["baseline"], found["unit"]),
                "count": f"{found['count']:,}",
            })  # fmt: skip
    return rows


def agreement(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """By label, how the shipped models agree with it: from the audit, else from protocols on most frames."""
    measures: dict[str, Any] = {}
    for facts in reports.get("protocols", ()):
        for task, result in facts["tasks"].items():
            kept = measures.get(task, [{"count": -1}])
            if result["measures"] and result["measures"][0]["count"] > kept[0]["count"]:
                measures[task] = result["measures"]
    for facts in reports.get("audit", ()):
        measures = {**measures, **{{"pose": "head-pose"}.get(t, t): m for t, m in facts["measures"].items()}}
    told = {}
    for label, task, name, say in (
        ("bbox", "detection", "AP50", lambda m: f"AP50 {number(m['value'])}"),
        ("landmarks", "landmarks", "NME, box", lambda m: f"off by {percent(m['value'])} of the box"),
        ("head_pose", "head-pose", "MAE, mean", lambda m: f"off by {number(m['value'], '°')}"),
        ("expression", "attributes", "expression, bal", lambda m: f"balanced accuracy {number(m['value'])}"),
        ("expression", "expression", "expression, bal", lambda m: f"balanced accuracy {number(m['value'])}"),
        ("gender", "attributes", "gender, bal", lambda m: f"balanced accuracy {number(m['value'])}"),
        ("gender", "gender", "gender, bal", lambda m: f"balanced accuracy {number(m['value'])}"),
    ):
        if (found := measure(measures, task, name)) is not None:
            plain = f", {number(found['baseline'], found['unit'])} by a trivial answer"
            if name.startswith("NME"):
                plain = f", {percent(found['baseline'])} by a mean face"
            told[label] = say(found) + (plain if found["baseline"] is not None else "")
    return told


def worst_lines(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """The failure cases that reports tell: answers that are not a pass, errors, copies, landmarks beyond a failure."""
    for facts in reports.get("audit", ()):
        for answer in facts["answers"]:
            if answer["level"] in ("fail", "doubt"):
                yield f"Audit, {answer['level']}: {cell(answer['question'])} {cell(answer['statement'])}."
    for facts in reports.get("check", ()):
        for code, kind in facts["kinds"].items():
            places = [cell(w["item_id"]) for w in kind["worst"]]
            named = f", such as {', '.join(dict.fromkeys(places))}" if places else ""
            counts = f"{count(kind['findings'], 'finding')} in {count(kind['items'], 'item')}"
            yield f"Check, {cell(code)}: {cell(kind['meaning']).rstrip('.')}: {counts}{named}."
    for facts in reports.get("dedupe", ()):
        if facts["across_splits"]:
            yield f"{facts['across_splits']:,} pairs of copies or look-alikes lie in different splits."
    for facts in reports.get("protocols", ()):
        people = cell(facts["split"])
        own = {"landmarks": facts["tasks"].get("landmarks", {}).get("measures", ())}
        failed = measure(own, "landmarks", "failures, box")
        if failed is not None and failed["value"]:
            yield (
                f"The shipped landmarker is off by more than {percent(GOOD_LANDMARKS)} of the box in"
                f" {percent(failed['value'])} of {failed['count']:,} faces ({people})."
            )
        worst = [
            f"{_MEASURES[w['measure']]} {number(w['value'])} at {cell(w['condition'])} {cell(w['bin'])}"
            f" ({w['count']:,} faces)"
            for w in facts["worst"]
            if (w["measure"], w["value"]) != ("recall", 1)
        ]
        if worst:
            yield f"Where the shipped models are worst ({people}): {'; '.join(worst)}."
