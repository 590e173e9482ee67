"""One view of whatever rows come from: a release folder, the published archives, or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CONFIGS, SPLITS

from .contents import rows_digest
from .release import MANIFEST, read_release
from .split_tables import SplitTable, apply_split_table, read_split_table


class Source(Protocol):
    """Rows behind the builder: ``digest`` changes whenever the rows may have changed."""

    root: Path
    digest: str
    identities: Sequence[str]
    configs: Sequence[str]

    def parts(self, config: str) -> dict[str, list[Any]]:
        """By split, the pieces one of ``configs`` is read in: what `tables` takes."""

    def tables(self, config: str, part: Any) -> Iterator[pa.Table]:
        """The rows of one piece."""

    def contents(self, config: str, part: Any) -> list[tuple[str, int]]:
        """Item id and number of frames (as announced) of each row of one piece, but of ``frames``."""


class ReleaseSource:
    """A release folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.release = root, read_release(root)
        self.digest = rows_digest(self.release)[:16]  # a new card or preview does not change it
        self.identities: Sequence[str] = self.release.subject_ids
        self.configs: Sequence[str] = self.release.configs

    def parts(self, config: str) -> dict[str, list[Any]]:
        found = {s: [x.path for x in self.release.shards_of(config, s)] for s in SPLITS}
        return {split: paths for split, paths in found.items() if paths}

    def tables(self, config: str, part: Any) -> Iterator[pa.Table]:
        file = pq.ParquetFile(self.root / part)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)

    def contents(self, config: str, part: Any) -> list[tuple[str, int]]:
        names = ["clip_id", "num_frames"] if config == "video" else ["image_id"]
        # read_table would load pyarrow.dataset and pandas: 40 MB in every worker
        table = pq.ParquetFile(self.root / part).read(columns=names)
        counts = table["num_frames"].to_pylist() if config == "video" else [1] * table.num_rows
        return list(zip(table[names[0]].to_pylist(), counts, strict=True))


@contextmanager
def reading_part(root: Path, part: Any) -> Iterator[None]:
    """Turn what Parquet and the disk say of a broken or missing piece of ``root`` into a `DamagedInputError`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{part} does not read ({error}); type: thermvision verify {root}") from error


def no_source() -> UsageError:
    """The error for a builder without ``data_dir``."""
    return UsageError(
        "no data_dir was given; allowed: a release folder or the published archives; type data_dir='release', or"
        " load_dataset('MAli-Farooq/ThermVision-DB', 'video') for the published dataset"
    )


def open_source(path: Path) -> Source:
    """The source in a local path.

    Raises:
        UsageError: nothing is there, or it is neither a release nor the archives.
        DamagedInputError: it is broken.
    """
    if not path.exists():
        raise UsageError(
            f"{path} does not exist; allowed: a release folder, a zip or a folder of the published archives"
        )
    path = path.resolve()
    if (path / MANIFEST).is_file() or (path / ".build").is_dir():
        return ReleaseSource(path)
    from .ingest import ArchiveSource

    return ArchiveSource(path)


def parts_of(source: Source, config: str) -> dict[str, list[Any]]:
    """`Source.parts`, or UsageError when the source does not offer ``config``."""
    check_name(config)
    if config not in source.configs:
        raise UsageError(f"{source.root} has no rows for config {config!r}; it offers: {', '.join(source.configs)}")
    return source.parts(config)


def check_name(config: str) -> None:
    """Raise UsageError unless ``config`` is one of the schema's."""
    if config not in CONFIGS:
        raise UsageError(f"config {config!r} does not exist; allowed: {', '.join(CONFIGS)}")


def load(
    name: str,
    source: str | Path,
    revision: str | None,
    split: str | None,
    streaming: bool,
    split_table: SplitTable | Mapping[str, str] | str | Path | None,
    builder: Callable[..., Any],
    overlay: str | Path | None = None,
) -> Any:
    """See `thermvision_db.load`; ``builder`` makes the builder that reads the archives."""
    check_name(name)
    wanted = None if split_table is not None else split
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise UsageError(f"revision {revision!r} goes with a Hub id; {source} is a local path: leave revision out")
        data = _load_local(name, path, wanted, streaming, builder)
    elif isinstance(source, str) and source.count("/") == 1 and not source.startswith((".", "/", "~")):
        from datasets import load_dataset

        data = load_dataset(source, name, revision=revision, split=wanted, streaming=streaming)
    else:
        raise UsageError(f"{source} does not exist; allowed: a folder, a zip, or a Hub id such as 'org/ThermVision-DB'")
    if overlay is not None:
        from .overlay import join

        data = join(data, name, Path(overlay))
    if split_table is None:
        return data
    tables = apply_split_table(data, read_split_table(split_table))
    if split is None:
        return tables
    if split not in tables:
        raise UsageError(f"split {split!r} is not in the split table; allowed: {', '.join(tables)}")
    return tables[split]


def _load_local(name: str, path: Path, split: str | None, streaming: bool, builder: Callable[..., Any]) -> Any:
    found = open_source(path)
    offered = parts_of(found, name)
    if split is not None and split.isidentifier() and split not in {*offered, "all"}:
        raise UsageError(f"{path} has no split {split!r} for config {name!r}; it offers: {', '.join(offered)}")
    if isinstance(found, ReleaseSource):
        from datasets import load_dataset

        return load_dataset(str(path.resolve()), name, split=split, streaming=streaming)
    maker = builder(config_name=name, data_dir=str(path.resolve()))
    if streaming:
        return maker.as_streaming_dataset(split)
    maker.download_and_prepare()
    return maker.as_dataset(split)
