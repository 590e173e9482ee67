"""Synthetic to real: classifiers trained on synthetic faces, on real ones and on both, tested on real people.

No person is in training and test. Training runs for a fixed number of epochs and its last weights are tested, once.
The gender table of M. A. Farooq et al. (ThermVision, ACM Multimedia 2025, Table 2) has this form: MobileNetV2,
EfficientNet-b0 and ResNet, each trained on synthetic data alone (pure) and with real data added (hybrid).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.bootstrap import Bootstrap
from thermvision.annotations.class_metrics import accuracy, balanced_accuracy, confusion
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError

from ..store import atomic_write, canonical_json, read_json, sha256_bytes
from .labelled_faces import Faces, FindFace, digest_of, read_faces, subject_regex

MIXES, DOMAINS = ("pure", "hybrid", "real"), ("synthetic", "real")
TEST_SHARE = 0.5  # of the people of a source without splits
_FEWEST_PEOPLE = 4  # of a real source: two to train and two to test, or there is nothing to say


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        networks: of `thermvision.annotations.training.recognition.NETWORKS`.
        mixes: "pure" (synthetic), "hybrid" (synthetic and real) and "real".
        label: see `labelled_faces.LABELS`.
        real_share: part of the real training people that hybrid and real get.
        per_subject: at most so many crops of a person.
        test_share: part of the people of a real source without splits that are tested on.
        seed: of that deal.
        subject_pattern: see `labelled_faces.read_faces`.
        keep_splits: whether a real source that says who tests is dealt as it says.
    """

    networks: tuple[str, ...] = ("mobilenetv2", "efficientnet-b0", "resnet50")
    mixes: tuple[str, ...] = ("pure", "hybrid")
    label: str = "gender"
    real_share: float = 1.0
    per_subject: int = 20
    test_share: float = TEST_SHARE
    seed: int = 0
    subject_pattern: str | None = None
    keep_splits: bool = True


@dataclass(frozen=True)
class Cell:
    """One network, trained on one mix, tested on one real source.

    Attributes:
        network, mix, real: what it is; ``real`` is the name of the source.
        accuracy, balanced_accuracy: of the test crops, 0 to 1.
        accuracy_interval, balanced_interval: 95 % over test people; None with fewer than two.
        majority: accuracy of always giving the class that is most frequent in training.
        train_images, train_subjects: by domain, see `DOMAINS`.
        test_images, test_subjects: how many.
        confusion: true class by found class.
        parameters: of the network.
        seconds: of training and testing.
    """

    network: str
    mix: str
    real: str
    accuracy: float
    balanced_accuracy: float
    accuracy_interval: tuple[float, float] | None
    balanced_interval: tuple[float, float] | None
    majority: float
    train_images: Mapping[str, int]
    train_subjects: Mapping[str, int]
    test_images: int
    test_subjects: int
    confusion: tuple[tuple[int, ...], ...]
    parameters: int
    seconds: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cell:
        """What ``asdict`` gave, after JSON."""
        pairs = {
            n: tuple(v) if (v := value[n]) is not None else None for n in ("accuracy_interval", "balanced_interval")
        }
        return cls(**{**value, **pairs, "confusion": tuple(tuple(row) for row in value["confusion"])})


