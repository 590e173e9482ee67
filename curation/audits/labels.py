"""How far trivial answers come on a release, and how well the shipped models agree with its labels.

Both are `thermvision evaluate`'s numbers: the measures of the models, and the baselines beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thermvision.annotations.bootstrap import Bootstrap
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError

from ..evaluation.evaluate import Report, evaluate
from ..evaluation.measures import Measure, Options
from ..sources import ReleaseSource

TASKS = ("detection", "landmarks", "pose", "attributes")
# names of `evaluation.tasks`
AP50, RECALL = "AP50", "recall"
LANDMARKS = "NME, box"


@dataclass
class Labels:
    """Measures by task, each with its trivial baseline.

    Attributes:
        measures: task to measures.
        truth: whether the labels are the engine's ground truth; else others made them.
        frames: how many were looked at.
        notes: what could not be scored, and why.
    """

    measures: dict[str, list[Measure]] = field(default_factory=dict)
    truth: bool = False
    frames: int = 0
    notes: list[str] = field(default_factory=list)

    def get(self, task: str, name: str) -> Measure | None:
        """The first measure of a task whose name begins so."""
        return next((m for m in self.measures.get(task, ()) if m.name.startswith(name)), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ground_truth": self.truth,
            "frames": self.frames,
            "measures": {task: [dict(vars(m)) for m in measures] for task, measures in self.measures.items()},
            "notes": self.notes,
        }


def score_labels(
    root: Path, split: str | None, *, frames_per_clip: int, limit: int, rounds: int, quiet: bool = True
) -> Labels:
    """Run the shipped models over some frames and score them against the labels, beside trivial answers.

    Args:
        root: a release folder.
        split: None: all of it.
        frames_per_clip: evenly spread.
        limit: at most so many frames.
        rounds: of the bootstrap.
        quiet: no progress.
    """
    found = Labels(truth=_is_truth(ReleaseSource(root)))
    how: dict[str, Any] = {
        "split": split,
        "options": Options(bootstrap=Bootstrap(rounds)),
        "frames_per_clip": frames_per_clip,
        "limit": limit,
        "quiet": quiet,
    }
    try:
        reports = [evaluate(root, task="all", **how)]
    except MissingDependencyError as error:  # of one task only, as a rule
        found.notes.append(str(error))
        reports = list(_each_alone(root, found, how))
    except (UsageError, DamagedInputError) as error:  # a clip that does not decode leaves the other questions askable
        found.notes.append(str(error))
        reports = []
    for report in reports:
        found.frames = int(report.facts["frames"])
        for task in TASKS:
            if task in report.results:
                found.measures[task] = list(report.results[task].measures)
    found.notes += [n for report in reports[:1] for n in report.notes]
    return found


def _each_alone(root: Path, found: Labels, how: dict[str, Any]) -> Iterator[Report]:
    for task in TASKS:
        try:
            yield evaluate(root, task=task, **how)
        except (UsageError, MissingDependencyError, DamagedInputError) as error:
            found.notes.append(f"{task}: {error}")


def _is_truth(source: ReleaseSource) -> bool:
    import pyarrow.parquet as pq

    for parts in source.parts("frames").values() if "frames" in source.configs else ():
        names = pq.read_table(source.root / parts[0], columns=["annotation_source"])["annotation_source"]
        return set(names.unique().to_pylist()) == {"ground_truth"}
    return False
