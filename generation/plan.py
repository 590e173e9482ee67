"""A recipe to specs: who is made, which item of whom, and in which shard it lies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import CATEGORIES, CONFIGS, GENDERS, SEQUENCES, SPLITS, features
from thermvision.curation.assembly import fingerprint
from thermvision.curation.release import Identity
from thermvision.curation.runners import Job
from thermvision.curation.video import encoder_settings
from thermvision.generation.engines import Engine
from thermvision.generation.engines.phantom.parameters import SCENE_PARAMETERS
from thermvision.generation.known import (
    NOBODY,
    ItemSpec,
    Known,
    new_items,
    redefined_subjects,
    refuse_redefined,
    with_born,
)
from thermvision.generation.recipe import Recipe
from thermvision.generation.specs import (
    Animation,
    ClipSpec,
    MotionTrack,
    SceneSpec,
    StillSpec,
    Subject,
    plain_spec,
    seed_sequence,
)

Animate = Callable[[Subject, str], Animation]  # of a subject and a sequence
Draw = Callable[[StillSpec], StillSpec]  # adds what an engine draws from

# An item's number below its subject, part of its seed path: more stills of one category must not change another.
ITEMS_A_CATEGORY = 100_000
# measured on 512 x 512 phantom releases; they only serve the estimate of a dry run
BYTES_A_CLIP_PIXEL, BYTES_A_STILL_PIXEL, BYTES_A_RADIOMETRIC_PIXEL = 0.06, 0.5, 2.2


@dataclass(frozen=True)
class ShardSpec:
    """Items rendered together: their clips or stills, and their rows of `frames` and `radiometric`.

    ``number`` counts the shards of ``config`` and ``split``; ``row_number`` counts over all configs, for the rows
    that items of every kind share.
    """

    config: str
    split: str
    version: str
    number: int
    row_number: int
    items: tuple[ItemSpec, ...]
    identities: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a recipe makes, in a fixed order, that is not there already.

    ``identities`` are those of the whole release, ``subjects`` the recipe's; ``passed_over`` names subjects too much
    like an earlier one.
    """

    recipe: Recipe
    identities: tuple[Identity, ...]
    shards: tuple[ShardSpec, ...]
    passed_over: tuple[str, ...] = ()
    subjects: tuple[Subject, ...] = ()

    @property
    def clips(self) -> list[ClipSpec]:
        """All clips."""
        return [i for s in self.shards for i in s.items if isinstance(i, ClipSpec)]

    @property
    def stills(self) -> list[StillSpec]:
        """All stills."""
        return [i for s in self.shards for i in s.items if isinstance(i, StillSpec)]

    @property
    def scenes(self) -> list[SceneSpec]:
        """All scenes."""
        return [i for s in self.shards for i in s.items if isinstance(i, SceneSpec)]

    @property
    def frames(self) -> int:
        """Frames to render."""
        return sum(map(frames_of, (i for s in self.shards for i in s.items)))

    @property
    def estimated_bytes(self) -> int:
        """About how large the release will be."""
        total = 0.0
        for item in (i for s in self.shards for i in s.items):
            if isinstance(item, SceneSpec):
                total += item.width * item.height * BYTES_A_STILL_PIXEL
                continue
            pixels = item.size**2
            kept = len(radiometric_frames(item)) if isinstance(item, ClipSpec) else int(item.radiometric)
            rate = BYTES_A_CLIP_PIXEL if isinstance(item, ClipSpec) else BYTES_A_STILL_PIXEL
            total += pixels * frames_of(item) * rate + pixels * 0.35 * kept * BYTES_A_RADIOMETRIC_PIXEL
        return int(total)


def frames_of(item: ItemSpec) -> int:
    """Frames of an item."""
    return item.num_frames if isinstance(item, ClipSpec) else 1


def radiometric_frames(spec: ClipSpec) -> range:
    """Which frames of a clip are kept as 16-bit measurement."""
    return range(0, spec.num_frames, spec.radiometric_every) if spec.radiometric_every else range(0)


def make_subjects(recipe: Recipe, engines: Sequence[Engine], known: Known = NOBODY) -> tuple[list[Subject], list[str]]:
    """The recipe's subjects in the order of their numbers; and who was passed over, and why.

    Even numbers are female and odd ones male, and a subject that an engine would draw too much like an earlier one of
    its gender is passed over, its number unused. So a number stands for the same person however a release grows: how
    many subjects the recipe asks for decides only where each gender stops. Of those in ``known`` nobody is asked again.
    """
    passed_over: dict[int, str] = {}
    accepted: list[Subject] = []
    refused = known.refused
    for gender in GENDERS:
        before = [s for s in known.subjects.values() if s.gender == gender]
        wanted, found, born = getattr(recipe.subjects, gender), list[Subject](), list[Subject]()
        for index in _numbers(recipe.subjects.first, gender, known.settled):
            if len(found) == wanted:
                break
            subject = Subject(subject_id(index), index, gender, recipe.seed)
            new = subject.subject_id not in known.subjects
            if subject.subject_id in refused:
                continue
            if new and known.settled is None:
                others = [*before, *born]
                if why := next((w for e in engines if (w := e.too_alike(subject, others))), None):
                    passed_over[index] = f"{subject.subject_id}: {why}"
                    continue
            found.append(subject)
            if new:
                born.append(subject)
        if len(found) < wanted:
            raise UsageError(
                f"recipe {recipe.name!r} {recipe.version} asks for {wanted} {gender} subjects from number"
                f" {recipe.subjects.first} on, and its release has {len(found)}; restore release.json and recipes/"
            )
        accepted += found
    return sorted(accepted, key=lambda s: s.index), [why for _, why in sorted(passed_over.items())]


