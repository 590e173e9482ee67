"""Every byte of a release against its manifest."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from thermvision.annotations.errors import ThermVisionError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import ADDED_COLUMNS, CATEGORIES, features

from .contents import (
    OWN_FOLDERS,
    READ_BY_LOADERS,
    SEALED_FILES,
    SEALED_FOLDERS,
    SIGNATURE,
    entries,
    is_sealed,
    listed,
    may_be_sealed,
    oddity,
)
from .pack import Shard, shard_folder
from .release import MANIFEST, MAX_CARD_BYTES, README, YAML_LOADER, Manifest, front_matter, read_release
from .store import PARTIAL, sha256_file

_PENDING = 16  # files that wait for a thread that hashes
_ROWS = 2**14  # that are read at a time
_RECIPES = ("recipes/", "decisions/", "repairs/")  # where builds, `apply` and `check --fix` say what made a version


def verify_release(
    root: Path, advance: Callable[[int], None] = lambda shards: None, *, workers: int = 2
) -> list[Finding]:
    """Everything in ``root`` that disagrees with its manifest: all findings, not the first.

    Checked: SHA-256 of every file that is listed; size, rows, schema and identities of each shard; links, and files
    nobody lists; the YAML that `load_dataset` reads; lists of protocols; and that no identity is in two splits.
    Releases made before there were seals list no card and no pictures, whose bytes are then not compared.

    Args:
        root: the release.
        advance: called with 1 for each shard done.
        workers: threads that hash, while this one reads rows.

    Raises:
        UsageError: there is no release in ``root``.
        DamagedInputError: the manifest itself cannot be read.
    """
    release = read_release(root)
    there = {e.path: e.plain for e in entries(root)}
    links = [path for path, plain in there.items() if not plain]
    findings = [*_manifest(release), *_paths(release), *_links(root, links), *_strangers(root, release, there)]
    if any(f.code in ("identity-twice", "file-path") for f in findings):
        return sorted(findings)  # there are no such class names, and what is listed may lie behind a hidden link
    if _reached("protocols/protocols.json", links):
        findings += _lists(root, release)
    shards = {s.path: s for s in release.shards}
    columns: dict[str, set[str]] = defaultdict(set)
    ids = tuple(release.subject_ids)
    schemas = {config: expected_schema(config, ids) for config in sorted({s.config for s in release.shards})}
    people = {i.subject_id: (i.split, number) for number, i in enumerate(release.identities)}
    wanted = listed(release)
    within = [path for path in wanted if _reached(path, links)]
    for path, seen in _digests(root, within, workers):
        findings.extend(_file(root, path, wanted[path], seen, shards.get(path)))
        if seen is not None and path in shards:
            shard = shards[path]
            findings.extend(_rows(root, shard, schemas[shard.config], people, columns))
        advance(int(path in shards))
    findings += card_findings(root, release, columns)
    return sorted(findings)


def _manifest(release: Manifest) -> Iterator[Finding]:
    for twice in _repeated(release.subject_ids):
        yield Finding(MANIFEST, "identity-twice", f"identity {twice} is listed twice; allowed: once, in one split")
    paths = [s.path for s in release.shards]
    for twice in _repeated(paths):
        yield Finding(MANIFEST, "shard-twice", f"shard {twice} is listed twice")
    others = [*release.recipes, *release.files]
    for twice in sorted(({*paths} & {*others}) | (release.recipes.keys() & release.files.keys())):
        yield Finding(MANIFEST, "file-twice", f"{twice} is listed twice; allowed: as a shard, a recipe or another file")
    for path in sorted({MANIFEST, SIGNATURE} & {*others}):
        yield Finding(MANIFEST, "file-twice", f"{path} is listed; the manifest answers for itself by its signature")


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _paths(release: Manifest) -> Iterator[Finding]:
    for shard in release.shards:
        place = f"{shard_folder(shard.config)}/{shard.split}-"
        if not (shard.path.startswith(place) and re.fullmatch(r"[\w.-]+\.parquet", shard.path.removeprefix(place))):
            message = f"load_dataset does not find the shard there; allowed: {place}*.parquet"
            yield Finding(shard.path, "shard-path", message)
    for path in release.recipes:
        if not path.startswith(_RECIPES) or _odd(path):
            message = f"the file is listed as a recipe; allowed: plain names in {', '.join(_RECIPES)}"
            yield Finding(path, "file-path", message)
    for path in release.files:
        if not may_be_sealed(path) or _odd(path):
            own = ", ".join((*SEALED_FILES, *(f"{f}/" for f in SEALED_FOLDERS)))
            message = f"the file is listed and no part of a release; allowed: plain names, no scripts, of {own}"
            yield Finding(path, "file-path", message)


def _odd(path: str) -> bool:
    """Whether a path is hidden (so that links on its way are not seen), a script, or holds control characters."""
    return any(p.startswith(".") for p in path.split("/")) or not path.isprintable() or path.lower().endswith(".py")


def _links(root: Path, links: Sequence[str]) -> Iterator[Finding]:
    for path in links:
        yield Finding(
            path, "link", f"the file is {oddity(root / path)}; a release holds plain files: put a copy in its place"
        )


def _reached(path: str, links: Collection[str]) -> bool:
    """Whether a file lies in the release itself, and not behind one of its ``links``."""
    return not any(path == link or path.startswith(f"{link}/") for link in links)


def _strangers(root: Path, release: Manifest, there: Mapping[str, bool]) -> Iterator[Finding]:
    for name in (*READ_BY_LOADERS, f"{root.resolve().name}.py"):
        if os.path.lexists(root / name):
            message = "load_dataset reads the file, and then loads other data or fails; move it out of the release"
            yield Finding(name, "unlisted-file", message)
    known = listed(release)
    folders = OWN_FOLDERS if is_sealed(release) else ("data",)
    for path, plain in there.items():
        if path in known or not plain or path.split("/")[0] not in folders:
            continue
        if path.endswith(PARTIAL):
            yield Finding(path, "partial-file", "the file was left half written; move it out of the release")
        else:
            yield Finding(path, "unlisted-file", f"the file is not in the manifest; {_way_in(path)}")


def _way_in(path: str) -> str:
    own = "move it out of the release"
    return own if path.startswith(("data/", "recipes/")) else f"{own}, or list it: thermvision card DIR --keep"


def _lists(root: Path, release: Manifest) -> Iterator[Finding]:
    if (root / "protocols" / "protocols.json").is_file():
        from .benchmark import FOLDER, list_findings

        yield from list_findings(root / FOLDER, release)


def card_findings(root: Path, release: Manifest, columns: Mapping[str, Collection[str]] | None = None) -> list[Finding]:
    """Where the YAML of the card is not what the manifest asks for.

    A card may be older than a column, like the shards it describes. ``columns``, by config, are those among
    `ADDED_COLUMNS` that some shard has and the card must therefore tell; None: it need not tell any.
    """
    path = root / README
    if not path.is_file():
        return [Finding(README, "file-missing", "the card is not there, so load_dataset cannot read the configs")]
    with path.open(encoding="utf-8", errors="replace") as file:
        parts = file.read(MAX_CARD_BYTES).split("---\n", 2)
    try:
        seen = yaml.load(parts[1], YAML_LOADER) if len(parts) == 3 and not parts[0] else None
    except (yaml.YAMLError, RecursionError, ValueError):
        seen = None
    expected = yaml.load(front_matter(release), YAML_LOADER)
    told = seen if isinstance(seen, dict) else {}
    for info, mine in zip(_entries(told), expected["dataset_info"], strict=False):
        optional = set(ADDED_COLUMNS) - _columns_of(mine["config_name"], columns or {}) - _names(info)
        mine["features"] = [f for f in mine["features"] if f["name"] not in optional]
    return [
        Finding(README, "card-yaml", f"{key} in the card disagree with the manifest; write it anew: thermvision card")
        for key in ("configs", "dataset_info")
        if told.get(key) != expected[key]
    ]


def _entries(card: Mapping[str, Any]) -> list[Any]:
    found = card.get("dataset_info")
    return found if isinstance(found, list) else []


def _names(info: Any) -> set[str]:
    found = info.get("features") if isinstance(info, dict) else None
    return {str(f.get("name")) for f in found if isinstance(f, dict)} if isinstance(found, list) else set()


def _columns_of(config: str, columns: Mapping[str, Collection[str]]) -> set[str]:
    """Columns of a config's shards; of `image`, those of every category."""
    return {name for c in (CATEGORIES if config == "image" else (config,)) for name in columns.get(c, ())}


