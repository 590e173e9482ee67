"""Shards of a copied release written anew with other rows, for tests of readers that meet damaged ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.curation.release import MANIFEST, manifest_text, read_release
from thermvision.curation.store import sha256_file

Rows = list[dict[str, Any]]


def alter(root: Path, shard: str, change: Callable[[Rows], Rows | None]) -> None:
    """Write ``shard`` anew with the rows that ``change`` gives, or changes in place, and list its new digest."""
    table = pq.read_table(root / shard, partitioning=None)
    rows = table.to_pylist()
    replace(root, shard, pa.Table.from_pylist(change(rows) or rows, schema=table.schema))


def replace(root: Path, shard: str, table: pa.Table) -> None:
    """Put ``table`` in the place of a shard."""
    path = root / shard
    pq.write_table(table, path)
    manifest = read_release(root)
    shards = [
        s.model_copy(update={"sha256": sha256_file(path), "bytes": path.stat().st_size, "rows": len(table)})
        if s.path == shard
        else s
        for s in manifest.shards
    ]
    (root / MANIFEST).write_text(manifest_text(manifest.model_copy(update={"shards": tuple(shards)})))