@dataclass(frozen=True)
class Table:
    """All cells, with what they were made with."""

    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    cells: tuple[Cell, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class RealSplit:
    """A real source dealt by people."""

    train: Faces
    test: Faces


def deal(faces: Faces, test_share: float, train_share: float, seed: int, keep_splits: bool = True) -> RealSplit:
    """Train and test of a real source: as it says itself, else by a seeded deal of its people, class by class.

    ``train_share`` of the people of train stay, at least one of each class; validation belongs to train.

    Raises:
        UsageError: it has too few people, one is in both, or only some have a split.
    """
    stated = {s for s in faces.splits if s and keep_splits}
    if stated and "" in faces.splits:
        raise UsageError(f"{faces.name} has a split for some pictures only; give all one, or none")
    people: dict[str, int] = {}
    for subject, number in zip(faces.subjects, faces.labels, strict=True):
        people.setdefault(subject, int(number))
    if len(people) < _FEWEST_PEOPLE:
        raise UsageError(f"{faces.name} has {len(people)} people; allowed: {_FEWEST_PEOPLE} or more")
    rng = np.random.default_rng(seed)
    testing: set[str] = set()
    if stated:
        testing = {p for p, s in zip(faces.subjects, faces.splits, strict=True) if s == "test"}
        both = testing & {p for p, s in zip(faces.subjects, faces.splits, strict=True) if s != "test"}
        if both:
            raise UsageError(
                f"{', '.join(sorted(both)[:3])} of {faces.name} is in train and test; allowed: one of them"
            )
    kept: set[str] = set()
    for number in sorted(set(people.values())):
        of_class = sorted(p for p, n in people.items() if n == number)
        shuffled = [of_class[k] for k in rng.permutation(len(of_class))]
        if not stated:
            # one stays to train on wherever there are two
            count = min(max(round(len(shuffled) * test_share), 1), max(len(shuffled) - 1, 1))
            testing |= set(shuffled[:count])
        training = [p for p in shuffled if p not in testing]
        kept |= set(training[: max(1, round(len(training) * train_share))])
    tests = np.array([p in testing for p in faces.subjects])
    trains = np.array([p in kept for p in faces.subjects])
    if not tests.any() or not trains.any():
        raise UsageError(f"{faces.name} has {int(trains.sum())} crops to train on and {int(tests.sum())} to test on")
    return RealSplit(faces.take(trains), faces.take(tests))


def mixed(mix: str, synthetic: Faces, real: Faces) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, Faces]]:
    """Crops, labels and parts by domain of a training mix."""
    parts = {"synthetic": synthetic} if mix != "real" else {}
    parts |= {"real": real} if mix != "pure" else {}
    crops = np.concatenate([p.crops for p in parts.values()])
    return crops, np.concatenate([p.labels for p in parts.values()]), parts


