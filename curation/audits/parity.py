"""Whether women and men are pictured alike: counts, poses, expressions, accessories and sizes, and what is covered.

Frames of one person are alike, so people are compared, not frames: each person gives one share or mean a question.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES

from ..sources import ReleaseSource

Floats = NDArray[np.float64]
YAW_BINS = np.linspace(-90, 90, 37)
PITCH_BINS = np.linspace(-60, 60, 25)
# a difference of means over the pooled deviation: J. Cohen, "Statistical Power Analysis", 1988, calls .5 medium
MEDIUM = 0.5
SIGNIFICANT = 0.01  # after Holm's correction (S. Holm, Scand. J. Statistics 6, 1979)
# what differs between women and men themselves, or is given to one of them on purpose: shown, not judged
BY_NATURE = ("hairstyle", "beard", "category beard")
_NUMBERS = ("yaw", "turned away", "pitch", "roll", "face size", "face across", "eye openness", "mouth openness")
_COLUMNS = (
    "item_id", "subject_id", "gender", "sequence", "category", "width", "height", "bbox", "head_pose", "expression",
    "eye_openness", "mouth_openness", *ATTRIBUTES,
)  # fmt: skip


@dataclass
class Person:
    """What is kept of a person while the frames stream by."""

    gender: str
    splits: set[str] = field(default_factory=set)
    frames: int = 0
    numbers: Floats = field(default_factory=lambda: np.zeros((len(_NUMBERS), 2)))
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    last_item: str = ""


@dataclass(frozen=True)
class Difference:
    """One comparison of women and men.

    Attributes:
        name: what is compared.
        kind: "share" of a person's items or frames, "mean" of a person, or "items" a person has.
        women, men: means over the people.
        deviation: difference over the pooled standard deviation of people, women minus men; None where none varies.
        p: of Welch's test, corrected for the number of comparisons.
        judged: whether the verdict looks at it.
    """

    name: str
    kind: str
    women: float
    men: float
    deviation: float | None
    p: float | None
    judged: bool

    @property
    def uneven(self) -> bool:
        """Medium or larger, and no accident."""
        # without spread a difference is certain
        if self.deviation is None:
            return self.women != self.men
        return abs(self.deviation) >= MEDIUM and self.p is not None and self.p < SIGNIFICANT


@dataclass
class Parity:
    """The comparisons, chi-square tests of items, and what is covered.

    Attributes:
        people: of each gender.
        differences: see `Difference`.
        tests: name to chi-square, degrees of freedom, p and Cramér's V over items.
        coverage: gender to counts of frames (36 yaw bins, 24 pitch bins).
        expressions: gender to counts of frames by expression.
        notes: what is not known.
    """

    people: dict[str, int]
    differences: list[Difference] = field(default_factory=list)
    tests: dict[str, dict[str, float]] = field(default_factory=dict)
    coverage: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    expressions: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def uneven(self) -> list[Difference]:
        """The judged comparisons that are uneven."""
        return [d for d in self.differences if d.judged and d.uneven]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "people": self.people,
            "differences": [{**asdict(d), "uneven": d.uneven} for d in self.differences],
            "tests": self.tests,
            "coverage": {
                "yaw_edges": YAW_BINS.tolist(),
                "pitch_edges": PITCH_BINS.tolist(),
                **{g: c.tolist() for g, c in self.coverage.items()},
            },
            "expressions": self.expressions,
            "notes": self.notes,
        }


def read_people(source: ReleaseSource, split: str | None = None) -> tuple[dict[str, Person], Parity]:
    """Every person's counts and sums from the config ``frames``, and a `Parity` with coverage and expressions filled.

    Raises:
        DamagedInputError: a shard does not read.
    """
    people: dict[str, Person] = {}
    parity = Parity({})
    parity.coverage = {g: np.zeros((len(YAW_BINS) - 1, len(PITCH_BINS) - 1), np.int64) for g in GENDERS}
    parity.expressions = {g: dict.fromkeys(EXPRESSIONS, 0) for g in GENDERS}
    for name, table in _tables(source, split):
        _add(people, parity, name, table)
    parity.people = {g: sum(p.gender == g for p in people.values()) for g in GENDERS}
    return people, parity


def _tables(source: ReleaseSource, split: str | None) -> Iterator[tuple[str, pa.Table]]:
    if "frames" not in source.configs:
        return
    for name, parts in source.parts("frames").items():
        if split in (None, name):
            for part in parts:
                try:
                    for table in source.tables("frames", part):
                        yield name, table.select([c for c in _COLUMNS if c in table.column_names])
                except (pa.ArrowException, OSError) as error:
                    raise DamagedInputError(
                        f"{part} does not read ({error}); type: thermvision verify {source.root}"
                    ) from error


def _add(people: dict[str, Person], parity: Parity, split: str, table: pa.Table) -> None:
    columns = {name: table[name].to_pylist() for name in table.column_names}
    numbers = _numbers_of(columns, table.num_rows)
    items, subjects = columns["item_id"], columns["subject_id"]
    for row, (item, subject) in enumerate(zip(items, subjects, strict=True)):
        if subject is None:
            continue
        gender = _name(GENDERS, columns["gender"][row])
        person = people.setdefault(subject, Person(gender or ""))
        person.splits.add(split)
        person.frames += 1
        known = np.isfinite(numbers[row])
        person.numbers[known, 0] += numbers[row][known]
        person.numbers[known, 1] += 1
        expression = _name(EXPRESSIONS, columns["expression"][row])
        if expression is not None:
            person.counts["expression"][expression] += 1
        if gender:
            if expression is not None:
                parity.expressions[gender][expression] += 1
            yaw, pitch = numbers[row][0], numbers[row][2]
            if np.isfinite(yaw) and np.isfinite(pitch):
                place = (int(np.digitize(yaw, YAW_BINS)) - 1, int(np.digitize(pitch, PITCH_BINS)) - 1)
                place = tuple(np.clip(place, 0, np.array(parity.coverage[gender].shape) - 1))
                parity.coverage[gender][place] += 1
        if item != person.last_item:  # rows of an item follow each other
            person.last_item = item
            _count_item(person, columns, row)


def _count_item(person: Person, columns: Mapping[str, Sequence[Any]], row: int) -> None:
    category, sequence = _name(CATEGORIES, columns["category"][row]), _name(SEQUENCES, columns["sequence"][row])
    person.counts["items"]["stills" if category is not None else "clips"] += 1
    if category is not None:
        person.counts["category"][category] += 1
    if sequence is not None:
        person.counts["sequence"][sequence] += 1
    for name, allowed in ATTRIBUTES.items():
        value = _name(allowed, columns[name][row]) if name in columns else None
        if value is not None:
            person.counts[name][value] += 1


def _name(allowed: Sequence[str], value: Any) -> str | None:
    return allowed[value] if isinstance(value, int) and 0 <= value < len(allowed) else None


def _numbers_of(columns: Mapping[str, Sequence[Any]], rows: int) -> Floats:
    """(rows, 8) float64 of `_NUMBERS`, NaN where not known. Sizes are parts of the frame's shorter side."""
    pose, box = _stacked(columns["head_pose"], 3), _stacked(columns["bbox"], 4)
    size = _stacked([[w, h] for w, h in zip(columns["width"], columns["height"], strict=True)], 2)
    shorter = np.where(size.min(1) > 0, size.min(1), np.nan)
    area = np.sqrt(np.where((box[:, 2] > 0) & (box[:, 3] > 0), box[:, 2] * box[:, 3], np.nan))
    openness = [_stacked([[v] for v in columns[n]], 1)[:, 0] for n in ("eye_openness", "mouth_openness")]
    across = (box[:, 0] + box[:, 2] / 2) / np.where(size[:, 0] > 0, size[:, 0], np.nan)
    columns_ = [pose[:, 0], np.abs(pose[:, 0]), pose[:, 1], pose[:, 2], area / shorter, across, *openness]
    return np.stack(columns_, 1) if rows else np.zeros((0, len(_NUMBERS)))


