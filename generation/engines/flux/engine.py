"""The FLUX engine: stills drawn from words, annotated by the shipped models and looked at before they are kept.

A person is the noise of one seed: all stills of a subject begin with the same noise, and only the words differ.
Networks are loaded when the first still asks for them.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from thermvision.annotations.errors import FindingsError, MissingDependencyError, UsageError
from thermvision.annotations.schema import CATEGORIES, FrameAnnotation
from thermvision.curation.store import sha256_bytes
from thermvision.generation.drawings import RANDOM, WEIGHTS_VARIABLE, notes_of, resolved, screening_of
from thermvision.generation.engines.flux.casting import Casting, cast, casting_attributes
from thermvision.generation.engines.flux.presets import SamplingOptions, options_of, preset_of
from thermvision.generation.engines.threads import one_thread
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.prompts import noise_seed, prompt_of, refusal
from thermvision.generation.screening import Known, Screen, Verdict, default_screen, luma
from thermvision.generation.specs import Clip, ClipSpec, Drawing, SceneSpec, SceneStill, Still, StillSpec, Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from thermvision.generation.engines.flux.models import FluxModels
    from thermvision.generation.engines.flux.text import Conditioning, Texts

INSTALL = 'pip install -c constraints.txt -e ".[diffusion]"'
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "accelerate")
MOST_REFUSED = 100  # identities in a row before the words or the weights are to blame
NOISE = "random weights: pixels are noise"
TEXTS_KEPT = 256  # encoded texts, 2 MB each where they are padded to 256 tokens in bf16; a batch has 128 at most
_log = logging.getLogger(__name__)


class FluxEngine:
    """Draws stills with FLUX.1-dev and adapters.

    Args:
        loading: what `thermvision.generation.drawings.loading_of` gives; "" for the usual weights.
        weights: takes the place of the table's: a folder, or "random" for tiny networks of seeded noise.
        screen: looks at stills; None: one of the shipped models.

    >>> FluxEngine(weights="random").engine_id
    'flux-random@1'
    """

    licence = "flux-1-dev-non-commercial-license"

    def __init__(self, loading: str = "", weights: str = "", *, screen: Screen | None = None) -> None:
        given = json.loads(loading) if loading else {}
        self.table = FluxTable.model_validate(given["flux"]) if given else resolved(FluxTable())
        if weights:
            self.table = resolved(self.table.model_copy(update={"weights": weights}))
        self.size = int(given.get("size", 512))
        self._screen = screen
        self._texts: dict[tuple[Texts, str], Conditioning] = {}
        self._told: set[str] = set()  # encoders that a text was too long for
        self._faces: dict[int, Casting] = {}
        self._refused: list[str] = []
        self.consumed: dict[str, Any] = {}
        for note in notes_of(self.table):
            _log.info("%s", note)

    @property
    def random(self) -> bool:
        """Whether the weights are noise."""
        return self.table.weights == RANDOM

    @property
    def engine_id(self) -> str:
        """Name and version; random weights are in the name."""
        return "flux-random@1" if self.random else "flux@1"

    def check(self, subject: Subject, product: str) -> str | None:
        """Why ``product`` cannot be made of ``subject``: it makes stills, and beards of men."""
        if product not in CATEGORIES:
            return f"flux makes no {product}; allowed: {', '.join(CATEGORIES)}"
        return refusal(subject, product)

    def too_alike(self, subject: Subject, accepted: Sequence[Subject]) -> str | None:
        """Why ``subject`` is passed over: its first drawing shows no proper face, or one of ``accepted`` or the
        training images. None without screening, and with random weights."""
        if screening_of(self.table) is None:
            return None
        why = self._against(subject, accepted)
        self._refused = [*self._refused, why] if why else []
        if len(self._refused) == MOST_REFUSED:
            raise FindingsError(
                f"{MOST_REFUSED} identities in a row were passed over, lastly {subject.subject_id} ({why}); look at"
                " some with `thermvision generate`, change words, adapter or flux.screening, or set its on = false"
            )
        return why and f"seed {noise_seed(subject, self.table.first_seed)}: {why}"

    def _against(self, subject: Subject, accepted: Sequence[Subject]) -> str | None:
        found = self.casting(subject)
        if found.reasons or found.embedding is None:
            return "; ".join(found.reasons) or "no embedding"
        cast_before = [(s.subject_id, e) for s in accepted if (e := self.casting(s).embedding) is not None]
        if not cast_before:
            return None
        known = Known(tuple(name for name, _ in cast_before), np.stack([e for _, e in cast_before]))
        name, cosine = known.nearest(found.embedding)
        return None if cosine < self.screen.limits.alike else f"looks like {name}, cosine {cosine:.3f}"

    def casting(self, subject: Subject) -> Casting:
        """What the first drawing of a subject shows; drawn once."""
        if subject.index not in self._faces:
            texts = prompt_of(casting_attributes(subject), self.table)
            seed, options = noise_seed(subject, self.table.first_seed), self.options
            basis = {
                "engine": self.engine_id, "models": self.model_digests(), "texts": texts, "seed": seed,
                "size": self.size, "options": options.changed, "screening": screening_of(self.table),
                "limits": asdict(self.screen.limits),
                "loras": [[a.strength, a.clip_strength] for a in self.table.loras],
                "precision": self.table.precision,
            }  # fmt: skip

            def draw() -> Casting:
                rgb = self.draw(texts, self.noise(seed), options)
                verdict = self.screen.look(rgb, luma(rgb))
                return Casting(verdict.reasons, verdict.embedding)

            self._faces[subject.index] = cast(basis, draw)
        return self._faces[subject.index]

    def require(self) -> None:
        """Raise `MissingDependencyError` when a package, a file of FLUX, an adapter or a shipped model is absent."""
        for package in PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise MissingDependencyError(f"the flux engine needs the package {package}; type: {INSTALL}")
        if not self.random:
            from thermvision.generation.engines.flux.files import find_files

            try:
                find_files(Path(self.table.weights), self.table)
            except MissingDependencyError as error:
                raise MissingDependencyError(
                    f"{error}; then name the folder: --weights FOLDER, weights in a recipe's [flux], or"
                    f" {WEIGHTS_VARIABLE} in the environment"
                ) from error
        for lora in self.table.loras:
            if not Path(lora.file).is_file():
                raise MissingDependencyError(f"adapter {lora.file} does not exist; put it there, or correct flux.loras")
        _ = self.screen

    def model_digests(self) -> dict[str, str]:
        """SHA-256 of every file that decides pixels or annotations."""
        return dict(self._digests)

    @cached_property
    def _digests(self) -> dict[str, str]:
        from thermvision.generation.engines.flux.tensor_files import digest  # loading reads no file twice for it

        if self.random:
            from thermvision.generation.engines.flux.random_models import tiny_models

            digests = dict(tiny_models().digests)
        else:
            from thermvision.generation.engines.flux.files import PARTS, TOKENIZERS, find_files

            files = find_files(Path(self.table.weights), self.table)
            found = [path for name in PARTS for path in getattr(files, name)]
            for name in TOKENIZERS:
                found += sorted(p for p in getattr(files, name).iterdir() if p.suffix in (".json", ".txt", ".model"))
            digests = {f"{path.parent.name}/{path.name}": digest(path) for path in found}
        for number, lora in enumerate(self.table.loras, 1):
            digests[f"adapter {number} {Path(lora.file).name}"] = digest(Path(lora.file))
        return dict(sorted({**digests, "faces": sha256_bytes(self.screen.source.encode())}.items()))

    @cached_property
    def screen(self) -> Screen:
        """What looks at stills and annotates them."""
        if self._screen is not None:
            return self._screen
        rules = self.table.screening
        images = rules.training_images if screening_of(self.table) is not None else None
        limits = {"min_score": rules.min_score, "alike": rules.alike}
        return default_screen(limits, Path(images) if images is not None else None)

    def forget_text_encoders(self) -> None:
        """Drop them, 9.7 GB in bf16, once all texts are encoded."""
        self.models.clip = self.models.t5 = None

    @cached_property
    def models(self) -> FluxModels:
        """The networks, loaded when first asked for, adapters in them."""
        self.require()
        if self.random:
            _log.warning("%s", NOISE)
        from thermvision.generation.engines.flux.loading import ready_models

        models, report = ready_models(self.table)
        if report is not None:
            self.consumed = {**asdict(report), "lines": report.lines()}
        return models

    @property
    def options(self) -> SamplingOptions:
        """How stills are drawn."""
        return options_of(self.table, self.size, self.size)

    def noise(self, seed: int, further: int = 0, strength: float = 0.0) -> Tensor:
        """The noise of a still's seed, with a share of a further one."""
        from thermvision.generation.engines.flux.sampling import noise

        return noise([seed], self.size, self.size, [(further, strength)])

    def draw(self, texts: tuple[Texts, Texts], start: Tensor, options: SamplingOptions) -> NDArray[np.uint8]:
        """One picture (H, W, 3) uint8."""
        from thermvision.generation.engines.flux.sampling import sample

        models = self.models
        with one_thread():
            positive, negative = (self.encoded(pair, options.preset) for pair in texts)
            guided = [negative] if options.uses_negative else None
            rgb: NDArray[np.uint8] = sample(models, [positive], guided, [0], options, start=start)[0]
        return rgb

    def encoded(self, pair: Texts, preset: str) -> Conditioning:
        """What a pair of texts says, as a preset pads it; the `TEXTS_KEPT` last used ones are not encoded again."""
        from thermvision.generation.engines.flux.text import cut_notes, encode

        if (pair, preset) not in self._texts:
            rule = preset_of(preset)
            (made,) = encode(self.models, [pair], rule.padding, rule.masked, grows=rule.grows)
            for note in () if self.random else cut_notes([pair], [made]):
                # a recipe has as many texts as stills: one line each would bury all others
                if (encoder := note.partition(" ")[0]) not in self._told:
                    _log.warning("%s (this is told of the first such text)", note)
                self._told.add(encoder)
            if len(self._texts) == TEXTS_KEPT:
                del self._texts[next(iter(self._texts))]
        else:
            made = self._texts.pop((pair, preset))
        self._texts[pair, preset] = made
        return made

    @overload
    def render(self, spec: ClipSpec, progress: Any = None) -> Clip: ...
    @overload
    def render(self, spec: StillSpec, progress: Any = None) -> Still: ...
    def render(self, spec: ClipSpec | StillSpec, progress: Any = None) -> Clip | Still:
        """Draw one still; where it is rejected, again with a share of a further seed in its noise.

        Raises:
            UsageError: it is no still, or says nothing to draw.
            FindingsError: no attempt was kept.
            MissingDependencyError: weights are absent.
        """
        if isinstance(spec, ClipSpec) or spec.drawing is None:
            raise UsageError(f"{spec.item_id}: flux draws stills from words; set stills.engine to 'flux' in a recipe")
        drawing = spec.drawing
        options = SamplingOptions(**{"width": spec.size, "height": spec.size, **drawing.options})
        texts = (drawing.positive, drawing.negative)
        tried: list[dict[str, Any]] = []
        for attempt in range(1 + len(drawing.further_seeds)):
            strength = float((drawing.screening or {}).get("variation", 0.0)) if attempt else 0.0
            further = drawing.further_seeds[attempt - 1] if attempt else 0
            rgb = self.draw(texts, self.noise(drawing.seed, further, strength), options)
            gray = luma(rgb)
            verdict = self._verdict(rgb, gray, drawing)
            tried.append({
                "seed": drawing.seed, "further_seed": further, "variation": strength,
                "reasons": list(verdict.reasons), "scores": dict(verdict.scores),
            })  # fmt: skip
            if verdict.kept:
                break
        else:
            told = "; ".join(f"attempt {n}: {', '.join(t['reasons'])}" for n, t in enumerate(tried, 1))
            raise FindingsError(f"{spec.item_id}: none of {len(tried)} attempts was kept ({told})"[:1900])
        if progress is not None:
            progress(1)
        columns: Mapping[str, str] = {}
        if not self.random:
            words = {k: v for k, v in drawing.attributes.items() if k in casting_attributes(spec.subject).as_dict()}
            columns = _columns(words)
        record = {**self.record(), "attempts": tried, "attributes": dict(drawing.attributes)}
        return Still(spec, gray, verdict.annotation, columns, record)

    def _verdict(self, rgb: NDArray[np.uint8], gray: NDArray[np.uint8], drawing: Drawing) -> Verdict:
        if drawing.screening is not None:
            return self.screen.look(rgb, gray)
        annotation: FrameAnnotation = next(iter(self.screen.annotator.main_faces([gray])))[0]
        if self.random:
            annotation = replace(annotation, source=f"{annotation.source} ({NOISE})")
        return Verdict((), {}, annotation)

    def render_scene(self, spec: SceneSpec, progress: Any = None) -> SceneStill:
        """Refused: it draws one face.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{spec.item_id}: flux draws no scenes; set scenes.engine to 'phantom'")

    def record(self) -> dict[str, Any]:
        """What draws, for provenance."""
        models = self.models
        return {
            "engine": self.engine_id,
            "models": self.model_digests(),
            "annotator": self.screen.source,
            "precision": self.table.precision,
            "dtype": str(models.dtype).removeprefix("torch."),
            "device": models.device.type,
            "notes": notes_of(self.table),
            **({"pixels": NOISE} if self.random else {}),
            **({"adapters": self.consumed["files"]} if self.consumed else {}),
        }


def _columns(words: Mapping[str, str]) -> dict[str, str]:
    from thermvision.generation.prompts import Attributes

    return Attributes(**words).columns