def compare(
    synthetic: Sequence[Path],
    real: Sequence[Path],
    comparison: Comparison,
    training: Any,
    *,
    weights: Mapping[str, Path] | None = None,
    find: FindFace | None = None,
    out: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    bootstrap: Bootstrap | None = None,
) -> Table:
    """Train and test every network on every mix for every real source.

    Args:
        synthetic: releases, folders or CSVs to train on, all of their people.
        real: sources to test on; part of their people train in the mixes hybrid and real.
        comparison: what is compared.
        training: a `thermvision.annotations.training.recognition.Training`.
        weights: network to a folder with pretrained weights.
        find: looks for faces where a source has no boxes.
        out: JSON file that grows with each cell; a stopped run goes on with those it lacks, and keeps all it has.
        report: is given lines of progress.
        bootstrap: of the intervals.

    Raises:
        UsageError: an option or source is not what it should be, or a picture is in training and in test.
        MissingDependencyError: torch, transformers or pretrained weights are not there.
        DamagedInputError, OutputError: a source or ``out`` does not read, or ``out`` cannot be written.
    """
    _check(comparison, out)
    recognition = _recognition()
    recognition.require(training, weights)
    settings = _settings(synthetic, real, comparison, training, weights or {})
    done = _done(out, settings)
    side = training.size + training.size // recognition.MARGIN
    read = {
        path: read_faces(
            path, label=comparison.label, side=side, per_subject=comparison.per_subject,
            subject_pattern=comparison.subject_pattern, find=find,
        )
        for path in dict.fromkeys((*synthetic, *real))
    }  # fmt: skip
    drawn = _together([read[path] for path in synthetic])
    report(f"synthetic: {len(drawn)} crops of {len(set(drawn.subjects))} people")
    dealt = {}
    for name, path in _names(real).items():
        split = deal(read[path], comparison.test_share, comparison.real_share, comparison.seed, comparison.keep_splits)
        _check_apart(drawn, split, name)
        dealt[name] = split
        for part, faces in (("trains", drawn), ("tests", split.test)):
            if len(set(faces.labels.tolist())) < 2:
                only = faces.classes[faces.labels[0]]
                raise UsageError(
                    f"{faces.name} {part} on {comparison.label} {only!r} only; allowed: two classes or more"
                )
        people = len(set(split.train.subjects)), len(set(split.test.subjects))
        report(
            f"{name}: {len(split.train)} crops of {people[0]} people to train, {len(split.test)} of {people[1]} to test"
        )
    classes, left_out = drawn.classes, {f.name: len(f.findings) for f in read.values()}

    def keep() -> None:
        if out is not None:  # with the cells that other runs asked for
            table = Table(classes, settings, tuple(done.values()), left_out)
            atomic_write(out, canonical_json(table.as_dict()) + "\n")

    keep()  # a file that cannot be written is known before training
    nets: dict[str, tuple[Any, float]] = {}
    for network in comparison.networks:
        nets.clear()  # the pure one of a network serves all real sources
        for mix in comparison.mixes:
            for name, split in dealt.items():
                if (network, mix, name) in done:
                    continue
                start = time.monotonic()
                crops, labels, parts = mixed(mix, drawn, split.train)
                if mix != "pure" or "pure" not in nets:
                    report(f"{network}, {mix}, {name}: training on {len(labels)} crops")
                    net = recognition.make_network(network, len(classes), training, (weights or {}).get(network))
                    net = recognition.train_classifier(net, crops, labels, training, report)
                    trained = net, time.monotonic() - start
                    if mix == "pure":
                        nets["pure"] = trained
                else:
                    trained = nets["pure"]
                net, seconds = trained
                found = recognition.classify(net, split.test.crops, training)
                done[network, mix, name] = _cell(
                    (network, mix, name), split.test, found, parts, recognition.count_parameters(net), seconds,
                    bootstrap or Bootstrap(),
                )  # fmt: skip
                keep()
    return Table(classes, settings, tuple(done[k] for k in _order(comparison, dealt)), left_out)


def _check(comparison: Comparison, out: Path | None) -> None:
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out} is a folder; allowed: a JSON file, such as {out / 'table.json'}")
    for what, given, allowed in (("network", comparison.networks, None), ("mix", comparison.mixes, MIXES)):
        if not given or (allowed and set(given) - set(allowed)):
            raise UsageError(
                f"{what} is {', '.join(given) or 'missing'}; allowed: {', '.join(allowed or ('one or more',))}"
            )
    for option, value, fits, bounds in (
        ("--test-share", comparison.test_share, 0 < comparison.test_share < 1, "above 0 and below 1"),
        ("--real-share", comparison.real_share, 0 < comparison.real_share <= 1, "above 0 and at most 1"),
        ("--per-subject", comparison.per_subject, comparison.per_subject > 0, "above 0"),
    ):
        if not fits:
            raise UsageError(f"{option} is {value:g}; allowed: {bounds}")
    subject_regex(comparison.subject_pattern)


def _recognition() -> Any:
    try:
        from thermvision.annotations.training import recognition
    except ImportError as error:
        raise MissingDependencyError(
            f'training needs torch ({error}); type: pip install -c constraints.txt -e ".[recognition]"'
        ) from error
    return recognition


def _settings(
    synthetic: Sequence[Path], real: Sequence[Path], comparison: Comparison, training: Any, weights: Mapping[str, Path]
) -> dict[str, Any]:
    # what is compared may grow between runs; what a cell depends on may not
    return {
        "synthetic": [digest_of(p) for p in synthetic],
        "real": {name: digest_of(p) for name, p in _names(real).items()},
        "comparison": {k: v for k, v in asdict(comparison).items() if k not in ("networks", "mixes")},
        "training": training.decides(),
        "weights": {name: digest_of(path) for name, path in sorted(weights.items())},
    }


