"""What the explorer shows of one release or of two: every answer of the server, and every file of a static export.

Keys hold for one reading of the catalogue. A release that is being built is read anew as it grows, at most every
`POLL_SECONDS`, when somebody asks.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from thermvision.annotations.palettes import PALETTES, palette
from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS

from .catalogue import CLOSING
from .figure_files import list_figures
from .filters import parse_query
from .records import item_record
from .reviewing import Reviewing, check_asked
from .seen import FindingFiles
from .side import MissingError, OutdatedError, Side
from .versions import Changes, compare_items

POLL_SECONDS = 2.0


class Exhibit:
    """A release, perhaps beside another, with its findings and decisions; safe to ask from many threads.

    Args:
        root: folder of the release.
        reviewing: the table of decisions.
        against: another release, or another version of it.
        findings: folders or files that `check`, `audit` and `dedupe` wrote.
        static: for files, not for a server.

    Raises:
        UsageError: a folder is no release, or nothing was found at one of ``findings``.
        DamagedInputError: a manifest is damaged.
        MissingDependencyError: duckdb is not installed.
    """

    def __init__(
        self, root: Path, reviewing: Reviewing, against: Path | None = None, findings: Sequence[Path] = (),
        static: bool = False,
    ) -> None:  # fmt: skip
        self._seen = FindingFiles(findings)
        self.reviewing, self.static = reviewing, static
        self._changes: Changes | None = None
        self._told: dict[str, Any] = {}
        self._compared = threading.Event()
        self.sides = {"a": Side("a", root)}
        if against is not None:
            try:
                self.sides["b"] = Side("b", against)
            except BaseException:
                self.sides["a"].close()
                raise
        self._lock = threading.RLock()
        self._polled = time.monotonic()
        self._generations: tuple[int, ...] = ()
        self._catch_up()

    def close(self) -> None:
        """End what runs in the background."""
        for side in self.sides.values():
            with suppress(Exception):
                side.close()
        self._compared.wait(CLOSING)

    def wait(self) -> None:
        """Return when nothing is being read any more."""
        for side in self.sides.values():
            side.catalogue.wait()
        self._compared.wait()

    def poll(self) -> None:
        """See whether the releases or the table of decisions changed; cheap, and the former every `POLL_SECONDS`."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._polled >= POLL_SECONDS:
                for side in self.sides.values():
                    side.catalogue.refresh()
                self._polled = time.monotonic()
            self._catch_up()
        finally:
            self._lock.release()

    def _catch_up(self) -> None:
        generations = tuple(side.catalogue.generation for side in self.sides.values())
        anew = generations != self._generations
        if anew:
            self._generations = generations
            for side in self.sides.values():
                side.read_source()
                side.put_findings(self._seen.of(side.catalogue, side.digest))
            self._told = self._seen.told({k: (side.catalogue, side.digest) for k, side in self.sides.items()})
            self._compared.clear()
            threading.Thread(target=self._compare, args=(generations,), name="versions", daemon=True).start()
        if self.reviewing.refresh() or anew:
            for side in self.sides.values():
                side.put_decisions(self.reviewing.decisions)

    def _compare(self, generations: tuple[int, ...]) -> None:
        """What changed between the two; versions that share no shard take a while."""
        try:
            if "b" not in self.sides or any(side.source is None for side in self.sides.values()):
                self._changes = None
                return
            changes = compare_items(self.sides["a"].root, self.sides["b"].root)
            if generations != self._generations:
                return
            self._changes = changes
            for side in self.sides.values():
                side.catalogue.put_changes(changes.of_all(side.catalogue.tables.items["item_id"].to_pylist()))
        except Exception as error:  # the page shows both all the same
            self._changes = Changes(problems=(f"the two are not compared: {error}",))
        finally:
            if generations == self._generations:  # else a later comparison is under way
                self._compared.set()

    @property
    def generation(self) -> int:
        """Rises when a release was read anew: keys then name other items."""
        return sum(side.catalogue.generation for side in self.sides.values())

    def side(self, letter: str) -> Side:
        """A release by its letter.

        Raises:
            MissingError: there is none.
        """
        if letter not in self.sides:
            raise MissingError(f"there is no release {letter[:20]!r}; here are: {', '.join(self.sides)}")
        return self.sides[letter]

    def about(self) -> dict[str, Any]:
        """What the page needs to start."""
        facts = {letter: side.catalogue.facts() for letter, side in self.sides.items()}
        first = facts["a"]
        building = [side for letter, side in self.sides.items() if facts[letter]["state"] == "building"]
        told = self.findings()
        return {
            "mode": "static" if self.static else "live",
            "state": "building" if building else "whole",
            "loading": any(f["loading"] for f in facts.values()) or not self._compared.is_set(),
            "generation": self.generation,
            "read_only": self.static or self.reviewing.read_only,
            "who": self.reviewing.who,
            "decisions_path": None if self.static else str(self.reviewing.path),
            "sides": {letter: f["side"] for letter, f in facts.items()},
            "facets": first["facets"],
            "ranges": first["ranges"],
            "findings": first["findings"],
            "palettes": {name: base64.b64encode(palette(name).tobytes()).decode() for name in PALETTES},
            "relabelled": {"expression": list(EXPRESSIONS), **{name: list(v) for name, v in ATTRIBUTES.items()}},
            "problems": [*(p | {"side": s} for s, f in facts.items() for p in f["problems"]), *self._problems(told)],
            "has": {
                **first["has"],
                "map": first["side"]["subjects"] > 0,
                "figures": bool(list_figures(self.sides["a"].root)),
                "findings": bool(told["sources"]),
                "audit": told["audit"] is not None,
            },
            "next": _how_to_go_on(building[0].root) if building else "",
        }

    def _problems(self, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if self.reviewing.problem is not None:
            yield _problem(self.reviewing.path.name, "decisions", self.reviewing.problem)
        for source in told["sources"]:
            if source["problem"]:
                yield _problem(source["path"], "findings", source["problem"])
        for problem in self._changes.problems if self._changes is not None else ():
            yield _problem("", "versions", problem)

    def items(self, letter: str, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """A page of the grid.

        Raises:
            UsageError: a parameter is not allowed.
        """
        found: dict[str, Any] = self.side(letter).catalogue.find(parse_query(pairs))
        return found | {"generation": self.generation}

    def item(self, letter: str, key: int) -> dict[str, Any]:
        """Everything about one item.

        Raises:
            MissingError: there is none of that key.
            DamagedInputError: its row cannot be read.
        """
        side = self.side(letter)
        row = side.row(key)
        other = self.sides.get("b" if letter == "a" else "a")
        changes = self._changes if other is not None else None
        record = item_record(
            side.catalogue, key, letter, side.media,
            # whoever opens the files has the release elsewhere
            place=side.root.resolve().name if self.static else str(side.root), live=not self.static,
            findings=side.found.get(row.item_id, ()),
            decisions=[d.model_dump() for d in side.decided.get(row.item_id, (None, []))[1]],
            other=None if other is None else other.catalogue.key_of(row.item_id),
            changed_columns=None if changes is None else changes.columns.get(row.item_id, ()),
        )  # fmt: skip
        return record | {"generation": self.generation}

    def identity_map(self, letter: str) -> dict[str, Any]:
        """Where identities lie in a plane, or how far that is."""
        return self.side(letter).identity_map()

    def findings(self) -> dict[str, Any]:
        """What commands found, by kind, and what an audit says."""
        return self._told

    def decisions(self) -> dict[str, Any]:
        """The table of decisions, newest last, and who disagrees."""
        places: dict[str, dict[str, tuple[str, int]]] = {}
        conflicts = []
        for letter, side in self.sides.items():
            if side.digest is None or side.digest in places:
                continue
            keys = {item: key for item, (key, _) in side.decided.items() if key is not None}
            places[side.digest] = {item: (letter, key) for item, key in keys.items()}
            conflicts += self.reviewing.conflicts(side.digest, {i: side.row(k).num_frames for i, k in keys.items()})
        return {
            "decisions": self.reviewing.dumps(places),
            "path": self.reviewing.path.name if self.static else str(self.reviewing.path),
            "who": self.reviewing.who,
            "conflicts": [
                {"earlier": c.earlier.model_dump(), "later": c.later.model_dump(), "message": str(c)} for c in conflicts
            ],
            "torn": [vars(f) | {"path": self.reviewing.path.name} for f in self.reviewing.torn],
            "problem": self.reviewing.problem,
        }

    def decide(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Save a decision that a page sent, see `reviewing.ASKED`.

        Raises:
            UsageError: it is none.
            MissingError: there is no such item.
            OutdatedError: the release is another than the page shows, or not finished.
            OutputError: it cannot be written.
        """
        check_asked(said)
        side = self.side(said.get("side") or "")
        if side.source is None:
            how = _how_to_go_on(side.root)
            raise OutdatedError(f"decisions are on finished releases, and this one is being built. {how}")
        row = side.row(said["key"])
        if row.item_id != said.get("item_id"):
            raise OutdatedError("the release was read anew since the page was loaded; reload the page and decide again")
        made = self.reviewing.add(said, side.source, row)
        with self._lock:
            self._catch_up()
        return {"decision": made.model_dump()}

    def figures(self) -> dict[str, Any]:
        """The pictures that came with the release."""
        return {"figures": list_figures(self.sides["a"].root)}


def _problem(path: str, code: str, message: str) -> dict[str, Any]:
    return {"path": path, "code": code, "message": message, "side": None}


def _how_to_go_on(root: Path) -> str:
    return f"If its build was stopped, run the same command again: thermvision build RECIPE --out {root}"
