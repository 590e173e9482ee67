"""Split tables: who or what belongs to which split, as a small file that is applied when rows are loaded.

A table names subjects (columns ``subject_id``, ``split``) or items (``item_id``, ``split``; the id of a clip or still),
and says in ``reason``, ``made_by`` and ``made_at`` why, by whom and when. Media are never rewritten. The split
"excluded" leaves something out on purpose.
"""

from __future__ import annotations

import getpass
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import ATTRIBUTES, GENDERS

from .store import atomic_path, atomic_write

if TYPE_CHECKING:
    import pandas as pd

EXCLUDED = "excluded"  # split name for what is left out on purpose
# splits that may share people: a probe is searched in the gallery, a control shows people without the attribute
MAY_SHARE = (frozenset({"gallery", "probe"}), frozenset({"test", "control"}))
_ITEM_COLUMNS = ("clip_id", "image_id", "item_id")


@dataclass(frozen=True)
class SplitTable:
    """A table of splits.

    Attributes:
        by: what ``splits`` is keyed by: "subject_id" or "item_id".
        splits: subject or item to split.
        reasons: subject or item to why it is there.
        subjects: of a table by item, the subject of each.
        made_by, made_at: who made it and when (UTC, ISO 8601); empty where nobody says.

    >>> SplitTable("subject_id", {"F_01": "fold0", "F_02": "excluded"}).names
    ['fold0']
    """

    by: Literal["subject_id", "item_id"]
    splits: Mapping[str, str]
    reasons: Mapping[str, str] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""
    made_at: str = ""

    @property
    def names(self) -> list[str]:
        """The splits that rows are dealt into, sorted."""
        return sorted({s for s in self.splits.values() if s != EXCLUDED})

    def split_of(self, name: str) -> str:
        """The split of a subject or item.

        Raises:
            UsageError: the table does not name it.
        """
        if name not in self.splits:
            what = "" if self.by == "subject_id" else "the item "
            raise UsageError(
                f"the split table does not name {what}{name}; give it a split, or {EXCLUDED!r} to leave it out"
            )
        return self.splits[name]


def signed(table: SplitTable, by: str | None = None) -> SplitTable:
    """The table with who makes it and when; without ``by`` the user of this process."""
    if by is None:
        try:
            by = getpass.getuser()
        except (OSError, KeyError, ImportError):  # a container's user may have no name
            by = "unknown"
    return replace(table, made_by=by, made_at=datetime.now(UTC).isoformat(timespec="seconds"))


def read_split_table(table: SplitTable | Mapping[str, str] | str | Path) -> SplitTable:
    """A split table, from a mapping of subjects or from a CSV or Parquet file.

    A file with a column ``item_id`` is a table of items, even if it also names their subjects.

    >>> read_split_table({"F_01": "fold0"}).splits
    {'F_01': 'fold0'}

    Raises:
        UsageError: the file is not there, lacks a column, leaves a cell empty or names somebody twice.
        DamagedInputError: it does not read.
    """
    if isinstance(table, SplitTable):
        return table
    if isinstance(table, Mapping):
        return SplitTable("subject_id", {str(k): str(v) for k, v in table.items()})
    path = Path(table)
    frame = _read_frame(path)
    columns = set(frame.columns)
    by: Literal["subject_id", "item_id"] = "item_id" if "item_id" in columns else "subject_id"
    if missing := {by, "split"} - columns:
        raise UsageError(
            f"split table {path} lacks {', '.join(sorted(missing))}; allowed columns: subject_id or item_id, split,"
            " reason, made_by, made_at"
        )
    if frame[[by, "split"]].isna().any(axis=None) or (frame[[by, "split"]].astype(str) == "").any(axis=None):
        raise UsageError(f"split table {path} has an empty cell in {by} or split; allowed: a name in each")
    keys = frame[by].astype(str)
    if twice := sorted(keys[keys.duplicated()].unique()):
        raise UsageError(f"split table {path} names {', '.join(twice[:5])} twice; allowed: one row each")

    def column(name: str) -> dict[str, str]:
        return {k: str(v) for k, v in zip(keys, frame[name], strict=True) if v is not None} if name in columns else {}

    made = {n: next(iter(column(n).values()), "") for n in ("made_by", "made_at")}
    subjects = column("subject_id") if by == "item_id" else {}
    return SplitTable(by, column("split"), column("reason"), subjects, **made)


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix not in (".csv", ".parquet") or not path.is_file():
        raise UsageError(
            f"split table {path} is not readable; allowed: an existing .csv or .parquet file, or a mapping"
        )
    try:
        csv = path.suffix == ".csv"
        frame = pd.read_csv(path, dtype=str, keep_default_na=False) if csv else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # parser errors of pandas and of Arrow are ValueErrors
        raise DamagedInputError(f"split table {path} does not read ({error}); make or fetch it again") from error
    if csv and not isinstance(frame.index, pd.RangeIndex):  # pandas took the first cells of each row for its name
        raise UsageError(f"split table {path} has rows with more cells than its header; allowed: as many, quoted")
    return frame


