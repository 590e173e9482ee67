"""Pictures of FLUX in a folder, each with its record: a seed is an identity, and rejected ones are replaced by further.

Candidates are the seeds from the first one on, drawn in batches and judged in their order, so that the same command
gives the same files however often it was stopped; a larger count goes on where a smaller one ended.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from thermvision.annotations.errors import DamagedInputError, FindingsError, UsageError
from thermvision.annotations.schema import CATEGORIES, GENDERS
from thermvision.curation.store import atomic_write, canonical_json, read_json, remove_partial, sha256_bytes, writing
from thermvision.generation.drawings import loading_text, notes_of, screening_of
from thermvision.generation.engines import engine_of
from thermvision.generation.engines.flux.presets import SamplingOptions, options_of
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.plan import ITEMS_A_CATEGORY, subject_id
from thermvision.generation.prompts import Texts, attributes_of, literal_texts, prompt_of
from thermvision.generation.run import encode_png, pixels_digest
from thermvision.generation.screening import Known, Verdict, luma
from thermvision.generation.specs import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from thermvision.generation.engines.flux.engine import FluxEngine

SUMMARY = "generate.json"
REJECTED = "rejected"


@dataclass(frozen=True)
class GenerateSettings:
    """What is drawn.

    Attributes:
        table: of a recipe, its paths absolute; see `thermvision.generation.drawings.resolved`.
        count: pictures to keep.
        first_seed: seed of the first candidate; the others follow it.
        width: pixels; so is ``height``.
        category: what the words of candidates are drawn for, where the table's text is not taken word for word.
        words_seed: from which those words are drawn.
        rgb: write colors as they were drawn, not gray levels.
        cache_threshold: of the first-block cache; 0: none.

    >>> candidate(GenerateSettings(FluxTable(prompt="a {person}"), first_seed=40), 1).positive
    ('a senior man', 'a senior man')
    """

    table: FluxTable
    count: int = 1
    first_seed: int = 0
    width: int = 512
    height: int = 512
    category: str = "frontal_pose"
    words_seed: int = 0
    rgb: bool = False
    cache_threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--count is {self.count}; allowed: 1 or more")
        if self.category not in CATEGORIES:
            raise UsageError(f"--category is {self.category!r}; allowed: {', '.join(CATEGORIES)}")

    @property
    def options(self) -> SamplingOptions:
        """How."""
        plain = options_of(self.table, self.width, self.height)
        return SamplingOptions(**{**asdict(plain), "cache_threshold": self.cache_threshold})


@dataclass(frozen=True)
class Candidate:
    """One seed and its texts; ``attributes`` are empty where the texts are taken word for word."""

    seed: int
    positive: Texts
    negative: Texts
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Generated:
    """What a run did: seeds that are kept and rejected (with reasons), how many were there already, what it says."""

    kept: tuple[int, ...]
    rejected: dict[int, tuple[str, ...]]
    reused: int
    consumed: dict[str, Any]
    notes: tuple[str, ...]
    images_per_second: float


def candidate(settings: GenerateSettings, number: int) -> Candidate:
    """The candidate of that number: its seed, and its texts, word for word or of attributes drawn for it."""
    seed = (settings.first_seed + number) % 2**63
    if (texts := literal_texts(settings.table)) is not None:
        return Candidate(seed, *texts)
    gender = "male" if settings.category == "beard" else GENDERS[number % len(GENDERS)]
    subject = Subject(subject_id(number), number, gender, settings.words_seed)
    item = (CATEGORIES.index(settings.category) + 1) * ITEMS_A_CATEGORY
    attributes = attributes_of(subject, settings.category, item)
    return Candidate(seed, *prompt_of(attributes, settings.table), attributes.as_dict())


def make_engine(settings: GenerateSettings) -> FluxEngine:
    """The engine of the settings' table."""
    return cast("FluxEngine", engine_of("flux", loading=loading_text(settings.table, settings.width)))


