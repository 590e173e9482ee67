"""The protocols: what each measures, the fixed lists it runs on, and how it is run.

Lists are files of their own, with their SHA-256 and the release's digest in ``protocols.json``; they can ride in the
folder ``protocols/`` of a release. A run refuses lists that were changed or that belong to another release.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding

from .contents import content_digest
from .evaluation.evaluate import Report
from .evaluation.measures import FOLDS, Options
from .evaluation.models import Models, open_models, readable
from .pack import Digest, RelativePath
from .release import Manifest, describe_validation, read_release
from .store import atomic_write, read_json, sha256_bytes

if TYPE_CHECKING:
    import pandas as pd

FOLDER, INDEX = "protocols", "protocols.json"
FORMAT = "thermvision-benchmark/1"
_MAX_LIST_BYTES = 256 * 2**20
_NUMBER = r"(-?\d+(\.\d+)?)?"
_CELLS = {
    **dict.fromkeys(("yaw", "pitch", "distance", "ambient", "netd", "transmission"), _NUMBER),
    "frames": r"\d{1,6}", "same": "[01]", "kind": "same-sequence|cross-sequence", "role": "gallery|probe|unknown",
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A protocol.

    Attributes:
        name: as ``--protocol`` takes it.
        meaning: what is asked, in one sentence.
        wants: what a release must have for it.
        needs: what is run on its frames besides the detector: "landmarks", "attributes", "embedding", "masked".
        columns: of its list.
    """

    name: str
    meaning: str
    wants: str
    needs: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ("frame", "subject_id")

    @property
    def file(self) -> str:
        """Name of its list."""
        return f"{self.name.replace('-', '_')}.csv"


_SEEN = frozenset({"landmarks", "embedding"})
_TWICE = "people with two recordings each"
_SEARCH = ("role", "frame", "subject_id")
PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol("detection", "Where are the faces of a frame?", "frames or scenes"),
        Protocol(
            "landmarks", "Where are the 68 points of a face that was found?", "68 points", frozenset({"landmarks"})
        ),
        Protocol("head-pose", "Where does a face that was found look?", "poses", frozenset({"landmarks"})),
        Protocol(
            "expression", "Which of seven expressions does a face show?", "expressions", frozenset({"attributes"})
        ),
        Protocol("gender", "Which gender does the morphology of a face have?", "genders", frozenset({"attributes"})),
        Protocol(
            "verification",
            "Are two faces one person: within a recording, across two, and with the faces masked out?",
            "four people with two frames each",
            _SEEN | {"masked"},
            ("fold", "kind", "same", "first", "second", "first_subject", "second_subject"),
        ),
        Protocol("closed-set", "Who of the gallery is it, when everybody is in it?", f"two {_TWICE}", _SEEN, _SEARCH),
        Protocol("open-set", "Who of the gallery is it, if anybody?", f"three {_TWICE}", _SEEN, _SEARCH),
        Protocol(
            "tracking", "Does the box stay on the face of a clip?", "clips", columns=("item_id", "subject_id", "frames")
        ),
        Protocol(
            "robustness",
            "How do the scores move with pose, distance, ambient temperature, sensor and air?",
            "poses, or provenance that tells distance, temperature or sensor",
            _SEEN,
            ("frame", "subject_id", "yaw", "pitch", "distance", "ambient", "netd", "transmission", "sensor"),
        ),
    )
}
_TRAINING = Protocol("training", "Labels that the trivial baselines see.", "a training split")


class ListEntry(BaseModel):
    """One list, as ``protocols.json`` names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: RelativePath
    sha256: Digest
    rows: Annotated[int, Field(ge=1)]


class ReleaseStamp(BaseModel):
    """The release that lists were made of; ``digest`` is of its shards, so that a new card does not change it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    digest: Digest


