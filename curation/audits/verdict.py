"""From numbers to answers: what each question of the audit wants, and whether a release gives it.

A limit that the number keeps is a pass. One that it breaks is a fail where the 95 % interval breaks it too, and a
doubt where other people might have kept it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thermvision.annotations.schema import GENDERS

from .contamination import Contamination
from .labels import AP50, LANDMARKS, RECALL, Labels
from .leakage import FACE_RANK, GUESSING, Leakage, Score
from .parity import MEDIUM, Parity

Level = Literal["pass", "doubt", "fail", "unknown"]
LEVELS: tuple[Level, ...] = ("pass", "unknown", "doubt", "fail")  # from good to bad
GOOD_RECALL, POOR_RECALL = 0.95, 0.80
GOOD_LANDMARKS = 0.07  # box-normalised: beyond it a face has failed, see docs/evaluation.md
FEWEST = 10  # women and men each, from which a comparison says something
EASY_BOX = 0.5  # AP50 of one constant box: beyond it a detector proves little here


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        name: stable kebab-case name.
        question: what is asked.
        level: pass, doubt, fail, or unknown where the release cannot tell.
        statement: one sentence with numbers.
    """

    name: str
    question: str
    level: Level
    statement: str


def worst(answers: Sequence[Answer]) -> Level:
    """The worst level of some answers; unknown ones do not spoil a pass unless there is nothing else.

    >>> worst([Answer("a", "", "pass", ""), Answer("b", "", "unknown", ""), Answer("c", "", "doubt", "")])
    'doubt'
    """
    levels: list[Level] = [a.level for a in answers]
    known = [level for level in levels if level != "unknown"]
    return max(known, key=LEVELS.index) if known else "unknown"