def generate(
    settings: GenerateSettings,
    out: Path,
    engine: FluxEngine | None = None,
    advance: Callable[[int, int], None] = lambda kept, candidates: None,
) -> Generated:
    """Draw until ``count`` pictures are kept: SEED.png with SEED.json in ``out``, rejected ones in a folder below.

    Args:
        settings: what.
        out: folder; what an earlier run of the same settings finished there is kept.
        engine: draws; None: of the settings' table.
        advance: called with the pictures kept and the candidates judged so far.

    Raises:
        FindingsError: too few of ``count`` times the table's attempts were kept; what was, is in ``out``.
        MissingDependencyError, DamagedInputError, UsageError: weights or adapters are absent, or do not fit; ``out`` is
            a file.
        OutputError: ``out`` cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")
    engine = make_engine(settings) if engine is None else engine
    engine.require()
    screened = screening_of(settings.table) is not None
    basis = _basis(settings, engine)
    run = _Run(settings, out, engine, basis, screened)
    most = settings.count * (settings.table.screening.attempts if screened else 1)
    began = time.monotonic()
    if out.is_dir():
        remove_partial(out)
    number = 0
    while len(run.kept) < settings.count and number < most:
        size = min(settings.table.batch, settings.count - len(run.kept), most - number)
        run.batch([candidate(settings, n) for n in range(number, number + size)])
        number += size
        advance(len(run.kept), number)
    speed = run.drawn / max(time.monotonic() - began, 1e-9)
    consumed = engine.consumed if run.drawn else run.consumed_before
    notes = tuple(notes_of(settings.table))
    done = Generated(tuple(run.kept), run.rejected, run.reused, consumed, notes, round(speed, 3))
    summary = {
        **basis, "count": settings.count, "kept": done.kept, "consumed": consumed, "notes": notes,
        "rejected": {str(seed): reasons for seed, reasons in run.rejected.items()},
    }  # fmt: skip
    atomic_write(out / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    if len(run.kept) < settings.count:
        tally = Counter(reason.split(":")[0] for reasons in run.rejected.values() for reason in reasons)
        told = ", ".join(f"{reason} {times} times" for reason, times in tally.most_common(5))
        raise FindingsError(
            f"{len(run.kept)} of {settings.count} pictures were kept after {number} seeds ({told}); look into"
            f" {out / REJECTED}, change the text or the limits of flux.screening, or take --no-screen"
        )
    return done


def _basis(settings: GenerateSettings, engine: FluxEngine) -> dict[str, Any]:
    table = settings.table
    return {
        "engine": engine.engine_id,
        "models": engine.model_digests(),
        "adapters": [[Path(a.file).name, a.strength, a.clip_strength] for a in table.loras],
        "options": asdict(settings.options),
        "precision": table.precision,
        "batch": table.batch,
        "screening": screening_of(table),
        "rgb": settings.rgb,
    }


class _Run:
    """Candidates so far, in order."""

    def __init__(
        self, settings: GenerateSettings, out: Path, engine: FluxEngine, basis: dict[str, Any], screened: bool
    ) -> None:
        self.settings, self.out, self.engine, self.screened = settings, out, engine, screened
        self.kept: list[int] = []
        self.rejected: dict[int, tuple[str, ...]] = {}
        self.reused = self.drawn = 0
        self._basis, self._known = basis, Known()

    @property
    def consumed_before(self) -> dict[str, Any]:
        """What the adapters of an earlier run gave, where this one draws nothing."""
        path = self.out / SUMMARY
        return dict(read_json(path).get("consumed", {})) if path.is_file() else {}

    def batch(self, candidates: list[Candidate]) -> None:
        """Judge candidates, drawn together; all of them are drawn again where one is not finished."""
        finished = [self._finished(c) for c in candidates]
        if all(record is not None for record in finished):
            for one, record in zip(candidates, finished, strict=True):
                assert record is not None
                embedding = None if record["embedding"] is None else np.array(record["embedding"], np.float32)
                self._judged(one.seed, tuple(record["reasons"]), embedding)
            self.reused += len(candidates)
            return
        for one, rgb in zip(candidates, self._drawn(candidates), strict=True):
            gray = luma(rgb)
            verdict = self.engine.screen.look(rgb, gray, self._known) if self.screened else None
            self._write(one, rgb if self.settings.rgb else gray, verdict)
            reasons = verdict.reasons if verdict else ()
            self._judged(one.seed, reasons, verdict.embedding if verdict else None)
        self.drawn += len(candidates)

    def _judged(self, seed: int, reasons: tuple[str, ...], embedding: NDArray[np.float32] | None) -> None:
        if reasons:
            self.rejected[seed] = reasons
            return
        self.kept.append(seed)
        if embedding is not None:
            self._known = self._known.with_face(str(seed), embedding)

    def _drawn(self, candidates: list[Candidate]) -> NDArray[np.uint8]:
        from thermvision.generation.engines.flux.sampling import sample

        options, engine = self.settings.options, self.engine
        positive = [engine.encoded(c.positive, options.preset) for c in candidates]
        negative = [engine.encoded(c.negative, options.preset) for c in candidates] if options.uses_negative else None
        if literal_texts(self.settings.table) is not None:
            engine.forget_text_encoders()
        return sample(self.engine.models, positive, negative, [c.seed for c in candidates], options)

    def _fingerprint(self, one: Candidate) -> str:
        return sha256_bytes(canonical_json({**self._basis, "candidate": asdict(one)}).encode())

    def _picture(self, seed: int, kept: bool) -> Path:
        return (self.out if kept else self.out / REJECTED) / f"{seed}.png"

    def _finished(self, one: Candidate) -> dict[str, Any] | None:
        path = self.out / f"{one.seed}.json"
        if not path.is_file():
            return None
        try:
            record = read_json(path)
            wanted = self._fingerprint(one)
            picture = self._picture(one.seed, not record["reasons"])
            whole = picture.is_file() and sha256_bytes(picture.read_bytes()) == record["picture_sha256"]
            same = record["fingerprint"] == wanted and "embedding" in record
            return dict(record) if same and whole else None
        except (DamagedInputError, KeyError, TypeError, OSError):
            return None  # a record that cannot be used is drawn anew

    def _write(self, one: Candidate, picture: NDArray[np.uint8], verdict: Verdict | None) -> None:
        reasons = list(verdict.reasons) if verdict else []
        # OpenCV wants blue first
        data = encode_png(picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1]))
        # the same seed may have had another verdict
        other = self._picture(one.seed, bool(reasons))
        with writing(other):
            other.unlink(missing_ok=True)
        atomic_write(self._picture(one.seed, not reasons), data, durable=False)
        embedding = None if verdict is None or verdict.embedding is None else verdict.embedding.tolist()
        bbox = None if verdict is None or reasons else [round(float(v), 2) for v in verdict.annotation.bbox]
        record = {
            **self._basis,
            "fingerprint": self._fingerprint(one),
            "seed": one.seed,
            "positive": one.positive,
            "negative": one.negative,
            "attributes": one.attributes,
            "reasons": reasons,
            "scores": dict(verdict.scores) if verdict else {},
            "bbox": bbox,
            "embedding": embedding,
            "raw_pixels_sha256": pixels_digest(picture),
            "picture_sha256": sha256_bytes(data),
        }
        # last: a picture with its record is finished
        text = json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        atomic_write(self.out / f"{one.seed}.json", text, durable=False)