def _digests(root: Path, paths: Sequence[str], workers: int) -> Iterator[tuple[str, str | None]]:
    """Path and SHA-256 of each file in order, None where it is not there or does not read."""

    def digest(path: str) -> str | None:
        try:
            return sha256_file(root / path) if (root / path).is_file() else None
        except OSError:
            return None

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[str, Future[str | None]]] = deque()
        for path in paths:
            waiting.append((path, pool.submit(digest, path)))
            if len(waiting) >= _PENDING:
                name, future = waiting.popleft()
                yield name, future.result()
        for name, future in waiting:
            yield name, future.result()


def _file(root: Path, path: str, digest: str, seen: str | None, shard: Shard | None) -> Iterator[Finding]:
    if seen is None:
        if path != README:  # told by `card_findings`
            what = "the shard" if shard else "the file"
            yield Finding(path, "file-missing", f"{what} is listed and not there, or cannot be read")
        return
    if shard and (size := (root / path).stat().st_size) != shard.bytes:
        yield Finding(path, "size", f"the file has {size} bytes; the manifest says {shard.bytes}")
    if seen != digest:
        yield Finding(path, "digest", "the SHA-256 differs from the manifest's: some byte of the file has changed")


@lru_cache(maxsize=32)
def expected_schema(config: str, subject_ids: tuple[str, ...]) -> pa.Schema:
    """The schema of a config's shards; once for all of them, because it takes ten milliseconds to make."""
    return features(config, subject_ids).arrow_schema