def _numbers(first: int, gender: str, settled: Collection[int] | None) -> Iterator[int]:
    """Numbers from ``first`` on that subjects of a gender may have."""
    numbers = count(first) if settled is None else sorted(n for n in settled if n >= first)
    return (n for n in numbers if n % len(GENDERS) == GENDERS.index(gender))


def subject_id(index: int) -> str:
    """The name of a subject.

    >>> subject_id(117)
    'P_000117'
    """
    return f"P_{index:06d}"


def make_plan(
    recipe: Recipe,
    engines: dict[str, Engine],
    limit: int | None = None,
    motions: Mapping[str, MotionTrack] | None = None,
    animate: Animate | None = None,
    draw: Draw | None = None,
    known: Known | None = None,
) -> Plan:
    """Deal the recipe into shards.

    Args:
        recipe: what to make.
        engines: by name, those the recipe uses.
        limit: at most that many new clips, that many new stills and that many new scenes.
        motions: the tracks of ``recipe.clips.motion`` by sequence.
        animate: what moves each clip of an engine that moves pictures.
        draw: adds to each still what an engine that draws from words is told.
        known: who and what is there already: identities keep their places and splits, items are not made again.

    Raises:
        UsageError: an engine cannot make what the recipe asks for, or the recipe gives something that is known other
            values; every such case is named.
    """
    known = known or NOBODY
    subjects, passed_over = make_subjects(recipe, list(engines.values()), known)
    redefined = redefined_subjects(known, subjects)
    refuse_redefined(redefined, f"recipe {recipe.name!r} {recipe.version}", known)
    identities = with_born(known, subjects)
    drawn = (draw(s) if draw else s for s in _stills(recipe, subjects, engines))
    split = {i.subject_id: i.split for i in identities}
    clips = new_items(known, _clips(recipe, subjects, engines, motions or {}, animate), limit, redefined)
    stills = new_items(known, drawn, limit, redefined)
    scenes = new_items(known, _scenes(recipe, subjects, split), limit, redefined)
    refuse_redefined(redefined, f"recipe {recipe.name!r} {recipe.version}", known)
    names = tuple(i.subject_id for i in identities)
    shards: list[ShardSpec] = []
    rows = {s: count() for s in SPLITS}
    groups: list[tuple[str, Sequence[ItemSpec], int]] = [("video", clips, recipe.shards.clips)]
    groups += [(c, [s for s in stills if s.category == c], recipe.shards.stills) for c in CATEGORIES]
    groups.append(("scenes", scenes, recipe.shards.stills))
    for config, items, size in groups:
        for name in SPLITS:
            chosen = [
                i for i in items if (i.split if isinstance(i, SceneSpec) else split[i.subject.subject_id]) == name
            ]
            for number, start in enumerate(range(0, len(chosen), size)):
                batch = tuple(chosen[start : start + size])
                shards.append(ShardSpec(config, name, recipe.version, number, next(rows[name]), batch, names))
    return Plan(recipe, identities, tuple(shards), tuple(passed_over), tuple(subjects))


def _clips(
    recipe: Recipe,
    subjects: Sequence[Subject],
    engines: Mapping[str, Engine],
    motions: Mapping[str, MotionTrack],
    animate: Animate | None,
) -> Iterator[ClipSpec]:
    table = recipe.clips
    wanted = [s for s in SEQUENCES if getattr(table, s)]
    if not wanted:
        return
    engine = engines[table.engine]
    if refused := [f"{s.subject_id}: {why}" for s in subjects for q in wanted if (why := engine.check(s, q))]:
        raise UsageError(f"engine {table.engine} cannot make these clips: {'; '.join(refused)}; set them to 0")
    for subject in subjects:
        for sequence in wanted:
            number = SEQUENCES.index(sequence) + 1
            yield ClipSpec(
                item_id=f"{subject.subject_id}_S{number}",
                subject=subject,
                engine=table.engine,
                sequence=sequence,
                item=number,
                num_frames=getattr(table, sequence),
                fps=float(table.fps),
                size=table.size,
                radiometric_every=recipe.radiometric.clip_every,
                # what is drawn of a moved picture is its still's
                parameters={} if animate else recipe.parameters | {"accessories": float(table.accessories)},
                motion=motions.get(sequence),
                animation=animate(subject, sequence) if animate else None,
            )


