"""Rows to Parquet shards: one row group, immutable name, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from thermvision.annotations.schema import ADDED_COLUMNS, CATEGORIES, CONFIGS, SPLITS, features

from .store import atomic_path, sha256_file

MEDIA = ("video", "image", "radiometric", "temperature", "segmentation", "depth")  # already compressed by their codec


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if path != str(pure) or path == "." or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise ValueError(f"path {path!r} leaves the release; allowed: relative paths below its folder")
    return path


def one_of(*allowed: str) -> AfterValidator:
    """Validator of a text that must be one of ``allowed``."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed; allowed: {', '.join(allowed)}")
        return value

    return AfterValidator(check)


RelativePath = Annotated[str, AfterValidator(_inside)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Shard(BaseModel):
    """One Parquet file of a release, as `release.json` lists it.

    ``num_bytes`` is the size of the decoded columns, ``fingerprint`` the digest of all that determines the bytes,
    ``replaces`` the shard names this one supersedes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: RelativePath
    config: Annotated[str, one_of(*CONFIGS)]
    split: Annotated[str, one_of(*SPLITS)]
    rows: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    num_bytes: Annotated[int, Field(ge=0)]
    sha256: Digest
    fingerprint: Digest
    replaces: tuple[RelativePath, ...] = ()


def shard_folder(config: str) -> str:
    """Folder of a config's shards below the release: stills lie by category, since `image` is the union of them.

    >>> shard_folder("beard"), shard_folder("video")
    ('data/image/beard', 'data/video')
    """
    return f"data/image/{config}" if config in CATEGORIES else f"data/{config}"


def shard_path(config: str, split: str, version: str, number: int) -> str:
    """Name of a shard: it carries split and version and never the number of shards, so that it can stay for ever."""
    return f"{shard_folder(config)}/{split}-v{version}-{number:05d}.parquet"


def to_table(config: str, rows: Iterable[Mapping[str, Any]], identities: Sequence[str]) -> pa.Table:
    """Arrow table of ``rows`` in the schema of ``config``; media are ``{"bytes", "path"}``, classes are indices.

    Raises:
        ValueError: a row has a column the config does not know, or lacks one.
    """
    schema = features(config, identities).arrow_schema
    rows = list(rows)
    for row in rows:
        if difference := set(row) ^ set(schema.names):
            raise ValueError(f"a row of {config} has or lacks {', '.join(sorted(difference))}")
    return pa.Table.from_pylist(rows, schema=schema)


def complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with the columns and types of ``schema``; those of `ADDED_COLUMNS` that it lacks are null.

    Raises:
        ValueError: it lacks or has another column, or a type does not cast.
    """
    for field in schema:
        if field.name in ADDED_COLUMNS and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    same = set(table.column_names) == set(schema.names)
    return (table.select(schema.names) if same else table).cast(schema)


def write_shard(
    root: Path,
    config: str,
    split: str,
    version: str,
    number: int,
    rows: Iterable[Mapping[str, Any]],
    identities: Sequence[str],
    fingerprint: str,
) -> Shard:
    """Write the shard whole or not at all, and describe it.

    Raises:
        OutputError: no room or no permission.
        ValueError: a row does not fit the config.
    """
    return write_table(root, config, split, version, number, to_table(config, rows, identities), fingerprint)


def write_table(
    root: Path, config: str, split: str, version: str, number: int, table: pa.Table, fingerprint: str
) -> Shard:
    """`write_shard` of rows that are an Arrow table in the schema of ``config``.

    Raises:
        OutputError: no room or no permission.
    """
    path = shard_path(config, split, version, number)
    with atomic_path(root / path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=max(table.num_rows, 1),
            compression={
                leaf: "none" if column.name in MEDIA and leaf.endswith(".bytes") else "zstd"
                for column in table.schema
                for leaf in _leaves(column)
            },
            use_dictionary=[column.name for column in table.schema if column.type in (pa.string(), pa.int64())],
            write_page_index=True,
        )
    size = (root / path).stat().st_size
    return Shard(
        path=path,
        config=config,
        split=split,
        rows=table.num_rows,
        bytes=size,
        num_bytes=table.nbytes,
        sha256=sha256_file(root / path),
        fingerprint=fingerprint,
    )


def _leaves(field: pa.Field, prefix: str = "") -> list[str]:
    """Parquet paths of the leaf columns of an Arrow field: compression is set leaf by leaf."""
    path, kind = f"{prefix}{field.name}", field.type
    if pa.types.is_struct(kind):
        return [leaf for child in kind for leaf in _leaves(child, f"{path}.")]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaves(kind.value_field.with_name("element"), f"{path}.list.")
    return [path]
