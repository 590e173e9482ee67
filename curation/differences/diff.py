"""What differs between two releases: versions, identities, shards, items and columns, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import CONFIGS

from ..pack import Shard
from ..places import Place
from ..release import MAX_CARD_BYTES, README, YAML_LOADER, Identity, Manifest
from ..sources import reading_part
from .row_digests import DIGEST_BYTES, digest

_ABSENT = b"\0" * DIGEST_BYTES  # a column that a row does not have
_IDS = ("clip_id", "image_id", "item_id")

Digests = dict[str, bytes]  # column to digest


def compare(before: Place, after: Place) -> dict[str, Any]:
    """All that differs between two releases, as plain values; nothing but rows of shards that differ is read.

    ``items`` are by config and id; a changed one names the columns whose content differs. Items in shards that both
    hold under whatever name are equal. ``columns`` are those that the cards declare.

    Raises:
        DamagedInputError: a shard or a card does not read.
        RemoteError: a shard that must be read does not come.
    """
    old, new = before.release, after.release
    configs = [c for c in CONFIGS if c != "image"]
    items = {c: item_changes(c, before, after) for c in configs}
    columns = {c: _columns_of(c, before, after) for c in configs if c in old.configs and c in new.configs}
    found: dict[str, Any] = {
        "before": _named(before),
        "after": _named(after),
        "name": [] if old.name == new.name else [old.name, new.name],
        "version": [] if old.version == new.version else [old.version, new.version],
        "identities": _identities(old.identities, new.identities),
        "configs": _names(old.configs, new.configs),
        "columns": {c: d for c, d in columns.items() if any(d.values())},
        "shards": _shards(old.shards, new.shards),
        "items": {c: d for c, d in items.items() if any(d.values())},
        "recipes": _digests(old.recipes, new.recipes),
        "files": _digests(old.files, new.files),
        "engines": _digests(old.engines, new.engines),
        "licences": _digests(old.licences, new.licences),
        "failed": _names((f.item_id for f in old.failed), (f.item_id for f in new.failed)),
    }
    return found | {"same": not any(_content(value) for key, value in found.items() if key not in ("before", "after"))}


def _content(value: Any) -> bool:
    """Whether there is anything in a difference but counts."""
    if isinstance(value, Mapping):
        return any(_content(v) for v in value.values())
    return isinstance(value, list) and bool(value)


def _named(place: Place) -> dict[str, Any]:
    release = place.release
    return {"place": place.name, "name": release.name, "version": release.version, "parent": release.parent}


def _names(before: Iterable[str], after: Iterable[str]) -> dict[str, list[str]]:
    old, new = list(before), list(after)
    lost, born = set(old) - set(new), set(new) - set(old)
    return {"added": [n for n in new if n in born], "removed": [n for n in old if n in lost]}


def _digests(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[str]]:
    both = before.keys() & after.keys()
    return {**_names(before, after), "changed": sorted(k for k in both if before[k] != after[k])}


def _identities(before: Sequence[Identity], after: Sequence[Identity]) -> dict[str, Any]:
    """Identities are only ever appended: one that changed its number, gender or split is listed with what it was."""
    old = {i.subject_id: (n, i) for n, i in enumerate(before)}
    new = {i.subject_id: (n, i) for n, i in enumerate(after)}
    changed = {}
    for name in (i.subject_id for i in before if i.subject_id in new):
        (number, was), (now_number, now) = old[name], new[name]
        pairs = [("class", number, now_number), ("gender", was.gender, now.gender), ("split", was.split, now.split)]
        if differ := [f"{what} {a} then, {b} now" for what, a, b in pairs if a != b]:
            changed[name] = differ
    return {**_names(old, new), "changed": changed}


def _shards(before: Sequence[Shard], after: Sequence[Shard]) -> dict[str, Any]:
    old, new = {s.path: s for s in before}, {s.path: s for s in after}
    found: dict[str, Any] = _digests({p: s.sha256 for p, s in old.items()}, {p: s.sha256 for p, s in new.items()})
    same = [p for p in old if p in new and old[p].sha256 == new[p].sha256]
    sizes = {key: sum((new if key != "removed" else old)[p].bytes for p in found[key]) for key in found}
    return {**found, "bytes": sizes | {"same": sum(new[p].bytes for p in same)}, "same": len(same)}


def item_changes(config: str, before: Place, after: Place) -> dict[str, Any]:
    """Ids of the items of a config that were ``added`` and ``removed``, and of the ``changed`` ones the columns.

    Raises:
        DamagedInputError: a shard that differs does not read.
        RemoteError: it does not come.
    """
    old, new = _differing(config, before.release, after.release)
    old_ids = {i for s in old for i in _ids(before, s)}
    new_ids = {i for s in new for i in _ids(after, s)}
    both = old_ids & new_ids
    known = {name: found for s in old for name, found in _rows(before, s, both)}
    changed: dict[str, list[str]] = {}
    for shard in new:
        for name, found in _rows(after, shard, both):
            was = known[name]
            names = [c for c in {**was, **found} if was.get(c, _ABSENT) != found.get(c, _ABSENT)]
            if names:
                changed[name] = sorted({*changed.get(name, ()), *names})
    return {"added": sorted(new_ids - old_ids), "removed": sorted(old_ids - new_ids), "changed": changed}


def _differing(config: str, before: Manifest, after: Manifest) -> tuple[list[Shard], list[Shard]]:
    """Shards of a config of each release that the other does not hold byte for byte."""
    old, new = before.shards_of(config), after.shards_of(config)
    both = {s.sha256 for s in old} & {s.sha256 for s in new}
    return [s for s in old if s.sha256 not in both], [s for s in new if s.sha256 not in both]


def _ids(place: Place, shard: Shard) -> list[str]:
    path = place.fetch(shard.path)
    with reading_part(place.root, shard.path):
        file = pq.ParquetFile(path)
        ids: list[str] = file.read(columns=[_key(file.schema_arrow)]).column(0).to_pylist()
        return ids


def _key(schema: pa.Schema) -> str:
    found = next((n for n in _IDS if n in schema.names), None)
    if found is None:
        raise pa.ArrowInvalid(f"it has none of the columns {', '.join(_IDS)}")
    return found


def _rows(place: Place, shard: Shard, wanted: Collection[str]) -> Iterator[tuple[str, Digests]]:
    """Id and digests of each item of ``wanted`` in a shard; the rows of its frames together."""
    if not wanted:
        return
    path = place.fetch(shard.path)
    with reading_part(place.root, shard.path):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).combine_chunks()
            for name, start, length in _runs(table[_key(table.schema)].to_pylist()):
                if name in wanted:
                    columns = ((c, table[c].chunk(0).slice(start, length)) for c in table.column_names)
                    # a column that is null everywhere says no more than one that is not there
                    yield name, {c: _ABSENT if len(a) == a.null_count else digest(a) for c, a in columns}


def _runs(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Name, start and length of each run of equal names."""
    start = 0
    for position in range(1, len(names) + 1):
        if position == len(names) or names[position] != names[start]:
            yield names[start], start, position - start
            start = position


