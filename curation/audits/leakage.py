"""Who is recognised by what: Rank-1 of every recogniser under every condition, across recordings and within them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.bootstrap import Bootstrap

from .descriptors import gradient_vectors, pixel_vectors, tone_vectors
from .probes import Answers, Deal, ask, compressed, luck
from .regions import VIEWS
from .samples import EMBEDDED, Samples

Numbers = NDArray[np.int64]
STILL_FOLDS = 3
GUESSING = 3.0  # times chance: what does not show the face may recognise no more than that
FACE_RANK = 0.95  # what the face alone must reach, of clips
CONDITIONS = ("full", "face", "masked", "box", "silhouette", "background", "first")
_RECOGNISERS: dict[str, tuple[str, bool]] = {
    "pixels": ("pixels", True),
    "gradients": ("gradients", True),
    "embedder": ("embedding", False),
    "embedder, trained": ("embedding", True),
}


@dataclass(frozen=True)
class Score:
    """Rank-1 of one recogniser.

    Attributes:
        condition, view, recogniser, protocol: what it looked at, what it is and what was asked.
        rank1: part of the probes that were named rightly; a probe is the mean over a recording's frames.
        interval: 95 %, by drawing identities.
        clips, stills: the same of either alone, None where there are none.
        frames: of single frames.
        probes: how many.
        gender: part of the probes that were taken for a person of the right gender.
        clips_interval: of ``clips``.
    """

    condition: str
    view: str
    recogniser: str
    protocol: str
    rank1: float
    interval: tuple[float, float] | None
    clips: float | None
    stills: float | None
    frames: float
    probes: int
    gender: float | None
    clips_interval: tuple[float, float] | None = None


@dataclass
class Leakage:
    """All scores and who was looked at.

    Attributes:
        scores: of every condition, view, recogniser and protocol.
        people: subject ids.
        chance: 1 over their number.
        notes: what was left out.
    """

    scores: list[Score] = field(default_factory=list)
    people: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def chance(self) -> float:
        """Rank-1 of a guess."""
        return 1 / len(self.people) if self.people else float("nan")

    def best(self, condition: str, protocol: str = "across", key: str = "rank1") -> Score | None:
        """The recogniser that did best, by ``rank1`` or ``clips``; None where none was asked."""
        asked = [s for s in self.scores if s.condition == condition and s.protocol == protocol]
        asked = [s for s in asked if getattr(s, key) is not None]
        return max(asked, key=lambda s: getattr(s, key), default=None)

    def luck(self, condition: str, protocol: str = "across") -> float:
        """What the best of as many guessing recognisers reaches in one release of twenty."""
        asked = [s for s in self.scores if s.condition == condition and s.protocol == protocol]
        return luck(len(self.people), max((s.probes for s in asked), default=0), len(asked))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "people": len(self.people),
            "chance": self.chance,
            "best": {
                f"{c}, {p}": asdict(found)
                for p in ("across", "within")
                for c in CONDITIONS
                if (found := self.best(c, p)) is not None
            },
            "luck": {c: self.luck(c) for c in CONDITIONS if self.best(c) is not None},
            "scores": [asdict(s) for s in self.scores],
            "notes": self.notes,
        }


def across(samples: Samples, person: Numbers) -> tuple[Deal, NDArray[np.bool_]]:
    """Probes are recordings, the gallery is the same people's other recordings; and which frames take part.

    A clip is a recording and so is each still. A person's first clip is a fold, his second another, and so on up to
    four; stills are dealt into three. People with one recording only take no part.
    """
    item = _numbers(samples.item)
    fold = np.full(len(samples), -1, np.int64)
    used = np.zeros(len(samples), bool)
    for k in np.unique(person):
        rows = np.flatnonzero(person == k)
        clips, stills = (
            sorted({int(item[i]) for i in rows if samples.is_clip[i] == kind}, key=lambda n: _place(samples, item, n))
            for kind in (True, False)
        )
        if len(clips) + len(stills) < 2:
            continue
        # stills of a person without clips begin at fold 0, so that all is dealt alike
        for place, number in enumerate(clips):
            fold[rows[item[rows] == number]] = place % 4
        for place, number in enumerate(stills):
            fold[rows[item[rows] == number]] = 4 + place % STILL_FOLDS
        used[rows] = True
    folds = [((fold != f) & used, (fold == f) & used) for f in np.unique(fold[used])]
    return Deal(folds, item), used


def _place(samples: Samples, item: Numbers, number: int) -> tuple[str, str]:
    row = int(np.flatnonzero(item == number)[0])
    return samples.recording[row], samples.item[row]


def within(samples: Samples, person: Numbers) -> tuple[Deal, NDArray[np.bool_]]:
    """The gallery is the first half of each clip's frames and the probes are its second: one clip's shortcuts.

    Clips of one sequence are asked together, so that each person has one clip in the gallery.
    """
    item = _numbers(samples.item)
    part = np.full(len(samples), -1, np.int64)
    taken: dict[int, dict[int, int]] = {}
    for number in np.unique(item):
        rows = np.flatnonzero(item == number)
        if not samples.is_clip[rows[0]] or len(rows) < 4:
            continue
        clips = taken.setdefault(int(person[rows[0]]), {})
        clips.setdefault(int(number), len(clips))
        order = rows[np.argsort([samples.frame[i] for i in rows])]
        place = 2 * clips[int(number)]
        part[order[: len(order) // 2]], part[order[len(order) // 2 :]] = place, place + 1
    folds = [(part == p, part == p + 1) for p in np.unique(part[part >= 0]) if p % 2 == 0]
    return Deal(folds, item), part >= 0


def _numbers(names: Sequence[str]) -> Numbers:
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1].astype(np.int64)


def recognise(
    samples: Samples,
    first: Samples,
    genders: Mapping[str, str],
    bootstrap: Bootstrap,
    say: Callable[[str], None] = lambda line: None,
) -> Leakage:
    """Ask every recogniser under every condition.

    Args:
        samples, first: see `samples.read_samples`.
        genders: of the subjects.
        bootstrap: of the intervals.
        say: told what is done, for progress.
    """
    found = Leakage(notes=[f"{n} {reason} left out" for reason, n in samples.left_out.items()])
    if not len(samples):
        return found
    names = sorted(set(samples.subject))
    person = np.array([names.index(s) for s in samples.subject], np.int64)
    deal, used = across(samples, person)
    asked = sorted(set(person[used].tolist()))
    found.people = tuple(names[k] for k in asked)
    if len(asked) < 2:
        found.notes.append("fewer than two people have two recordings: nobody can be recognised")
        return found
    if len(asked) < len(names):
        found.notes.append(f"{len(names) - len(asked)} people have one recording only and take no part")
    halves, _ = within(samples, person)
    gender = [genders.get(n, "") for n in names]
    for condition, parts in VIEWS.items():
        say(condition)
        for view in parts:
            for recogniser, vectors, trained in _vectors(samples, f"{condition}/{view}"):
                answers = {"across": ask(vectors, person, deal, trained)}
                if trained and view in ("frame", "aligned"):
                    answers["within"] = ask(vectors, person, halves, trained)
                for protocol, answer in answers.items():
                    found.scores += _scored(condition, view, recogniser, protocol, answer, samples, gender, bootstrap)
    say("first frames")
    found.scores += _first(first, names, gender, bootstrap)
    return found


def _first(first: Samples, names: Sequence[str], gender: Sequence[str], bootstrap: Bootstrap) -> Iterator[Score]:
    if not len(first):
        return
    person = np.array([names.index(s) for s in first.subject], np.int64)
    deal, _ = across(first, person)
    for name in first.pictures:
        for recogniser, vectors, trained in _vectors(first, name):
            answer = ask(vectors, person, deal, trained)
            view = name.split("/")[1]
            yield from _scored("first", view, recogniser, "across", answer, first, gender, bootstrap)


def _vectors(samples: Samples, name: str) -> Iterator[tuple[str, NDArray[np.float32], bool]]:
    pictures = samples.pictures[name]
    made: dict[str, NDArray[np.float32]] = {}
    for recogniser, (kind, trained) in _RECOGNISERS.items():
        if kind == "embedding":
            if name in EMBEDDED:
                yield recogniser, samples.embeddings[name].astype(np.float32), trained
            continue
        if kind not in made:
            made[kind] = compressed(pixel_vectors(pictures) if kind == "pixels" else gradient_vectors(pictures))
        yield recogniser, made[kind], trained
    if name == "masked/frame":
        yield "tones", tone_vectors(pictures), True
        yield "framing", samples.box.astype(np.float32), True


def _scored(
    condition: str,
    view: str,
    recogniser: str,
    protocol: str,
    answer: Answers,
    samples: Samples,
    gender: Sequence[str],
    bootstrap: Bootstrap,
) -> Iterator[Score]:
    if not len(answer.probes):
        return
    hits = answer.hits
    # `within` and `across` number probes by item
    clip_items = {n for n, is_clip in zip(_numbers(samples.item).tolist(), samples.is_clip, strict=True) if is_clip}
    of_clip = np.array([int(p) in clip_items for p in answer.probes], bool)
    right = [gender[n] == gender[p] for n, p in zip(answer.named, answer.person, strict=True) if n >= 0 and gender[p]]
    yield Score(
        condition,
        view,
        recogniser,
        protocol,
        float(hits.mean()),
        bootstrap.mean(hits, answer.person.tolist()),
        float(hits[of_clip].mean()) if of_clip.any() else None,
        float(hits[~of_clip].mean()) if (~of_clip).any() else None,
        float(answer.frame_hits.mean()),
        len(hits),
        float(np.mean(right)) if right else None,
        bootstrap.mean(hits[of_clip], answer.person[of_clip].tolist()) if of_clip.any() else None,
    )