class Index(BaseModel):
    """``protocols.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["thermvision-protocols/1"] = "thermvision-protocols/1"
    release: ReleaseStamp
    split: str
    seed: Annotated[int, Field(ge=0)]
    lists: dict[str, ListEntry]


@dataclass(frozen=True)
class Lists:
    """Lists and where they come from: ``tables`` by protocol, whose cells are text as in the files."""

    index: Index
    tables: Mapping[str, pd.DataFrame] = field(repr=False)


def chosen_protocols(name: str) -> list[str]:
    """The protocols behind ``--protocol``.

    >>> chosen_protocols("open-set")
    ['open-set']

    Raises:
        UsageError: there is no such protocol.
    """
    if name not in (*PROTOCOLS, "all"):
        raise UsageError(f"--protocol is {name!r}; allowed: {', '.join(PROTOCOLS)}, all")
    return list(PROTOCOLS) if name == "all" else [name]


def make_lists(
    root: Path, split: str | None = "test", seed: int = 0, wanted: Sequence[str] = tuple(PROTOCOLS)
) -> tuple[Lists, dict[str, str]]:
    """The lists of a release and the text of their files: equal releases, splits and seeds give equal text.

    Raises:
        UsageError: it is no release, or has no frame in that split.
        DamagedInputError: a shard does not read.
    """
    from .protocols.lists import make_lists as make

    manifest = read_release(root)
    with readable(root):
        texts = make(root, manifest, split, seed, wanted)
    entries = {
        name: ListEntry(path=_protocol(name).file, sha256=sha256_bytes(text.encode()), rows=text.count("\n") - 1)
        for name, text in texts.items()
    }
    stamp = ReleaseStamp(name=manifest.name, version=manifest.version, digest=content_digest(manifest))
    index = Index(release=stamp, split=split or "all", seed=seed, lists=entries)
    return Lists(index, {name: _parsed(text, name) for name, text in texts.items()}), texts


def write_lists(root: Path, out: Path, split: str | None = "test", seed: int = 0) -> Index:
    """Write the lists of all protocols that a release allows, and their ``protocols.json`` last.

    Lists that are there already are never changed: equal ones may be written again, a stopped writing goes on.

    Raises:
        UsageError: ``out`` is a file or holds other lists; see also `make_lists`.
        DamagedInputError: see `make_lists`.
        OutputError: no room or no permission.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--write-protocols {out} is a file; allowed: a folder, which is made if it is not there")
    lists, texts = make_lists(root, split, seed)
    if (out / INDEX).is_file() and _held(out) != lists.index:
        raise UsageError(
            f"{out} holds other lists, which results may name; choose another folder, or delete {out} and type the same"
        )
    for name, text in texts.items():
        atomic_write(out / lists.index.lists[name].path, text)
    atomic_write(out / INDEX, lists.index.model_dump_json(indent=1) + "\n")
    return lists.index


def read_lists(folder: Path, manifest: Manifest, wanted: Collection[str]) -> Lists:
    """The ``wanted`` lists of a folder, and "training" where it is there.

    Raises:
        UsageError: there are none, or they were made of another release.
        DamagedInputError: a list was changed, or is no list.
    """
    index = _index(folder)
    if index.release.digest != (here := content_digest(manifest)):
        raise UsageError(
            f"the lists in {folder} were made of {index.release.name} {index.release.version} (digest"
            f" {index.release.digest[:12]}), the release is {manifest.name} {manifest.version} ({here[:12]}); allowed:"
            " lists of this very release: write them with --write-protocols"
        )
    chosen = {n: e for n, e in index.lists.items() if n in wanted or n == _TRAINING.name}
    return Lists(index, {name: _parsed(_list_text(folder / e.path, e), name) for name, e in chosen.items()})


def list_findings(folder: Path, manifest: Manifest) -> list[Finding]:
    """What is wrong with the lists that ride in a release, with paths below it."""
    index_path = f"{folder.name}/{INDEX}"
    try:
        index = _index(folder)
    except (UsageError, DamagedInputError) as error:
        return [Finding(index_path, "list-unreadable", str(error))]
    findings = []
    if index.release.digest != content_digest(manifest):
        message = "the lists were made of another release; write them anew with --write-protocols"
        findings.append(Finding(index_path, "list-of-another-release", message))
    for entry in index.lists.values():
        try:
            _list_text(folder / entry.path, entry)
        except DamagedInputError as error:
            findings.append(Finding(f"{folder.name}/{entry.path}", "list-changed", str(error)))
    return findings


def _index(folder: Path) -> Index:
    path = folder / INDEX
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; allowed: the folder that --write-protocols wrote")
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {INDEX}; write lists: thermvision evaluate RELEASE --write-protocols {folder}"
        )
    try:
        return Index.model_validate(read_json(path))
    except ValidationError as error:
        raise DamagedInputError(f"{path} is damaged: {describe_validation(error)}; write the lists anew") from error


def _held(folder: Path) -> Index | None:
    try:
        return _index(folder)
    except DamagedInputError:
        return None


def _list_text(file: Path, entry: ListEntry) -> str:
    if not file.is_file() or file.stat().st_size > _MAX_LIST_BYTES:
        raise DamagedInputError(f"{file} is not there or too large; restore it or write the lists anew")
    data = file.read_bytes()
    if (digest := sha256_bytes(data)) != entry.sha256:
        raise DamagedInputError(
            f"{file} has SHA-256 {digest[:12]}, {INDEX} says {entry.sha256[:12]}: the list was changed; restore it"
            " or write the lists anew"
        )
    return data.decode("utf-8", "replace")


