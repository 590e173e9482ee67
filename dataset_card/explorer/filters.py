"""What the grid can be asked for, and the SQL conditions that say the same.

Values of one name are alternatives, names go together. Conditions on frames (expression, pose, findings of frames) must
hold on one frame together. Every value from outside is a parameter of the SQL, never a part of its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES, SPLITS

CONFIGS = ("video", "image", "scenes")
KINDS = {"video": "clip", "image": "still", "scenes": "scene"}
UNKNOWN = "unknown"  # the release gives no class
MAX_LIMIT = 500
MAX_VALUES = 100  # of one name
# columns with class numbers, and the names of the classes
CODED: dict[str, tuple[str, ...]] = {
    "config": CONFIGS,
    "split": SPLITS,
    "gender": GENDERS,
    "category": CATEGORIES,
    "sequence": SEQUENCES,
    **ATTRIBUTES,
}
POSE = ("yaw", "pitch", "roll")
_NEVER_UNKNOWN = ("config", "split", "category", "sequence")
_NUMBERED = re.compile(r"class (-?[0-9]{1,5})")


def _class_values(name: str, names: Sequence[str]) -> AfterValidator:
    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            open_ended = name not in ("config", "split") and (value == UNKNOWN or _NUMBERED.fullmatch(value))
            if value not in names and not open_ended:
                raise ValueError(f"{name} is {value[:60]!r}; allowed: {', '.join(names)}")
        return values

    return AfterValidator(check)


Values = Annotated[tuple[Annotated[str, Field(max_length=500)], ...], Field(max_length=MAX_VALUES)]
Degrees = Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)]


class Query(BaseModel):
    """A page of the grid: filters, order, and which items of the result.

    >>> Query(split=("test",), yaw_min=30).on_frames
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    q: Annotated[str, Field(max_length=200)] = ""
    config: Annotated[Values, _class_values("config", CONFIGS)] = ()
    split: Annotated[Values, _class_values("split", SPLITS)] = ()
    gender: Annotated[Values, _class_values("gender", GENDERS)] = ()
    category: Annotated[Values, _class_values("category", CATEGORIES)] = ()
    sequence: Annotated[Values, _class_values("sequence", SEQUENCES)] = ()
    expression: Annotated[Values, _class_values("expression", EXPRESSIONS)] = ()
    hairstyle: Annotated[Values, _class_values("hairstyle", ATTRIBUTES["hairstyle"])] = ()
    beard: Annotated[Values, _class_values("beard", ATTRIBUTES["beard"])] = ()
    glasses: Annotated[Values, _class_values("glasses", ATTRIBUTES["glasses"])] = ()
    mask: Annotated[Values, _class_values("mask", ATTRIBUTES["mask"])] = ()
    headwear: Annotated[Values, _class_values("headwear", ATTRIBUTES["headwear"])] = ()
    jewellery: Annotated[Values, _class_values("jewellery", ATTRIBUTES["jewellery"])] = ()
    source: Values = ()
    subject: Values = ()
    finding: Values = ()
    decision: tuple[Literal["accept", "reject", "tag", "relabel", "none"], ...] = ()
    change: tuple[Literal["same", "changed", "added", "removed"], ...] = ()
    yaw_min: Degrees | None = None
    yaw_max: Degrees | None = None
    pitch_min: Degrees | None = None
    pitch_max: Degrees | None = None
    roll_min: Degrees | None = None
    roll_max: Degrees | None = None
    sort: Literal["id", "subject", "yaw", "frames", "findings"] | None = None
    desc: bool = False
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    limit: Annotated[int, Field(ge=0, le=MAX_LIMIT)] = 100
    facets: bool = False

    @property
    def on_frames(self) -> bool:
        """Whether a condition is about single frames."""
        limits = (getattr(self, f"{name}_{end}") for name in POSE for end in ("min", "max"))
        return bool(self.expression or self.finding) or any(v is not None for v in limits)

    @property
    def filters(self) -> Query:
        """The same conditions, without order and page."""
        return self.model_copy(update={"sort": None, "desc": False, "offset": 0, "limit": 100, "facets": False})

    def without(self, name: str) -> Query:
        """The same conditions but those on ``name``: what the counts beside its values are of."""
        return self.model_copy(update={name: ()})


_MANY = tuple(n for n, f in Query.model_fields.items() if f.default == ())
_ALIASES = {"annotation_source": "source"}


def parse_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """The query of the names and values of an address.

    >>> parse_query([("split", "test"), ("split", "train"), ("limit", "20")]).split
    ('test', 'train')
    >>> parse_query([("split", "tset")])
    Traceback (most recent call last):
    thermvision.annotations.errors.UsageError: split is 'tset'; allowed: train, validation, test

    Raises:
        UsageError: a name or value that is not allowed; the message says which are.
    """
    found: dict[str, Any] = {}
    for given, value in pairs:
        name = _ALIASES.get(given, given)
        if name not in Query.model_fields:
            raise UsageError(f"no filter is called {given[:60]!r}; allowed: {', '.join(Query.model_fields)}")
        if name in _MANY:
            found[name] = (*found.get(name, ()), value)
        elif name in found:
            raise UsageError(f"{name} is given twice; allowed: once")
        elif value != "" or name == "q":  # an empty field of a form asks for nothing
            found[name] = value
    try:
        return Query.model_validate(found)
    except ValidationError as error:
        raise UsageError("; ".join(_said(e) for e in error.errors(include_url=False))) from error


