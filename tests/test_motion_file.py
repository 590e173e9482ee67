import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.pose import rotation_from_pose
from thermvision.generation import build, motion_template
from thermvision.generation.engines.phantom.expression import BLINK, FACE_UNITS
from thermvision.generation.engines.phantom.motion_file import read_motion, track_motion
from thermvision.generation.specs import MotionTrack

JAW = FACE_UNITS.index("jawOpen")
# pitch 10, yaw 20, roll 30 in a template's own convention, as its authors' program writes it
TEMPLATE_R = [
    [0.8137977, 0.4698463, -0.3420202],
    [-0.4409696, 0.8825641, 0.1631759],
    [0.3785223, 0.0180283, 0.9254165],
]
FLIP = np.diag([1.0, -1.0, -1.0])


def template_rotations(poses):
    """Our poses as a template stores them."""
    return (FLIP @ rotation_from_pose(poses) @ FLIP).transpose(0, 2, 1)


def columns(count=12, **more):
    poses = np.stack([np.linspace(-20, 30, count), np.linspace(5, -5, count), np.zeros(count)], 1)
    return {
        "motion_R": template_rotations(poses)[:, None].astype(np.float32),
        "motion_exp": np.zeros((count, 1, 21, 3), np.float32),
        "output_fps": np.int64(20),
        "c_eyes_lst": np.full((count, 1, 2), 0.3, np.float32),
        "c_lip_lst": np.linspace(0, 0.5, count, dtype=np.float32).reshape(count, 1, 1),
        **more,
    }


def write_npz(path, **more):
    np.savez(path, **columns(**more))
    return path


def write_pickle(path, protocol=4, **more):
    table = columns(**more)
    motion = [{"R": r, "exp": e} for r, e in zip(table["motion_R"], table["motion_exp"], strict=True)]
    lists = {name: list(table[name]) for name in ("c_eyes_lst", "c_lip_lst")}
    path.write_bytes(pickle.dumps({"n_frames": 12, "output_fps": 20, "motion": motion, **lists}, protocol=protocol))
    return path


def test_rotations_become_ours(tmp_path):
    track = read_motion(write_npz(tmp_path / "a.npz"))
    np.testing.assert_allclose(track.head_pose[0], [-20, 5, 0], atol=1e-3)
    np.testing.assert_allclose(track.head_pose[-1], [30, -5, 0], atol=1e-3)
    assert track.fps == 20
    assert track.name == "a.npz"
    assert len(track.sha256) == 64


def test_the_template_convention_is_the_published_one(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, motion_R=np.array([TEMPLATE_R])[:, None], output_fps=25)
    pose = read_motion(path).head_pose[0]
    # the nose (0, 0, -1) of a keypoint row goes to minus the third row: image left, up, towards the camera
    nose = rotation_from_pose(pose) @ [0, 0, 1]
    np.testing.assert_allclose(nose, [-0.3785223, 0.0180283, 0.9254165], atol=1e-5)
    crown = rotation_from_pose(pose) @ [0, 1, 0]
    np.testing.assert_allclose(crown, [0.4409696, 0.8825641, 0.1631759], atol=1e-5)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_and_archives_hold_the_same(tmp_path, protocol):
    a, b = read_motion(write_npz(tmp_path / "a.npz")), read_motion(write_pickle(tmp_path / "b.pkl", protocol))
    assert (a.head_pose, a.eyes, a.lips, a.fps) == (b.head_pose, b.eyes, b.lips, b.fps)
    assert a.sha256 != b.sha256


