"""Clips that show the same frames: whole, a part of one in another, shifted in time, re-encoded or mirrored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .describe import Described
from .descriptors import distances, mirrored_hash
from .neighbours import EXACT_BELOW, Neighbours, candidates

ANCHOR = 4  # frames between those that a clip is looked up by
SHORTEST = 16  # frames that two clips must share; shorter clips must share all theirs
GAPS = 0.1  # share of the frames of a shared run that may differ
_QUERIES = 8  # looked up at once: bounds the memory
# of a stretch whose frames differ by at most so many bits one stands for all in the graph: it would fill every answer
STILL_BITS = 12
PROPOSED = 24  # anchors that the graph gives for a frame, its own clip's among them


@dataclass(frozen=True)
class Overlap:
    """A run of frames that two clips share.

    Attributes:
        one, other: items of a `Described`.
        first, last: frames of ``one``, both inclusive.
        shift: frame of ``other`` less that of ``one``.
        bits: median of the different bits along the run.
        exact: share of the run whose pixels are equal.
        mirrored: whether one is the mirror image of the other.
        whole: whether the run is nearly all of both clips.
    """

    one: int
    other: int
    first: int
    last: int
    shift: int
    bits: float
    exact: float
    mirrored: bool
    whole: bool


def overlaps(
    described: Described, limit: int, between: int | None = None, exact: bool | None = None
) -> Iterator[Overlap]:
    """Overlaps of two clips of ``described``, the longest of each pair, in the order of the items.

    Every fourth frame is an anchor. Of each clip four neighbouring frames of each sixteenth are looked up among the
    anchors of clips that are no shorter, so that a shared run of 20 frames, and all of a short clip, always meet an
    anchor at their own frame. Which clips those are the graph of `Neighbours` says where there are many anchors; else
    it is all of them.

    Args:
        described: items and hashes.
        limit: most different bits of a frame and its copy.
        between: where given, only pairs of an item before and one from this number on.
        exact: compare all clips with each other; None: where there are fewer anchors than `EXACT_BELOW`.
    """
    counts = np.diff(described.starts)
    clips = np.flatnonzero(described.is_video & (counts > 0))
    clips = clips[np.argsort(counts[clips], kind="stable")]
    places = [np.arange(int(described.starts[c]), int(described.starts[c + 1]), ANCHOR) for c in clips]
    if not places:
        return
    begins = np.cumsum([0, *(len(p) for p in places)])
    place = np.concatenate(places)
    anchors = np.ascontiguousarray(described.hashes[place])
    if exact is None:
        exact = len(place) < EXACT_BELOW
    proposed = None if exact else _proposed(described, clips, place, anchors, begins, limit)
    found: list[Overlap] = []
    for rank, clip in enumerate(clips.tolist()):
        ranks = np.arange(rank + 1, len(clips)) if proposed is None else np.array(sorted(proposed[rank]), np.int64)
        if between is not None:
            ranks = ranks[(clips[ranks] < between) != (clip < between)]
        if len(ranks):
            # whole clips, which lie one after the other among the anchors
            rows = np.concatenate([np.arange(begins[r], begins[r + 1]) for r in ranks])
            owner = np.repeat(clips[ranks], np.diff(begins)[ranks])
            found += _of_clip(described, clip, owner, place[rows], anchors[rows], limit)
    yield from sorted(found, key=lambda o: (o.one, o.other))


def _proposed(
    described: Described, clips: NDArray[np.intp], place: NDArray[np.int64], anchors: NDArray[np.uint8],
    begins: NDArray[np.int64], limit: int,
) -> list[set[int]]:  # fmt: skip
    """For the clip of each rank the ranks above it that have an anchor near one of its frames, as the graph finds them.

    A graph that leaves out a frame hardly leaves out a clip: every shared run is asked for by many frames.
    """
    kept = np.concatenate([begins[r] + _apart(anchors[begins[r] : begins[r + 1]]) for r in range(len(clips))])
    rank_of = np.repeat(np.arange(len(clips)), np.diff(begins))[kept]
    near = Neighbours(np.ascontiguousarray(anchors[kept]), exact=False)
    proposed: list[set[int]] = [set() for _ in clips]
    for rank, clip in enumerate(clips.tolist()):
        own = described.hashes[described.of_item(clip)]
        # what stands for an anchor is up to so much farther away
        for _, found, _ in candidates(near, own[_asked(len(own))], PROPOSED, limit + STILL_BITS, mirrored_hash):
            other = int(rank_of[found])
            if other != rank:
                proposed[min(rank, other)].add(max(rank, other))
    return proposed


def _apart(hashes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Which hashes (N, 32) are kept: the first, and each that differs by more than `STILL_BITS` from the last kept."""
    kept = [0]
    for number in range(1, len(hashes)):
        if distances(hashes[number], hashes[kept[-1]]) > STILL_BITS:
            kept.append(number)
    return np.array(kept, np.int64)


