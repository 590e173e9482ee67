import numpy as np
import pytest
from turning_faces import clip_row, draw, frame_views, view

from thermvision.curation.checks.faults import Fault
from thermvision.curation.checks.faults.labels import FAULTS as LABEL_FAULTS
from thermvision.curation.checks.faults.motion import FAULTS
from thermvision.curation.checks.integrity import KINDS as INTEGRITY
from thermvision.curation.checks.kinds import FrameView, ItemView, Scored, by_code
from thermvision.curation.checks.sequence import KINDS, REMEMBERED, SequenceWatch

KIND = by_code(KINDS)
NEEDS_EMBEDDER = {"another-person"}


@pytest.fixture(scope="module")
def clip() -> tuple[dict, np.ndarray]:
    row = clip_row(72, 24.0)
    return row, draw(row)


def watched(item: ItemView, frames: np.ndarray, **more: object) -> dict[str, Scored]:
    watch = SequenceWatch(item, **more)  # type: ignore[arg-type]
    for frame in frame_views(item, frames):
        watch.add(frame)
    return {s.code: s for s in watch.finish()}


def findings(scored: dict[str, Scored]) -> set[str]:
    return {code for code, s in scored.items() if KIND[code].is_finding(s.score)}


def test_a_clean_clip_is_scored_and_quiet(clip: tuple[dict, np.ndarray]) -> None:
    row, frames = clip
    scored = watched(view(row), frames)
    assert findings(scored) == set()
    assert set(scored) == set(KIND) - {"identity-switch", "identity-outlier"}


def test_a_clip_at_ten_frames_a_second_is_quiet() -> None:
    row = clip_row(48, 10.0)
    assert findings(watched(view(row), draw(row))) == set()


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if set(f.codes) <= set(KIND) and f.name not in NEEDS_EMBEDDER], ids=lambda f: f.name
)
def test_planted_faults_are_found(fault: Fault, clip: tuple[dict, np.ndarray]) -> None:
    row, frames = clip
    assert fault.on_frames is not None
    assert fault.needs is None or fault.needs(row)
    before = frames.copy()
    spoilt = fault.on_frames(frames, row, np.random.default_rng(2))
    assert (frames == before).all()  # what is given stays as it is
    assert findings(watched(view(row), spoilt)) & set(fault.codes)


def test_late_labels_are_found(clip: tuple[dict, np.ndarray]) -> None:
    row, frames = dict(clip[0]), clip[1]
    fault = next(f for f in LABEL_FAULTS if f.name == "all-labels-late")
    assert fault.on_row is not None
    fault.on_row(row, np.random.default_rng(0))
    found = watched(view(row), frames)["labels-late"]
    assert found.score == 5


def test_every_fault_names_kinds_that_exist() -> None:
    known = set(KIND) | set(by_code(INTEGRITY))
    assert all(set(f.codes) <= known for f in FAULTS)


def test_frames_left_out_are_fewer(clip: tuple[dict, np.ndarray]) -> None:
    fault = next(f for f in FAULTS if f.name == "frames-left-out")
    assert fault.on_frames is not None
    assert len(fault.on_frames(clip[1], clip[0], np.random.default_rng(0))) == len(clip[1]) - 5


def test_another_face_is_told_with_the_frame_it_begins_at(clip: tuple[dict, np.ndarray]) -> None:
    row, frames = clip
    first, second = np.eye(8)[0], np.eye(8)[1]
    seen: list[int] = []

    def embed(gray: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        assert gray.shape == (256, 256)
        assert landmarks.shape == (68, 2)
        number = next(n for n, f in enumerate(frames) if f is gray or (f == gray).all())
        seen.append(number)
        return first if number < 40 else second

    scored = watched(view(row), frames, embed=embed)
    assert scored["identity-switch"].score < 0.1
    assert scored["identity-switch"].first == min(n for n in seen if n >= 40)
    assert len(seen) <= 25
    assert all(abs(row["head_pose"][n][0]) < 35 for n in seen)


def test_one_persons_frames_are_quiet(clip: tuple[dict, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    scored = watched(view(clip[0]), clip[1], embed=lambda g, p: np.ones(8) + 0.1 * rng.normal(size=8))
    assert findings(scored) == set()
    assert scored["identity-switch"].score > 0.95


def test_a_short_clip_or_one_without_labels_gives_no_false_scores() -> None:
    gray = np.zeros((32, 32), np.uint8)
    item = ItemView("a", "", "", True, {}, None, 0, 0, 0)
    watch = SequenceWatch(item)
    for n in range(5):
        watch.add(FrameView(n, gray, gray))
    assert list(watch.finish()) == []
    for n in range(5, 30):
        watch.add(FrameView(n, gray, gray))
    assert findings({s.code: s for s in watch.finish()}) == set()


def test_memory_does_not_grow_with_the_pixels(clip: tuple[dict, np.ndarray]) -> None:
    watch = SequenceWatch(ItemView("a", "", "", True, {}, 30.0, 0, 0, 0))
    for n in range(REMEMBERED + 50):
        gray = clip[1][n % 70]
        watch.add(FrameView(n, gray, gray))
    assert watch._old.shape[0] == REMEMBERED
    loops = [s for s in watch.finish() if s.code == "loop"]
    assert loops[0].score > 90
    assert int(loops[0].detail.split()[-3]) % 70 == 0
