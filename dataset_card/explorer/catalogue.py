"""The catalogue of a release: what the grid shows, filters, sorts and counts, without reading a pixel.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     open_catalogue(Path(folder))
Traceback (most recent call last):
thermvision.annotations.errors.UsageError: ... is no release, it has no release.json; build one: thermvision build ...
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.curation.release import Manifest
from thermvision.curation.reviews.decisions import Decision

from .counting import count_values
from .filters import CODED, CONFIGS, KINDS, UNKNOWN, Query, name_of
from .item_row import ItemRow as ItemRow
from .listing import changed, list_shards
from .loading import EVERYWHERE, Loaded
from .matching import Keys, Matches, match, order_of
from .noted import Noted, noted_of
from .standing import Standing, standing

if TYPE_CHECKING:
    from .seen import SeenFinding

LONGEST_WAIT = 300.0  # seconds, for frame labels that are still being read
CLOSING = 10.0  # seconds for a thread to end: one that is within DuckDB when Python ends aborts the process
KEPT_RESULTS = 48  # of each query some six
_POSE_RANGES = {"yaw": [-90.0, 90.0], "pitch": [-60.0, 60.0], "roll": [-60.0, 60.0]}  # until they are known


@dataclass(frozen=True, eq=False)
class _Now:
    """What holds together: replaced as a whole, so that a question that is being answered never sees two of them.

    Attributes:
        kept: results by what was asked for.
        findings, said, changes: codes of findings, decisions and how it changed, by key.
        noted: the findings as stretches of frames.
    """

    loaded: Loaded
    generation: int
    findings: Mapping[int, Sequence[str]] = field(default_factory=dict)
    said: Mapping[int, Standing] = field(default_factory=dict)
    changes: Mapping[int, str] = field(default_factory=dict)
    noted: Noted | None = None
    kept: OrderedDict[Any, Any] = field(default_factory=OrderedDict)


class Catalogue:
    """The items of a release by key, and everything the grid asks of them; safe to use from several threads.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock, self._writing = threading.Lock(), threading.RLock()
        self._findings: Sequence[SeenFinding] = ()
        self._decisions: Sequence[Decision] = ()
        self._changes: Mapping[str, str] = {}
        self._trouble: list[Finding] = []
        self._now = _Now(Loaded(root, list_shards(root)), 1)
        self._now.loaded.start()

    @property
    def generation(self) -> int:
        """Rises when the folder was read anew; keys hold for one generation."""
        return self._now.generation

    @property
    def _loaded(self) -> Loaded:
        return self._now.loaded

    @property
    def tables(self) -> Loaded:
        """What this reading of the folder gave: what a static export writes out."""
        return self._now.loaded

    @property
    def manifest(self) -> Manifest | None:
        """None while the release is being built."""
        return self._loaded.listing.manifest

    @property
    def state(self) -> str:
        """ "whole" or "building"."""
        return self._loaded.listing.state

    @property
    def problems(self) -> list[Finding]:
        """What of the release cannot be shown, and why."""
        return [*self._trouble, *self._loaded.problems]

    @property
    def loading(self) -> bool:
        """Whether frame labels are still being read."""
        return not self._loaded.ready.is_set()

    def wait(self) -> None:
        """Return when everything is read."""
        self._loaded.ready.wait(LONGEST_WAIT)

    def close(self) -> None:
        """End what is being read."""
        self._loaded.stop(CLOSING)

    def __len__(self) -> int:
        return self._loaded.count

    def row(self, key: int, heat: bool = True) -> ItemRow:
        """Where an item lies; waits until it is known where 16-bit frames lie, unless nobody asks for ``heat``.

        Raises:
            UsageError: there is no such key.
        """
        loaded = self._loaded
        if not 0 <= key < loaded.count:
            allowed = f"allowed: 0 to {loaded.count - 1}" if loaded.count else "there is none yet"
            raise UsageError(f"there is no item {key}; {allowed}; reload the page")
        if heat:
            loaded.heat_ready.wait(LONGEST_WAIT)
        values = {name: loaded.items[name][key].as_py() for name in _ROW_COLUMNS}
        config = CONFIGS[values["config"]]
        return ItemRow(
            key=key,
            item_id=values["item_id"],
            config=config,
            kind=KINDS[config],
            split=name_of("split", values["split"]) or "",
            shard=loaded.shards[values["shard"]],
            row=values["row"],
            subject_id=values["subject"],
            num_frames=values["frames"],
            width=values["width"],
            height=values["height"],
            fps=values["fps"],
            radiometric=loaded.heat.get(key),
        )

    def key_of(self, item_id: str) -> int | None:
        """The key of an item id, the first where several items have it; None where none has."""
        return self.keys_of([item_id]).get(item_id)

    def keys_of(self, item_ids: Sequence[str]) -> dict[str, int]:
        """The keys of those of ``item_ids`` that there are."""
        return self._loaded.keys_of(item_ids)

    def by_subject(self) -> dict[str, list[int]]:
        """Keys of the clips and stills of each subject, ascending; scenes are nobody's."""
        subjects = self._loaded.items["subject"].combine_chunks().cast(pa.string()).dictionary_encode()
        codes = np.asarray(subjects.indices.fill_null(-1)).astype(np.int64)
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(subjects.dictionary) + 1))
        names = subjects.dictionary.to_pylist()
        return {name: order[ends[n] : ends[n + 1]].tolist() for n, name in enumerate(names)}

    def find(self, query: Query) -> dict[str, Any]:
        """A page of the grid, as ``items.json`` has it; waits for frame labels where the query is about frames.

        Raises:
            UsageError: the release has no such annotation source.
        """
        now = self._now
        loaded = now.loaded
        if query.on_frames or query.sort == "yaw":
            loaded.ready.wait(LONGEST_WAIT)
        found = self._matches(now, query)
        noted = {key: len(codes) for key, codes in now.findings.items()} if query.sort == "findings" else {}
        asked = ("order", query.filters, query.sort, query.desc)
        order: Keys = self._once(now, asked, lambda: order_of(loaded, found, query, noted))
        frames = np.asarray(loaded.items["frames"])
        reply: dict[str, Any] = {
            "total": len(found.keys),
            "frames": int(frames[found.keys].sum() if found.hits is None else found.hits.sum()),
            "offset": query.offset,
            "generation": now.generation,
            "loading": not loaded.ready.is_set(),
            "items": _shown(now, found, order[query.offset : query.offset + query.limit]),
        }
        if query.facets:
            counted = ("facets", query.filters, loaded.ready.is_set())
            reply["facets"] = self._once(now, counted, lambda: self._count(now, query))
        return reply

    def _matches(self, now: _Now, query: Query) -> Matches:
        found: Matches = self._once(now, ("match", query.filters), lambda: match(now.loaded, query, now.noted))
        return found

    def _count(self, now: _Now, query: Query) -> dict[str, dict[str, int]]:
        keys_of = lambda other: self._matches(now, other).keys  # noqa: E731
        return count_values(now.loaded, query, keys_of, now.noted, now.findings, now.said, now.changes)

    def _once(self, now: _Now, asked: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, kept: scrolling asks for the same again and again."""
        with self._lock:
            if asked in now.kept:
                now.kept.move_to_end(asked)
                return now.kept[asked]
        value = make()
        with self._lock:
            now.kept[asked] = value
            while len(now.kept) > KEPT_RESULTS:
                now.kept.popitem(last=False)
        return value

    def facts(self) -> dict[str, Any]:
        """What ``about.json`` tells of a side: side, facets, ranges, findings, problems, has."""
        now = self._now
        loaded = now.loaded
        ready = loaded.ready.is_set()
        configs = np.bincount(loaded.codes["config"], minlength=len(CONFIGS))
        facets: dict[str, list[str]] = {}
        for name in (*CODED, "annotation_source"):
            codes = sorted(np.unique(loaded.codes[name]).tolist(), key=lambda c: (c < 0, c))
            facets[name] = [v for c in codes if (v := loaded.value(name, c))]
        if loaded.people.num_rows:
            numbers = loaded.people["gender"].drop_null().unique().to_pylist()
            facets["gender"] = [
                *dict.fromkeys([*(name_of("gender", n) or "" for n in sorted(numbers)), *facets["gender"]])
            ]
        codes = sorted(np.unique(loaded.expressed[1]).tolist(), key=lambda c: (c < 0, c))
        facets["expression"] = [name_of("expression", c) or "" for c in codes] if ready else list(EXPRESSIONS)
        # a name of which nothing is known is nothing to filter by
        facets = {name: [] if values == [UNKNOWN] else values for name, values in facets.items()}
        return {
            "side": {
                "name": loaded.listing.name,
                "version": loaded.listing.version,
                "root": self.root.resolve().name,
                "digest": loaded.listing.digest,
                "items": loaded.count,
                "clips": int(configs[0]),
                "stills": int(configs[1]),
                "scenes": int(configs[2]),
                "frames": int(pc.sum(loaded.items["frames"]).as_py() or 0),
                "subjects": loaded.subjects,
                "missing": [p.path for p in self.problems if p.code == "shard-missing"],
            },
            "facets": facets,
            "ranges": loaded.ranges if ready else _POSE_RANGES,
            "findings": sorted({code for codes in now.findings.values() for code in codes}),
            "problems": [{"path": p.path, "code": p.code, "message": p.message} for p in self.problems],
            "has": {"heat": any(p.config == "radiometric" for p in loaded.listing.places)},
            "state": self.state,
            "generation": now.generation,
            "loading": not ready,
        }

    def refresh(self) -> bool:
        """Read the folder anew if it changed, and say whether it did; a folder that does not read stays as it was."""
        with self._writing:
            old = self._now
            try:
                if not changed(self.root, old.loaded.listing):
                    self._trouble = []
                    return False
                loaded = Loaded(self.root, list_shards(self.root))
            except (UsageError, DamagedInputError, OSError) as error:
                text = f"the release changed and does not read anew: {error}"
                self._trouble = [Finding("", "release-changed", text)]
                return False
            self._trouble = []
            now = self._with_findings(_Now(loaded, old.generation + 1))
            self._now = self._with_changes(self._with_decisions(now))
            loaded.start()
            old.loaded.stop()
            return True

    def put_findings(self, findings: Sequence[SeenFinding]) -> None:
        """Tell what checks and audits found, in place of what was told before; items that are not here do not count."""
        with self._writing:
            self._findings = tuple(findings)
            self._now = self._with_findings(self._now)

    def put_decisions(self, decisions: Sequence[Decision]) -> None:
        """Tell all decisions, in the order of their table, in place of those told before."""
        with self._writing:
            self._decisions = tuple(decisions)
            self._now = self._with_decisions(self._now)

    def put_changes(self, changes: Mapping[str, str]) -> None:
        """Tell how items differ from the other side: item id to "same", "changed", "added" or "removed"."""
        with self._writing:
            self._changes = dict(changes)
            self._now = self._with_changes(self._now)

    def _with_findings(self, now: _Now) -> _Now:
        keys = now.loaded.keys_of([f.item_id for f in self._findings])
        lengths = np.asarray(now.loaded.items["frames"])
        rows, codes = [], defaultdict(list)
        for finding in self._findings:
            if (key := keys.get(finding.item_id)) is None:
                continue
            codes[key].append(finding.code)
            first, last = finding.first_frame, finding.last_frame
            # one beyond the end is of the last frame, so that it can be found
            first = None if first is None else max(0, min(first, int(lengths[key]) - 1))
            last = EVERYWHERE if first is None else first if last is None else max(first, last)
            rows.append((key, finding.code, first or 0, last))
        now.loaded.fill("findings", rows, [pa.int32(), pa.string(), pa.int32(), pa.int32()])
        return replace(now, findings=dict(codes), noted=noted_of(rows, lengths), kept=OrderedDict())

    def _with_decisions(self, now: _Now) -> _Now:
        said = standing(self._decisions)
        by_key = {key: said[name] for name, key in now.loaded.keys_of(list(said)).items()}
        rows = [(key, action) for key, one in by_key.items() for action in one.actions]
        now.loaded.fill("decided", rows, [pa.int32(), pa.string()])
        return replace(now, said=by_key, kept=OrderedDict())

    def _with_changes(self, now: _Now) -> _Now:
        by_key = {key: self._changes[name] for name, key in now.loaded.keys_of(list(self._changes)).items()}
        now.loaded.fill("changes", list(by_key.items()), [pa.int32(), pa.string()])
        return replace(now, changes=by_key, kept=OrderedDict())


_ROW_COLUMNS = ("item_id", "config", "split", "shard", "row", "subject", "frames", "width", "height", "fps")
_SHOWN = [
    "item_id", "config", "split", "subject", "gender", "category", "sequence", "frames", "width", "height", "fps",
]  # fmt: skip


def open_catalogue(root: Path) -> Catalogue:
    """The catalogue of the release in ``root``; its items are there at once, labels of frames a little later.

    Raises:
        UsageError: there is no release, finished or being built.
        DamagedInputError: its manifest is damaged.
        MissingDependencyError: duckdb is not installed.
    """
    return Catalogue(root)


def _shown(now: _Now, found: Matches, places: Keys) -> list[dict[str, Any]]:
    items = now.loaded.items
    keys = found.keys[places]
    columns = items.select(_SHOWN).take(keys).to_pylist() if len(keys) else []
    shown = []
    for place, key, values in zip(places.tolist(), keys.tolist(), columns, strict=True):
        config = CONFIGS[values["config"]]
        hit = None if found.hit is None else int(found.hit[place])
        said = now.said.get(key)
        shown.append({
            "key": key,
            "id": values["item_id"],
            "config": config,
            "kind": KINDS[config],
            "subject": values["subject"],
            **{n: _class(n, values[n]) for n in ("gender", "category", "sequence", "split")},
            **{n: values[n] for n in ("frames", "width", "height", "fps")},
            "cover": values["frames"] // 2 if hit is None else hit,
            "hit": hit,
            "hits": None if found.hits is None else int(found.hits[place]),
            "findings": len(now.findings.get(key, ())),
            "decision": said.last if said else None,
            "tags": list(said.tags) if said else [],
            "change": now.changes.get(key),
        })  # fmt: skip
    return shown


def _class(column: str, code: int | None) -> str | None:
    return None if code is None else name_of(column, code)