def _stacked(values: Sequence[Any], width: int) -> Floats:
    nothing = [np.nan] * width
    rows = [v if v is not None and len(v) == width else nothing for v in values]
    return np.array([[np.nan if x is None else x for x in row] for row in rows], np.float64).reshape(-1, width)


def compare(people: Mapping[str, Person], parity: Parity) -> Parity:
    """Fill ``parity`` with the comparisons of women and men."""
    known = [p for p in people.values() if p.gender in GENDERS]
    groups = [[p for p in known if p.gender == g] for g in GENDERS]
    if min(map(len, groups)) < 2:
        parity.notes.append("fewer than two women or two men: nothing to compare")
        return parity
    women, men = groups
    raw: list[tuple[str, str, Floats, Floats]] = []

    def add(name: str, kind: str, value: Callable[[Sequence[Person]], Floats]) -> None:
        raw.append((name, kind, value(women), value(men)))

    for kind in ("stills", "clips"):
        add(kind, "items", lambda g, k=kind: np.array([p.counts["items"][k] for p in g], float))  # type: ignore[misc]
    add("frames", "items", lambda g: np.array([p.frames for p in g], float))
    for place, name in enumerate(_NUMBERS):
        add(name, "mean", partial(_means, place=place))
    vocabularies = {"category": CATEGORIES, "sequence": SEQUENCES, "expression": EXPRESSIONS, **ATTRIBUTES}
    for name, allowed in vocabularies.items():
        for value in allowed:
            add(f"{name} {value}", "share", partial(_shares, name=name, value=value))
        if name != "expression":  # whose frames are alike
            parity.tests.update(_chi_square(name, [v for v in allowed if f"{name} {v}" not in BY_NATURE], groups))
    parity.differences = _differences(raw)
    missing = [name for name in vocabularies if not any(p.counts.get(name) for p in known)]
    if missing:
        parity.notes.append(f"not known of anybody: {', '.join(missing)}")
    return parity