def _asked(count: int) -> NDArray[np.intp]:
    """Which of so many frames are looked up."""
    return np.flatnonzero(np.arange(count) % (4 * ANCHOR) < ANCHOR)


def _of_clip(
    described: Described, clip: int, owner: NDArray[np.intp], place: NDArray[np.int64], anchors: NDArray[np.uint8],
    limit: int,
) -> Iterator[Overlap]:  # fmt: skip
    own = described.hashes[described.of_item(clip)]
    queries = _asked(len(own))
    votes: Counter[tuple[int, bool, int]] = Counter()
    for mirrored in (False, True):
        hashes = mirrored_hash(own) if mirrored else own
        for start in range(0, len(queries), _QUERIES):
            asked = queries[start : start + _QUERIES]
            near = distances(hashes[asked][:, None], anchors[None]) <= limit
            for row, column in zip(*np.nonzero(near), strict=True):
                other = int(owner[column])
                shift = int(place[column] - described.starts[other]) - int(asked[row])
                votes[other, mirrored, shift] += 1
    best: dict[int, Overlap] = {}
    for other in sorted({other for other, _, _ in votes}):
        # the shifts that most anchors speak for; a still stretch speaks for many
        ranked = sorted(
            ((n, m, s) for (o, m, s), n in votes.items() if o == other), key=lambda v: (-v[0], v[1], abs(v[2]), v[2])
        )
        for _, mirrored, shift in ranked[:4]:
            pair = (clip, other, shift) if clip < other else (other, clip, -shift)
            found = _along(described, *pair, mirrored, limit)
            if found is not None and (other not in best or _length(found) > _length(best[other])):
                best[other] = found
    yield from best.values()


def _length(overlap: Overlap) -> int:
    return overlap.last - overlap.first + 1


def _along(described: Described, clip: int, other: int, shift: int, mirrored: bool, limit: int) -> Overlap | None:
    a, b = described.of_item(clip), described.of_item(other)
    first, last = max(0, -shift), min(a.stop - a.start, b.stop - b.start - shift)
    if last <= first:
        return None
    one = described.hashes[a][first:last]
    two = described.hashes[b][first + shift : last + shift]
    bits = distances(mirrored_hash(one) if mirrored else one, two)
    run = longest_run(bits <= limit, GAPS)
    if run is None:
        return None
    start, stop = run
    shortest, longest = sorted((a.stop - a.start, b.stop - b.start))
    if stop - start < min(SHORTEST, shortest):
        return None
    equal = (
        described.digests[a][first + start : first + stop]
        == described.digests[b][first + shift + start : first + shift + stop]
    )
    return Overlap(
        one=clip, other=other, first=first + start, last=first + stop - 1, shift=shift,
        bits=float(np.median(bits[start:stop])), exact=float(equal.mean()), mirrored=mirrored,
        whole=stop - start >= 0.95 * longest,
    )  # fmt: skip


def longest_run(good: NDArray[np.bool_], gaps: float) -> tuple[int, int] | None:
    """Start and stop of the longest run that begins and ends well and has at most a share ``gaps`` of others.

    >>> longest_run(np.array([0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0], bool), 0.1)
    (1, 11)
    """
    if not good.any():
        return None
    # the best pair start <= end with sum(good - (1 - gaps)) >= 0, found on the prefix sums
    prefix = np.concatenate([[0.0], np.cumsum(good - (1 - gaps))])
    lowest = np.minimum.accumulate(prefix[:-1])
    best, found = 0, (0, 0)
    for stop in (np.flatnonzero(good) + 1).tolist():
        start = int(np.searchsorted(-lowest[:stop], -(prefix[stop] + 1e-9)))
        while start < stop and not good[start]:
            start += 1
        if stop - start > best:
            best, found = stop - start, (start, stop)
    return found
