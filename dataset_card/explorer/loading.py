"""A release's light columns into DuckDB tables: items at once, 16-bit frames and frame labels behind them.

Tables: ``items`` (one row an item, ordered by key), ``people`` (who is in a scene), ``frames`` (one row a frame; of a
scene one a face), ``findings``, ``decided`` and ``changes`` (what `Catalogue` is told of items). Classes are numbers.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thermvision.annotations.errors import MissingDependencyError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import SPLITS

from .filters import CODED, CONFIGS, UNKNOWN, name_of
from .light_columns import (
    FRAMES,
    ITEMS,
    PEOPLE,
    ShardError,
    config_of,
    frames_of_items,
    read_columns,
    read_frames,
    read_items,
)
from .listing import Listing, Place

THREADS = 4
BATCH = 200_000  # rows that go into the table at once
MAX_PROBLEMS = 1000
MAX_MISSING_ROWS = 20_000_000  # frames that get a row without labels
EVERYWHERE = 2**31 - 1  # the last frame of a finding of the whole item
_MARKS = (
    "CREATE TABLE findings (key INTEGER, code VARCHAR, first_frame INTEGER, last_frame INTEGER)",
    "CREATE TABLE decided (key INTEGER, action VARCHAR)",
    "CREATE TABLE changes (key INTEGER, change VARCHAR)",
)


def database() -> Any:
    """A new DuckDB in memory that can reach no file.

    Raises:
        MissingDependencyError: duckdb is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependencyError(
            'looking at a release needs duckdb; type: pip install -c constraints.txt -e ".[view]"'
        ) from error
    settings: dict[str, Any] = {
        "enable_external_access": False,
        "threads": min(THREADS, os.cpu_count() or 1),
        "preserve_insertion_order": True,
    }
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET lock_configuration = true")
    return connection


