"""The card of a trained model: what it is for, what made it, what it was measured to do, where it fails."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .corpus import Corpus
from .grade import Figure
from .loop import Curve, Run

LIMITS = {
    "detector": (
        "Trained on rendered faces alone, upright to about 45 degrees of roll and 100 degrees of yaw; upside-down heads"
        " are not looked for. Boxes run from the hairline or brow-top to the chin, cheek to cheek."
    ),
    "landmarker": (
        "Points of the jaw follow the visible outline. Points behind masks, hair and the far side of a profile are"
        " guesses that follow the rest of the face; `state` and `sigma` say so."
    ),
    "embedder": (
        "Learned from rendered people whose faces differ in shape and warmth as the renderer draws them. It was never"
        " shown a real person and must not be used to recognise one."
    ),
    "attributes": (
        "Gender is the morphology a face was made with, no statement about a person. Clear and tinted glasses are one"
        " class: glass is opaque in this band."
    ),
}


def write_card(
    folder: Path, name: str, purpose: str, corpus: Corpus, curve: Curve, figures: Mapping[str, Figure]
) -> None:
    """Write the card of NAME.onnx in ``folder`` as Markdown beside it."""
    content, run = (folder / f"{name}.onnx").read_bytes(), Run(**curve.run)
    people = [len(np.unique(corpus.identity[corpus.rows(split)])) for split in ("train", "validation", "test")]
    last = curve.points[-1] if curve.points else {}
    lines = [
        f"# {name}",
        "",
        f"`{name}.onnx` {purpose}.",
        "",
        f"* {len(content) / 2**20:.1f} MiB, SHA-256 `{hashlib.sha256(content).hexdigest()}`",
        "* licence: Apache-2.0, like the code that made it; trained on rendered frames (CC BY 4.0), on no real image",
        f"* data: {len(corpus)} frames of {len(corpus.identities)} rendered people, {people[0]} of them to learn from,"
        f" {people[1]} to choose by, {people[2]} to test on; releases' digest `{corpus.digest[:16]}`",
        f"* command: `{curve.command}`",
        f"* run: {run.steps} batches of {run.size}, seed {run.seed}, learning rate {run.rate:g}; "
        f"{last.get('seconds', 0) / 60:.0f} minutes on {curve.machine}; its curve is in `{name}.curve.json`",
        "",
        "## Measured",
        "",
        "| what | value | on |",
        "|---|---|---|",
        *(f"| {what} | {figure.value} | {figure.data} |" for what, figure in figures.items()),
        "",
        "## Limits",
        "",
        LIMITS[name],
        "",
    ]
    (folder / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