def _done(out: Path | None, settings: Mapping[str, Any]) -> dict[tuple[str, str, str], Cell]:
    if out is None or not out.exists():
        return {}
    try:
        found = read_json(out)
        same = canonical_json(found["settings"]) == canonical_json(settings)
        cells = [Cell.from_json(value) for value in found["cells"]] if same else []
    except (DamagedInputError, KeyError, TypeError, ValueError) as error:
        raise DamagedInputError(f"{out} is no table of this command; choose another --out") from error
    if not same:
        raise UsageError(f"{out} holds another comparison; choose another --out or delete it")
    return {(c.network, c.mix, c.real): c for c in cells}


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Sources by name, in order.

    Raises:
        UsageError: two have one name.
    """
    named = {path.resolve().name: path for path in paths}
    if len(named) < len(paths) or not paths:
        seen = ", ".join(named) or "nothing"
        raise UsageError(f"{len(paths)} real sources are called {seen}; allowed: one or more, each by its own name")
    return named


def _order(comparison: Comparison, dealt: Mapping[str, RealSplit]) -> list[tuple[str, str, str]]:
    return [(n, m, r) for r in dealt for n in comparison.networks for m in comparison.mixes]


def _together(several: Sequence[Faces]) -> Faces:
    """Several synthetic sources as one; people of two sources are two."""
    if not several:
        raise UsageError("no synthetic source is given; allowed: one or more releases, folders or CSVs")
    return Faces(
        ", ".join(f.name for f in several),
        several[0].classes,
        np.concatenate([f.crops for f in several]),
        np.concatenate([f.labels for f in several]),
        tuple(f"{k}/{s}" for k, f in enumerate(several) for s in f.subjects),
        tuple(s for f in several for s in f.splits),
        tuple(n for f in several for n in f.names),
    )


def _check_apart(synthetic: Faces, real: RealSplit, name: str) -> None:
    """Raise UsageError where a test picture is also one to train on."""
    seen = {
        sha256_bytes(crop.tobytes()): n
        for f in (synthetic, real.train)
        for crop, n in zip(f.crops, f.names, strict=True)
    }
    same = [
        (n, seen[d])
        for crop, n in zip(real.test.crops, real.test.names, strict=True)
        if (d := sha256_bytes(crop.tobytes())) in seen
    ]
    if same:
        raise UsageError(
            f"{len(same)} test pictures of {name} are trained on too, such as {same[0][0]} ({same[0][1]}); a release"
            " cannot be tested on itself: give other people to test on"
        )


def _cell(
    key: tuple[str, str, str],
    test: Faces,
    found: NDArray[np.int64],
    parts: Mapping[str, Faces],
    parameters: int,
    seconds: float,
    bootstrap: Bootstrap,
) -> Cell:
    truth, guesses = [test.classes[k] for k in test.labels], [test.classes[k] for k in found]
    right = found == test.labels
    trained = np.concatenate([p.labels for p in parts.values()])
    balanced = bootstrap.interval(lambda w: balanced_accuracy(truth, right, w), test.subjects)
    return Cell(
        *key,
        accuracy=float(accuracy(right)[0]),
        balanced_accuracy=float(balanced_accuracy(truth, right)[0]),
        accuracy_interval=bootstrap.mean(right, test.subjects),
        balanced_interval=balanced,
        majority=float(np.mean(test.labels == np.bincount(trained).argmax())),
        train_images={name: len(p) for name, p in parts.items()},
        train_subjects={name: len(set(p.subjects)) for name, p in parts.items()},
        test_images=len(test),
        test_subjects=len(set(test.subjects)),
        confusion=tuple(tuple(row) for row in confusion(truth, guesses, test.classes).tolist()),
        parameters=parameters,
        seconds=round(seconds, 1),
    )
