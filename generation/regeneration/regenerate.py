"""Items rendered again from their provenance and compared on raw pixels.

``exact``: the rendered pixels have the recorded digest, and what is stored is what they encode to, 16-bit frames
included. ``close``: not so, and every frame is within 45 dB. ``mismatch``: it is not, or labels that the engine answers
for are others. ``unavailable``: it cannot be rendered here, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from thermvision.annotations.errors import (
    DamagedInputError,
    OutputError,
    ThermVisionError,
    UsageError,
)
from thermvision.annotations.schema import features
from thermvision.curation.assembly import fingerprint
from thermvision.curation.differences.history import version_in
from thermvision.curation.pack import Shard
from thermvision.curation.places import Place
from thermvision.curation.progress import BuildProgress
from thermvision.curation.release import Failed
from thermvision.curation.runners import Advance, Job, Outcome, Runner, run_jobs
from thermvision.curation.sources import reading_part
from thermvision.generation.engines import engine_of
from thermvision.generation.specs import Clip, SceneSpec, SceneStill, Still, engine_settings

from .comparison import compare_clip, compare_labels, compare_measurement, compare_picture
from .provenance import disagreement, read_provenance
from .supplies import Supplies, supplied

STATES = ("exact", "close", "mismatch", "unavailable")
DAMAGED = "damaged"
_NOTHING = Supplies()


@dataclass(frozen=True)
class Checked:
    """What came of one item: one of `STATES` and why; of a shard that does not read, ``DAMAGED``."""

    item_id: str
    shard: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """Items of a shard to render again: those at ``positions``, or all where it is None."""

    shard: Shard
    positions: frozenset[int] | None = None

    @property
    def rows(self) -> int:
        """How many items."""
        return self.shard.rows if self.positions is None else len(self.positions)


@dataclass(frozen=True)
class _Work:
    place: Place
    part: Part
    supplies: Supplies
    measured: Shard | None


def regenerate(
    place: Place,
    parts: Sequence[Part],
    supplies: Mapping[str, Supplies],
    *,
    workers: int = 1,
    quiet: bool = False,
    run: Runner = run_jobs,
) -> Iterator[Checked]:
    """Render items again and compare them, shard by shard as they come; items that are exact are among the results.

    Args:
        place: the release.
        parts: which items.
        supplies: by version, what its items need; see `version_in`.
        workers: processes; results do not depend on them.
        run: where the work is done.

    Raises:
        RemoteError: the other side refuses or does not answer.
        ThermVisionError: a worker died.
    """
    frames = {s.fingerprint: s.rows for s in place.release.shards if s.config == "frames"}
    # what one job made: a shard that took another's place has none, and its item's 16-bit frames are not compared
    measured = {s.fingerprint: s for s in place.release.shards if s.config == "radiometric"}
    jobs = []
    for part in parts:
        shard = part.shard
        of_all = frames.get(shard.fingerprint, shard.rows) if shard.config == "video" else shard.rows
        count = round(of_all * part.rows / max(shard.rows, 1))
        truth = measured.get(shard.fingerprint)
        here = place.holding(*(s for s in (shard, truth) if s is not None))
        work = _Work(here, part, supplies.get(version_in(shard.path), _NOTHING), truth)
        jobs.append(Job(shard.path, shard.fingerprint, (), count, work))
    with BuildProgress(len(jobs), sum(j.frames for j in jobs), quiet=quiet) as progress:
        for job, outcome in run(place.root, jobs, _Worker(place.is_folder), workers, progress.advance):
            yield from (Checked(f.item_id, job.key, f.code, f.reason) for f in outcome.failed)
            progress.shard_done(job.key)


@dataclass(frozen=True)
class _Worker:
    """A `curation.runners.Worker`; a node of a cluster need not see the folder that another one downloads to."""

    needs_root: bool

    def __call__(self, root: Path, job: Job, advance: Advance) -> Outcome:
        return _check_part(root, job, advance)


def _check_part(root: Path, job: Job, advance: Advance) -> Outcome:
    """Writes nothing: each item of the part is in ``failed`` with its state as the code."""
    work: _Work = job.payload
    shard, found = work.part.shard, list[Failed]()
    measured: dict[str, dict[str, Any]] = {}
    if work.measured is not None:
        try:
            measured = _measured(work.place, work.measured)
        except DamagedInputError as error:
            found.append(Failed(item_id=work.measured.path, code=DAMAGED, reason=str(error)))
    try:
        path = work.place.fetch(shard.path)
        with reading_part(root, shard.path):
            for row in _rows(path, work.part):
                name = str(row.get("clip_id") or row.get("image_id"))
                state, reason = check_row(row, shard.config, work.supplies, advance, measured.get(name))
                found.append(Failed(item_id=name, code=state, reason=reason[:2000]))
    except DamagedInputError as error:
        found.append(Failed(item_id=shard.path, code=DAMAGED, reason=str(error)))
    return Outcome((), tuple(found))


def _rows(path: Path, part: Part) -> Iterator[dict[str, Any]]:
    file = pq.ParquetFile(path)
    names = [name for name in features(part.shard.config) if name in file.schema_arrow.names]
    for position, batch in enumerate(file.iter_batches(batch_size=1, columns=names)):
        if part.positions is None or position in part.positions:
            yield from batch.to_pylist()


def _measured(place: Place, shard: Shard) -> dict[str, dict[str, Any]]:
    """By item, the rows of a shard of `radiometric`, pictures encoded as they lie there."""
    with reading_part(place.root, shard.path):
        rows = pq.ParquetFile(place.fetch(shard.path)).read().to_pylist()
    return {row["item_id"]: row for row in rows}


def check_row(
    row: Mapping[str, Any],
    config: str,
    supplies: Supplies = _NOTHING,
    advance: Advance = lambda frames: None,
    measured: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """State and reason of the item in a row of ``config``.

    ``measured`` is its row of `radiometric`, if there is one.
    """
    try:
        told = read_provenance(row.get("provenance"))
        if told is None:
            return "unavailable", "its provenance names no spec: it was not rendered, or by other software"
        if why := disagreement(told, row, config):
            return "unavailable", f"its provenance is refused: {why}"
        spec = supplied(told.spec, supplies)
        engine = engine_of(spec.engine, **engine_settings(spec))
        engine.require()
        if engine.engine_id != told.engine:
            return "unavailable", f"{told.engine} made it; here is {engine.engine_id}"
        if fingerprint(engine.model_digests()) != told.models:
            return "unavailable", f"the model files of {told.engine} here are others than those that made it"
        made: Clip | Still | SceneStill = (
            engine.render_scene(spec, advance) if isinstance(spec, SceneSpec) else engine.render(spec, advance)
        )
        if isinstance(made, Clip):
            found = [compare_clip(told, made, _media(row, "video"))]
        else:
            found = [compare_picture(told, made.frame, _media(row, "image"))]
        found.append(compare_labels(told, made, row))
        if measured and not isinstance(made, SceneStill):
            found.append(compare_measurement(made.radiometry, measured))
        return max(found, key=lambda result: STATES.index(result[0]))
    except (OutputError, MemoryError):
        raise
    except ThermVisionError as error:
        return "unavailable", str(error)
    except Exception as error:  # an engine given what no recipe gives
        return "unavailable", f"{type(error).__name__}: {error}"


def _media(row: Mapping[str, Any], name: str) -> bytes:
    value = row.get(name)
    data = value.get("bytes") if isinstance(value, dict) else None
    if not isinstance(data, bytes):
        raise DamagedInputError(f"its row holds no {name}")
    return data


def all_parts(shards: Sequence[Shard]) -> list[Part]:
    """All items of ``shards``."""
    return [Part(shard) for shard in shards]


def sampled_parts(shards: Sequence[Shard], wanted: str, seed: int = 0) -> list[Part]:
    """``wanted`` items of ``shards`` drawn by ``seed``: "1%" of them (one at least), or a number.

    Raises:
        UsageError: it is neither, or there are no items.
    """
    total = sum(s.rows for s in shards)
    number = sample_size(wanted, total)
    chosen = np.sort(np.random.default_rng(seed).choice(total, number, replace=False))
    parts, start = [], 0
    for shard in shards:
        here = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + shard.rows)] - start
        start += shard.rows
        if len(here):
            parts.append(Part(shard, frozenset(here.tolist())))
    return parts


def sample_size(wanted: str, total: int) -> int:
    """How many of ``total`` items a sample is.

    >>> sample_size("1%", 250), sample_size("40", 25), sample_size("0.5%", 10)
    (3, 25, 1)

    Raises:
        UsageError: it is no share and no number.
    """
    text = wanted.strip()
    try:
        number = float(text.removesuffix("%")) if text.endswith("%") else int(text)
    except ValueError:
        number = 0
    if not number > 0 or (text.endswith("%") and number > 100):
        raise UsageError(f"--sample is {wanted!r}; allowed: a share such as 1%, or a number of items from 1 on")
    share = int(np.ceil(round(total * number / 100, 6))) if text.endswith("%") else int(number)
    return min(share, total)


def parts_with(place: Place, shards: Sequence[Shard], items: Sequence[str]) -> list[Part]:
    """Where the items (clip and image ids) lie; of a remote release shards are fetched until all are found.

    Raises:
        UsageError: the release has no such item.
    """
    missing, parts = set(items), []
    for shard in shards:
        if not missing:
            break
        key = "clip_id" if shard.config == "video" else "image_id"
        with reading_part(place.root, shard.path):
            ids = pq.ParquetFile(place.fetch(shard.path)).read(columns=[key]).column(0).to_pylist()
        if here := frozenset(n for n, i in enumerate(ids) if i in missing):
            missing -= {ids[n] for n in here}
            parts.append(Part(shard, here))
    if missing:
        first = ", ".join(sorted(missing)[:3])
        raise UsageError(f"{place.name} has no item {first} in a shard that is whole; allowed: its clip and image ids")
    return parts