def _said(error: Mapping[str, Any]) -> str:
    text = str(error["msg"])
    if error["type"] == "value_error":
        return text.removeprefix("Value error, ")
    return f"{'.'.join(map(str, error['loc']))} is {str(error['input'])[:60]!r}: {text}"


def code_of(column: str, value: str) -> int | None:
    """The class number of a name; None is "not known".

    >>> code_of("gender", "male"), code_of("beard", "class 9"), code_of("beard", "unknown")
    (1, 9, None)
    """
    names = EXPRESSIONS if column == "expression" else CODED[column]
    if value in names:
        return names.index(value)
    number = _NUMBERED.fullmatch(value)
    return int(number[1]) if number else None


def name_of(column: str, code: int) -> str | None:
    """The name of a class number; below 0 is not known, which of some columns is nothing to ask for.

    >>> name_of("gender", 1), name_of("beard", 9), name_of("beard", -1), name_of("category", -1)
    ('male', 'class 9', 'unknown', None)
    """
    names = EXPRESSIONS if column == "expression" else CODED[column]
    if code < 0:
        return None if column in _NEVER_UNKNOWN else UNKNOWN
    return names[code] if code < len(names) else f"class {code}"


@dataclass
class Conditions:
    """SQL conditions that go together, and the values of their parameters in order."""

    parts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, part: str, *values: Any) -> None:
        """One more; ``part`` has a question mark for each value and is program text."""
        self.parts.append(part)
        self.values.extend(values)

    @property
    def sql(self) -> str:
        """The text after WHERE."""
        return " AND ".join(f"({p})" for p in self.parts) or "true"


def _one_of(column: str, codes: Sequence[int | None]) -> tuple[str, list[int]]:
    known = sorted({c for c in codes if c is not None})
    parts = [f"{column} IN ({', '.join('?' * len(known))})"] if known else []
    parts += [f"{column} IS NULL"] if None in codes else []
    return " OR ".join(parts), known


def item_conditions(query: Query, sources: Sequence[str]) -> Conditions:
    """Conditions on the table ``items`` (as i); ``sources`` are the annotation sources by their number."""
    found = Conditions()
    for column in CODED:
        wanted = getattr(query, column)
        if not wanted:
            continue
        sql, codes = _one_of(f"i.{column}", [code_of(column, v) for v in wanted])
        if column == "gender":  # of anybody in a scene
            faces, again = _one_of("p.gender", [code_of(column, v) for v in wanted])
            sql = f"(i.config <> 2 AND ({sql})) OR i.key IN (SELECT p.key FROM people p WHERE {faces})"
            codes = [*codes, *again]
        found.add(sql, *codes)
    if query.source:
        unheard = [s for s in query.source if s not in (*sources, UNKNOWN)]
        if unheard:
            allowed = ", ".join(sources[:20]) or "none, the release names no source"
            raise UsageError(f"source is {unheard[0][:60]!r}; allowed: {allowed}")
        codes_of = [None if s not in sources else sources.index(s) for s in query.source]
        sql, codes = _one_of("i.annotation_source", codes_of)
        found.add(sql, *codes)
    if query.subject:
        marks = ", ".join("?" * len(query.subject))
        people = f"SELECT p.key FROM people p WHERE p.subject IN ({marks})"
        found.add(f"i.subject IN ({marks}) OR i.key IN ({people})", *query.subject, *query.subject)
    if query.q:
        found.add("contains(lower(i.search), lower(?))", query.q)
    if query.decision:
        marks = ", ".join("?" * len(query.decision))
        none = " OR i.key NOT IN (SELECT d.key FROM decided d)" if "none" in query.decision else ""
        found.add(f"i.key IN (SELECT d.key FROM decided d WHERE d.action IN ({marks})){none}", *query.decision)
    if query.change:
        marks = ", ".join("?" * len(query.change))
        found.add(f"i.key IN (SELECT c.key FROM changes c WHERE c.change IN ({marks}))", *query.change)
    return found


def frame_conditions(query: Query) -> Conditions:
    """Conditions on the table ``frames`` (as f); those of findings are the places in the table ``wanted``."""
    found = Conditions()
    for name in POSE:
        low, high = getattr(query, f"{name}_min"), getattr(query, f"{name}_max")
        if low is not None:
            found.add(f"f.{name} >= ?", low)
        if high is not None:
            found.add(f"f.{name} <= ?", high)
    if query.expression:
        sql, codes = _one_of("f.expression", [code_of("expression", v) for v in query.expression])
        found.add(sql, *codes)
    if query.finding:
        found.add("f.place IN (SELECT w.place FROM wanted w)")
    return found
