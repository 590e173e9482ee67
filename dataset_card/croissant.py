"""`croissant.json`: what a release holds, in the words that data set search and `mlcroissant` read.

A JSON-LD document, Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html): a file set and a
record set for each config, a field for each column, the names of every class, and the facts of `responsible`. File sets
are patterns, so the document does not grow with the shards. Each shard has its SHA-256 in `release.json`, which cannot
be listed here with its own, since it lists that of `croissant.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import CATEGORIES, MAX_CLASS_NAMES, SPLITS, config_description, features
from thermvision.curation.contents import CROISSANT
from thermvision.curation.pack import shard_folder
from thermvision.curation.release import IDENTITIES, README, TAGS, Manifest, describe, read_release
from thermvision.curation.store import atomic_write, sha256_file
from thermvision.dataset_card.card import ARTICLE, COLUMNS
from thermvision.dataset_card.responsible import responsible
from thermvision.dataset_card.sheet import figures

CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
PUBLISHED_PAGE = "https://huggingface.co/datasets/MAli-Farooq/ThermVision-DB"
LICENCE_PAGES = {
    "thermvision-db-research": PUBLISHED_PAGE,
    "flux-1-dev-non-commercial-license": "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
AUTHORS = ("Muhammad Ali Farooq", "Waseem Shariff", "Peter Corcoran")  # of the article and of the toolkit
AFFILIATION = "University of Galway"
SPLIT_KINDS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
# words of Croissant that are written without their prefix: appendix 1 of the specification, and what mlcroissant adds
_WORDS = (
    "annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract", "field",
    "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
    "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{word: f"cr:{word}" for word in _WORDS},
}
PARQUET = "application/x-parquet"  # the name that mlcroissant reads
BOXES = ("bbox", "extra_bboxes", "skin_bbox", "head_bbox")
KEYS = {"video": ("clip_id",), "frames": ("item_id", "frame_index"), "radiometric": ("item_id",)}  # others: image_id
_LEAVES = {"string": "sc:Text", "float32": "sc:Float"}


def write_croissant(release_dir: Path) -> Path:
    """(Re)write ``croissant.json``. The same release gives the same bytes; of shards only names and labels are read.

    Raises:
        UsageError: there is no release.
        DamagedInputError: a shard does not read.
        OutputError: the file cannot be written.
    """
    path = release_dir / CROISSANT
    atomic_write(path, croissant_text(croissant(release_dir, read_release(release_dir))))
    return path


def croissant(root: Path, manifest: Manifest) -> dict[str, Any]:
    """The document of the release in ``root``, its keys in the order of the file.

    Raises:
        DamagedInputError: a shard does not read.
    """
    columns = {config: _columns(root, manifest, config) for config in manifest.configs}
    imported = manifest.source == "import"
    kind = "The published ThermVision-DB archives as Parquet" if imported else "Synthetic thermal (LWIR) faces"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": manifest.name,
        "description": f"{kind}: {', '.join(figures(describe(manifest)))}.",
        "conformsTo": list(CONFORMS_TO),
        "version": manifest.version,
        "license": LICENCE_PAGES[manifest.licence],
        "url": README,  # the page of a release is its card, in the folder and on the Hub
        "creator": [
            {"@type": "sc:Person", "name": name, "affiliation": {"@type": "sc:Organization", "name": AFFILIATION}}
            for name in AUTHORS
        ],
        "citeAs": ARTICLE,
        "keywords": list(TAGS),
        **({"isBasedOn": PUBLISHED_PAGE} if imported else {}),
        **responsible(root, manifest, _lacking(manifest, columns)),
        "distribution": [*(_file_set(manifest, c) for c in manifest.configs), *_files(root, manifest)],
        "recordSet": [
            _splits(manifest),
            *_classes(manifest, columns),
            *(_record_set(manifest, config, names) for config, names in columns.items()),
        ],
    }


def croissant_text(document: dict[str, Any]) -> str:
    """JSON with a line for each key, file set and field: readable, small, and its changes show line by line.

    >>> print(croissant_text({"name": "a", "field": [{"@id": "b"}, {"@id": "c"}]}), end="")
    {
    "name":"a",
    "field":[
    {"@id":"b"},
    {"@id":"c"}
    ]
    }
    """
    return _lines(document) + "\n"


def _lines(value: Any) -> str:
    if isinstance(value, dict) and any(isinstance(v, list) and v and isinstance(v[0], dict) for v in value.values()):
        return "{\n" + ",\n".join(f"{_compact(k)}:{_lines(v)}" for k, v in value.items()) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(map(_lines, value)) + "\n]"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _columns(root: Path, manifest: Manifest, config: str) -> list[str]:
    """Columns that all shards of a config have, in the schema's order: mlcroissant stops at one that a shard lacks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(features(config, manifest.subject_ids[: MAX_CLASS_NAMES + 1]))
    for shard in manifest.shards_of(config):
        try:
            found = set(pq.read_schema(root / shard.path).names)
        except (pa.ArrowException, OSError) as error:
            raise DamagedInputError(
                f"{root / shard.path} does not read as Parquet ({error}); run: thermvision verify {root}"
            ) from error
        names = [name for name in names if name in found]
    return names


