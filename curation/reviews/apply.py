"""Decisions to the next version: rejected items go, rejected frames are cut off, labels change and say who did it.

A clip must stay one run of frames, so of one with rejected frames the longest run that is not rejected stays; one
shorter than ``min_frames`` goes altogether. A release never loses its word on where a label is from: the reviewer is
added to ``annotation_source``, and the decisions that made a version lie in it under ``decisions/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.errors import DamagedInputError, FindingsError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import FRAME_COLUMNS

from ..console import counted
from ..release import Manifest, next_version
from ..revision import ITEM_CONFIGS, Row, item_shards, plan_revision, revise
from ..sources import ReleaseSource
from ..store import sha256_bytes
from ..video import GOP
from .decisions import Decision, read_decisions, table_bytes
from .resolving import Conflict, Verdict, longest_accepted, resolve
from .values import OF_FRAMES, checked_value, said_by, within

FOLDER = "decisions"  # of a release: the decisions that made each version
MIN_FRAMES = GOP  # a clip of less than one group of pictures is of no use as a clip
_LISTED = 10


@dataclass(frozen=True)
class Label:
    """A new value of one column: ``values`` for the frames from ``first`` (of a column of frames), else one value."""

    column: str
    first: int
    values: Any
    who: str


@dataclass(frozen=True)
class Applied:
    """What decisions do to a release.

    Attributes:
        source: the release.
        decisions: those that are applied, in order.
        dropped: items that go, each with why.
        cuts: clip id to the first and last frame that stay.
        lost: clip id to how many frames go that nobody rejected, because they lie beyond a gap.
        labels: item id to its new labels.
        conflicts: two people who disagree.
        before: how many decisions of the table are in this release already.
        tagged: item id to its tags, which stay in the table.
        gone: items of carried-over decisions that are no longer there.
        findings: lines of the table that decide nothing.
    """

    source: ReleaseSource
    decisions: tuple[Decision, ...]
    dropped: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    labels: dict[str, tuple[Label, ...]] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    before: int = 0
    tagged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def items(self) -> list[str]:
        """Items that change."""
        return sorted({*self.dropped, *self.cuts, *self.labels})

    def superseded(self) -> tuple[str, ...]:
        """Paths of the shards that are written anew."""
        chosen = item_shards(self.source, self.items)
        return plan_revision(self.source, chosen, None, cuts=self.cuts).superseded

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "release": str(self.source.root),
            "version": next_version(self.source.release.version),
            "parent": self.source.release.version,
            "decisions": len(self.decisions),
            "applied_before": self.before,
            "dropped": self.dropped,
            "cut": {i: list(c) for i, c in self.cuts.items()},
            "frames_lost_beyond_gaps": self.lost,
            "relabelled": {i: sorted({x.column for x in labels}) for i, labels in self.labels.items()},
            "tagged": {i: list(t) for i, t in self.tagged.items()},
            "conflicts": [{"earlier": c.earlier.model_dump(), "later": c.later.model_dump()} for c in self.conflicts],
            "gone": list(self.gone),
            "shards": list(self.superseded()) if self.items else [],
            "findings": [vars(f) for f in self.findings],
        }


@dataclass(frozen=True)
class Known:
    """What decisions are checked against: an item's config, frames and size in pixels, and whether it was cut."""

    config: str
    frames: int
    width: int
    height: int
    cut: bool


def known_items(source: ReleaseSource, items: Sequence[str]) -> dict[str, Known]:
    """Those of ``items`` that the release has; no pixels are read."""
    wanted, found = set(items), {}
    for config in ITEM_CONFIGS:
        key = "clip_id" if config == "video" else "image_id"
        names = [key, "width", "height", "provenance", *(["num_frames"] if config == "video" else [])]
        for shard in source.release.shards_of(config):
            for row in _rows(source, shard.path, names, key, wanted):
                cut = '"cuts":' in (row["provenance"] or "")
                found[row[key]] = Known(config, row.get("num_frames") or 1, row["width"], row["height"], cut)
    return found


def _rows(source: ReleaseSource, path: str, names: list[str], key: str, wanted: set[str]) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        ids = pq.read_table(source.root / path, columns=[key])[key].to_pylist()
        here = [n for n, name in enumerate(ids) if name in wanted]
        rows: list[Row] = pq.read_table(source.root / path, columns=names).take(here).to_pylist() if here else []
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(
            f"{source.root / path} is damaged ({error}); type: thermvision verify {source.root}"
        ) from error
    return rows