class Loaded:
    """The tables of one listing of a folder.

    Attributes:
        items: Arrow table in the schema `ITEMS` and shard, row, config, split.
        codes: column to (N,) int16 class numbers of the items, -1 not known.
        sources: annotation sources by their number.
        offsets: (N + 1,) number of each item's first frame, all frames being numbered one after another.
        ready: set when the frames are in, or will not come.
        problems: what was left out, and why.
    """

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root, self.listing = root, listing
        self.problems: list[Finding] = []
        self.ready = threading.Event()
        self.heat_ready = threading.Event()
        self.stopped = False
        self._thread: threading.Thread | None = None
        self._ranks: dict[str, NDArray[Any]] = {}
        self.heat: dict[int, tuple[str, int]] = {}
        self.connection = database()
        self._load_items()
        none = np.full(self.count, np.nan, np.float32)
        self.cover_yaw: NDArray[np.float32] = none
        self.expressed: tuple[NDArray[np.int64], NDArray[np.int64]] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.ranges: dict[str, list[float]] = {}

    @property
    def count(self) -> int:
        """How many items there are."""
        return int(self.items.num_rows)

    @property
    def subjects(self) -> int:
        """How many people there are, those in scenes included."""
        names = pa.chunked_array([*self.items["subject"].chunks, *self.people["subject"].chunks], pa.string())
        return len(names.drop_null().unique())

    def value(self, column: str, code: int) -> str | None:
        """The name of a class number of the items, or of an annotation source; None is nothing to ask for."""
        if column == "annotation_source":
            return self.sources[code] if code >= 0 else UNKNOWN
        return name_of(column, code)

    def rank(self, column: str) -> NDArray[np.int32]:
        """Place of each item in the order of the texts of a column, null last; made when it is first asked for."""
        if column not in self._ranks:
            self._ranks[column] = np.asarray(pc.rank(self.items[column], tiebreaker="dense"))
        return self._ranks[column].astype(np.int64)

    def tell(self, path: str, code: str, message: str) -> None:
        """One more problem."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Finding(path, code, message))

    def start(self) -> None:
        """Load the rest behind the caller's back."""
        self._thread = threading.Thread(target=self._load_rest, name="frames", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 0.0) -> None:
        """Let the loading end early, and wait so long for that: nobody will ask."""
        self.stopped = True
        if self._thread is not None:
            self._thread.join(seconds)

    def _each(self, places: list[Place], read: Any) -> Iterator[tuple[Place, Any]]:
        """``read`` of every shard that can be read, in order, several at a time."""

        def attempt(place: Place) -> Any:
            if self.stopped:
                return None
            try:
                return read(place)
            except ShardError as error:
                self.tell(place.path, error.code, str(error))
            except Exception as error:  # a hostile file must not cost the others
                self.tell(place.path, "shard-broken", f"does not read ({type(error).__name__}: {error})"[:300])
            return None

        with ThreadPoolExecutor(THREADS) as pool:
            for place, found in zip(places, pool.map(attempt, places), strict=True):
                if found is not None:
                    yield place, found

    def _load_items(self) -> None:
        places = [p for c in CONFIGS for p in self.listing.places if config_of(p.config) == c]
        self.shards: list[str] = []
        tables, people, start = [], [], 0
        for place, (table, faces) in self._each(places, lambda p: read_items(self.root, p.path, config_of(p.config))):
            count = table.num_rows
            extra = {
                "shard": pa.array(np.full(count, len(self.shards), np.int32)),
                "row": pa.array(np.arange(count, dtype=np.int32)),
                "config": pa.array(np.full(count, CONFIGS.index(config_of(place.config)), np.int16)),
                "split": pa.array(np.full(count, SPLITS.index(place.split), np.int16)),
            }
            for name, column in extra.items():
                table = table.append_column(name, column)
            tables.append(table)
            keys = pc.add(faces["row"].combine_chunks(), pa.scalar(start, pa.int32()))
            people.append(faces.set_column(0, "key", keys))
            self.shards.append(place.path)
            start += count
        empty = ITEMS.empty_table()
        for name, kind in (("shard", pa.int32()), ("row", pa.int32()), ("config", pa.int16()), ("split", pa.int16())):
            empty = empty.append_column(name, pa.array([], kind))
        self.items = pa.concat_tables([empty, *tables]).combine_chunks()
        sources = self.items["source"].combine_chunks().dictionary_encode()
        self.sources: list[str] = sources.dictionary.to_pylist()
        numbers = pc.cast(sources.indices, pa.int32())
        self.codes = {n: _codes(self.items[n]) for n in CODED} | {"annotation_source": _codes(numbers)}
        keys = pa.array(np.arange(self.count, dtype=np.int32))
        kept = ["item_id", "subject", "search", *CODED]
        table = self.items.select(kept).append_column("key", keys).append_column("annotation_source", numbers)
        folks = pa.concat_tables([PEOPLE.empty_table().rename_columns(["key", "subject", "gender"]), *people])
        self.people = folks
        self.offsets = np.concatenate([[0], np.cumsum(np.asarray(self.items["frames"]), dtype=np.int64)])
        self.tell_twice()
        with self.cursor() as cursor:
            cursor.register("given", table)
            cursor.execute("CREATE TABLE items AS SELECT * FROM given")
            cursor.register("folks", folks)
            cursor.execute("CREATE TABLE people AS SELECT * FROM folks")
            columns = ", ".join(f"{f.name} {_SQL[f.type]}" for f in FRAMES)
            for statement in (*_MARKS, f"CREATE TABLE frames ({columns}, place BIGINT)"):
                cursor.execute(statement)

    def tell_twice(self) -> None:
        """Name item ids that are there more than once; frame labels go to the first."""
        counts = self.items["item_id"].combine_chunks().value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
        if twice:
            self.tell("", "item-twice", f"{len(twice)} ids name more than one item, the first is {twice[0][:100]!r}")

    @contextlib.contextmanager
    def cursor(self) -> Iterator[Any]:
        """A connection of one's own to the same tables."""
        cursor = self.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def keys_of(self, item_ids: Sequence[str]) -> dict[str, int]:
        """The keys of those of ``item_ids`` that there are, the first where several items have one."""
        if not item_ids:
            return {}
        with self.cursor() as cursor:
            cursor.register("wanted", pa.table({"item_id": pa.array(sorted({*item_ids}), pa.string())}))
            found = cursor.execute(
                "SELECT w.item_id, min(i.key) FROM wanted w JOIN items i ON i.item_id = w.item_id GROUP BY w.item_id"
            )
            return dict(found.fetchall())

    def fill(self, table: str, rows: Sequence[tuple[Any, ...]], kinds: Sequence[pa.DataType]) -> None:
        """Put ``rows`` into one of the tables that `Catalogue` is told, in place of what it holds."""
        columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
        given = pa.table({f"c{n}": pa.array(c, kinds[n]) for n, c in enumerate(columns)})
        with self.cursor() as cursor:
            cursor.register("given", given)
            cursor.execute("BEGIN")
            cursor.execute(f"DELETE FROM {table}")
            cursor.execute(f"INSERT INTO {table} SELECT * FROM given")
            cursor.execute("COMMIT")

    def _load_rest(self) -> None:
        try:
            first: dict[str, int] = {}
            for key, name in enumerate(self.items["item_id"].to_pylist()):
                first.setdefault(name, key)
            self._load_heat(first)
            self.heat_ready.set()
            self._load_frames(first)
            self._conclude()
        except Exception as error:  # the page goes on without frame labels and says so
            if not self.stopped:
                self.tell("", "frames-broken", f"frame labels cannot be used ({type(error).__name__}: {error})"[:300])
        finally:
            self.heat_ready.set()
            self.ready.set()

    def _load_heat(self, first: dict[str, int]) -> None:
        places = [p for p in self.listing.places if p.config == "radiometric"]
        for place, table in self._each(places, lambda p: read_columns(self.root, p.path, ["item_id"])):
            for row, name in enumerate(table["item_id"].to_pylist()):
                if (key := first.get(name)) is not None:
                    self.heat.setdefault(key, (place.path, row))

    def _load_frames(self, first: dict[str, int]) -> None:
        with self.cursor() as cursor:
            waiting: list[pa.Table] = []
            seen = np.zeros(self.count, bool)
            lengths, lost = np.append(np.asarray(self.items["frames"]), 0), 0  # the last is that of no item, key -1

            def put(table: pa.Table | None) -> None:
                waiting.extend([] if table is None else [table])
                if waiting and (table is None or sum(t.num_rows for t in waiting) >= BATCH):
                    batch = pa.concat_tables(waiting)
                    places = self.offsets[np.asarray(batch["key"])] + np.asarray(batch["frame_index"])
                    cursor.register("batch", batch.append_column("place", pa.array(places)))
                    cursor.execute("INSERT INTO frames SELECT * FROM batch")
                    cursor.unregister("batch")
                    waiting.clear()

            places = [p for p in self.listing.places if p.config == "frames"]
            for _, (names, which, rows) in self._each(places, lambda p: read_frames(self.root, p.path)):
                keys = np.array([first.get(n, -1) for n in names], np.int32)[which]
                index = np.asarray(rows["frame_index"])
                known = (index >= 0) & (index < lengths[keys])
                seen[keys[known]] = True
                lost += int((~known).sum())
                table = pa.table({"key": keys, **{n: rows[n] for n in FRAMES.names[1:]}}, schema=FRAMES)
                put(table if known.all() else table.filter(pa.array(known)))
            if lost and not self.problems:  # those of shards that were left out are told
                self.tell("data/frames", "frames-unknown", f"{lost} rows are of no item or frame that there is")
            for table in self._unlabelled(np.flatnonzero(~seen)):
                put(table)
            put(None)

    def _unlabelled(self, keys: NDArray[np.intp]) -> Iterator[pa.Table]:
        """Frames of items that `frames` says nothing of: labels of their own row, a row for each frame in any case."""
        shards, rows = np.asarray(self.items["shard"]), np.asarray(self.items["row"])
        configs, lengths = self.codes["config"], np.asarray(self.items["frames"])
        total = 0
        for shard in np.unique(shards[keys]):
            here = keys[shards[keys] == shard]
            config = CONFIGS[configs[here[0]]]
            try:
                found = dict(frames_of_items(self.root, self.shards[shard], config, rows[here].tolist()))
            except ShardError as error:
                self.tell(self.shards[shard], error.code, str(error))
                found = {}
            for key in here:
                labels = found.get(int(rows[key]), {})
                faces = max(len(labels.get("head_pose", ())), 1)
                count = faces if config == "scenes" else int(lengths[key])
                total += count
                if total > MAX_MISSING_ROWS:
                    self.tell(
                        "", "frames-missing", "too many frames without a row in frames; their labels are left out"
                    )
                    return
                yield _frame_table(int(key), count, labels, config == "scenes")

    def _conclude(self) -> None:
        """What is asked of all frames again and again."""
        with self.cursor() as cursor:
            found = cursor.execute("SELECT DISTINCT key, expression FROM frames ORDER BY ALL").fetchnumpy()
            expression = np.ma.filled(np.ma.asarray(found["expression"]), -1).astype(np.int64)
            self.expressed = np.asarray(found["key"]).astype(np.int64), expression
            lows = [f"{end}({n})" for n in ("yaw", "pitch", "roll") for end in ("min", "max")]
            limits = cursor.execute(f"SELECT {', '.join(lows)} FROM frames").fetchall()[0]
            for n, name in enumerate(("yaw", "pitch", "roll")):
                low, high = limits[2 * n : 2 * n + 2]
                if low is not None:
                    self.ranges[name] = [float(np.floor(low)), float(np.ceil(high))]  # whole degrees
            middle = pa.table({"frame_index": pc.divide(self.items["frames"], 2).combine_chunks()})
            middle = middle.append_column("key", pa.array(np.arange(self.count, dtype=np.int32)))
            still = pc.equal(self.items["config"], 0)
            middle = middle.set_column(0, "frame_index", pc.if_else(still, middle["frame_index"], 0))
            cursor.register("middle", middle)
            query = "SELECT key, any_value(yaw) yaw FROM frames JOIN middle USING (key, frame_index) GROUP BY key"
            yaws = cursor.execute(query).fetchnumpy()
            self.cover_yaw[np.asarray(yaws["key"])] = np.ma.filled(np.ma.asarray(yaws["yaw"]), np.nan)
        for column in ("item_id", "subject"):
            self.rank(column)


