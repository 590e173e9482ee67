"""Ways to deal people and items into splits: folds, one attribute held out, galleries and probes.

All are identity-disjoint where they train and test, equal for equal seeds, and give a `SplitTable`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES

from ..split_tables import EXCLUDED, SplitTable
from .items import people_of

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT: dict[str, tuple[str, ...]] = {
    **ATTRIBUTES, "gender": GENDERS, "expression": EXPRESSIONS, "sequence": SEQUENCES, "category": CATEGORIES,
}  # fmt: skip
MOST_TESTED = 0.5  # part of the people that an attribute all of them show may take out of training
UNKNOWN = 1 / 3  # part of the people that are in nobody's gallery


def folds(items: pd.DataFrame, k: int = 5, seed: int = 0) -> dict[str, int]:
    """Fold of each subject: sizes differ by at most one, those of each gender too, attributes as little as possible.

    Greedy iterative stratification (K. Sechidis et al., "On the Stratification of Multi-label Data", ECML PKDD 2011):
    the rarest attribute is dealt first, to the fold that still lacks most of it, within the places that each fold has
    left for the gender.

    Raises:
        UsageError: there are fewer people than folds, or fewer than two folds.
    """
    people = people_of(items)
    if not 2 <= k <= len(people):
        raise UsageError(f"--k is {k}; allowed: 2 to {len(people)}, the people of this release")
    rng = np.random.default_rng(seed)
    room = _places(people, k, rng)
    labels: dict[str, Counter[str]] = dict(zip(people["subject_id"], people["labels"], strict=True))
    gender = dict(zip(people["subject_id"], people["gender"], strict=True))
    waiting = [str(people["subject_id"][i]) for i in rng.permutation(len(people))]
    wants = {label: np.full(k, count / k) for label, count in sum(labels.values(), Counter[str]()).items()}
    fold: dict[str, int] = {}
    while waiting:
        left = Counter(label for s in waiting for label in labels[s])
        rarest = min((count, label) for label, count in left.items())[1] if left else None
        carriers = [s for s in waiting if rarest is None or rarest in labels[s]]
        for subject in carriers:
            places = room[gender[subject]]
            wanted = np.zeros(k) if rarest is None else wants[rarest]
            need = sum((wants[label] for label in sorted(labels[subject])), np.zeros(k))
            # most wanted for the rarest label, then for all labels, then emptiest, then by lot
            order = np.lexsort((rng.random(k), -places, -need, -wanted))
            chosen = next(int(f) for f in order if places[f])
            fold[subject] = chosen
            places[chosen] -= 1
            for label, count in labels[subject].items():
                wants[label][chosen] -= count
        dealt = set(carriers)
        waiting = [s for s in waiting if s not in dealt]
    return dict(sorted(fold.items()))


def _places(people: pd.DataFrame, k: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Places of each gender in each fold: what does not divide goes on where the other gender's rest ended."""
    places, start, order = {}, 0, rng.permutation(k)
    for gender in sorted(people["gender"].unique()):
        base, rest = divmod(int((people["gender"] == gender).sum()), k)
        places[gender] = np.full(k, base)
        places[gender][order[(start + np.arange(rest)) % k]] += 1
        start += rest
    return places


def kfold(items: pd.DataFrame, k: int = 5, seed: int = 0, test_fold: int | None = None) -> SplitTable:
    """Folds of people as splits ``fold0`` …; with ``test_fold`` that one is ``test`` and the others are ``train``.

    Raises:
        UsageError: there is no such number of folds, or no such fold.
    """
    fold = folds(items, k, seed)
    if test_fold is not None and not 0 <= test_fold < k:
        raise UsageError(f"--fold is {test_fold}; allowed: 0 to {k - 1}")

    def name(number: int) -> str:
        return f"fold{number}" if test_fold is None else "test" if number == test_fold else "train"

    reasons = {s: f"fold {n} of {k}, seed {seed}" for s, n in fold.items()}
    return SplitTable("subject_id", {s: name(n) for s, n in fold.items()}, reasons)


