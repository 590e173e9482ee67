"""What a release holds already: the registry that the plan of its next version stands on, append-only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, TypeVar

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import GENDERS
from thermvision.curation.release import Identity
from thermvision.curation.splits import split_of
from thermvision.generation.specs import ClipSpec, SceneSpec, StillSpec, Subject, plain_spec

ItemSpec = ClipSpec | StillSpec | SceneSpec
Spec = TypeVar("Spec", ClipSpec, StillSpec, SceneSpec)
LISTED = 5  # how many redefinitions a message names


@dataclass(frozen=True)
class Known:
    """Who and what the versions before hold.

    Attributes:
        identities: in the order of their class numbers.
        subjects: the same by subject id: seed, gender and traits of each.
        items: every clip, still and scene that was planned, by id, those that failed included.
        passed_over: subjects that no version takes, and why.
        settled: where a finished release is planned again, the numbers of all its subjects: others were passed over,
            and no engine is asked.
    """

    identities: tuple[Identity, ...] = ()
    subjects: Mapping[str, Subject] = field(default_factory=dict)
    items: Mapping[str, ItemSpec] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    settled: frozenset[int] | None = None

    @property
    def refused(self) -> frozenset[str]:
        """Ids of the subjects in ``passed_over``."""
        return frozenset(line.partition(":")[0] for line in self.passed_over)

    @property
    def next_number(self) -> int:
        """The lowest even number above every subject that was taken or passed over: where new subjects may begin."""
        highest = max((s.index for s in self.subjects.values()), default=-1)
        return (highest + len(GENDERS)) // len(GENDERS) * len(GENDERS)


NOBODY = Known()


def with_born(known: Known, subjects: Iterable[Subject]) -> tuple[Identity, ...]:
    """The known identities and behind them those of ``subjects`` that are new, in the order they are given.

    A new one's split is that of its place among its gender, counted on from the known ones: it would be the same had
    all been made at once.
    """
    counts = {gender: sum(i.gender == gender for i in known.identities) for gender in GENDERS}
    identities = list(known.identities)
    for subject in subjects:
        if subject.subject_id not in known.subjects:
            split = split_of(subject.gender, counts[subject.gender])
            counts[subject.gender] += 1
            born = {"subject_id": subject.subject_id, "gender": subject.gender, "split": split}
            identities.append(Identity.model_validate(born))
    return tuple(identities)


def redefined_subjects(known: Known, subjects: Iterable[Subject]) -> list[str]:
    """Known subjects that a recipe gives another seed, gender or traits, and which."""
    pairs = ((known.subjects[s.subject_id], s) for s in subjects if s.subject_id in known.subjects)
    return [f"{now.subject_id} ({_changes(_values(before), _values(now))})" for before, now in pairs if before != now]


def new_items(known: Known, specs: Iterable[Spec], limit: int | None, redefined: list[str]) -> list[Spec]:
    """Those of ``specs`` whose ids are not known, ``limit`` at most; others that differ are named in ``redefined``."""
    if not known.items:
        return list(islice(specs, limit))
    found = []
    for spec in specs:
        before = known.items.get(spec.item_id)
        if before is None:
            found.append(spec)
        elif before != spec and (why := _changes(_plain(before), _plain(spec))):
            redefined.append(f"{spec.item_id} ({why})")
    return found[:limit]


def refuse_redefined(redefined: list[str], recipe: str, known: Known) -> None:
    """Raise UsageError when there is anything in ``redefined``."""
    if redefined:
        more = f" and {len(redefined) - LISTED} more" if len(redefined) > LISTED else ""
        raise UsageError(
            f"{recipe} redefines what is there already: {', '.join(redefined[:LISTED])}{more}; allowed: values as they"
            f" were, or new subjects only: subjects.first = {known.next_number}"
        )


def _values(subject: Subject) -> dict[str, Any]:
    return {f.name: getattr(subject, f.name) for f in fields(subject)}


def _plain(spec: ItemSpec) -> dict[str, Any]:
    """Plain values of a spec; who is in a scene depends on how many people there are, and what is there stays."""
    values = plain_spec(spec)
    if isinstance(spec, SceneSpec):
        del values["subjects"], values["split"]
    return values


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two specs, for people: "num_frames 60 then, 90 now"."""
    old, new = dict(leaves(before)), dict(leaves(now))
    changed = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    return ", ".join(f"{k} {_short(old.get(k))} then, {_short(new.get(k))} now" for k in changed)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings with its dotted name."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else "of other content"
