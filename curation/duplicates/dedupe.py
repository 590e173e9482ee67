"""What is in a data set twice: stills, clips, people, and training pictures that came out of a generator again."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding

from ..contents import stamp
from ..inputs import Input, open_input
from ..sources import ReleaseSource
from .calibration import DEFAULT_LIKENESS, Calibration
from .clips import overlaps
from .describe import Described, Models, describe, join
from .descriptors import distances, either_way, mirrored_hash, mirrored_vectors
from .identities import LookAlikes, People, look_alikes, people
from .memorised import Match, calibrated, describe_seeds, matches
from .neighbours import Neighbours, candidates
from .seeds import SeedSet, read_seeds

FORMAT = "thermvision-dedupe/1"
Code = Literal["exact-duplicate", "near-duplicate", "duplicate-clip", "overlapping-clips", "look-alikes", "memorised"]
By = Literal["pixels", "hash", "face", "embedding"]
CODES: dict[Code, str] = {
    "exact-duplicate": "Two stills or clips have the same pixels.",
    "near-duplicate": "Two stills show the same picture, but for tones, noise, compression, a mirror or the window.",
    "duplicate-clip": "Two clips show the same frames from beginning to end.",
    "overlapping-clips": "Two clips share a run of frames, perhaps shifted in time.",
    "look-alikes": "Two people are as alike as one person is to itself, and more than chance allows.",
    "memorised": "A generated face is a copy of a picture that the generator was trained on.",
}
# most of 256 bits in which two frames may differ: copies differ by up to 42, stills of one person by 58 or more
SAME_FRAME_BITS = 40
NEIGHBOURS = 6
LEAST_COSINE = 0.6  # of the vectors of two faces that are laid on each other


@dataclass(frozen=True)
class Pair:
    """One finding.

    Attributes:
        code: of `CODES`.
        one: item, or subject of look-alikes.
        other: item, subject, or picture of the training set.
        by: what it was judged by: "pixels", "hash" (of whole frames), "face" (laid on each other), "embedding".
        score: 1 for pixels, 1 less the share of different bits, likeness of faces, cosine of embeddings.
        threshold: the score from which it is a finding.
        where: where the other one is: "here", "against" or "seeds".
        subject_one, subject_other, split_one, split_other: "" where not known.
        bits: of 256 that differ between the whole frames; None where they were not compared.
        mirrored: whether one is the mirror image.
        frame_one, frame_other, frames: first frame of a shared run in each clip, and its length; frames of the faces.
    """

    code: Code
    by: By
    one: str
    other: str
    score: float
    threshold: float
    where: str = "here"
    subject_one: str = ""
    subject_other: str = ""
    split_one: str = ""
    split_other: str = ""
    bits: int | None = None
    mirrored: bool = False
    frame_one: int = 0
    frame_other: int = 0
    frames: int = 1

    @property
    def crosses(self) -> bool:
        """Whether the two lie in different splits of one release, which spoils every score on the second."""
        return self.where == "here" and bool(self.split_one) and self.split_one != self.split_other


@dataclass(frozen=True)
class Nearest:
    """The nearest training picture of an item, whether it is a copy or not."""

    item: str
    frame: int
    file: str
    subject: str
    likeness: float
    cosine: float
    mirrored: bool
    memorised: bool


@dataclass(frozen=True, eq=False)
class Report:
    """What was found.

    Attributes:
        pairs: the findings, by code and then by score.
        facts: counts, thresholds and distributions, as plain values.
        nearest: with a training set, one row an item.
        calibration: with a training set, what its threshold was drawn from.
        findings: items and pictures that could not be read.
        source, against, seeds: what was opened, for pictures.
    """

    pairs: tuple[Pair, ...]
    facts: dict[str, Any]
    nearest: tuple[Nearest, ...]
    calibration: Calibration | None
    findings: tuple[Finding, ...]
    source: Input
    against: Input | None = None
    seeds: SeedSet | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as plain values."""
        return {
            **self.facts,
            "pairs": [asdict(p) for p in self.pairs],
            "findings": [asdict(f) for f in self.findings],
        }


