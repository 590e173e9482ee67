"""What `croissant.json` says for responsible use: facts of one release, in the vocabulary of Croissant RAI 1.0.

https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html. A property without a fact is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError
from thermvision.curation.release import LICENCES, Manifest, describe
from thermvision.curation.reviews.values import corrected

NO_PERSON = ("phantom@",)  # engines that take no picture of anybody: everything comes from the recipe
NO_CAMERA = ("phantom@", "flux@")  # liveportrait moves any picture, of a camera too
TRUTH = "ground_truth"
SOURCES = 20  # told by name; a release may have one for each reviewed item
# column of `frames` -> what rows that know it are good for
USES = {
    "bbox": "face detection",
    "landmarks": "facial landmarks and their visibility",
    "head_pose": "head pose",
    "expression": "expressions",
}


def responsible(root: Path, manifest: Manifest, lacking: Sequence[str] = ()) -> dict[str, Any]:
    """Properties of the namespace ``rai`` for the release in ``root``.

    Args:
        lacking: columns that older shards do not have.

    Raises:
        DamagedInputError: a shard of `frames` does not read.
    """
    sources, known = _labels(root, manifest)
    plain = Counter[str]()
    for text, number in sources.items():
        plain[text.split("; ")[0]] += number
    by_hand = sum(n for text, n in sources.items() if corrected(text))
    machines = [text for text in sorted(plain) if text != TRUTH]
    found: dict[str, Any] = {
        "rai:dataCollection": _making(manifest),
        "rai:dataCollectionType": "Secondary Data Analysis" if manifest.source == "import" else "Others: software",
        "rai:dataCollectionMissingData": "; ".join(_missing(manifest, lacking)),  # takes one text, as does the next
        "rai:dataAnnotationProtocol": "; ".join(_protocol(plain, by_hand)),
        "rai:machineAnnotationTools": machines[:SOURCES],
        "rai:dataBiases": list(_balance(manifest)),
        "rai:personalSensitiveInformation": list(_personal(manifest)),
        "rai:dataUseCases": list(_uses(manifest, known)),
        "rai:dataLimitations": list(_limits(manifest)),
        "rai:dataReleaseMaintenancePlan": _versions(manifest),
    }
    return {name: value for name, value in found.items() if value}


def _labels(root: Path, manifest: Manifest) -> tuple[Counter[str], list[str]]:
    """Frames by what made their annotations, and the columns of `USES` that some frame knows."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    sources, known = Counter[str](), set[str]()
    for shard in manifest.shards_of("frames"):
        path = root / shard.path
        try:
            with pq.ParquetFile(path) as file:
                column = file.read(columns=["annotation_source"])["annotation_source"]
                known |= _known(file.metadata)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DamagedInputError(f"{path} does not read as Parquet ({error}); run: thermvision verify") from error
        for entry in pc.value_counts(column.drop_null()).to_pylist():
            sources[entry["values"]] += entry["counts"]
    return sources, [name for name in USES if name in known]


def _known(metadata: Any) -> set[str]:
    """Columns of `USES` with a value, by the counts of values in the footer of a Parquet file."""
    known = set()
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            name = chunk.path_in_schema.split(".")[0]
            statistics = chunk.statistics
            if name in USES and statistics is not None and statistics.num_values:  # those that are not null
                known.add(name)
    return known


def _making(manifest: Manifest) -> str:
    if manifest.source == "import":
        text = "The published ThermVision-DB archives of synthetic faces, with their MP4 files as they are"
    else:
        text = "Made by software from recipes"
    engines = [f"{e} ({len(m)} model files)" if m else e for e, m in sorted(manifest.engines.items())]
    parts = [text]
    if engines:
        parts.append(f"engines: {', '.join(engines)}")
    if manifest.recipes:
        parts.append(f"recipes: {', '.join(sorted(manifest.recipes))}")
    if manifest.software:
        parts.append("packages: " + ", ".join(f"{n} {v}" for n, v in sorted(manifest.software.items())))
    parts.append("release.json has the digests")
    return "; ".join(parts)