def shows(items: pd.DataFrame, attribute: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Which items (N,) show a value, and of which it is known; a clip shows an expression that any frame shows.

    Raises:
        UsageError: there is no such attribute or value.
    """
    if attribute not in HELD_OUT:
        raise UsageError(f"--attribute is {attribute!r}; allowed: {', '.join(HELD_OUT)}")
    if value not in HELD_OUT[attribute]:
        raise UsageError(f"--value is {value!r}; allowed for {attribute}: {', '.join(HELD_OUT[attribute])}")
    if attribute == "expression":
        bits = items["expressions"].to_numpy()
        return (bits >> EXPRESSIONS.index(value)) & 1 > 0, bits > 0
    if attribute in ("sequence", "category"):
        names = items["recording"].str.partition("-")[2].to_numpy()
        return names == value, names != ""
    return (items[attribute] == value).to_numpy(), (items[attribute] != "").to_numpy()


def leave_attribute_out(
    items: pd.DataFrame, attribute: str, value: str, seed: int = 0, most: float = MOST_TESTED
) -> SplitTable:
    """A table by item that trains without a value and tests on it, with other people.

    People who show the value anywhere are tested, at most the part ``most`` of all people (a seeded, gender-stratified
    choice). Then

    * ``test`` is what shows the value, of tested people;
    * ``control`` is what does not show it, of the same people: the difference to ``test`` is the attribute's alone;
    * ``train`` is what does not show it, of all others;
    * excluded is what shows it of people who are not tested, and everything of which it is not known.

    Raises:
        UsageError: no item shows the value, nobody is left to train on, or ``most`` is no part.
    """
    if not 0 < most <= 1:
        raise UsageError(f"--most is {most:g}; allowed: above 0 and at most 1")
    has, known = shows(items, attribute, value)
    people = people_of(items)
    carriers = people[people["subject_id"].isin(items["subject_id"][has])]
    if carriers.empty:
        seen = "is known of no item" if not known.any() else f"is {value!r} of no item"
        raise UsageError(f"{attribute} {seen} of this release: there is nothing to hold out; choose another")
    tested = _some_of(carriers, people, most, seed)
    if len(tested) == len(people):
        raise UsageError(f"everybody is needed to test {attribute} {value!r}: nobody is left to train on; lower --most")
    is_tested = items["subject_id"].isin(tested).to_numpy()
    split = np.select(
        [~known, has & is_tested, has, is_tested], [EXCLUDED, "test", EXCLUDED, "control"], default="train"
    )
    why = np.select(
        [~known, has & is_tested, has, is_tested],
        [f"{attribute} is not known", f"shows {value}", f"shows {value}, person not tested", f"without {value}"],
        default=f"without {value}",
    )
    return _by_item(items, split, [f"{attribute}: {w}" for w in why])


def _some_of(carriers: pd.DataFrame, people: pd.DataFrame, most: float, seed: int) -> set[str]:
    """The carriers, or of each gender an equal part of them, so that no more than ``most`` of all people are taken."""
    limit = max(1, int(most * len(people)))
    if len(carriers) <= limit:
        return set(carriers["subject_id"])
    rng = np.random.default_rng(seed)
    # one after the other from each gender's shuffled list, in proportion to its length
    ranked = []
    for gender in sorted(carriers["gender"].unique()):
        ids = carriers["subject_id"][carriers["gender"] == gender].to_numpy()
        ranked += [((n + 0.5) / len(ids), gender, ids[i]) for n, i in enumerate(rng.permutation(len(ids)))]
    return {subject for _, _, subject in sorted(ranked)[:limit]}


def closed_set(items: pd.DataFrame) -> SplitTable:
    """Gallery and probes of everybody: a person's first recording is the gallery, the others are probes."""
    return _gallery(items, set())


def open_set(items: pd.DataFrame, unknown: float = UNKNOWN, seed: int = 0) -> SplitTable:
    """`closed_set` in which a part of the people, of each gender alike, is in no gallery: their items are ``unknown``.

    Raises:
        UsageError: nobody or everybody would be unknown.
    """
    return _gallery(items, unknown_people(items, unknown, seed))


def unknown_people(items: pd.DataFrame, part: float = UNKNOWN, seed: int = 0) -> set[str]:
    """The subjects that an open set does not know."""
    people = people_of(items)
    if not 0 < part < 1 or len(people) < 2:
        raise UsageError(
            f"--unknown is {part:g} of {len(people)} people; allowed: above 0 and below 1, of at least two"
        )
    return _some_of(people, people, part, seed)


def _gallery(items: pd.DataFrame, unknown: set[str]) -> SplitTable:
    subject = items["subject_id"]
    recording = items["recording"].where(items["recording"] != "", items["item_id"])
    first = recording.groupby(subject).transform("min")
    lonely = recording.groupby(subject).transform("nunique") < 2
    is_unknown = subject.isin(unknown)
    choices = [is_unknown, lonely, recording == first]
    split = np.select(choices, ["unknown", EXCLUDED, "gallery"], default="probe")
    why = np.select(
        choices, ["in no gallery", "has one recording only", "first recording"], default="a later recording"
    )
    return _by_item(items, split, list(why))


def _by_item(items: pd.DataFrame, split: np.ndarray, reasons: list[str]) -> SplitTable:
    ids = items["item_id"].tolist()
    return SplitTable(
        "item_id",
        dict(zip(ids, split.tolist(), strict=True)),
        dict(zip(ids, reasons, strict=True)),
        dict(zip(ids, items["subject_id"].tolist(), strict=True)),
    )