_SQL = {pa.int32(): "INTEGER", pa.int16(): "SMALLINT", pa.float32(): "FLOAT"}


def _codes(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
    return np.asarray(pc.fill_null(column, -1)).astype(np.int32)


def _frame_table(key: int, count: int, labels: dict[str, list[Any]], scene: bool) -> pa.Table:
    def padded(name: str) -> list[Any]:
        values = list(labels.get(name, ()))[:count]
        return values + [None] * (count - len(values))

    poses = [p if p is not None and len(p) == 3 else [None] * 3 for p in padded("head_pose")]
    angles = np.array(poses, dtype=object).reshape(count, 3).astype(np.float32)
    classes = [None if e is None or not 0 <= e < 2**15 else e for e in padded("expression")]
    return pa.table(
        {
            "key": np.full(count, key, np.int32),
            "frame_index": np.zeros(count, np.int32) if scene else np.arange(count, dtype=np.int32),
            # NaN compares as the largest number: null
            **{
                n: pa.array(np.ascontiguousarray(angles[:, k]), from_pandas=True)
                for k, n in enumerate(FRAMES.names[2:5])
            },
            "expression": pa.array(classes, pa.int16()),
            "face_count": pa.array(padded("face_count"), pa.int16()),
        },
        schema=FRAMES,
    )
