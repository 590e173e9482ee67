"""A published version read back: every file by its digest, and every config and split as a reader loads it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow.parquet as pq

from thermvision.annotations.errors import RemoteError
from thermvision.annotations.schema import SPLITS
from thermvision.curation.contents import ReleaseFile
from thermvision.curation.pack import Shard
from thermvision.dataset_card.publishing.plan import Entry, differing
from thermvision.dataset_card.publishing.preflight import Ready
from thermvision.dataset_card.publishing.retries import Tell, ask, status_of

_REFUSALS = (401, 403, 404, 412)


def compare(files: Sequence[ReleaseFile], there: Mapping[str, Entry], where: str) -> None:
    """Raise RemoteError unless ``there`` holds the ``files`` of a release with their bytes, and no other rows."""
    if wrong := differing(files, there):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise RemoteError(
            f"{where} does not hold what the manifest says: {wrong[0]}{more}; it was not tagged. Somebody changed it"
            " after it was published: restore it there, then run the same command again"
        )
    listed = {f.path for f in files}
    if strange := sorted(p for p in there if p.startswith("data/") and p not in listed):
        raise RemoteError(f"{where} holds {strange[0]}, which no manifest lists; it was not tagged: remove it there")


def load_back(ready: Ready, repo: str, commit: str, token: str | None, tell: Tell) -> None:
    """Load every config and split of a dataset at a commit, streaming and without what earlier loads have kept.

    Of each, the shards that are found, the number of rows and the first row must be the release's.

    Raises:
        RemoteError: one does not load, or holds something else.
    """
    with quiet_loading():
        for config in ready.manifest.configs:
            ask(
                f"load {config!r} of {repo} back",
                lambda config=config: _loaded(ready, repo, commit, config, token),  # type: ignore[misc]
                token=token,
                tell=tell,
                # a body cut short shows itself in many ways, and reading again does no harm
                again=lambda error: status_of(error) not in _REFUSALS,
            )


def _loaded(ready: Ready, repo: str, commit: str, config: str, token: str | None) -> None:
    try:
        _load(ready, repo, commit, config, token)
    except Exception as error:  # of four libraries, over whatever came through the line
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _load(ready: Ready, repo: str, commit: str, config: str, token: str | None) -> None:
    from datasets import load_dataset_builder
    from huggingface_hub import HfFileSystem

    HfFileSystem.clear_instance_cache()  # it remembers what it has read
    with tempfile.TemporaryDirectory() as cache:
        builder = load_dataset_builder(repo, config, revision=commit, token=token, cache_dir=cache)
        for split in SPLITS:
            shards = ready.manifest.shards_of(config, split)
            if not sum(s.rows for s in shards):
                continue
            found = [str(url).split(f"@{commit}/", 1)[-1] for url in (builder.config.data_files or {}).get(split, ())]
            if sorted(found) != sorted(s.path for s in shards):
                odd = sorted({s.path for s in shards} ^ set(found))
                raise ValueError(f"{config} of {split} is read from other shards than the manifest says: {odd[:3]}")
            rows = builder.info.splits[split].num_examples
            if rows != sum(s.rows for s in shards):
                raise ValueError(f"{config} of {split} says it has {rows} rows; the manifest says otherwise")
            by_path: dict[str, Shard] = {s.path: s for s in shards}
            first = next(by_path[path] for path in found if by_path[path].rows)
            seen = next(iter(builder.as_streaming_dataset(split)))
            if names(seen) != _first_names(ready, first):
                raise ValueError(f"the first row of {config} in {split} is not the one of {first.path}")


def names(row: Mapping[str, Any]) -> dict[str, str]:
    """The columns of a row that are text: ids and provenance, which are in every config and unlike in every row."""
    return {key: value for key, value in row.items() if isinstance(value, str)}


def _first_names(ready: Ready, shard: Shard) -> dict[str, str]:
    file = pq.ParquetFile(ready.root / shard.path)
    schema = file.schema_arrow
    batch = next(file.iter_batches(1, columns=[f.name for f in schema if str(f.type) in ("string", "large_string")]))
    return names(batch.to_pylist()[0])


@contextmanager
def quiet_loading() -> Iterator[None]:
    """For as long as the block lasts, `datasets` prints nothing and does without torch, whose import takes a second."""
    import datasets

    before, shown = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    torch, datasets.config.TORCH_AVAILABLE = datasets.config.TORCH_AVAILABLE, False
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are raised as well, and say what a server said
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.TORCH_AVAILABLE = torch
        datasets.logging.set_verbosity(before)
        if shown:
            datasets.enable_progress_bars()