def write_split_table(table: SplitTable, path: Path) -> None:
    """Write a table as CSV or Parquet, whichever the suffix of ``path`` says.

    Raises:
        UsageError: the suffix is another.
        OutputError: no room or no permission.
    """
    import pandas as pd

    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--out is {path}; allowed: a name that ends in .csv or .parquet")
    keys = list(table.splits)
    columns: dict[str, list[str]] = {table.by: keys}
    if table.by == "item_id" and table.subjects:
        columns["subject_id"] = [table.subjects.get(k, "") for k in keys]
    columns["split"] = [table.splits[k] for k in keys]
    columns["reason"] = [table.reasons.get(k, "") for k in keys]
    columns |= {"made_by": [table.made_by] * len(keys), "made_at": [table.made_at] * len(keys)}
    frame = pd.DataFrame(columns)
    if path.suffix == ".csv":
        text = io.StringIO()
        frame.to_csv(text, index=False, lineterminator="\n")
        atomic_write(path, text.getvalue())
        return
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)


def apply_split_table(data: Any, table: SplitTable) -> Any:
    """Deal the rows of a `DatasetDict` (or an iterable one) into the splits of ``table``.

    Raises:
        UsageError: a subject or item of the data is not in the table, or its rows have no such column.
    """
    from datasets import DatasetDict, IterableDatasetDict, concatenate_datasets

    everything = concatenate_datasets(list(data.values()))
    if isinstance(data, IterableDatasetDict):

        def among(row: dict[str, Any], name: str) -> bool:
            return table.split_of(row[_key_column(table, row)]) == name

        return IterableDatasetDict({n: everything.filter(among, fn_kwargs={"name": n}) for n in table.names})
    splits = [table.split_of(name) for name in everything[_key_column(table, everything.column_names)]]
    return DatasetDict({n: everything.select([i for i, s in enumerate(splits) if s == n]) for n in table.names})


def _key_column(table: SplitTable, columns: Collection[str]) -> str:
    wanted = ("subject_id",) if table.by == "subject_id" else _ITEM_COLUMNS
    found = next((name for name in wanted if name in columns), None)
    if found is None:
        raise UsageError(f"a split table deals rows by {table.by}, and this config has none; leave split_table out")
    return found


def check_split_table(table: SplitTable, items: pd.DataFrame) -> list[Finding]:
    """What is wrong with a table for the release whose ``items`` (see `protocols.items.read_items`) are given.

    Found are subjects and items that it does not name or that the release does not have, people in two splits that may
    not share any (see `MAY_SHARE`), and a split of no item.
    """
    findings = []
    there = items[table.by].drop_duplicates()
    what = "item" if table.by == "item_id" else "subject"
    for name in there[~there.isin(list(table.splits))]:
        message = f"the table does not name this {what}; give it a split, or {EXCLUDED!r} to leave it out"
        findings.append(Finding(str(name), f"unnamed-{what}", message))
    known = set(there)
    for name in table.splits:
        if name not in known:
            findings.append(Finding(name, f"unknown-{what}", f"the release has no such {what}; take the row out"))
    dealt = dealt_items(table, items)
    for subject, splits in dealt.groupby("subject_id", sort=True)["split"].unique().items():
        shared = set(splits)
        if len(shared) > 1 and not any(shared <= allowed for allowed in MAY_SHARE):
            message = f"one person is in {', '.join(sorted(shared))}; allowed: one split, or gallery and probe"
            findings.append(Finding(str(subject), "identity-in-two-splits", message))
    for name in table.names:
        if not (dealt["split"] == name).any():
            findings.append(Finding(name, "empty-split", "no item of the release is in this split"))
    return findings


def dealt_items(table: SplitTable, items: pd.DataFrame) -> pd.DataFrame:
    """The items that are in a split, with the column ``split``; what is excluded or not named is left out."""
    dealt = items.assign(split=items[table.by].map(dict(table.splits)))
    return dealt[dealt["split"].notna() & (dealt["split"] != EXCLUDED)]


def balance(table: SplitTable, items: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Figures of each split: people, items, frames, people of each gender, and the part of items with each attribute.

    The parts are of the items whose attribute is known.
    """
    figures = {}
    for name, part in dealt_items(table, items).groupby("split", sort=False):
        people = part.drop_duplicates("subject_id")
        attributes = {}
        for attribute in ATTRIBUTES:
            known = part[attribute][part[attribute] != ""]
            counts = known.value_counts(normalize=True)
            attributes[attribute] = {v: round(float(counts[v]), 4) for v in ATTRIBUTES[attribute] if v in counts}
        figures[str(name)] = {
            "people": len(people),
            **{g: int((people["gender"] == g).sum()) for g in GENDERS},
            "items": len(part),
            "frames": int(part["frames"].sum()),
            "attributes": attributes,
        }
    return {name: figures[name] for name in table.names if name in figures}
