"""The audit of a release: what a recogniser, a detector and a reader of statistics would be misled by.

Frames are read once for the sample of people, and the annotations of all frames stream by once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.bootstrap import Bootstrap
from thermvision.annotations.errors import UsageError

from ..release import Manifest
from ..sources import ReleaseSource
from . import probes
from .contamination import Contamination, contamination
from .labels import Labels, score_labels
from .leakage import Leakage, recognise
from .parity import Parity, compare, read_people
from .samples import NAMES, Plan, Samples, read_samples
from .verdict import Answer, Level, judge, worst

FORMAT = "thermvision-audit/1"
MOST_FRAMES = 2400  # of each clip, times people: 1.2 GB at most, with four clips and eight stills a person


@dataclass(frozen=True)
class Options:
    """How much is looked at.

    Attributes:
        split: one of the release; None: all of it.
        frames: of each clip, evenly spread.
        people: from so many identities on recognition says something.
        most_people: so many are drawn where there are more, women and men alike.
        label_frames: frames that the shipped models are run over.
        rounds, seed: of the bootstrap and of the draw of people.
        workers: processes that read.

    Raises:
        UsageError: frames times people are too many to keep.
    """

    split: str | None = None
    frames: int = 12
    people: int = 50
    most_people: int = 150
    label_frames: int = 400
    rounds: int = 1000
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.frames * self.most_people > MOST_FRAMES:
            raise UsageError(
                f"--frames {self.frames} of --max-people {self.most_people} are more than fit into memory; allowed: a"
                f" product of {MOST_FRAMES}, such as --frames {max(MOST_FRAMES // self.most_people, 2)}"
            )

    def quick(self) -> Options:
        """At most four frames a clip, 60 people, 60 frames of labels and 200 rounds: for a first look."""
        return replace(
            self, frames=min(self.frames, 4), most_people=min(self.most_people, 60),
            label_frames=min(self.label_frames, 60), rounds=min(self.rounds, 200),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Audit:
    """The result.

    Attributes:
        facts: of the release and what was looked at.
        answers: to each question.
        leakage, parity, labels, shared: the numbers behind them.
        example: condition to a picture of one frame, for the page.
    """

    facts: Mapping[str, Any]
    answers: tuple[Answer, ...]
    leakage: Leakage
    parity: Parity
    labels: Labels
    shared: Contamination
    example: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def verdict(self) -> Level:
        """The worst answer."""
        return worst(self.answers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not defined is null."""
        numbers = {
            "recognition": self.leakage.as_dict(),
            "parity": self.parity.as_dict(),
            "labels": self.labels.as_dict(),
            "splits": self.shared.as_dict(),
        }
        whole = {
            "format": FORMAT,
            **self.facts,
            "verdict": self.verdict,
            "answers": [asdict(a) for a in self.answers],
            **numbers,
        }
        plain: dict[str, Any] = _plain(whole)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.integer, np.floating)):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def chosen_people(manifest: Manifest, split: str | None, most: int, seed: int = 0) -> list[str]:
    """The subjects of a split, at most ``most`` of them: as many women as men where there are enough."""
    pools = {g: [i.subject_id for i in manifest.identities if i.gender == g and split in (None, i.split)] for g in (
        "female", "male")}  # fmt: skip
    rng = np.random.default_rng(seed)
    women, men = ([str(s) for s in rng.permutation(pool)] for pool in pools.values())
    if len(women) + len(men) <= most:
        return sorted(women + men)
    half = max(most // 2, most - len(men))
    taken = women[:half]
    return sorted(taken + men[: most - len(taken)])


def audit_release(root: Path, options: Options | None = None, quiet: bool = True) -> Audit:
    """Audit a release.

    Raises:
        UsageError: there is no release, or none of its rows lies in the split.
        MissingDependencyError: scikit-learn is not installed.
        DamagedInputError: a shard does not read.
    """
    asked = options or Options()
    probes.require()
    source = ReleaseSource(root.resolve())
    manifest = source.release
    subjects = chosen_people(manifest, asked.split, asked.most_people, asked.seed)
    if not subjects:
        raise UsageError(f"{root} has nobody in split {asked.split!r}; allowed: train, validation, test, all")

    def say(line: str) -> None:
        if not quiet:
            print(f"audit: {line}", file=sys.stderr, flush=True)

    say(f"reading frames of {len(subjects)} people")
    plan = Plan(source.root, frozenset(subjects), asked.frames)
    samples, first = read_samples(source, plan, asked.split, asked.workers, quiet)
    genders = {i.subject_id: i.gender for i in manifest.identities}
    leakage = recognise(
        samples, first, genders, Bootstrap(asked.rounds, asked.seed), lambda c: say(f"recognising: {c}")
    )
    say("reading annotations")
    people, parity = read_people(source, asked.split)
    compare(people, parity)
    shared = contamination(samples, people, {i.subject_id: i.split for i in manifest.identities})
    example = _example(samples)
    del samples, first
    say("scoring labels")
    labels = score_labels(
        source.root, asked.split, frames_per_clip=2, limit=asked.label_frames, rounds=min(asked.rounds, 200), quiet=True
    )
    facts = {
        "release": manifest.name,
        "version": manifest.version,
        "identities": len(manifest.identities),
        "people": len(subjects),
        "digest": source.digest,
        "options": {k: v for k, v in asdict(asked).items() if k != "workers"},
    }
    answers = judge(leakage, parity, labels, shared, asked.people)
    return Audit(facts, tuple(answers), leakage, parity, labels, shared, example)


def _example(samples: Samples) -> dict[str, NDArray[np.uint8]]:
    """The views of one frame: of the clips' where there are any, the one whose box is nearest to all others'."""
    if not len(samples):
        return {}
    rows: Sequence[int] = np.flatnonzero(samples.is_clip).tolist() or range(len(samples))
    middle = np.median(samples.box[rows], axis=0)
    row = min(rows, key=lambda i: float(np.abs(samples.box[i] - middle).sum()))
    return {name: samples.pictures[name][row] for name in NAMES}
