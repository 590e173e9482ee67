"""How far each label of a release can be trusted: in how many frames it is known, and what it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import ATTRIBUTES
from thermvision.curation.release import Manifest
from thermvision.curation.reviews.values import corrected
from thermvision.dataset_card.responsible import TRUTH

# columns of `frames`, and what a card calls them
LABELS = {
    "bbox": "face box",
    "landmarks": "68 landmarks",
    "landmark_state": "visibility of landmarks",
    "head_pose": "head pose",
    "expression": "expression",
    "eye_openness": "openness of eyes",
    "mouth_openness": "openness of the mouth",
    **{name: name for name in ATTRIBUTES},
    "gender": "gender",
}
_MOST_SOURCES = 4  # that a cell names
_LENGTH = 60  # of the name of a source


@dataclass
class Known:
    """Counts over the rows of `frames`.

    Attributes:
        frames: rows.
        by_source: rows by what made their annotations.
        labels: column to source to rows that know it; a box of NaNs is known: there is no face.
    """

    frames: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in LABELS})

    def total(self, name: str) -> int:
        """Rows that know a column."""
        return self.labels[name].total()


def known_labels(root: Path, manifest: Manifest) -> Known:
    """What the `frames` of the release in ``root`` know, from which source.

    Raises:
        DamagedInputError: a shard does not read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = Known()
    for shard in manifest.shards_of("frames"):
        path = root / shard.path
        try:
            with pq.ParquetFile(path) as file:
                names = [n for n in LABELS if n in file.schema_arrow.names]
                for group in range(file.num_row_groups):
                    _add(found, file.read_row_group(group, columns=["annotation_source", *names]), names)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DamagedInputError(f"{path} does not read as Parquet ({error}); run: thermvision verify") from error
    return found


def _add(found: Known, table: Any, names: list[str]) -> None:
    import pyarrow as pa

    valid = {name: table[name].is_valid() for name in names}
    rows = pa.table({"source": table["annotation_source"], **valid}).group_by("source")
    sums = rows.aggregate([*((name, "sum") for name in names), ([], "count_all")]).to_pylist()
    for row in sums:
        source = _source(row["source"])
        found.frames += row["count_all"]
        found.by_source[source] += row["count_all"]
        for name in names:
            found.labels[name][source] += row[f"{name}_sum"] or 0


def _source(text: str | None) -> str:
    """What an ``annotation_source`` names: its first part; what follows says which columns somebody corrected."""
    if not text:
        return "not known"
    return f"{text.split('; ')[0]}, corrected by a person" if corrected(text) else text.split("; ")[0]


def label_rows(found: Known, agreeing: Mapping[str, str], imported: bool = False) -> list[dict[str, str]]:
    """A row for the labels that some frame knows: names, frames, sources, and how the shipped models agree with them.

    Labels that have all of that in common share a row. Gender is no annotation: a recipe or a folder says it.
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, sources in found.labels.items():
        if sources.total():
            frames = f"{sources.total():,} of {found.frames:,}"
            source = sources_text(sources)
            if name == "gender":
                source = "names of published files" if imported else "the recipe"
            agreement = agreeing.get(name, "–")
            group = name if name in agreeing else "attributes" if name in ATTRIBUTES else ""
            rows.setdefault((frames, source, agreement, group), []).append(LABELS[name])
    return [
        {"name": ", ".join(names), "frames": key[0], "source": key[1], "agreement": key[2]}
        for key, names in rows.items()
    ]


def sources_text(sources: Counter[str]) -> str:
    """Sources in words, those of most frames first.

    >>> sources_text(Counter({"ground_truth": 480, "thermal@1": 20}))
    'ground truth 480, `thermal@1` 20'
    >>> sources_text(Counter({"ground_truth": 480}))
    'ground truth'
    """
    ordered = [(s, n) for s, n in sorted(sources.items(), key=lambda pair: (-pair[1], pair[0])) if n]
    names = [_named(source) for source, _ in ordered]
    if len(ordered) == 1:
        return names[0]
    told = [f"{name} {n:,}" for name, (_, n) in zip(names, ordered, strict=True)][:_MOST_SOURCES]
    more = sum(n for _, n in ordered[_MOST_SOURCES:])
    return ", ".join([*told, *([f"{len(ordered) - _MOST_SOURCES:,} others {more:,}"] if more else [])])


def _named(source: str) -> str:
    if source.startswith(TRUTH):
        return "ground truth" + source.removeprefix(TRUTH)
    return code(source, _LENGTH)


def code(text: str, most: int = 200) -> str:
    """A name of another file as code of one line, in a table too, at most so long.

    >>> code("a`b|c d", 6)
    "`a'b/c …`"
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in text.replace("`", "'").replace("|", "/"))
    return f"`{plain[:most]}{'…' if len(plain) > most else ''}`"
