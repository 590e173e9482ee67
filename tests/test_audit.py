"""The audit of whole releases: one whose room tells who it is, one whose face does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ZEROS, clip_row, face_annotation, finish_release, frame_rows, oval_face

pytest.importorskip("sklearn")

from thermvision.annotations import schema
from thermvision.annotations.errors import UsageError
from thermvision.curation.audits.audit import FORMAT, Audit, Options, audit_release, chosen_people
from thermvision.curation.audits.labels import score_labels
from thermvision.curation.audits.report import page, summary, write_report
from thermvision.curation.audits.samples import Plan, read_samples
from thermvision.curation.audits.verdict import judge
from thermvision.curation.pack import write_shard
from thermvision.curation.release import read_release
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.video import encode_gray

PEOPLE, FRAMES, SIZE = 6, 4, 96
Paint = Callable[[np.random.Generator], np.ndarray]


def texture(rng: np.random.Generator) -> np.ndarray:
    """Soft patches, (96, 96) float in -1..1."""
    coarse = rng.uniform(-1, 1, (7, 7)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)).clip(-1, 1)


def release(root: Path, leaky: bool, people: int = PEOPLE) -> Path:
    """Two clips of everybody: faces, and where it is ``leaky`` rooms, are the person's; else rooms are the clip's."""
    subjects = [f"P_{k:06d}" for k in range(people)]
    oval = oval_face(SIZE)[0] > 100
    clips, frames = [], []
    for k, subject in enumerate(subjects):
        for number, sequence in enumerate(schema.SEQUENCES):
            face, room = (texture(np.random.default_rng([n, k])) for n in (1, 2))
            own = np.random.default_rng([3, k, number])
            face, room = (texture(own), room) if leaky else (face, texture(own))
            noise = np.random.default_rng([4, k, number]).normal(0, 2, (FRAMES, SIZE, SIZE))
            picture = np.where(oval, 190 + 40 * face, 50 + 30 * room)
            annotations = [face_annotation(SIZE, 0.0, known=True) for _ in range(FRAMES)]
            row = clip_row(f"{subject}_S{number + 1}", subject, subjects, sequence, annotations, SIZE)
            row["gender"] = k % 2
            row["video"]["bytes"] = encode_gray((picture + noise).clip(0, 255).astype(np.uint8))
            clips.append(row)
            frames += frame_rows(row, annotations)
    shards = []
    for place, split in enumerate(("train", "test")):
        mine = [s for i, s in enumerate(subjects) if i % 2 == place]
        for name, rows in (("video", clips), ("frames", frames)):
            kept = [r for r in rows if r["subject_id"] in mine]
            shards.append(write_shard(root, name, split, "1.0", 0, kept, subjects, ZEROS))
    return finish_release(root, "build", subjects, shards)


def answers(audit: Audit) -> dict[str, str]:
    return {a.name: a.level for a in audit.answers}


OPTIONS = Options(frames=4, people=PEOPLE, label_frames=2, rounds=200)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("leaky") / "release", leaky=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("small") / "release", leaky=True, people=4)


@pytest.fixture(scope="module")
def leaky_audit(leaky: Path) -> Audit:
    return audit_release(leaky, OPTIONS)


@pytest.mark.slow
def test_a_room_that_tells_who_it_is_fails(leaky_audit: Audit) -> None:
    said = answers(leaky_audit)
    assert said["identity-outside-face"] == "fail"
    assert said["identity-in-background"] == "fail"
    assert said["identity-in-face"] == "fail"  # faces were drawn anew for each clip
    assert leaky_audit.verdict == "fail"
    best = leaky_audit.leakage.best("masked")
    assert best is not None
    assert best.rank1 > 0.9
    assert best.probes == 2 * PEOPLE
    assert leaky_audit.leakage.chance == 1 / PEOPLE


@pytest.mark.slow
def test_a_release_whose_faces_tell_who_it_is_passes(tmp_path: Path) -> None:
    audit = audit_release(release(tmp_path / "release", leaky=False), OPTIONS)
    said = answers(audit)
    assert said["identity-in-face"] == "pass"
    assert said["identity-outside-face"] != "fail"
    assert said["identity-in-background"] != "fail"
    # the room is the clip's: another frame of the same clip is told by it
    within = audit.leakage.best("background", "within")
    assert within is not None
    assert within.rank1 > 0.9


def test_too_few_people_are_no_verdict(leaky_audit: Audit) -> None:
    a = leaky_audit
    judged = judge(a.leakage, a.parity, a.labels, a.shared, 50)
    levels = {n.name: n.level for n in judged}
    assert levels["identity-outside-face"] == levels["identity-in-face"] == levels["parity"] == "unknown"
    assert "too few identities for a verdict, 6 of 50" in str(judged)


@pytest.mark.slow
def test_workers_change_nothing(small: Path) -> None:
    source = ReleaseSource(small)
    plan = Plan(small, frozenset(chosen_people(read_release(small), None, 4)), frames=2, first=1)
    one, two = (read_samples(source, plan, workers=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert len(a) == len(b) > 0
        assert (a.subject, a.item, a.split, a.frame) == (b.subject, b.item, b.split, b.frame)
        for name, pictures in a.pictures.items():
            assert np.array_equal(pictures, b.pictures[name])
        for name, vectors in a.embeddings.items():
            assert np.array_equal(vectors, b.embeddings[name])


@pytest.mark.slow
def test_the_report_is_whole(leaky_audit: Audit, tmp_path: Path) -> None:
    written = write_report(leaky_audit, tmp_path / "out")
    drawn = [f"{n}{end}" for n in ("recognition", "coverage", "expressions")
             for end in (".svg", ".png", "-dark.svg", "-dark.png")]  # fmt: skip
    assert [p.name for p in written] == ["audit.html", "audit.json", *drawn]
    assert written[0].read_text().count("data:image/svg") == 2 * 3
    told = json.loads(written[1].read_text())
    assert told["format"] == FORMAT
    assert told["verdict"] == "fail"
    assert {a["name"] for a in told["answers"]} == {
        "identity-in-face", "identity-outside-face", "identity-in-outline", "identity-in-background",
        "trivial-answers", "parity", "label-quality", "splits",
    }  # fmt: skip
    shown = page(leaky_audit)
    assert 'This release <b class="bad">fails</b>' in shown
    assert "http" not in shown.replace("http://www.w3.org", "")
    assert summary(leaky_audit).row_count == len(leaky_audit.answers)


@pytest.mark.slow
def test_the_command_exits_with_findings(small: Path, tmp_path: Path, capsys: Any) -> None:
    import thermvision_db

    more = ["--quick", "--people", "4", "--label-frames", "2", "--out", str(tmp_path / "o"), "--quiet"]
    assert thermvision_db.main(["audit", str(small), *more]) == 1
    out, err = capsys.readouterr()
    assert "fails" in out
    assert f"next: open {tmp_path / 'o' / 'audit.html'}" in out
    assert "identity-outside-face" in err
    assert thermvision_db.main(["audit", str(small), "--split", "holdout"]) == 2


@pytest.mark.parametrize("command", ["audit", "dedupe", "stats"])
def test_where_a_report_cannot_go_is_said_before_the_work(
    command: str, oval_release: Path, tmp_path: Path, capsys: Any
) -> None:
    import thermvision_db

    (tmp_path / "file").touch()
    assert thermvision_db.main([command, str(oval_release), "--out", str(tmp_path / "file" / "o")]) == 6
    said = capsys.readouterr().err
    assert "a part of its path is a file" in said
    assert said.count("\n") == 1  # nothing was begun
    assert thermvision_db.main([command, str(oval_release), "--out", str(oval_release)]) == 2
    assert "is a release; a report needs a folder of its own" in capsys.readouterr().err


def test_quick_takes_less_and_never_more() -> None:
    assert Options().quick() == Options(frames=4, most_people=60, label_frames=60, rounds=200)
    few = Options("test", 2, 10, 20, 5, 50, 3, 2)
    assert few.quick() == few


@pytest.mark.slow
def test_an_import_of_one_person_without_landmarks_is_all_unknown_or_about_labels(imported_release: Path) -> None:
    audit = audit_release(imported_release, Options(frames=5, label_frames=5, rounds=50))
    said = answers(audit)
    assert {said[n] for n in said if n.startswith("identity")} == {"unknown"}
    assert said["parity"] == said["splits"] == "unknown"
    assert not audit.labels.truth
    assert "nobody can be recognised" in " ".join(audit.leakage.notes)
    assert "1 frames without a face left out" in audit.leakage.notes
    assert "This release" in page(audit)


def test_a_clip_that_does_not_decode_leaves_the_labels_unscored(
    oval_release: Path, copied: Callable[[Path], Path]
) -> None:
    root = copied(oval_release)
    shard = next(s for s in read_release(root).shards_of("video", "test"))
    table = pq.read_table(root / shard.path)
    rows = table.to_pylist()
    rows[0]["video"]["bytes"] = b"no video"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), root / shard.path)
    found = score_labels(root, None, frames_per_clip=2, limit=20, rounds=20)
    assert found.measures == {}
    assert "P_000001_S1: a video of 8 bytes does not decode" in " ".join(found.notes)


def test_people_are_drawn_evenly_and_always_alike(oval_release: Path) -> None:
    manifest = read_release(oval_release)
    assert chosen_people(manifest, None, 10) == ["P_000000", "P_000001"]
    many = manifest.model_copy(
        update={
            "identities": tuple(
                manifest.identities[k % 2].model_copy(update={"subject_id": f"P_{k:06d}"}) for k in range(40)
            )
        }
    )
    drawn = chosen_people(many, None, 11, seed=3)
    genders = [int(s[2:]) % 2 for s in drawn]
    assert len(drawn) == 11
    assert abs(sum(genders) - 5.5) < 1
    assert drawn == chosen_people(many, None, 11, seed=3) != chosen_people(many, None, 11, seed=4)


def test_a_person_with_many_stills_gives_eight(oval_release: Path) -> None:
    from thermvision.curation.audits import samples

    source = ReleaseSource(oval_release)
    chunks = samples.media_parts(source, None, {"P_000001"}, per_clip=3)
    assert sum(c.frames for c in chunks) == 2 * 3 + 6
    assert {i.row["subject_id"] for c in chunks for i in c.read() if i.row} == {"P_000001"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "MOST_STILLS", 2)
        chunks = samples.media_parts(source, "test", {"P_000000", "P_000001"})
    assert sorted(i.item_id for c in chunks for i in c.read() if not i.is_video) == [
        "P_000001_frontal_pose_0", "P_000001_head_poses_1",
    ]  # fmt: skip


def test_more_frames_than_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="--frames 16"):
        Options(frames=64)


def test_what_is_no_release_or_an_empty_split_is_said(oval_release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no release"):
        audit_release(tmp_path)
    with pytest.raises(UsageError, match="nobody in split 'validation'"):
        audit_release(oval_release, Options(split="validation"))
