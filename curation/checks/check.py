"""All checks over a release, an import, a folder or a file: every finding is collected, and none stops the rest.

Chunks (shards, or groups of files) are checked by themselves, in worker processes if wanted; each leaves a part, so
that a run with an output folder that was stopped goes on where it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..item_faces import Annotates
from ..parts import check_free, each_part, work_folder
from ..release import MANIFEST
from ..store import atomic_path, atomic_write
from . import integrity
from .catalogue import KINDS, Found, Options, badness, number_of, severity, worse
from .chunk import Embeds, check_chunk
from .kinds import Scored
from .views import Looking, open_checked

SHOWN = 6  # findings of a kind that a report shows
_FORMAT = "thermvision-check/1"  # raise the number when the same frames may give other findings
_NEEDS_MEDIA = ("media-",)  # codes of the group integrity that begin so are known after decoding only


@dataclass
class Report:
    """What a check found.

    Attributes:
        source: its name.
        items, frames: how many were looked at.
        scored: by code, how often a kind was scored and the worst score.
        counts: by code, findings and the items (or files) that have one.
        worst: by code, findings with the worst scores first, `SHOWN` at most.
        total: of findings.
        left_out: files of a folder that were not looked at, and why.
        annotator: what found faces where labels lack them.
    """

    source: str
    items: int = 0
    frames: int = 0
    scored: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    worst: dict[str, list[Found]] = field(default_factory=dict)
    total: int = 0
    left_out: tuple[str, ...] = ()
    annotator: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, kinds with most findings first."""
        return {
            "source": self.source,
            "items": self.items,
            "frames": self.frames,
            "findings": self.total,
            "annotator": self.annotator,
            "left_out": list(self.left_out),
            "kinds": {
                code: {
                    "group": KINDS[code].group,
                    "severity": severity(KINDS[code]),
                    "meaning": KINDS[code].meaning,
                    "findings": self.counts[code][0],
                    "items": self.counts[code][1],
                    "scored": self.scored.get(code, (0, None))[0],
                    "unit": KINDS[code].unit,
                    "repair": KINDS[code].repair,
                    "worst": [asdict(found) for found in self.worst[code]],
                }
                for code in self.codes()
            },
        }

    def codes(self) -> list[str]:
        """The kinds that were found, errors first, those of most items first."""
        return sorted(self.counts, key=lambda c: (severity(KINDS[c]) != "error", -self.counts[c][1], c))


def check(
    source: str,
    annotator: Annotates | None,
    embedder: Embeds | None = None,
    *,
    config: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    every: int = 1,
    options: Options | None = None,
    out: Path | None = None,
    each: Callable[[Found], None] = lambda found: None,
    workers: int = 1,
    quiet: bool = True,
) -> Report:
    """Check ``source`` and tell every finding to ``each``, in an order that workers do not change.

    Args:
        source: a release, an import, the published archives, a folder of pictures and videos, or one of those.
        annotator: finds faces in items without landmarks, and in some of the others.
        embedder: tells whether a clip shows one person; None leaves that out.
        config, split, limit: see `thermvision.curation.inputs.open_input`.
        every: one of so many frames of a clip is checked by itself.
        out: folder for the pictures and scores; it also keeps the parts until the run has ended.
        workers: processes.

    Raises:
        UsageError: there is nothing to check, or ``out`` holds something else.
        DamagedInputError: the manifest cannot be read.
    """
    wanted = options or Options()
    found = open_checked(source, config, split, limit)
    looked = found if _looks_at_items(wanted.codes) else replace(found, chunks=())
    report = Report(Path(source).resolve().name, annotator=annotator.source if annotator else "")
    report.left_out = tuple(str(f) for f in found.findings)
    plan = {
        "does": _FORMAT,
        "by": report.annotator,
        "embedder": embedder.source if embedder else "",
        "every": every,
        **{name: sorted(v) if isinstance(v, frozenset) else v for name, v in vars(wanted).items()},
    }
    with ExitStack() as stack:
        if out is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thermvision-check-")))
        else:
            check_free(out, True)
            work = work_folder(out, True)
        looking = Looking(annotator, every)
        process = partial(
            check_chunk, source=source, looking=looking, embedder=embedder, options=wanted, work=work.resolve()
        )
        of_files = [*_findings_of_files(source, wanted)]
        tally = _Tally(report)
        for one in of_files:
            tally.add(one)
        for part in each_part(work, looked, process, plan, workers=workers, quiet=quiet):
            tally.part(part)
        names = _keep_pictures(work, out, report) if out is not None else {}
        for one in of_files:
            each(one)
        for part in each_part(work, looked, process, plan, quiet=True):  # all are there: they are read once more
            for plain in part["findings"]:
                each(Found(**{**plain, "picture": names.get(plain["picture"], "")}))
        if out is not None:
            if wanted.scores:
                _join_scores((work / f"{c.key}.scores.parquet" for c in looked.chunks), out / "scores.parquet")
            shutil.rmtree(work)
    return report