def judge(leakage: Leakage, parity: Parity, labels: Labels, shared: Contamination, wanted: int) -> list[Answer]:
    """All answers; ``wanted`` is the number of people from which recognition says something."""
    return [
        *(_recognition(leakage, wanted)),
        _constant_box(labels),
        _parity(parity),
        _quality(labels),
        _splits(shared),
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _spread(score: Score) -> str:
    ends = "" if score.interval is None else f" ({_percent(score.interval[0])} to {_percent(score.interval[1])})"
    return f"{_percent(score.rank1)}{ends}"


def _recognition(leakage: Leakage, wanted: int) -> list[Answer]:
    questions = {
        "face": ("identity-in-face", "Does the face alone tell who it is?"),
        "masked": ("identity-outside-face", "Is nobody recognised with the face masked out?"),
        "silhouette": ("identity-in-outline", "Is nobody recognised by the outline of head and shoulders?"),
        "background": ("identity-in-background", "Is nobody recognised by the background?"),
    }
    answers = []
    for condition, (name, question) in questions.items():
        best = leakage.best(condition, key="clips" if condition == "face" else "rank1") or leakage.best(condition)
        if best is None:
            answers.append(Answer(name, question, "unknown", "nobody was seen in two recordings"))
            continue
        level, statement = _face(best) if condition == "face" else _outside(best, leakage, condition)
        if len(leakage.people) < wanted:
            level = "unknown"
            statement = f"too few identities for a verdict, {len(leakage.people)} of {wanted}: {statement}"
        answers.append(Answer(name, question, level, statement))
    return answers


def _face(best: Score) -> tuple[Level, str]:
    value, ends = (best.rank1, best.interval) if best.clips is None else (best.clips, best.clips_interval)
    what = "recordings" if best.clips is None else "clips"
    high = value if ends is None else ends[1]
    shown = "" if ends is None else f" ({_percent(ends[0])} to {_percent(ends[1])})"
    said = f"{_percent(value)}{shown} of {what} are recognised by the face alone ({best.recogniser}); wanted: 95 %"
    if best.stills is not None and best.clips is not None:
        said += f"; of single stills {_percent(best.stills)}"
    level: Level = "pass" if value >= FACE_RANK else "doubt" if high >= FACE_RANK else "fail"
    return level, said


def _outside(best: Score, leakage: Leakage, condition: str) -> tuple[Level, str]:
    limit = GUESSING * leakage.chance
    low = best.interval[0] if best.interval is not None else best.rank1
    times = best.rank1 / leakage.chance
    said = (
        f"{_spread(best)} of recordings are recognised by {best.recogniser} in view {best.view!r},"
        f" {times:.1f} times chance; allowed: {GUESSING:g} times, {_percent(limit)} (the best of guessing"
        f" recognisers reaches {_percent(leakage.luck(condition))})"
    )
    if best.rank1 <= limit:
        return "pass", said
    # an outline is of a person as much as of what he wears
    return ("fail" if low > limit and condition != "silhouette" else "doubt"), said


def _constant_box(labels: Labels) -> Answer:
    name, question = "trivial-answers", "Do trivial answers fail here, so that scores mean something?"
    box, landmarks = labels.get("detection", AP50), labels.get("landmarks", LANDMARKS)
    said = []
    if box is not None and box.baseline is not None:
        said.append(f"one constant box reaches AP50 {box.baseline:.3f} (shipped detector {box.value or 0:.3f})")
    if landmarks is not None and landmarks.baseline is not None and landmarks.value is not None:
        said.append(f"the mean face NME {landmarks.baseline:.4f} (shipped landmarker {landmarks.value:.4f})")
    accuracies = [m for m in labels.measures.get("attributes", ()) if m.name.endswith(", accuracy")]
    easy = [f"{m.name.split(',')[0]} {m.baseline:.2f}" for m in accuracies if m.baseline is not None]
    if easy:
        said.append(f"the commonest class is right in: {', '.join(easy)}")
    if not said:
        return Answer(name, question, "unknown", "; ".join(labels.notes) or "nothing could be scored")
    too_easy = box is not None and box.baseline is not None and box.baseline > EASY_BOX
    return Answer(name, question, "doubt" if too_easy else "pass", "; ".join(said))


def _parity(parity: Parity) -> Answer:
    name, question = "parity", "Are women and men pictured alike?"
    if not parity.differences:
        return Answer(name, question, "unknown", "; ".join(parity.notes) or "genders are not known")
    people = f"{parity.people.get('female', 0)} women, {parity.people.get('male', 0)} men"
    total = sum(parity.people.values())
    if min(parity.people.get(g, 0) for g in GENDERS) < FEWEST:
        return Answer(name, question, "unknown", f"too few people for a verdict: {people}, wanted {FEWEST} of each")
    lopsided = abs(parity.people.get("female", 0) / max(total, 1) - 0.5) > 0.1
    if not parity.uneven and not lopsided:
        return Answer(
            name,
            question,
            "pass",
            f"{people}; no comparison of {len(parity.differences)} is uneven (deviation {MEDIUM})",
        )
    shown = ", ".join(
        f"{d.name} {d.women:.2f} against {d.men:.2f}"
        for d in sorted(parity.uneven, key=lambda d: -abs(d.deviation if d.deviation is not None else 99))[:6]
    )
    return Answer(name, question, "doubt", f"{people}; uneven: {shown or 'their number'}")


def _quality(labels: Labels) -> Answer:
    name = "label-quality"
    question = "Do labels and the shipped models agree?"
    recall, landmarks = labels.get("detection", RECALL), labels.get("landmarks", LANDMARKS)
    if recall is None or recall.value is None:
        return Answer(name, question, "unknown", "; ".join(labels.notes) or "boxes could not be scored")
    what = "ground truth" if labels.truth else "published labels"
    said = f"against the {what} of {labels.frames} frames the detector finds {_percent(recall.value)} of the faces"
    level: Level = "pass" if recall.value >= GOOD_RECALL else "doubt" if recall.value >= POOR_RECALL else "fail"
    if landmarks is not None and landmarks.value is not None:
        said += f", landmarks are off by {100 * landmarks.value:.2f} % of the box"
        if landmarks.value > GOOD_LANDMARKS and level == "pass":
            level = "doubt"
    return Answer(name, question, level, said)


def _splits(shared: Contamination) -> Answer:
    name, question = "splits", "Do splits share nobody and no picture?"
    if len(shared.splits) < 2:
        seen = ", ".join(shared.splits) or "none"
        return Answer(name, question, "unknown", f"one split was looked at ({seen}); audit with --split all")
    if shared.shared or shared.picture_pairs:
        names = ", ".join(list(shared.shared)[:5])
        people = f"{len(shared.shared)} people are in two splits ({names})" if shared.shared else ""
        pictures = f"{shared.picture_pairs} pairs of frames in different splits are nearly equal"
        return Answer(
            name, question, "fail", "; ".join(x for x in (people, pictures if shared.picture_pairs else "") if x)
        )
    counts = ", ".join(f"{n} in {s}" for s, n in shared.splits.items())
    alike = f"{len(shared.look_alikes)} pairs of people across splits look like one" if shared.look_alikes else ""
    if alike:
        return Answer(name, question, "doubt", f"{alike} (cosine {shared.threshold:.2f} or more), {counts}")
    return Answer(
        name, question, "pass", f"{counts}; nobody twice, no look-alike, and the two nearest frames correlate at"
        f" {shared.closest or 0:.4f}"
    )  # fmt: skip