def _means(group: Sequence[Person], place: int) -> Floats:
    return np.array([p.numbers[place, 0] / p.numbers[place, 1] for p in group if p.numbers[place, 1]])


def _shares(group: Sequence[Person], name: str, value: str) -> Floats:
    """Of each person's items (frames for expressions) the part that is ``value``.

    Stills of beards are a category of men: the shares of the other categories are of the rest.
    """
    apart = "beard" if name == "category" and value != "beard" else None
    counts = [
        (p.counts[name][value], p.counts[name].total() - (p.counts[name][apart] if apart else 0))
        for p in group
        if name in p.counts
    ]
    return np.array([part / total for part, total in counts if total])


def _welch(women: Floats, men: Floats) -> float:
    """p of the two-sided test of B. Welch, Biometrika 34, 1947."""
    from scipy.stats import ttest_ind_from_stats

    (a, sa, na), (b, sb, nb) = ((float(g.mean()), float(g.std(ddof=1)), len(g)) for g in (women, men))
    return float(ttest_ind_from_stats(a, sa, na, b, sb, nb, equal_var=False).pvalue)


def _differences(raw: Sequence[tuple[str, str, Floats, Floats]]) -> list[Difference]:
    found: list[tuple[Difference, float]] = []
    for name, kind, women, men in raw:
        if len(women) < 2 or len(men) < 2 or not (women.any() or men.any()):
            continue
        spread = float(np.sqrt((women.var(ddof=1) + men.var(ddof=1)) / 2))
        gap = float(women.mean() - men.mean())
        certain = spread < 1e-9
        p = float("nan") if certain else _welch(women, men)
        natural = name in BY_NATURE or name.split(" ")[0] in BY_NATURE
        deviation = None if certain else gap / spread
        found.append((Difference(name, kind, float(women.mean()), float(men.mean()), deviation, None, not natural), p))
    tested = sorted((p, i) for i, (_, p) in enumerate(found) if np.isfinite(p))
    corrected: dict[int, float] = {}
    highest = 0.0
    for rank, (p, i) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        corrected[i] = highest
    return [
        Difference(d.name, d.kind, d.women, d.men, d.deviation, corrected.get(i), d.judged)
        for i, (d, _) in enumerate(found)
    ]


def _chi_square(name: str, allowed: Sequence[str], groups: Sequence[Sequence[Person]]) -> dict[str, dict[str, float]]:
    """Pearson's test of independence over items, with Cramér's V."""
    from scipy.stats import chi2_contingency

    counts = np.array([[sum(p.counts[name][v] for p in g if name in p.counts) for v in allowed] for g in groups])
    counts = counts[:, counts.sum(0) > 0]
    if counts.shape[1] < 2 or (counts.sum(1) == 0).any():
        return {}
    result = chi2_contingency(counts, correction=False)
    strength = float(np.sqrt(result.statistic / counts.sum()))  # of two rows the smaller side less one is 1
    return {
        name: {"chi2": float(result.statistic), "freedom": float(result.dof), "p": float(result.pvalue), "v": strength}
    }