def check_decisions(decisions: Sequence[Decision], source: ReleaseSource, known: Mapping[str, Known]) -> list[Finding]:
    """What is wrong with decisions on a release: unknown items, frames beyond the end, values that are none."""
    findings = []
    for decision in decisions:
        item = known.get(decision.item_id)
        if item is None:
            message = f"{source.root} has no such item; allowed: its clip and image ids"
            findings.append(Finding(decision.item_id, "unknown-item", message))
            continue
        if decision.frames is not None and decision.frames[1] >= item.frames:
            message = f"frames {decision.frames[0]} to {decision.frames[1]}; allowed: 0 to {item.frames - 1}"
            findings.append(Finding(decision.place, "frames-beyond-end", message))
        elif decision.action == "relabel":
            try:
                _labels_of(decision, item)
            except ValueError as error:
                findings.append(Finding(decision.place, "bad-value", str(error)))
    return findings


def _labels_of(decision: Decision, item: Known) -> Label:
    column = decision.column or ""
    if item.config == "scenes":
        raise ValueError("faces of scenes cannot be relabelled; reject the scene")
    if column not in OF_FRAMES:
        if decision.frames not in (None, (0, item.frames - 1)):
            raise ValueError(f"{column} is of the whole item; leave the frames out")
        return Label(column, 0, checked_value(column, decision.value, 1), decision.who)
    first, last = decision.frames or (0, item.frames - 1)
    values = checked_value(column, decision.value, last - first + 1)
    if column == "bbox":
        for box in values:
            if box is not None and not within(box, item.width, item.height):
                raise ValueError(f"bbox {box} is centred outside the frame of {item.width} x {item.height} pixels")
    return Label(column, first, values, decision.who)


def plan_decisions(root: Path, table: Path, *, min_frames: int = MIN_FRAMES, carry_over: bool = False) -> Applied:
    """What the decisions in ``table`` do to the release in ``root``; nothing is written.

    Args:
        root: the release.
        table: see `decisions`.
        min_frames: clips of which less would stay go.
        carry_over: take decisions on other versions too, by item id; those on items that are gone are listed.

    Raises:
        UsageError: there is no table or release, or decisions are on another release, on items or frames that do not
            exist, or with values that are none; all are listed.
        DamagedInputError: the table or the release is damaged.
    """
    source = ReleaseSource(root)
    said, findings = read_decisions(table)
    before = _applied_before(source)
    left = [d for d in said if d.decision_id not in before]
    applied = len(said) - len(left)
    others = [d for d in left if d.digest != source.digest]
    if others and not carry_over:
        made_for = ", ".join(sorted({f"{d.version} ({d.digest})" for d in others}))
        raise UsageError(
            f"{len(others)} decisions of {table} are on {made_for}; {root} is {source.release.version}"
            f" ({source.digest}). Apply them to that release, or take them by item id: --carry-over"
        )
    known = known_items(source, [d.item_id for d in left])
    gone = sorted({d.item_id for d in others if d.item_id not in known})
    left = [d for d in left if d.item_id not in gone]
    wrong = check_decisions(left, source, known)
    for d in left:
        # frame numbers of an older version mean other frames once a clip was cut
        if d.digest != source.digest and d.frames is not None and known.get(d.item_id, _UNCUT).cut:
            wrong.append(Finding(d.place, "cut-since", f"the clip was cut; decide on {source.release.version} again"))
    if wrong:
        listed = "; ".join(map(str, wrong[:_LISTED])) + (
            f"; and {len(wrong) - _LISTED} more" if wrong[_LISTED:] else ""
        )
        raise UsageError(f"{counted(len(wrong), 'decision')} of {table} cannot be applied: {listed}")
    verdicts, conflicts = resolve(left, {i: k.frames for i, k in known.items()})
    plan = Applied(
        source, tuple(left), conflicts=tuple(conflicts), before=applied, gone=tuple(gone),
        findings=tuple(findings),
    )  # fmt: skip
    for item, verdict in sorted(verdicts.items()):
        _add(plan, item, verdict, known[item], min_frames)
    return plan


_UNCUT = Known("", 0, 0, 0, False)


def _applied_before(source: ReleaseSource) -> set[str]:
    """Ids of the decisions that made this version or one before it."""
    tables = [p for p in source.release.recipes if p.startswith(f"{FOLDER}/") and (source.root / p).is_file()]
    return {d.decision_id for p in tables for d in read_decisions(source.root / p)[0]}


def _add(plan: Applied, item: str, verdict: Verdict, known: Known, min_frames: int) -> None:
    if verdict.tags:
        plan.tagged[item] = verdict.tags
    rejected = int(verdict.rejected.sum())
    if rejected:
        stay = longest_accepted(verdict.rejected)
        if stay is None:
            plan.dropped[item] = "rejected"
            return
        if stay[1] - stay[0] + 1 < min_frames:
            plan.dropped[item] = (
                f"{rejected} of {known.frames} frames rejected; the longest run left has {stay[1] - stay[0] + 1},"
                f" allowed: {min_frames} or more"
            )
            return
        plan.cuts[item] = stay
        if lost := known.frames - rejected - (stay[1] - stay[0] + 1):
            plan.lost[item] = lost
    if verdict.relabels:
        plan.labels[item] = tuple(_held(verdict, known))


