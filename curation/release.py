"""What makes a folder a release: `release.json`, and the YAML in `README.md` that `load_dataset` reads.

The manifest is written last. A folder without it is a build in progress, and no reader takes it for a release.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CATEGORIES, CONFIGS, MAX_CLASS_NAMES, SPLITS, config_description, features

from .pack import Digest, RelativePath, Shard, one_of, shard_folder
from .store import atomic_path, atomic_write, read_json

MANIFEST, README = "release.json", "README.md"
FORMAT = "thermvision-release/1"
IDENTITIES = "identities.parquet"
# strictest first: a mixed release takes the first one it contains
LICENCES = {
    "thermvision-db-research": "research and non-commercial use, as the published dataset",
    "flux-1-dev-non-commercial-license": "FLUX.1-dev non-commercial terms",
    "cc-by-4.0": "Creative Commons Attribution 4.0",
}
_HUB_LICENCES = ("cc-by-4.0",)  # the ones the Hub knows by name
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times faster; not every PyYAML has it
MAX_CARD_BYTES = 64 * 2**20
ARTICLE_DOI, PUBLISHED_DOI = "10.1016/j.dib.2026.112506", "10.57967/hf/7026"
TAGS = ("thermal", "lwir", "infrared", "face", "synthetic", "landmarks", "head-pose")


# long numbers are no versions, and Python refuses to read them
Version = Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}(\.[0-9]{1,9})?$")]


def next_version(version: str) -> str:
    """The version after ``version``: its second number one higher.

    >>> next_version("1.0"), next_version("2.9.3")
    ('1.1', '2.10')
    """
    first, second = version.split(".")[:2]
    return f"{first}.{int(second) + 1}"


def version_order(version: str) -> tuple[int, ...]:
    """What versions are sorted by: their numbers.

    >>> version_order("1.10") > version_order("1.9"), version_order("1.1") == version_order("1.1.0")
    (True, True)
    """
    numbers = [int(n) for n in version.split(".")]
    return (*numbers, *[0] * (3 - len(numbers)))


class Identity(BaseModel):
    """A subject of the release; its place in the list is its number in the ClassLabel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject_id: Annotated[str, Field(min_length=1, max_length=100)]
    gender: Literal["female", "male"]
    split: Literal["train", "validation", "test"]


class Failed(BaseModel):
    """An item that could not be made, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str
    code: str
    reason: str


class Manifest(BaseModel):
    """`release.json`: everything about a release but its rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["thermvision-release/1"] = "thermvision-release/1"
    name: str
    version: Version
    parent: Version | None = None
    source: Literal["build", "import"]
    licences: dict[str, Annotated[str, one_of(*LICENCES)]]
    identities: tuple[Identity, ...]
    shards: tuple[Shard, ...]
    recipes: dict[RelativePath, Digest] = {}
    files: dict[RelativePath, Digest] = {}  # card, previews, lists; not the manifest itself or its signature
    limits: dict[str, Annotated[int, Field(ge=1)]] = {}  # by version: how many clips and stills its recipe was cut to
    engines: dict[str, dict[str, str]] = {}
    software: dict[str, str] = {}
    plan: Digest
    failed: tuple[Failed, ...] = ()
    passed_over: tuple[str, ...] = ()  # subjects that an engine would have drawn badly, or like another, and why

    @property
    def configs(self) -> list[str]:
        """The configs this release has rows for, in the order of the schema; `image` is the union of the categories."""
        have = {s.config for s in self.shards if s.rows}
        if have & set(CATEGORIES):
            have.add("image")
        return [c for c in CONFIGS if c in have]

    @property
    def subject_ids(self) -> list[str]:
        """Subject ids in the order of their class index."""
        return [i.subject_id for i in self.identities]

    @property
    def licence(self) -> str:
        """The strictest licence among the engines'."""
        found = [name for name in LICENCES if name in self.licences.values()]
        if not found:
            raise DamagedInputError(f"{MANIFEST} names no licence; allowed: one of {', '.join(LICENCES)}; restore it")
        return found[0]

    def shards_of(self, config: str, split: str | None = None) -> list[Shard]:
        """Shards that hold the rows of a config (and split), in reading order."""
        order = {c: i for i, c in enumerate(CONFIGS)}
        wanted = CATEGORIES if config == "image" else (config,)
        found = [s for s in self.shards if s.config in wanted and split in (None, s.split)]
        return sorted(found, key=lambda s: (SPLITS.index(s.split), order[s.config] if config != "image" else 0, s.path))


def read_release(root: Path) -> Manifest:
    """The manifest of the release in ``root``.

    Raises:
        UsageError: there is no release.
        DamagedInputError: the manifest does not say what a manifest says.
    """
    path = root / MANIFEST
    if not path.is_file():
        started = " (a build that was not finished: run its command again)" if (root / ".build").is_dir() else ""
        raise UsageError(
            f"{root} is no release, it has no {MANIFEST}{started}; build one: thermvision build --out {root}"
        )
    value = read_json(path)
    if seen := other_schema(value):
        raise DamagedInputError(
            f"{path} has the schema {seen!r}; this program knows {FORMAT!r}: a newer one wrote it; type:"
            " pip install --upgrade thermvision-db"
        )
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        raise DamagedInputError(f"{path} is damaged: {describe_validation(error)}; restore it or build anew") from error


def other_schema(value: Any) -> str:
    """The schema of a manifest, as JSON gives it, that another version of this program wrote; "" of any other value."""
    seen = value.get("format") if isinstance(value, dict) else None
    ours = isinstance(seen, str) and seen.startswith(FORMAT.split("/")[0] + "/")
    return str(seen)[:60] if ours and seen != FORMAT else ""


