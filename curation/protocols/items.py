"""The items of a release with what splits and lists are made of: person, recording, attributes; no pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES

from ..release import Manifest, read_release

if TYPE_CHECKING:
    import pandas as pd

_OF_ITEM = ("item_id", "subject_id", "gender", "sequence", "category", *ATTRIBUTES)


def frame_columns(root: Path, manifest: Manifest, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Birth split and some columns of the config `frames`, row group by row group; a column a shard lacks is null.

    Raises:
        DamagedInputError: a shard does not read.
    """
    for shard in manifest.shards_of("frames"):
        try:
            file = pq.ParquetFile(root / shard.path)
            there = [name for name in columns if name in file.schema_arrow.names]
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=there)
                for name in columns:
                    if name not in there:
                        table = table.append_column(name, pa.nulls(table.num_rows))
                yield shard.split, table
        except (pa.ArrowException, OSError) as error:
            raise DamagedInputError(
                f"{shard.path} of {root} does not read ({error}); type: thermvision verify {root}"
            ) from error


def label_sources(root: Path, manifest: Manifest, split: str) -> list[str]:
    """A note for each maker of labels of a split (or "all") that are taken for truth and are not ground truth."""
    counts: Counter[str] = Counter()
    for birth, table in frame_columns(root, manifest, ("annotation_source",)):
        if split in ("all", birth):
            counts.update(str(source) for source in table["annotation_source"].to_pylist())
    made = sorted((name, n) for name, n in counts.items() if name != "ground_truth")
    return [f"{n} frames carry labels made by {name!r}, taken for truth here" for name, n in made]


def class_names(values: Any, names: Sequence[str]) -> Any:
    """Class indices (N,) of an Arrow column as an object array of names, "" where not known."""
    numbers = values.to_pandas().fillna(-1).to_numpy().astype(int)
    known = (numbers >= 0) & (numbers < len(names))
    return np.where(known, np.array([*names, ""], object)[np.where(known, numbers, -1)], "")


def recordings(table: pa.Table) -> Any:
    """The recording of each frame (N,), as evaluation names it: ``00-head_pose``, ``10-frontal_pose``, …; or ""."""
    sequence, category = class_names(table["sequence"], SEQUENCES), class_names(table["category"], CATEGORIES)
    sorts = {name: f"{kind}{n}-{name}" for kind, known in enumerate((SEQUENCES, CATEGORIES))
             for n, name in enumerate(known)}  # fmt: skip
    return np.array([sorts.get(s or c, "") for s, c in zip(sequence, category, strict=True)], object)


def read_items(root: Path) -> pd.DataFrame:
    """One row a clip or still, in the order of the release.

    Columns: item_id, subject_id, gender, birth (the split of the identity), recording, is_clip, frames, each of
    `ATTRIBUTES` (class names, "" where not known), and expressions (int, bit n: `EXPRESSIONS`[n] occurs).

    Raises:
        UsageError: it is no release, or has no frames.
        DamagedInputError: a shard does not read.
    """
    import pandas as pd

    manifest = read_release(root)
    pieces = []
    for split, table in frame_columns(root, manifest, (*_OF_ITEM, "expression")):
        bits = table["expression"].to_pandas().fillna(-1).to_numpy().astype(int)
        frame = pd.DataFrame({
            "item_id": table["item_id"].to_pandas(),
            "subject_id": table["subject_id"].to_pandas(),
            "gender": class_names(table["gender"], GENDERS),
            "birth": split,
            "recording": recordings(table),
            "is_clip": class_names(table["sequence"], SEQUENCES) != "",
            "frames": 1,
            **{name: class_names(table[name], known) for name, known in ATTRIBUTES.items()},
            "expressions": np.where((bits >= 0) & (bits < len(EXPRESSIONS)), 1 << np.maximum(bits, 0), 0),
        })  # fmt: skip
        pieces.append(_of_items(frame))
    if not pieces:
        raise UsageError(f"{root} has no rows in `frames`, so nothing can be dealt; build or import a release")
    return _of_items(pd.concat(pieces, ignore_index=True))


def _of_items(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each item of a frame of pieces of items."""
    number, ids = frame["item_id"].factorize()
    first = frame.drop_duplicates("item_id").reset_index(drop=True)
    bits = np.zeros(len(ids), np.int64)
    np.bitwise_or.at(bits, number, frame["expressions"].to_numpy())
    counts = np.bincount(number, frame["frames"].to_numpy(), len(ids)).astype(int)
    return first.assign(frames=counts, expressions=bits)


def people_of(items: pd.DataFrame) -> pd.DataFrame:
    """One row a person, sorted: subject_id, gender, birth, and ``labels``, how many of his items show which attribute.

    Labels are "hairstyle=bob", "beard=full" and, where there is a "none", "beard" for any other value.
    """
    import pandas as pd

    first = items.drop_duplicates("subject_id").sort_values("subject_id", ignore_index=True)
    people = first[["subject_id", "gender", "birth"]]
    labels: dict[str, Counter[str]] = {subject: Counter() for subject in people["subject_id"]}
    for name, known in ATTRIBUTES.items():
        worn = items[~items[name].isin(["", "none"])].groupby(["subject_id", name], sort=True).size().reset_index()
        for subject, value, count in worn.itertuples(index=False, name=None):
            labels[subject][f"{name}={value}"] += int(count)
            if "none" in known:
                labels[subject][name] += int(count)
    return people.assign(labels=pd.Series(list(labels.values()), dtype=object))
