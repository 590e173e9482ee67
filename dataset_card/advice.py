"""What a release is good for, what it is not for, and where it ends: each line with the number that says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS
from thermvision.curation.release import ARTICLE_DOI, LICENCES, Manifest, describe
from thermvision.dataset_card.coverage import Measured
from thermvision.dataset_card.quality import cell
from thermvision.dataset_card.responsible import NO_CAMERA, NO_PERSON, from_cameras, gray_alone
from thermvision.dataset_card.sheet import count
from thermvision.dataset_card.trust import Known, code

ENOUGH_PEOPLE = 50  # identities from which `audit` gives a verdict on recognition
_WHAT = {False: "synthetic", True: "names in a recipe"}  # by whether a camera may have had a part
COMMERCIAL = ("cc-by-4.0",)
FLUX = "flux@"
FLUX_TERMS = "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md"
PUBLISHED_SEEDS = "the Tufts Face Database, CARL, Charlotte-ThermalFace and a locally acquired set of thermal faces"


def rows_of(manifest: Manifest) -> dict[str, int]:
    """Rows of each config."""
    return {c: sum(config["rows"].values()) for c, config in describe(manifest)["configs"].items()}


def good_for(manifest: Manifest, known: Known, seen: Measured) -> Iterator[str]:
    """Uses, each with what there is for it; what is alike in all frames is nothing to learn from."""
    rows = rows_of(manifest)
    poses, kinds = seen.poses, {name: sum(n > 0 for n in counts.values()) for name, counts in seen.classes.items()}
    truth = {name: sum(n for s, n in c.items() if s.startswith("ground_truth")) for name, c in known.labels.items()}

    def labelled(name: str) -> str:
        own = known.total(name)
        return count(own, "frame") + (", ground truth" if own and truth[name] == own else "")

    if known.total("bbox"):
        yield f"**Face detection**: {labelled('bbox')}."
    if known.total("landmarks"):
        states = ", each with its visibility" if known.total("landmark_state") else ""
        yield f"**Facial landmarks**: 68 points{states}, in {labelled('landmarks')}."
    if known.total("head_pose") and poses is not None:
        low, high = poses[1] + 0, poses[-2] + 0
        yield (
            f"**Head pose**: {labelled('head_pose')}; 90 % have yaw {low[0]:.0f}° to {high[0]:.0f}° and pitch"
            f" {low[1]:.0f}° to {high[1]:.0f}°."
        )
    if kinds["expression"] > 1:
        yield f"**Expressions**: {kinds['expression']} of {len(EXPRESSIONS)} classes, in {labelled('expression')}."
    worn = [name for name in ATTRIBUTES if kinds[name] > 1]
    if worn:
        yield f"**Attributes**: {', '.join(worn)}, in {labelled(worn[0])}."
    if rows.get("video"):
        yield f"**Motion**: {count(rows['video'], 'clip')}" + (", labelled frame by frame." if known.frames else ".")
    if rows.get("radiometric"):
        yield f"**Temperatures**: {count(rows['radiometric'], 'item')} as 16-bit frames of 100 × kelvin."
    if rows.get("scenes"):
        yield f"**Several faces in a picture**: {count(rows['scenes'], 'scene')}."
    people = len(manifest.identities)
    if people >= ENOUGH_PEOPLE:
        yield f"**Recognition**: {people:,} identities, each in one split only."


def not_for(manifest: Manifest, poses: np.ndarray | None) -> Iterator[str]:
    """What a release must not be used for, or cannot carry."""
    facts, rows = describe(manifest), rows_of(manifest)
    people, items = len(manifest.identities), rows.get("video", 0) + rows.get("image", 0) + rows.get("scenes", 0)
    if items and not from_cameras(manifest):
        yield (
            f"**Claims about real people or cameras without a test on real data**: none of the {count(items, 'item')}"
            " was recorded with a camera."
        )
    if people < ENOUGH_PEOPLE:
        are = "is" if people == 1 else "are"
        yield (
            f"**Measuring or training recognition of people**: {count(people, 'subject')} {are} too few;"
            f" `thermvision audit` gives a verdict from {ENOUGH_PEOPLE} on."
        )
    yield (
        "**Deciding about people**: identification, surveillance, judging emotion, health or gender of anybody; all"
        f" {people:,} subjects are {_WHAT[from_cameras(manifest)]}, and their gender is "
        + ("that of the folders they were published in." if manifest.source == "import" else "a value of the recipe.")
    )
    kept = rows.get("radiometric", 0)
    if kept:
        yield (
            f"**Fever screening or other diagnosis**: the temperatures of the {count(kept, 'item')} in `radiometric`"
            " are those of a model of the face, not measured on anybody."
        )
    if items:
        without = items - kept
        yield f"**Reading temperatures from 8-bit gray**: {gray_alone(manifest).partition(': ')[2]}" + (
            f"; {without:,} of {count(items, 'item')} have no 16-bit frame." if without > 0 else "."
        )
    empty = [split for split, number in facts["identities_by_split"].items() if not number]
    if empty:
        yield f"**Scores on {' or '.join(empty)}**: no identity of the {people:,} is there."
    if poses is not None and max(-poses[0][0], poses[-1][0]) < 60:
        yield f"**Profile views**: yaw ends at {poses[0][0]:.0f}° and {poses[-1][0]:.0f}°."
    if manifest.licence not in COMMERCIAL:
        strict = sorted(e for e, licence in manifest.licences.items() if licence not in COMMERCIAL)
        yield f"**Commercial use**: {LICENCES[manifest.licence]} ({', '.join(code(e) for e in strict)})."


def ethics(manifest: Manifest) -> Iterator[str]:
    """People, gender, law and terms, as far as the release says something about them."""
    people = describe(manifest)["subjects"]
    who = f"All {people['total']:,} subjects ({people['female']:,} female, {people['male']:,} male)"
    made = f"{who} are {_WHAT[from_cameras(manifest)]}"
    if manifest.source == "import":
        yield (
            f"{made}. The [article](https://doi.org/{ARTICLE_DOI}) says that its generator was tuned on"
            f" thermal pictures of real people, {PUBLISHED_SEEDS}, and that the work does not involve human subjects."
        )
        yield "Gender: as the published archives sort their subjects; nobody's own statement."
    else:
        only = bool(manifest.engines) and all(e.startswith(NO_PERSON) for e in manifest.engines)
        yield f"{made}" + (": no picture of a person is an input of the engine." if only else ".")
        moves = "it moves the shape of head and hair, and" if only else "it"
        yield (
            f"Gender is a parameter of the recipe ({people['female']:,} female, {people['male']:,} male): {moves} is"
            " nobody's identity."
        )
    if manifest.engines and all(e.startswith(NO_PERSON) for e in manifest.engines):
        law = "no picture or record of a person is an input of the engine, so no row is known to hold personal data"
    elif from_cameras(manifest):
        law = (
            "pictures and videos that the recipe names are inputs, and the release does not know whom they show: who"
            " gave them answers for the right to use them"
        )
    else:
        law = (
            "the subjects are not real, but a generator that has seen pictures of people may have learned some of them"
            " (`thermvision dedupe --seeds` looks for copies)"
        )
    yield f"GDPR: {law}. This is what the files say, not legal advice."
    if flux := sorted(e for e in manifest.licences if e.startswith(FLUX)):
        yield (
            f"Items of {', '.join(code(e) for e in flux)} are outputs of FLUX.1-dev: its"
            f" [non-commercial terms]({FLUX_TERMS}) go with them."
        )


def limits(manifest: Manifest) -> Iterator[str]:
    """Where the release ends, by its manifest alone."""
    facts, rows = describe(manifest), rows_of(manifest)
    items = rows.get("video", 0) + rows.get("image", 0)
    gray, kept = gray_alone(manifest), rows.get("radiometric", 0)
    yield f"{gray}; temperatures are in `radiometric`, for {kept:,} of {items:,} items." if kept else f"{gray}."
    if manifest.engines and all(e.startswith(NO_CAMERA) for e in manifest.engines):
        engines = ", ".join(code(e) for e in sorted(manifest.engines))
        yield f"Faces, cloth and rooms are those that {engines} can draw: {count(items, 'item')}, none from a camera."
    empty = [split for split, number in facts["identities_by_split"].items() if not number]
    if empty:
        yield f"No identity is in {' or '.join(empty)}: {count(facts['subjects']['total'], 'subject')} in all."
    if manifest.passed_over:
        passed = count(len(manifest.passed_over), "subject")
        yield f"{passed} passed over as badly drawn or too like another: see `release.json`."
    if manifest.limits:
        cut = ", ".join(f"version {cell(v)}: {n:,}" for v, n in sorted(manifest.limits.items()))
        yield f"Cut to so many clips and stills: {cut}."