def _protocol(name: str) -> Protocol:
    return _TRAINING if name == _TRAINING.name else PROTOCOLS[name]


def _parsed(text: str, name: str) -> pd.DataFrame:
    import pandas as pd

    columns = _protocol(name).columns
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise DamagedInputError(f"the list of {name} does not read ({error}); write the lists anew") from error
    if tuple(table.columns) != columns:
        seen, allowed = ", ".join(table.columns), ", ".join(columns)
        raise DamagedInputError(f"the list of {name} has the columns {seen}; allowed: {allowed}")
    for column, pattern in _CELLS.items():
        if column in columns and len(odd := table[column][~table[column].str.fullmatch(pattern)]):
            raise DamagedInputError(
                f"the list of {name} has {odd.iloc[0]!r} in {column}, which is not of the form {pattern}; write the"
                " lists anew"
            )
    return table


def run(
    root: Path,
    protocol: str = "all",
    *,
    lists: Path | None = None,
    split: str | None = "test",
    seed: int = 0,
    options: Options | None = None,
    models: Models | None = None,
    detector: str = "thermal",
    landmarker: str = "thermal",
    embedder: str = "thermal",
    quiet: bool = True,
) -> Report:
    """Run protocols on a release.

    Args:
        root: a release folder.
        protocol: one of `PROTOCOLS`, or "all" that the release allows.
        lists: folder of lists; None: those in the release's own folder ``protocols/``, else made now.
        split, seed: of lists that are made now; those of a folder say themselves.
        options: how tasks are scored; ``score`` becomes the detector's own threshold.
        models: to run instead of those that the specs name.
        detector, landmarker, embedder: see `thermvision.annotations.registry`.
        quiet: no progress on stderr.

    Raises:
        UsageError: there is no such protocol, the release does not allow it, or the lists are of another release.
        DamagedInputError: a list or the release was changed.
        MissingDependencyError: a model is not there.
    """
    from .protocols import scoring
    from .protocols.items import label_sources

    wanted = chosen_protocols(protocol)
    manifest = read_release(root)
    folder = lists if lists is not None else root / FOLDER if (root / FOLDER / INDEX).is_file() else None
    given = read_lists(folder, manifest, wanted) if folder is not None else make_lists(root, split, seed, wanted)[0]
    names = [name for name in wanted if name in given.tables]
    missing = [name for name in wanted if name not in given.tables]
    if not names:
        raise UsageError(f"--protocol {protocol} cannot be run: {_lacking(missing[0], given.index, folder)}")
    running = models or open_models(_needed(names), detector, landmarker, embedder, 0.0)
    options = replace(options or Options(), score=running.score)
    needs_of = {name: PROTOCOLS[name].needs for name in names}
    results = scoring.results(root, given.tables, needs_of, running, options, quiet)
    notes = []
    if folder is not None:
        notes.append(f"the lists are those of {folder}: split {given.index.split!r}, seed {given.index.seed}")
    notes += [f"{name} is not run: {_lacking(name, given.index, folder)}" for name in missing]
    notes += label_sources(root, manifest, given.index.split)
    stamp = given.index
    facts = {
        "format": FORMAT,
        "truth": f"{stamp.release.name} {stamp.release.version}",
        "release": stamp.release.model_dump(),
        "split": stamp.split,
        "seed": stamp.seed,
        "lists_from": "made now" if folder is None else folder.name,
        "lists": {n: e.model_dump() for n, e in stamp.lists.items() if n in (*names, _TRAINING.name)},
        "predictions": running.source,
        "baselines_from": "the training split" if "training" in given.tables else f"{FOLDS} folds of the truth",
        "meaning": {name: PROTOCOLS[name].meaning for name in names},
    }
    return Report(facts, results, tuple(notes))


def _lacking(name: str, index: Index, folder: Path | None) -> str:
    """Why there is no list for a protocol."""
    wants = PROTOCOLS[name].wants
    if folder is not None:
        return f"{folder} has no list for it; it takes {wants}"
    more = "" if index.split == "all" else "; --split all takes everybody"
    return f"it takes {wants}, which split {index.split!r} does not have{more}"


def _needed(names: Sequence[str]) -> set[str]:
    needs = frozenset[str]().union(*(PROTOCOLS[name].needs for name in names))
    asked = {"landmarks": "landmarks", "attributes": "attributes", "embedding": "verification"}
    return (
        {"curve"}
        | {asked[need] for need in needs if need in asked}
        | ({"verification", "landmarks"} if "tracking" in names else set())
    )
