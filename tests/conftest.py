"""Small releases that several test modules read; each is made once a session."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from thermvision.annotations import schema
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.pack import Shard, write_shard
from thermvision.curation.release import Manifest, write_release
from thermvision.curation.video import encode_gray
from thermvision.generation.engines import threads

sys.path.insert(0, str(Path(__file__).parent))  # tests share modules, and worker processes find them by name
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the workers that pytest starts: there is one a core
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may reach for a server, nor touch the caches of who runs it
_CACHE = tempfile.TemporaryDirectory(prefix="thermvision-tests-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = os.environ["MPLCONFIGDIR"] = _CACHE.name
atexit.register(_CACHE.cleanup)

TINY_RECIPE = """
name = "Tiny"
version = "1.0"
seed = 7

[subjects]
female = 2
male = 2

[stills]
size = 64
frontal_pose = 2
facial_accessories = 2
beard = { count = 1, gender = "male" }
mix = 2
head_poses = 2

[clips]
size = 64
head_pose = 6
expression = 6

[radiometric]
clip_every = 3
"""
ZEROS = "0" * 64
SUBJECTS = {"P_000000": "female", "P_000001": "male"}


def oval_face(size: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A gray (size, size) frame with a warm oval, and 68 points within it."""
    centre = (0.5 + shift) * size, 0.55 * size
    frame = np.full((size, size), 30, np.uint8)
    cv2.ellipse(frame, (round(centre[0]), round(centre[1])), (size // 4, size // 3), 0, 0, 360, 210, -1)
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return frame, np.stack([centre[0] + size / 5 * np.cos(turn), centre[1] + size / 4 * np.sin(turn)], 1)


def face_annotation(
    size: int, shift: float, known: bool, yaw: float = 0.0, expression: str = "neutral"
) -> FrameAnnotation:
    """The annotation of `oval_face`; only the box when it is not ``known`` more closely."""
    box = [(0.25 + shift) * size, 0.22 * size, size / 2, 0.66 * size]
    if not known:
        return FrameAnnotation(bbox=box, face_count=1, source="published labels")
    return FrameAnnotation(
        bbox=box,
        face_count=1,
        source="ground_truth",
        landmarks=oval_face(size, shift)[1],
        landmark_state=np.arange(68) % 4,
        head_pose=[yaw, -yaw / 2, 0],
        expression=expression,
        eye_openness=0.3,
        mouth_openness=0.1,
    )


def subject_columns(subject: str, subjects: Sequence[str]) -> dict[str, Any]:
    gender = SUBJECTS.get(subject, "female")
    return {"subject_id": subject, "identity": list(subjects).index(subject), "gender": schema.GENDERS.index(gender)}


def clip_row(
    clip_id: str,
    subject: str,
    subjects: Sequence[str],
    sequence: str,
    annotations: Sequence[FrameAnnotation],
    size: int,
) -> dict[str, Any]:
    """A row of the config `video`, its frames drawn by `oval_face`."""
    frames = np.stack([oval_face(size, 0.01 * k)[0] for k in range(len(annotations))])
    return {
        "video": {"bytes": encode_gray(frames), "path": f"{clip_id}.mp4"},
        "clip_id": clip_id,
        **subject_columns(subject, subjects),
        "sequence": schema.SEQUENCES.index(sequence),
        "fps": 30.0,
        "num_frames": len(frames),
        "width": size,
        "height": size,
        **schema.clip_columns(annotations),
        **schema.attribute_columns({}),
        "annotation_source": annotations[0].source,
        "provenance": "{}",
    }


def frame_rows(item: dict[str, Any], annotations: Sequence[FrameAnnotation]) -> list[dict[str, Any]]:
    """Rows of the config `frames` for a clip's or still's row."""
    names = ("subject_id", "identity", "gender", "width", "height", *schema.ATTRIBUTES, "annotation_source")
    shared = {name: item[name] for name in names}
    ids = {"item_id": item.get("clip_id") or item["image_id"], "sequence": item.get("sequence")}
    return [
        {**shared, **ids, "category": item.get("category"), "frame_index": k, **schema.frame_columns(a)}
        for k, a in enumerate(annotations)
    ]


def still_row(image_id: str, subject: str, subjects: Sequence[str], category: str, size: int) -> dict[str, Any]:
    """A row of a category."""
    attributes = {"hairstyle": "short", "beard": "full" if category == "beard" else "none", "glasses": "none"}
    return {
        "image": {"bytes": cv2.imencode(".png", oval_face(size)[0])[1].tobytes(), "path": f"{image_id}.png"},
        "image_id": image_id,
        **subject_columns(subject, subjects),
        "category": schema.CATEGORIES.index(category),
        "width": size,
        "height": size,
        **schema.frame_columns(face_annotation(size, 0, known=True)),
        **schema.attribute_columns(attributes),
        "annotation_source": "ground_truth",
        "provenance": "{}",
    }


def radiometric_row(item_id: str, subject: str, subjects: Sequence[str]) -> dict[str, Any]:
    """A row of the config `radiometric` with its frame at 20 and 35 °C."""
    kelvin = np.full((40, 40), 29315, np.uint16)
    kelvin[10:30, 10:30] = 30815
    row: dict[str, Any] = dict.fromkeys(schema.features("radiometric", subjects))
    image = {"bytes": cv2.imencode(".png", kelvin)[1].tobytes(), "path": "t.png"}
    return {**row, "radiometric": [image], "item_id": item_id, **subject_columns(subject, subjects), "frame_index": [0]}


def finish_release(root: Path, source: str, subjects: Sequence[str], shards: Sequence[Shard], **more: Any) -> Path:
    licences = {"phantom@1": "cc-by-4.0"} if source == "build" else {"thermvision-db": "thermvision-db-research"}
    manifest = Manifest.model_validate(
        {
            "name": "Ovals",
            "version": "1.0",
            "source": source,
            "licences": licences,
            "identities": [
                {"subject_id": s, "gender": SUBJECTS.get(s, "female"), "split": ("train", "test")[i % 2]}
                for i, s in enumerate(subjects)
            ],
            "shards": shards,
            "plan": ZEROS,
            **more,
        }
    )
    write_release(root, manifest)
    return root


@pytest.fixture(scope="session")
def oval_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release like a build's: two subjects in two splits, four clips, stills of three categories, 16-bit frames."""
    root, subjects, shards = tmp_path_factory.mktemp("ovals") / "release", list(SUBJECTS), []
    for subject, split in zip(subjects, ("train", "test"), strict=True):
        clips, stills, frames = [], [], []
        for number, sequence in enumerate(schema.SEQUENCES, 1):
            expressions = ("neutral", "smile")
            annotations = [face_annotation(96, 0.01 * k, True, 5.0 * k, expressions[k % 2]) for k in range(12)]
            clips.append(clip_row(f"{subject}_S{number}", subject, subjects, sequence, annotations, 96))
            frames += frame_rows(clips[-1], annotations)
        for category in ("frontal_pose", "beard", "head_poses"):
            if (SUBJECTS[subject], category) == ("female", "beard"):
                continue
            rows = [still_row(f"{subject}_{category}_{k}", subject, subjects, category, 64) for k in range(2)]
            stills.append((category, rows))
            frames += [row for still in rows for row in frame_rows(still, [face_annotation(64, 0, known=True)])]
        tables = [("video", clips), *stills, ("frames", frames)]
        tables.append(("radiometric", [radiometric_row(f"{subject}_frontal_pose_0", subject, subjects)]))
        shards += [write_shard(root, name, split, "1.0", 0, rows, subjects, ZEROS) for name, rows in tables]
    recipe = root / "recipes" / "1.0.toml"
    recipe.parent.mkdir()
    recipe.write_text("seed = 1\n")
    return finish_release(
        root, "build", subjects, shards, recipes={"recipes/1.0.toml": ZEROS}, engines={"phantom@1": {}}
    )


@pytest.fixture(scope="session")
def imported_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release like an import's: one clip, boxes only; frame 1 has no face, frame 2 has two."""
    root, subjects = tmp_path_factory.mktemp("imported") / "release", ["F_01"]
    annotations = [face_annotation(64, 0.0, known=False) for _ in range(5)]
    annotations[1] = FrameAnnotation.no_face("published labels")
    second = FrameAnnotation(annotations[2].bbox, 2, "published labels", extra_bboxes=np.array([[1, 2, 9, 12]]))
    annotations[2] = second
    clip = clip_row("F_01_S1", "F_01", subjects, "head_pose", annotations, 64)
    tables = [("video", [clip]), ("frames", frame_rows(clip, annotations))]
    shards = [write_shard(root, name, "train", "1.0", 0, rows, subjects, ZEROS) for name, rows in tables]
    return finish_release(root, "import", subjects, shards)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a release that a test is going to change."""
    import shutil

    return lambda release: Path(shutil.copytree(release, tmp_path / "release"))


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release made by `thermvision build` from the smallest recipe that has every config."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY_RECIPE)
    command = [sys.executable, "-m", "thermvision_db", "build", "tiny.toml", "--out", "release", "--quiet"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "release"


@pytest.fixture
def wave_engine() -> Iterator[None]:
    """`phantom` is the quick engine of `fake_engine` for one test."""
    from fake_engine import waves_for_phantom

    with waves_for_phantom():
        yield


@pytest.fixture(scope="session")
def wave_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with every config but `scenes`, drawn by `fake_engine`."""
    from fake_engine import WAVES, waves_for_phantom

    from thermvision.generation.build import build_release, prepare

    out = tmp_path_factory.mktemp("waves") / "release"
    with waves_for_phantom():
        build_release(prepare(WAVES), out, quiet=True)
    return out


@pytest.fixture(scope="session")
def doll_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of dolls, four stills each of six people in three splits, drawn by `training_dolls`."""
    from fake_engine import waves_for_phantom
    from training_dolls import RECIPE

    from thermvision.generation.build import build_release, prepare

    out = tmp_path_factory.mktemp("dolls") / "release"
    with waves_for_phantom("training_dolls:DollEngine"):
        build_release(prepare(RECIPE), out, quiet=True)
    return out


@pytest.fixture(scope="session")
def doll_corpus(doll_release: Path) -> Path:
    """`doll_release` as a corpus to train on."""
    from thermvision.annotations.training.corpus import bake

    folder = doll_release.with_name("corpus")
    bake([doll_release], folder)
    return folder


@pytest.fixture(scope="module")
def narrow_networks() -> Iterator[Any]:
    """LivePortrait's networks, narrow and with seeded weights, on one thread: tests share their cores."""
    from thermvision.generation.engines.liveportrait.networks import random_networks

    with threads.one_thread():
        yield random_networks()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: those that wait for each other on busy cores take a hundred times as long as one."""
    with threads.one_thread():
        yield


@pytest.fixture
def ovals_are_faces(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Warm ovals count as faces wherever LivePortrait looks for one; engines are made anew, before and after."""
    from moving_faces import OvalAnnotator

    from thermvision.generation.engines import engine_of
    from thermvision.generation.engines.liveportrait import faces

    monkeypatch.setattr(faces, "default_annotator", OvalAnnotator)
    engine_of.cache_clear()
    yield
    engine_of.cache_clear()