def _looks_at_items(codes: Collection[str]) -> bool:
    """Whether a kind is looked for that needs more than the files of a release."""
    return any(KINDS[c].group != "integrity" or c.startswith(_NEEDS_MEDIA) for c in codes)


def _findings_of_files(source: str, options: Options) -> Iterator[Found]:
    """What is wrong with a release as a whole."""
    root = Path(source)
    if not (root / MANIFEST).is_file() or not any(KINDS[c].group == "integrity" for c in options.codes):
        return
    for where, one in integrity.release_findings(root):
        if one.code in options.codes and options.kind(one.code).is_finding(one.score):
            yield _found_at(root, where, one, options)


def _found_at(root: Path, where: str, one: Scored, options: Options) -> Found:
    kind = options.kind(one.code)
    # a path of the release, there or missing, or else an item
    is_path = "/" in where or where.endswith((".json", ".md", ".parquet", ".toml")) or (root / where).exists()
    return Found(
        one.code,
        kind.group,
        severity(kind),
        item_id="" if is_path else where,
        path=where if is_path else "",
        first=one.first,
        last=one.last,
        score=number_of(one.score),
        threshold=kind.threshold,
        detail=one.detail,
    )


class _Tally:
    """Counts findings and keeps the worst of each kind."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._last: dict[str, str] = {}  # item of the last finding by code: those of an item come together

    def add(self, found: Found) -> None:
        report, place = self.report, found.item_id or found.path
        findings, items = report.counts.get(found.code, (0, 0))
        report.counts[found.code] = findings + 1, items + (self._last.get(found.code) != place)
        self._last[found.code] = place
        report.total += 1
        worst = report.worst.setdefault(found.code, [])
        worst.append(found)
        # a picture more is worth more than a score more: findings about whole files have none
        worst.sort(key=lambda f: -badness(KINDS[f.code], f.score))
        del worst[SHOWN:]

    def part(self, part: Mapping[str, Any]) -> None:
        report = self.report
        report.items += part["items"]
        report.frames += part["frames"]
        for code, (count, score) in part["scored"].items():
            seen, before = report.scored.get(code, (0, None))
            report.scored[code] = seen + count, worse(KINDS[code], before, score)
        for plain in part["findings"]:
            self.add(Found(**plain))


def _keep_pictures(work: Path, out: Path, report: Report) -> dict[str, str]:
    """Copy the pictures of the findings that a report shows, and give their new names by those in the work folder."""
    names = {}
    for code, worst in report.worst.items():
        for number, found in enumerate(worst):
            if found.picture and (work / found.picture).is_file():
                names[found.picture] = f"pictures/{code}-{number + 1}.jpg"
                atomic_write(out / names[found.picture], (work / found.picture).read_bytes(), durable=False)
            worst[number] = replace(found, picture=names.get(found.picture, ""))
    return names


def _join_scores(parts: Iterable[Path], out: Path) -> None:
    import pyarrow.parquet as pq

    paths = [path for path in parts if path.is_file()]
    if not paths:
        return
    schema = pq.read_schema(paths[0])
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for path in paths:
            writer.write_table(pq.read_table(path))