def _columns_of(config: str, before: Place, after: Place) -> dict[str, list[str]]:
    """Columns of a config that one card declares and the other does not, or with another type."""
    return _digests(_declared(before).get(config, {}), _declared(after).get(config, {}))


def _declared(place: Place) -> dict[str, dict[str, Any]]:
    """By config, the columns that the YAML of a release's card declares, with their types."""
    path = place.fetch(README)
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise DamagedInputError(f"{README} of {place.name} is larger than {MAX_CARD_BYTES} bytes")
        card = yaml.load(path.read_text(encoding="utf-8").split("---\n", 2)[1], YAML_LOADER)
        return {info["config_name"]: {f["name"]: _type(f) for f in info["features"]} for info in card["dataset_info"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, RecursionError) as error:
        raise DamagedInputError(
            f"{README} of {place.name} does not declare its columns ({type(error).__name__}); type: thermvision card"
            f" {place.root}"
        ) from error


def _type(feature: Any) -> Any:
    """A declared type without the names of identities: more of them are no other type."""
    if isinstance(feature, list):
        return [_type(f) for f in feature]
    if not isinstance(feature, dict):
        return feature
    if feature.get("name") == "identity":
        return sorted(str(k) for k in (feature["dtype"] if isinstance(feature.get("dtype"), dict) else feature))
    return {k: _type(v) for k, v in feature.items()}
