"""Every byte of a release against its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from thermvision.annotations.errors import ThermVisionError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import ADDED_COLUMNS, features

from .pack import Shard
from .release import MANIFEST, README, Manifest, front_matter, read_release
from .store import PARTIAL, sha256_file

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times faster; not every PyYAML was built with it


def verify_release(root: Path, advance: Callable[[int], None] = lambda shards: None) -> list[Finding]:
    """Everything in ``root`` that disagrees with its manifest: all findings, not the first.

    Checked: size, SHA-256, rows, schema and identities of each shard, files nobody lists, the YAML that
    `load_dataset` reads, recipes, lists of protocols, and that no identity is in two splits.

    Raises:
        UsageError: there is no release in ``root``.
        DamagedInputError: the manifest itself cannot be read.
    """
    release = read_release(root)
    findings = [*_manifest(release), *_recipes(root, release), *_readme(root, release), *_strangers(root, release)]
    findings += _lists(root, release)
    for shard in release.shards:
        findings.extend(_shard(root, release, shard))
        advance(1)
    return sorted(findings)


def _manifest(release: Manifest) -> Iterator[Finding]:
    ids = release.subject_ids
    for twice in sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []:
        yield Finding(MANIFEST, "identity-twice", f"identity {twice} is listed twice; allowed: once, in one split")
    paths = [s.path for s in release.shards]
    for twice in sorted({p for p in paths if paths.count(p) > 1}) if len(set(paths)) < len(paths) else []:
        yield Finding(MANIFEST, "shard-twice", f"shard {twice} is listed twice")


def _recipes(root: Path, release: Manifest) -> Iterator[Finding]:
    for path, digest in release.recipes.items():
        if not (root / path).is_file():
            yield Finding(path, "file-missing", "the file is listed and not there")
        elif sha256_file(root / path) != digest:
            yield Finding(path, "digest", "the SHA-256 differs from the manifest's")


def _lists(root: Path, release: Manifest) -> Iterator[Finding]:
    from .benchmark import FOLDER, INDEX, list_findings

    if (root / FOLDER / INDEX).is_file():
        yield from list_findings(root / FOLDER, release)


def _readme(root: Path, release: Manifest) -> Iterator[Finding]:
    path = root / README
    if not path.is_file():
        yield Finding(README, "file-missing", "the card is not there, so load_dataset cannot read the configs")
        return
    parts = path.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    try:
        seen = yaml.load(parts[1], _LOADER) if len(parts) == 3 and not parts[0] else None
    except yaml.YAMLError:
        seen = None
    expected = yaml.load(front_matter(release), _LOADER)
    for key in ("configs", "dataset_info"):
        if not isinstance(seen, dict) or seen.get(key) != expected[key]:
            yield Finding(
                README, "card-yaml", f"{key} in the card disagree with the manifest; build or export the release anew"
            )


def _strangers(root: Path, release: Manifest) -> Iterator[Finding]:
    listed = {s.path for s in release.shards}
    for path in sorted((root / "data").rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in listed:
            code = "partial-file" if name.endswith(PARTIAL) else "unlisted-file"
            yield Finding(name, code, "the file is not in the manifest; move it out of the release")


def _shard(root: Path, release: Manifest, shard: Shard) -> Iterator[Finding]:
    path = root / shard.path
    if not path.is_file():
        yield Finding(shard.path, "file-missing", "the shard is listed and not there")
        return
    if path.stat().st_size != shard.bytes:
        yield Finding(shard.path, "size", f"the file has {path.stat().st_size} bytes; the manifest says {shard.bytes}")
    if sha256_file(path) != shard.sha256:
        yield Finding(
            shard.path, "digest", "the SHA-256 differs from the manifest's: some byte of the file has changed"
        )
    try:
        yield from _rows(path, release, shard)
    except (pa.ArrowException, OSError, ThermVisionError) as error:
        yield Finding(shard.path, "unreadable", f"the file is no whole Parquet file ({str(error)[:200]})")


@lru_cache(maxsize=32)
def expected_schema(config: str, subject_ids: tuple[str, ...]) -> Any:
    """The `pyarrow.Schema` of a config's shards; once for all of them, because it takes ten milliseconds to make."""
    return features(config, subject_ids).arrow_schema


def _rows(path: Path, release: Manifest, shard: Shard) -> Iterator[Finding]:
    file = pq.ParquetFile(path)
    if file.metadata.num_rows != shard.rows:
        yield Finding(shard.path, "rows", f"the file has {file.metadata.num_rows} rows; the manifest says {shard.rows}")
    expected = expected_schema(shard.config, tuple(release.subject_ids))
    for name in ADDED_COLUMNS:  # a shard may be older than a column
        if name in expected.names and name not in file.schema_arrow.names:
            expected = expected.remove(expected.get_field_index(name))
    if not file.schema_arrow.equals(expected, check_metadata=False):
        names = sorted(set(file.schema_arrow.names) ^ set(expected.names)) or ["the types of its columns"]
        yield Finding(shard.path, "schema", f"the schema is not that of config {shard.config}: {', '.join(names)}")
        return
    splits = {i.subject_id: i.split for i in release.identities}
    numbers = {name: n for n, name in enumerate(release.subject_ids)}
    for subject, identity in sorted(_identities(file)):
        if splits.get(subject) != shard.split:
            where = splits.get(subject, "in no split")
            yield Finding(shard.path, "split", f"{subject} is {where} in the manifest and {shard.split} in the shard")
        if numbers.get(subject) != identity:
            yield Finding(
                shard.path, "identity", f"{subject} has class {identity}; the manifest says {numbers.get(subject)}"
            )


def _identities(file: pq.ParquetFile) -> set[tuple[str, int]]:
    """Every subject id of a shard with its class number, those of the faces in a scene as well."""
    if "subject_id" in file.schema_arrow.names:
        table = file.read(columns=["subject_id", "identity"])
        return set(zip(table["subject_id"].to_pylist(), table["identity"].to_pylist(), strict=True))
    rows = file.read(columns=["faces"])["faces"].to_pylist()
    return {pair for faces in rows for pair in zip(faces["subject_id"], faces["identity"], strict=True)}
