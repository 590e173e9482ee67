"""Running models over the frames that lists name, and handing what they found to each protocol's scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermvision.annotations.errors import DamagedInputError

from ..evaluation import tasks
from ..evaluation.frames import KnownFrame, named_frames
from ..evaluation.measures import Options, TaskResult, pair_faces
from ..evaluation.models import Models
from ..sources import open_source
from . import identification, looking, robustness, tracking, verification

if TYPE_CHECKING:
    import pandas as pd


def results(
    root: Path,
    tables: Mapping[str, pd.DataFrame],
    needs_of: Mapping[str, Set[str]],
    models: Models,
    options: Options,
    quiet: bool,
) -> dict[str, TaskResult]:
    """The scores of each protocol in ``needs_of``, which says what is run on its frames besides the detector.

    Args:
        root: a release.
        tables: lists by protocol, and "training" where baselines come from the training split.
        needs_of: by protocol, see `benchmark.Protocol.needs`.
        models: to run.
        options: how they are scored.
        quiet: no progress on stderr.

    Raises:
        DamagedInputError: a shard does not read, or a list names what is not there.
    """
    source = open_source(root)
    needs: dict[str, set[str]] = {}
    for name, wanted in needs_of.items():
        for key in _frames_of(name, tables[name]):
            needs.setdefault(key, set()).update(wanted)
    truth = _known(source, needs, root)
    learnt = tables.get("training")
    reference = list(named_frames(source, set(learnt["frame"])).values()) if learnt is not None else []
    seen = looking.look(root, truth, needs, models, options, quiet)
    found = {}
    for name in needs_of:
        table = tables[name]
        if name == "tracking":
            found[name] = tracking.score(root, table, models, options, quiet)
            continue
        frames = [truth[key] for key in dict.fromkeys(_frames_of(name, table))]
        found[name] = _score(name, table, frames, seen, reference, options)
        if gone := [frame.key for frame in frames if frame.key in seen.missing]:
            found[name].notes.append(
                f"{name}: {len(gone)} of {len(frames)} listed frames have no picture and count as missed, such as"
                f" {gone[0]}; type: thermvision check {root}"
            )
    return found


def _score(
    name: str,
    table: pd.DataFrame,
    frames: Sequence[KnownFrame],
    seen: looking.Seen,
    reference: Sequence[KnownFrame],
    options: Options,
) -> TaskResult:
    pairs = pair_faces(frames, seen.looked_at, options)
    match name:
        case "detection":
            return tasks.score_detection(frames, seen.found, reference, options)
        case "landmarks":
            return tasks.score_landmarks(pairs, reference, options)
        case "head-pose":
            return tasks.score_pose(pairs, reference, options)
        case "expression" | "gender":
            return tasks.score_attributes(pairs, reference, options, (name,))
        case "verification":
            return verification.score(table, seen.vectors, options)
        case "robustness":
            return robustness.score(table, pairs, seen.vectors, options)
        case _:
            return identification.score(table, seen.vectors, options)


def _frames_of(name: str, table: pd.DataFrame) -> list[str]:
    if name == "tracking":
        return []
    columns = ("first", "second") if name == "verification" else ("frame",)
    return [key for column in columns for key in table[column]]


def _known(source: Any, keys: Iterable[str], root: Path) -> dict[str, KnownFrame]:
    wanted = set(keys)
    truth = named_frames(source, wanted)
    if strangers := sorted(wanted - set(truth)):
        raise DamagedInputError(f"the lists name {strangers[0]}, which {root} does not label; write the lists anew")
    return truth