def _missing(manifest: Manifest, lacking: Sequence[str]) -> Iterator[str]:
    yield "What the source does not know is null"
    if lacking:
        yield f"Columns that shards of older engines lack: {', '.join(lacking)}"
    if manifest.failed:
        codes = Counter(f.code for f in manifest.failed)
        told = ", ".join(f"{code} {number:,}" for code, number in sorted(codes.items()))
        yield f"{len(manifest.failed):,} items could not be made: {told}"
    if manifest.passed_over:
        yield f"{len(manifest.passed_over):,} subjects were passed over; release.json says why"


def _protocol(sources: Counter[str], by_hand: int) -> Iterator[str]:
    for source, number in sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))[:SOURCES]:
        if source == TRUTH:
            yield f"{number:,} frames: ground truth, known from the making"
        else:
            yield f"{number:,} frames: {source}"
    if len(sources) > SOURCES:
        yield f"{len(sources) - SOURCES:,} further sources: see the column annotation_source"
    if by_hand:
        yield f"{by_hand:,} frames have labels set by a person"


def _balance(manifest: Manifest) -> Iterator[str]:
    people = describe(manifest)["subjects"]
    yield f"{people['total']:,} subjects: {people['female']:,} female, {people['male']:,} male"


def _personal(manifest: Manifest) -> Iterator[str]:
    if manifest.source == "import":
        yield "Gender: as the published archives name their subjects"
        return
    yield "Gender: a parameter of the making of a subject, not an observation"
    if manifest.engines and all(e.startswith(NO_PERSON) for e in manifest.engines):
        yield "No personal data: no picture of a person is an input of the engine"


def _uses(manifest: Manifest, known: Sequence[str]) -> Iterator[str]:
    if known:
        yield f"Training and testing of methods for {', '.join(USES[name] for name in known)}"
    if "radiometric" in manifest.configs:
        yield "Training and testing of methods that read temperatures (radiometric)"
    if "scenes" in manifest.configs:
        yield "Training and testing of face detection with several faces in a picture (scenes)"
    if manifest.licence != "cc-by-4.0":
        told = "; ".join(f"{engine}: {licence}" for engine, licence in sorted(manifest.licences.items()))
        yield f"Licence: {LICENCES[manifest.licence]} ({told})"


def _limits(manifest: Manifest) -> Iterator[str]:
    facts = describe(manifest)
    rows = {c: sum(config["rows"].values()) for c, config in facts["configs"].items()}
    items, kept = rows.get("video", 0) + rows.get("image", 0), rows.get("radiometric", 0)
    if items:
        yield f"{gray_alone(manifest)}; radiometric has {kept:,} of {items:,} items"
    if manifest.engines and all(e.startswith(NO_CAMERA) for e in manifest.engines):
        yield "Made by software, not recorded with a camera"
    empty = [split for split, number in facts["identities_by_split"].items() if not number]
    if empty:
        yield f"No identity is in {' or '.join(empty)}"


def _versions(manifest: Manifest) -> str:
    extends = f", made from {manifest.parent}" if manifest.parent else ""
    return f"Version {manifest.version}{extends}; published shards are never edited, a change is a new version"


def gray_alone(manifest: Manifest) -> str:
    """Why gray is no temperature: `phantom` gives each item a gain of its own; of others no scale is known at all."""
    own = manifest.engines and all(engine.startswith(NO_PERSON) for engine in manifest.engines)
    why = "each item has its own gain" if own else "nothing ties gray levels to degrees"
    return f"8-bit gray is no temperature: {why}"


def from_cameras(manifest: Manifest) -> bool:
    """Whether a camera may have had a part in some pixels, and its pictures may be of real people."""
    return manifest.source != "import" and not all(e.startswith(NO_CAMERA) for e in manifest.engines)