def describe_validation(error: ValidationError) -> str:
    """The findings of a pydantic validation in one line: where, what is wrong, what was seen."""
    parts = []
    for item in error.errors(include_url=False):
        if not item["loc"] and item["type"] == "value_error":  # several fields together; the message names them
            parts.append(item["msg"].removeprefix("Value error, "))
            continue
        where = ".".join(str(p) for p in item["loc"]) or "the whole"
        seen = repr(item["input"])
        parts.append(f"{where}: {item['msg']} (seen: {seen if len(seen) < 80 else seen[:77] + '...'})")
    return "; ".join(parts)


def manifest_text(manifest: Manifest) -> str:
    """The bytes of `release.json`: equal manifests give equal text."""
    return manifest.model_dump_json(indent=1) + "\n"


def write_release(root: Path, manifest: Manifest, body: str = "") -> None:
    """Write `README.md`, the identity table of large releases, and `release.json` last.

    ``body`` is the prose below the YAML; without it there is a title only.
    """
    if len(manifest.identities) > MAX_CLASS_NAMES:
        _write_identities(root / IDENTITIES, manifest.identities)
    write_header(root, manifest, body)
    atomic_write(root / MANIFEST, manifest_text(manifest))


def write_header(root: Path, manifest: Manifest, body: str = "") -> None:
    """Write `README.md` with the YAML that its manifest asks for; see `write_release`."""
    atomic_write(root / README, f"---\n{front_matter(manifest)}---\n\n{body or f'# {manifest.name}'}\n")


def _write_identities(path: Path, identities: Sequence[Identity]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        rows = [{"identity": n, **i.model_dump()} for n, i in enumerate(identities)]
        pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")


def front_matter(manifest: Manifest) -> str:
    """YAML of the dataset card: what `datasets` needs to read every config, and what the Hub shows.

    Key order is kept: sorted keys would put `length` before `list`, and `datasets` would then refuse the features.
    """
    rows = sum(s.rows for s in manifest.shards_of("video")) + sum(s.rows for s in manifest.shards_of("image"))
    licence = manifest.licence
    named = {"license": licence} if licence in _HUB_LICENCES else {"license": "other", "license_name": licence}
    tasks = ["image-classification", "object-detection", "keypoint-detection", "video-classification"]
    card: dict[str, Any] = {
        "pretty_name": manifest.name,
        **named,
        "task_categories": tasks,
        "task_ids": ["face-detection", "multi-class-image-classification"],
        "annotations_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "tags": list(TAGS),
        "size_categories": [_size_category(rows)],
        # the Hub keeps keys it does not know; what is built has no DOI of its own before it is published
        **({"doi": PUBLISHED_DOI} if manifest.source == "import" else {}),
        "article_doi": ARTICLE_DOI,
        "configs": [_config_entry(manifest, c) for c in manifest.configs],
        "dataset_info": [_dataset_info(manifest, c) for c in manifest.configs],
    }
    return yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=10**6)


def _size_category(rows: int) -> str:
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if rows < limit:
            return name
    return "1M<n<10M"


def _config_entry(manifest: Manifest, config: str) -> dict[str, Any]:
    folder = "data/image/*" if config == "image" else shard_folder(config)
    splits = [s for s in SPLITS if manifest.shards_of(config, s)]
    entry: dict[str, Any] = {
        "config_name": config,
        "data_files": [{"split": s, "path": f"{folder}/{s}-*.parquet"} for s in splits],
    }
    if config == manifest.configs[0]:
        entry["default"] = True
    return entry


def _dataset_info(manifest: Manifest, config: str) -> dict[str, Any]:
    from datasets import DatasetInfo, SplitDict, SplitInfo

    splits, download = SplitDict(), 0
    for split in SPLITS:
        if shards := manifest.shards_of(config, split):
            num_bytes, rows = sum(s.num_bytes for s in shards), sum(s.rows for s in shards)
            splits.add(SplitInfo(split, num_bytes=num_bytes, num_examples=rows))
            download += sum(s.bytes for s in shards)
    info = DatasetInfo(
        config_name=config,
        features=features(config, manifest.subject_ids),
        splits=splits,
        download_size=download,
        dataset_size=sum(s.num_bytes for s in splits.values()),
    )
    described: dict[str, Any] = info._to_yaml_dict()
    return {"config_name": config, **{k: v for k, v in described.items() if k != "config_name"}}


def describe(manifest: Manifest) -> dict[str, Any]:
    """The figures of a release, as `thermvision info` prints them."""
    by_gender = {g: sum(i.gender == g for i in manifest.identities) for g in ("female", "male")}
    configs = {
        c: {
            "what": config_description(c),
            "rows": {s: sum(x.rows for x in manifest.shards_of(c, s)) for s in SPLITS if manifest.shards_of(c, s)},
            "bytes": sum(x.bytes for x in manifest.shards_of(c)),
        }
        for c in manifest.configs
    }
    return {
        "name": manifest.name,
        "version": manifest.version,
        "parent": manifest.parent,
        "source": manifest.source,
        "licence": manifest.licence,
        "subjects": {"total": len(manifest.identities), **by_gender},
        "identities_by_split": {s: sum(i.split == s for i in manifest.identities) for s in SPLITS},
        "configs": configs,
        "shards": len(manifest.shards),
        "bytes": sum(s.bytes for s in manifest.shards),
        "failed": len(manifest.failed),
        "engines": sorted(manifest.engines),
    }