def _lacking(manifest: Manifest, columns: dict[str, list[str]]) -> list[str]:
    missing = {
        name for c, names in columns.items() for name in features(c, manifest.subject_ids[:1]) if name not in names
    }
    return sorted(missing)


def _pattern(config: str) -> str:
    return "data/image/*" if config == "image" else shard_folder(config)


def _present(manifest: Manifest, config: str | None = None) -> list[str]:
    """Splits with rows, of a config or of any."""
    configs = [config] if config else manifest.configs
    return [s for s in SPLITS if any(manifest.shards_of(c, s) for c in configs)]


def _file_set(manifest: Manifest, config: str) -> dict[str, Any]:
    shards = manifest.shards_of(config)
    size = sum(s.bytes for s in shards)
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "description": f"{len(shards):,} files, {size:,} bytes; release.json lists their SHA-256",
        "encodingFormat": PARQUET,
        "includes": [f"{_pattern(config)}/{split}-*.parquet" for split in _present(manifest, config)],
    }


def _files(root: Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Recipes, and the identity table of a large release."""
    for number, (path, digest) in enumerate(sorted(manifest.recipes.items()), 1):
        yield _file_object(f"recipe-{number}", path, "application/toml", digest, "Recipe, what the engines read")
    if len(manifest.identities) > MAX_CLASS_NAMES:
        digest = sha256_file(root / IDENTITIES)
        yield _file_object("identities", IDENTITIES, PARQUET, digest, "Identities by their class number")


def _file_object(own: str, path: str, format: str, digest: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": own,  # takes no blanks
        "name": path,
        "description": description,
        "contentUrl": path,
        "encodingFormat": format,
        "sha256": digest,
    }


def _splits(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "An identity is in one split only",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_field("splits", "name", "sc:Text"), _field("splits", "url", "sc:URL")],
        "data": [{"splits/name": s, "splits/url": SPLIT_KINDS[s]} for s in _present(manifest)],
    }


def _classes(manifest: Manifest, columns: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """A record set for each kind of class: its numbers and their names."""
    seen: dict[str, list[str]] = {}
    for config, names in columns.items():
        found = features(config, manifest.subject_ids[: MAX_CLASS_NAMES + 1])
        nested = found["faces"] if "faces" in names else {}
        for name, feature in [*((n, found[n]) for n in names), *nested.items()]:
            classes = getattr(_leaf(feature)[0], "names", None)
            if classes and name not in seen:
                seen[name] = list(classes)
    for name, classes in seen.items():
        own = f"{name}_names"
        data = [{f"{own}/number": n, f"{own}/name": text} for n, text in enumerate(classes)]
        yield {**_enumeration(name, _field(own, "number", "sc:Integer"), _field(own, "name", "sc:Text")), "data": data}
    if len(manifest.identities) > MAX_CLASS_NAMES:
        file, own = {"fileObject": {"@id": "identities"}}, "identity_names"
        number = _field(own, "number", "sc:Integer", {**file, "extract": {"column": "identity"}})
        text = _field(own, "name", "sc:Text", {**file, "extract": {"column": "subject_id"}})
        yield _enumeration("identity", number, text)


def _enumeration(name: str, number: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    own = f"{name}_names"
    return {
        "@type": "cr:RecordSet",
        "@id": own,
        "name": own,
        "description": f"Names of the class numbers in {name}",
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{own}/number"},
        "field": [number, text],
    }


def _record_set(manifest: Manifest, config: str, names: list[str]) -> dict[str, Any]:
    rows = {s: sum(x.rows for x in manifest.shards_of(config, s)) for s in _present(manifest, config)}
    counts = ", ".join(f"{n:,} in {split}" for split, n in rows.items())
    also = "; columns as in image" if config in CATEGORIES else ""
    found = features(config, manifest.subject_ids[: MAX_CLASS_NAMES + 1])
    keys = [{"@id": f"{config}/{name}"} for name in KEYS.get(config, ("image_id",))]
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": f"{config_description(config)}: {counts}{also}",
        "key": keys if len(keys) > 1 else keys[0],
        "field": [_split_field(manifest, config), *(_column_field(config, name, found[name]) for name in names)],
    }


def _split_field(manifest: Manifest, config: str) -> dict[str, Any]:
    """The split of a row, from its shard's path; the pattern takes its own result too: mlcroissant applies it twice."""
    folder = _pattern(config).replace("*", ".+")
    regex = rf"^(?:{folder}/)?({'|'.join(_present(manifest, config))})(?:-.+\.parquet)?$"
    source = {
        "fileSet": {"@id": f"{config}-files"},
        "extract": {"fileProperty": "fullpath"},
        "transform": {"regex": regex},
    }
    return {**_field(config, "split", "sc:Text", source), "references": {"field": {"@id": "splits/name"}}}


def _column_field(config: str, name: str, feature: Any) -> dict[str, Any]:
    if isinstance(feature, dict):  # lists over faces, side by side
        inner = [_leaf_field(f"{config}/{name}", config, name, k, v) for k, v in feature.items()]
        return {**_field(config, name, None, None, _described(config, name)), "subField": inner}
    return _leaf_field(config, config, name, None, feature)


def _leaf_field(parent: str, config: str, column: str, part: str | None, feature: Any) -> dict[str, Any]:
    name = part or column
    leaf, shape = _leaf(feature)
    source: dict[str, Any] = {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": column}}
    media = type(leaf).__name__ in ("Image", "Video")
    if part or media:
        source["transform"] = {"jsonPath": part or "bytes"}
    if name in BOXES:
        source["format"] = "XYWH"
    field = _field(parent, name, _data_type(name, leaf), source, _described(config, name))
    if shape:
        field |= {"isArray": True, "arrayShape": ",".join(map(str, shape))}
        if media:
            field["repeated"] = True  # the older word for isArray, without which mlcroissant opens no list of pictures
    return field


def _field(
    parent: str, name: str, kind: Any, source: dict[str, Any] | None = None, description: str = ""
) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{parent}/{name}", "name": name}
    more = {"description": description, "dataType": kind, "source": source}
    return field | {k: v for k, v in more.items() if v}


def _described(config: str, name: str) -> str:
    """What a column holds; said once for the stills of all categories."""
    return "" if config in CATEGORIES else COLUMNS[name].replace("`", "")


def _leaf(feature: Any) -> tuple[Any, list[int]]:
    """What lists of lists hold in the end, and their lengths from outside in; -1 is any."""
    shape = []
    while type(feature).__name__ in ("List", "Sequence"):
        shape.append(feature.length)
        feature = feature.feature
    return feature, shape


def _data_type(name: str, leaf: Any) -> str | list[str]:
    kind = type(leaf).__name__
    if kind == "Image":
        return ["sc:ImageObject", "cr:SegmentationMask"] if name == "segmentation" else "sc:ImageObject"
    if kind == "Video":
        return "sc:VideoObject"
    if kind == "ClassLabel":
        return ["sc:Integer", "cr:Label"]
    plain = _LEAVES.get(leaf.dtype, "sc:Integer")
    return [plain, "cr:BoundingBox"] if name in BOXES else plain