class Harm:
    """Creates a file when it is unpickled by a careless reader."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize(
    "make",
    [
        lambda target: Harm(os.system, f"touch {target}"),
        lambda target: Harm(eval, f"open({str(target)!r}, 'w').close()"),
        lambda target: Harm(open, str(target), "w"),
        lambda target: Harm(getattr, Path(str(target)), "touch"),
        lambda target: {"motion": [{"R": Harm(os.mkdir, str(target))}]},
        lambda target: np.array([Harm(os.system, f"touch {target}")], dtype=object),
    ],
)
def test_a_pickle_that_would_run_something_is_refused(tmp_path, make):
    target, path = tmp_path / "created", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(make(target)))
    with pytest.raises(
        DamagedInputError, match=r"evil\.pkl .*(could run code; allowed: numpy|array of O8; allowed: numbers)"
    ):
        read_motion(path)
    assert not target.exists()
    careless = f"import pickle; pickle.loads(open({str(path)!r}, 'rb').read())"
    subprocess.run([sys.executable, "-c", careless], check=False, capture_output=True)
    if not isinstance(make(target), Harm) or make(target).call is not getattr:
        assert target.exists()  # so the file was a real danger


def test_numpy_functions_cannot_be_called_with_chosen_arguments(tmp_path):
    path = tmp_path / "evil.pkl"
    for raw in (
        b"cnumpy\nload\n(Vx\ntR.",
        b"cnumpy\nndarray\n(I100000000000\ntR.",
        b"cnumpy\ndtype\n(VO\ntR.",
        b"Pelsewhere\n.",
        b"\x80\x04\x95" + b"\xff" * 8,
    ):
        path.write_bytes(raw)
        with pytest.raises(DamagedInputError, match=r"evil\.pkl"):
            read_motion(path)


@pytest.mark.parametrize("write", [write_npz, write_pickle])
def test_truncated_files_are_damaged(tmp_path, write):
    whole = write(tmp_path / ("a.npz" if write is write_npz else "a.pkl"))
    content = whole.read_bytes()
    for share in (0, 0.01, 0.3, 0.7, 0.95, 0.999):
        whole.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DamagedInputError) as found:
            read_motion(whole)
        assert found.value.exit_code == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"motion_R": np.zeros((12, 3, 3))}, "no rotations"),
        ({"motion_R": np.full((12, 3, 3), np.nan)}, "no rotations"),
        ({"motion_R": np.tile(-np.eye(3), (12, 1, 1))}, "no rotations"),
        ({"motion_R": np.zeros((12, 4, 4))}, r"shape \(12, 4, 4\)"),
        ({"motion_R": np.zeros((0, 3, 3))}, r"1\.\.20000"),
        ({"motion_R": template_rotations(np.array([[120.0, 0, 0]] * 12))}, "120 degrees of yaw; allowed: 90"),
        ({"output_fps": np.int64(0)}, "0 frames a second"),
        ({"c_eyes_lst": np.full((3, 1, 2), 0.3)}, "3 values"),
        ({"c_lip_lst": np.full((12, 1, 1), np.inf)}, "finite"),
        ({"motion_R": np.array([{}], dtype=object)}, "damaged"),
    ],
)
def test_contents_that_are_no_motion_are_told(tmp_path, changes, said):
    with pytest.raises(DamagedInputError, match=said):
        read_motion(write_npz(tmp_path / "a.npz", **changes))


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(200_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("motion_R.npy", buffer.getvalue())
    monkeypatch.setattr(motion_template, "MAX_BYTES", 100_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(DamagedInputError, match="unpacks to 1600128 bytes; allowed: 100000"):
        read_motion(path)
    (tmp_path / "long.pkl").write_bytes(b"x" * 100_001)
    with pytest.raises(DamagedInputError, match="has 100001 bytes"):
        read_motion(tmp_path / "long.pkl")


def test_other_files_are_a_matter_of_usage(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_motion(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"ends in '\.mp4'; allowed: \.npz or \.pkl"):
        read_motion(tmp_path / "clip.mp4")


def test_a_track_plays_at_its_speed_and_to_and_fro():
    track = MotionTrack("a", "0" * 64, 10.0, [(float(k), 0.0, 0.0) for k in range(5)], [0.3] * 5, [0.0] * 5)
    motion = track_motion(track, 25, 30.0, np.random.default_rng(0))
    np.testing.assert_allclose(motion.head_pose[:13:3, 0], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(motion.head_pose[12:25:3, 0], [4, 3, 2, 1, 0])
    assert set(motion.expression) == {"neutral"}
    still = track_motion(MotionTrack("a", "0" * 64, 10.0, [(7.0, 1.0, 2.0)]), 3, 30.0, np.random.default_rng(0))
    assert still.head_pose.tolist() == [[7, 1, 2]] * 3


def test_eyes_and_lips_drive_lids_and_jaw():
    eyes, lips = [0.3] * 9 + [0.0, 0.15], [0.03] * 9 + [0.38, 0.73]
    track = MotionTrack("a", "0" * 64, 30.0, [(0.0, 0.0, 0.0)] * 11, eyes, lips)
    motion = track_motion(track, 11, 30.0, np.random.default_rng(0))
    lids = motion.weights[:, BLINK]
    assert (lids[:9] == 0).all()
    assert (lids[9] == 1).all()
    np.testing.assert_allclose(lids[10], 0.4 / 0.9)
    np.testing.assert_allclose(motion.weights[[0, 9, 10], JAW], [0, 0.5, 1])
    assert motion.expression[8:] == ("neutral", "open", "open")


def test_a_file_that_is_silent_on_eyes_gets_blinks(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, motion_R=columns()["motion_R"], output_fps=20)
    track = read_motion(path)
    assert track.eyes is None
    assert track.lips is None
    motion = track_motion(track, 1800, 30.0, np.random.default_rng(1))
    assert 6 <= (np.diff((motion.weights[:, BLINK].min(1) > 0.5).astype(int)) == 1).sum() <= 26
    assert motion.weights[:, JAW].max() == 0


RECIPE = """
name = "Driven"
version = "1.0"
seed = 3
[subjects]
female = 1
[clips]
size = 64
head_pose = 3
expression = 2
motion = {motion}
"""


def test_a_recipe_names_a_file_below_its_folder(tmp_path, wave_engine):
    write_npz(tmp_path / "a.npz")
    plan = build.prepare(RECIPE.format(motion='"a.npz"'), folder=tmp_path)
    assert [c.motion.name for c in plan.plan.clips] == ["a.npz", "a.npz"]
    one = build.prepare(RECIPE.format(motion='{ head_pose = "a.npz" }'), folder=tmp_path)
    assert [c.motion and c.motion.name for c in one.plan.clips] == ["a.npz", None]
    write_npz(tmp_path / "a.npz", output_fps=np.int64(21))
    again = build.prepare(RECIPE.format(motion='"a.npz"'), folder=tmp_path)
    assert again.jobs[0].fingerprint != plan.jobs[0].fingerprint
    for outside in ("/etc/passwd.npz", "../a.npz"):
        with pytest.raises(UsageError, match="allowed: a relative path below"):
            build.prepare(RECIPE.format(motion=f'"{outside}"'), folder=tmp_path / "recipes")
    with pytest.raises(UsageError, match="the recipe is no file"):
        build.prepare(RECIPE.format(motion='"a.npz"'))
    with pytest.raises(UsageError, match="motion"):
        build.prepare(RECIPE.format(motion='{ smile = "a.npz" }'), folder=tmp_path)


@pytest.mark.slow
def test_a_driven_clip_has_the_poses_of_its_file(tmp_path):
    from thermvision.generation.engines.phantom.engine import PhantomEngine

    write_npz(tmp_path / "a.npz")
    spec = build.prepare(RECIPE.format(motion='"a.npz"'), folder=tmp_path).plan.clips[0]
    clip = PhantomEngine().render(spec)
    poses = [a.head_pose for a in clip.annotations]
    np.testing.assert_allclose(poses[0], [-20, 5, 0], atol=1e-3)
    np.testing.assert_allclose(poses[2][0], -20 + 50 / 11 * 2 * 20 / 30, atol=1e-2)