@dataclass
class _Search:
    """Two sides that are compared, or one with itself: items from ``border`` on are the other side's."""

    described: Described
    border: int | None
    found: list[Pair] = field(default_factory=list)

    def sides(self, items: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which of ``items``, by place, are asked for and among which: one side in the other, or all in all.

        Among all of two sides, copies on the same side would fill every answer.
        """
        everything = np.arange(len(items))
        if self.border is None:
            return everything, everything
        return everything[items < self.border], everything[items >= self.border]

    def pair(self, code: Code, by: By, one: int, other: int, score: float, threshold: float, **more: Any) -> Pair:
        """A pair of two items."""
        d = self.described
        return Pair(
            code, by, d.items[one], d.items[other], round(score, 4), round(threshold, 4),
            where="here" if self.border is None else "against",
            subject_one=d.subjects[one], subject_other=d.subjects[other],
            split_one=d.splits[one], split_other=d.splits[other], **more,
        )  # fmt: skip


def dedupe(
    source: str,
    *,
    against: str | None = None,
    seeds: Path | None = None,
    threshold: float | None = None,
    limit: int | None = None,
    workers: int = 1,
    quiet: bool = True,
    models: Models | None = None,
) -> Report:
    """Look for what is there twice.

    Args:
        source: a release, the published archives, or a folder of pictures and videos.
        against: another such; then only pairs of one here and one there are reported.
        seeds: a training set of `thermvision seeds`; then the nearest training picture of each item is looked up, too.
        threshold: likeness from which two faces are one picture; None: calibrated.
        limit: at most so many clips and so many stills of each.
        workers: processes; the report does not depend on them.
        models: what finds and embeds faces; None: the shipped ones.

    Raises:
        UsageError: there is nothing to read, or an option has no such value.
        DamagedInputError: a release or training set is broken.
        MissingDependencyError: ImageHash or usearch is not installed.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise UsageError(f"--threshold is {threshold}; allowed: above 0, at most 1")
    models = models or Models()
    opened = open_input(source, limit=limit)
    other = open_input(against, limit=limit) if against is not None else None
    training = read_seeds(seeds) if seeds is not None else None
    with tempfile.TemporaryDirectory(prefix="thermvision-dedupe-") as folder:
        scratch = Path(folder)
        here = describe(opened.chunks, scratch / "here", models, workers=workers, quiet=quiet)
        findings = [*opened.findings, *here.findings]
        facts: dict[str, Any] = {"source": opened.name, "read": _counts(here)}
        if isinstance(opened.source, ReleaseSource):
            facts = {"format": FORMAT, "release": stamp(opened.source.release), "limit": limit, **facts}
        search = _Search(here, None)
        if other is not None:
            there = describe(other.chunks, scratch / "there", models, workers=workers, quiet=quiet)
            findings += [*other.findings, *there.findings]
            facts |= {"against": other.name, "read_against": _counts(there)}
            search = _Search(join([here, there]), len(here.items))
        likeness_from = DEFAULT_LIKENESS if threshold is None else threshold
        still_pairs(search, likeness_from)
        clip_pairs(search)
        facts["look_alikes"] = people_pairs(search)
        facts["thresholds"] = {"bits": SAME_FRAME_BITS, "likeness": likeness_from}
        nearest: list[Nearest] = []
        calibration = None
        if training is not None:
            faces = describe_seeds(training, scratch / "seeds", models, workers=workers, quiet=quiet)
            findings += [*training.findings, *faces.described.findings]
            calibration = calibrated(faces, training.pictures, models, threshold)
            nearest = _nearest(here, matches(faces, here), training, calibration.threshold)
            search.found += _memorised(here, nearest, calibration.threshold)
            without = len(here.items) - len(nearest)
            facts["memorisation"] = {
                "set": training.title, "rows": training.rows, "pictures": len(training.pictures), "faces": len(faces),
                "items": len(nearest), "items_without_a_face": without,
                "memorised": sum(n.memorised for n in nearest), **calibration.facts(),
            }  # fmt: skip
    pairs = sorted(search.found, key=lambda p: (list(CODES).index(p.code), -p.score, p.one, p.other))
    facts["found"] = dict(Counter(p.code for p in pairs))
    facts["across_splits"] = sum(p.crosses for p in pairs)
    return Report(tuple(pairs), facts, tuple(nearest), calibration, tuple(sorted(findings)), opened, other, training)


def _counts(described: Described) -> dict[str, int]:
    clips = int(described.is_video.sum())
    stills = len(described.items) - clips
    return {"clips": clips, "stills": stills, "frames": described.frames, "faces": len(described.face_items)}


def still_pairs(search: _Search, least: float) -> None:
    """Exact and near-duplicate stills: by the whole picture's hash, and by the upright face."""
    d = search.described
    stills = np.flatnonzero(~d.is_video & (np.diff(d.starts) > 0))
    frames = d.starts[:-1][stills]
    known = set(_equal(search, stills, d.digests[frames]))
    for a, b in sorted(known):
        search.found.append(search.pair("exact-duplicate", "pixels", a, b, 1.0, 1.0, bits=0))
    hashes = np.ascontiguousarray(d.hashes[frames])
    asking, base = search.sides(stills)
    near = Neighbours(np.ascontiguousarray(hashes[base]))
    by_hash: dict[tuple[int, int], tuple[int, bool]] = {}
    for row, column, flipped in candidates(near, hashes[asking], NEIGHBOURS, SAME_FRAME_BITS, mirrored_hash):
        i, j = asking[row], base[column]
        a, b = sorted((int(stills[i]), int(stills[j])))
        if a == b or d.digests[d.starts[a]] == d.digests[d.starts[b]]:
            continue
        mine = mirrored_hash(hashes[i]) if flipped else hashes[i]
        bits = int(distances(mine, hashes[j]))
        if (a, b) not in by_hash or bits < by_hash[a, b][0]:
            by_hash[a, b] = bits, flipped
    for (a, b), (bits, flipped) in sorted(by_hash.items()):
        score, limit = 1 - bits / 256, 1 - SAME_FRAME_BITS / 256
        search.found.append(search.pair("near-duplicate", "hash", a, b, score, limit, bits=bits, mirrored=flipped))
    _by_face(search, least, set(by_hash))


def _by_face(search: _Search, least: float, known: set[tuple[int, int]]) -> None:
    d = search.described
    faces = np.flatnonzero(~d.is_video[d.face_items]) if len(d.face_items) else np.zeros(0, np.int64)
    vectors = d.vectors[faces].astype(np.float32)
    asked: set[tuple[int, int, bool]] = set()
    best: dict[tuple[int, int], tuple[float, bool]] = {}
    asking, base = search.sides(d.face_items[faces])
    near = Neighbours(vectors[base])
    for row, column, flipped in candidates(near, vectors[asking], NEIGHBOURS, LEAST_COSINE, mirrored_vectors):
        first, second = sorted((int(faces[asking[row]]), int(faces[base[column]])))
        a, b = int(d.face_items[first]), int(d.face_items[second])
        equal = d.digests[d.starts[a]] == d.digests[d.starts[b]]
        if a == b or equal or (first, second, flipped) in asked or (a, b) in known:
            continue
        asked |= {(first, second, False), (first, second, True)}
        alike, mirrored = either_way(np.asarray(d.crops[first]), np.asarray(d.crops[second]))
        if alike >= least and ((a, b) not in best or alike > best[a, b][0]):
            best[a, b] = alike, mirrored
    for (a, b), (alike, mirrored) in sorted(best.items()):
        bits = int(distances(d.hashes[d.starts[a]], d.hashes[d.starts[b]]))
        search.found.append(search.pair("near-duplicate", "face", a, b, alike, least, bits=bits, mirrored=mirrored))


def _equal(search: _Search, items: NDArray[np.intp], digests: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs of items of equal digests: each with the first of its like, or the first of its like on the other side."""
    order = np.argsort(digests, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(digests[order])) + 1):
        asking, base = (items[group[side]].tolist() for side in search.sides(items[group]))
        if search.border is None:
            yield from ((asking[0], other) for other in asking[1:])
        elif asking and base:
            yield from ((asking[0], other) for other in base)
            yield from ((one, base[0]) for one in asking[1:])


def clip_pairs(search: _Search) -> None:
    """Clips that share frames."""
    for o in overlaps(search.described, SAME_FRAME_BITS, search.border):
        exact = o.whole and o.exact == 1
        code: Code = "exact-duplicate" if exact else "duplicate-clip" if o.whole else "overlapping-clips"
        by: By = "pixels" if exact else "hash"
        limit = 1.0 if exact else 1 - SAME_FRAME_BITS / 256
        shared = {"frame_one": o.first, "frame_other": o.first + o.shift, "frames": o.last - o.first + 1}
        more = {"bits": round(o.bits), "mirrored": o.mirrored, **shared}
        search.found.append(search.pair(code, by, o.one, o.other, 1 - o.bits / 256, limit, **more))


def people_pairs(search: _Search) -> dict[str, Any]:
    """Look-alikes, and the distributions their threshold was drawn from."""
    d = search.described
    between = None
    if search.border is not None:
        # a subject of the other side is somebody else, whatever the name
        named = [f"{'1' if i < search.border else '2'}/{s}" if s else "" for i, s in enumerate(d.subjects)]
        d = Described(**{**vars(d), "subjects": named})
        between = frozenset(s for s in named if s.startswith("1/"))
    seen: People = people(d)
    alike: LookAlikes = look_alikes(seen, between=between)
    split = {s: d.splits[i] for i, s in enumerate(d.subjects)}
    for i, j, cosine in alike.pairs:
        one, other = sorted((i, j), key=lambda k: seen.subjects[k])
        faces = [int(seen.example[k]) for k in (one, other)]
        names = [seen.subjects[k] for k in (one, other)]
        shown = [n.split("/", 1)[1] if between is not None else n for n in names]
        search.found.append(Pair(
            "look-alikes", "embedding", shown[0], shown[1], round(cosine, 4), round(alike.threshold, 4),
            "here" if between is None else "against", d.items[int(d.face_items[faces[0]])],
            d.items[int(d.face_items[faces[1]])], split[names[0]], split[names[1]],
            frame_one=int(d.face_frames[faces[0]]), frame_other=int(d.face_frames[faces[1]]),
        ))  # fmt: skip
    return alike.facts


def _nearest(here: Described, found: Iterable[Match], training: SeedSet, threshold: float) -> list[Nearest]:
    """The best match of each item, in the order of the items."""
    best: dict[int, Match] = {}
    for match in found:
        item = int(here.face_items[match.face])
        if item not in best or match.likeness > best[item].likeness:
            best[item] = match
    return [
        Nearest(
            here.items[item], int(here.face_frames[m.face]), training.pictures[m.picture].name,
            training.pictures[m.picture].subject, round(m.likeness, 4), round(m.cosine, 4), m.mirrored,
            m.likeness >= threshold,
        )
        for item, m in sorted(best.items())
    ]  # fmt: skip


def _memorised(here: Described, nearest: Iterable[Nearest], threshold: float) -> list[Pair]:
    number = {name: i for i, name in enumerate(here.items)}
    return [
        Pair(
            "memorised", "face", n.item, n.file, n.likeness, round(threshold, 4), "seeds",
            here.subjects[number[n.item]], n.subject, here.splits[number[n.item]], "",
            mirrored=n.mirrored, frame_one=n.frame,
        )
        for n in nearest if n.memorised
    ]  # fmt: skip