def wide_identity(schema: pa.Schema) -> pa.Schema:
    """``schema`` with 64-bit identities and no metadata.

    A release that grows beyond `MAX_CLASS_NAMES` writes 32-bit ones and keeps the shards it has: readers cast, and to
    compare columns both must be the same.
    """
    fields = [pa.field(f.name, _wide(f.type) if f.name == "faces" else f.type) for f in schema]
    return pa.schema([pa.field("identity", pa.int64()) if f.name == "identity" else f for f in fields])


def _wide(faces: pa.DataType) -> pa.DataType:
    if not pa.types.is_struct(faces):
        return faces
    return pa.struct([pa.field(f.name, pa.list_(pa.int64()) if f.name == "identity" else f.type) for f in faces])


def _rows(
    root: Path, shard: Shard, schema: pa.Schema, people: Mapping[str, tuple[str, int]], columns: Mapping[str, set[str]]
) -> list[Finding]:
    try:
        return list(_table(root / shard.path, shard, schema, people, columns))
    except (pa.ArrowException, OSError, ThermVisionError) as error:
        return [Finding(shard.path, "unreadable", f"the file is no whole Parquet file ({str(error)[:200]})")]


def _table(
    path: Path,
    shard: Shard,
    expected: pa.Schema,
    people: Mapping[str, tuple[str, int]],
    columns: Mapping[str, set[str]],
) -> Iterator[Finding]:
    file = pq.ParquetFile(path)
    if file.metadata.num_rows != shard.rows:
        yield Finding(shard.path, "rows", f"the file has {file.metadata.num_rows} rows; the manifest says {shard.rows}")
    there = file.schema_arrow
    columns[shard.config].update({*ADDED_COLUMNS} & {*there.names})
    for name in ADDED_COLUMNS:  # a shard may be older than a column
        if name in expected.names and name not in there.names:
            expected = expected.remove(expected.get_field_index(name))
    if not wide_identity(there).equals(wide_identity(expected)):
        names = sorted({*there.names} ^ {*expected.names}) or ["the types of its columns"]
        yield Finding(shard.path, "schema", f"the schema is not that of config {shard.config}: {', '.join(names)}")
        return
    for subject, identity in sorted(_identities(file), key=repr):  # untrusted: there may be nulls
        where, number = people.get(subject, ("in no split", None))
        if where != shard.split:
            yield Finding(shard.path, "split", f"{subject} is {where} in the manifest and {shard.split} in the shard")
        if number != identity:
            yield Finding(shard.path, "identity", f"{subject} has class {identity}; the manifest says {number}")


def _identities(file: pq.ParquetFile) -> set[tuple[str, int]]:
    """Every subject id of a shard with its class number, those of the faces in a scene as well."""
    found: set[tuple[str, int]] = set()
    alone = "subject_id" in file.schema_arrow.names
    # in parts: a file of a few bytes may say that it has a billion equal rows
    for part in file.iter_batches(
        _ROWS, columns=[f"{'' if alone else 'faces.'}{n}" for n in ("subject_id", "identity")]
    ):
        if alone:
            found.update(zip(part["subject_id"].to_pylist(), part["identity"].to_pylist(), strict=True))
            continue
        for faces in part["faces"].to_pylist():
            found.update(zip(faces["subject_id"], faces["identity"], strict=True))
    return found