def still_spec(recipe: Recipe, subject: Subject, category: str, turn: int) -> StillSpec:
    """The ``turn``-th still of a category of a subject."""
    return StillSpec(
        item_id=f"{subject.subject_id}_{category}_{turn:03d}",
        subject=subject,
        engine=recipe.stills.engine,
        category=category,
        item=(CATEGORIES.index(category) + 1) * ITEMS_A_CATEGORY + turn,
        size=recipe.stills.size,
        radiometric=recipe.radiometric.stills,
        parameters=recipe.parameters,
    )


def _stills(recipe: Recipe, subjects: Sequence[Subject], engines: Mapping[str, Engine]) -> Iterator[StillSpec]:
    dealt: list[StillSpec] = []
    for category in CATEGORIES:
        table = getattr(recipe.stills, category)
        if not table.count:
            continue
        engine = engines[recipe.stills.engine]
        asked = [s for s in subjects if table.gender in ("any", s.gender)]
        able = [s for s in asked if engine.check(s, category) is None]
        if not able or (table.gender != "any" and len(able) < len(asked)):
            why = next(w for s in asked if (w := engine.check(s, category)))
            raise UsageError(
                f"stills.{category}: engine {recipe.stills.engine} cannot make it of these subjects: {why}"
            )
        for number in range(table.count):
            subject, turn = able[number % len(able)], number // len(able)
            dealt.append(still_spec(recipe, subject, category, turn))
    # by turns over the categories, so that a limited build shows each
    turns = {c: count() for c in CATEGORIES}
    yield from sorted(dealt, key=lambda s: (next(turns[s.category]), CATEGORIES.index(s.category)))


def _scenes(recipe: Recipe, subjects: Sequence[Subject], split: Mapping[str, str]) -> Iterator[SceneSpec]:
    """Scenes whose people are all of one split: subjects take turns to be the first, the others are drawn.

    Fewer people than ``faces`` allows are in a scene when its split has no more; an empty room is of the split whose
    turn it is.
    """
    table = recipe.scenes
    fewest, most = table.faces
    pools = {name: [s for s in subjects if split[s.subject_id] == name] for name in SPLITS}
    first = [s for s in subjects if len(pools[split[s.subject_id]]) >= fewest]
    if table.count and not first:
        largest = max(map(len, pools.values()))
        raise UsageError(
            f"scenes.faces asks for {fewest} faces and no split has more than {largest} identities;"
            f" allowed: {largest} at least; ask for more subjects or fewer faces"
        )
    width, height = table.shape
    for number in range(table.count):
        rng = np.random.default_rng(seed_sequence(recipe.seed, 1, "scene", number))
        turn = first[number % len(first)]
        pool = pools[split[turn.subject_id]]
        wanted = int(rng.integers(fewest, min(most, len(pool)) + 1))
        others = [s for s in pool if s.index != turn.index]
        chosen = [turn, *(others[int(i)] for i in rng.permutation(len(others))[: wanted - 1])]
        # spread evenly: of any k scenes, the rounded share is empty
        empty = int((number + 1) * table.empty) > int(number * table.empty)
        yield SceneSpec(
            item_id=f"scene_{number:06d}",
            engine=table.engine,
            seed=recipe.seed,
            item=number,
            split=split[turn.subject_id],
            subjects=() if empty else tuple(chosen),
            width=width,
            height=height,
            distance=table.distance,
            parameters={k: v for k, v in recipe.parameters.items() if k in SCENE_PARAMETERS},
        )


def make_jobs(plan: Plan, engines: dict[str, Engine], software: dict[str, str]) -> list[Job]:
    """Jobs of a plan; the fingerprint of each covers everything that determines the bytes of its shards."""
    models = {name: engine.model_digests() for name, engine in engines.items()}
    schemas = {c: str(features(c)) for c in CONFIGS}
    jobs = []
    for shard in plan.shards:
        described: dict[str, Any] = asdict(shard)
        described["items"] = [plain_spec(item) for item in shard.items]
        name = shard.items[0].engine
        drawn_first = {
            item.animation.source.engine
            for item in shard.items
            if isinstance(item, ClipSpec) and item.animation and isinstance(item.animation.source, StillSpec)
        }
        sources = (
            {"sources": {n: [engines[n].engine_id, models[n]] for n in sorted(drawn_first)}} if drawn_first else {}
        )
        basis = {
            **sources,
            "shard": described,
            "engine": engines[name].engine_id,
            "models": models[name],
            "schema": schemas,
            "encoder": encoder_settings(),
            "software": software,
        }
        key = f"{shard.config}-{shard.split}-{shard.number:05d}"
        items = tuple(item.item_id for item in shard.items)
        jobs.append(Job(key, fingerprint(basis), items, sum(map(frames_of, shard.items)), shard))
    return jobs