def _held(verdict: Verdict, known: Known) -> list[Label]:
    """The labels of an item, run by run of frames that one decision holds for."""
    labels = []
    for column, holds in sorted(verdict.holds.items()):
        bounds = [0, *(np.flatnonzero(np.diff(holds)) + 1).tolist(), len(holds)]
        for start, end in pairwise(bounds):
            if holds[start] < 0:
                continue
            label = _labels_of(verdict.relabels[holds[start]], known)
            if column not in OF_FRAMES:
                labels.append(label)
                break
            values = label.values[start - label.first : end - label.first]
            labels.append(Label(column, start, values, label.who))
    return labels


def apply_decisions(
    plan: Applied, out: Path, *, last_wins: bool = False, workers: int = 1, quiet: bool = False
) -> Manifest:
    """Write the next version of the release into ``out``; a killed run goes on.

    Args:
        plan: from `plan_decisions`.
        out: folder of the new version.
        last_wins: where two people disagree, take the later decision instead of refusing.
        workers, quiet: as everywhere.

    Raises:
        FindingsError: two people disagree.
        UsageError: nothing changes, or ``out`` holds something else.
    """
    if plan.conflicts and not last_wins:
        listed = "; ".join(map(str, plan.conflicts[:_LISTED]))
        raise FindingsError(
            f"{counted(len(plan.conflicts), 'conflict')}: {listed}. Settle each by a decision that"
            " --supersedes the wrong one, or take the later ones: --last-wins"
        )
    if not plan.items:
        raise UsageError(
            f"no item of {plan.source.root} changes: {len(plan.decisions)} decisions accept or tag, {plan.before} were"
            " applied before"
        )
    table = table_bytes(plan.decisions)
    version = next_version(plan.source.release.version)
    name = f"{FOLDER}/{version}.jsonl"
    edit = partial(
        edit_row, dropped=frozenset(plan.dropped), labels=plan.labels, starts={i: c[0] for i, c in plan.cuts.items()}
    )
    decides = ["decisions/1", sha256_bytes(table), sorted(plan.dropped), plan.cuts]
    return revise(
        plan.source.root, out, edit, items=plan.items, cuts=plan.cuts, decides=decides,
        reason="decided in review", files={name: table}, workers=workers, quiet=quiet,
    )  # fmt: skip


def edit_row(
    config: str,
    row: Row,
    *,
    dropped: frozenset[str],
    labels: Mapping[str, Sequence[Label]],
    starts: Mapping[str, int],
) -> Row | None:
    """A `revision.Edit`: drops an item or puts its new labels in; ``starts`` is where a cut clip began before."""
    item = row["clip_id" if config == "video" else "image_id"]
    if item in dropped:
        return None
    by: dict[str, list[str]] = {}
    for label in labels.get(item, ()):
        if label.column in OF_FRAMES:
            changed = _put(config, row, label, starts.get(item, 0))
        else:
            row[label.column], changed = label.values, True
        if changed and label.column not in by.setdefault(label.who, []):
            by[label.who].append(label.column)
    before = row["annotation_source"] or "unknown"
    said = [said_by(columns, who) for who, columns in by.items() if columns]
    if new := [one for one in said if one not in before.split("; ")[1:]]:
        row["annotation_source"] = "; ".join([before, *new])
    return row


def _put(config: str, row: Row, label: Label, start: int) -> bool:
    """Values of a column of frames into a row whose frame 0 was frame ``start``; whether any frame was there."""
    count = row["num_frames"] if config == "video" else 1
    placed = [(label.first + k - start, v) for k, v in enumerate(label.values) if 0 <= label.first + k - start < count]
    for frame, value in placed:
        if label.column != "bbox":
            _set(config, row, label.column, frame, value, count)
            continue
        # a person's box has no score; without a face nothing else is known of one
        seen = _get(config, row, "face_count", frame)
        if value is None:
            for column in FRAME_COLUMNS:
                _set(config, row, column, frame, None, count)
            _set(config, row, "face_count", frame, 0, count)
            _set(config, row, "extra_bboxes", frame, [], count)
            value = [float("nan")] * 4
        else:
            _set(config, row, "face_count", frame, max(seen or 0, 1), count)
            _set(config, row, "bbox_score", frame, None, count)
        _set(config, row, "bbox", frame, value, count)
    return bool(placed)


def _get(config: str, row: Row, column: str, frame: int) -> Any:
    value = row[column]
    return value[frame] if config == "video" and value is not None else value


def _set(config: str, row: Row, column: str, frame: int, value: Any, count: int) -> None:
    if config != "video":
        row[column] = value
    elif row[column] is not None or value is not None:
        row[column] = list(row[column]) if row[column] is not None else [None] * count
        row[column][frame] = value
