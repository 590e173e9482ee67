"""Frames a second and core of every stage of curation, beside cleanvision and imagehash on the same frames.

    python benchmarks/curate.py release
    python benchmarks/curate.py release --clips 7 --growth 4 --skip-peers

The stages of `thermvision check` and of `thermvision dedupe` are timed one by one on the same frames, in rounds, so
that whatever else the machine does meets all alike; then the whole commands on 1, 4 and 16 times as many items. Times
are of the processor (user and system), one process, one thread; memory is the most that the process held.

`cleanvision` runs its eight checks of single images on the frames as PNG files; "check, images from PNG" is ours on
those very files, reading included. Install it beside the project: pip install -c constraints.txt cleanvision
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and ONNX Runtime read them

import cv2  # noqa: E402

from thermvision.annotations import registry  # noqa: E402
from thermvision.annotations.conventions import five_points  # noqa: E402
from thermvision.curation.annotate_commands import make_annotator  # noqa: E402
from thermvision.curation.checks import anatomy, labels, physics, pixels, sequence  # noqa: E402
from thermvision.curation.checks.kinds import FrameView, ItemView  # noqa: E402
from thermvision.curation.checks.views import Looking, Viewed, each_view, open_checked  # noqa: E402
from thermvision.curation.duplicates.descriptors import frame_digest, frame_hash  # noqa: E402

RESULT = Path(__file__).with_suffix(".json")
FRAMES_OF_CLIP = 24
Collected = list[tuple[ItemView, list[FrameView]]]


def items_of(root: Path, clips: int, looking: Looking) -> list[Viewed]:
    """The first clips of a release and as many stills."""
    chunks = open_checked(str(root), limit=clips).chunks
    return [viewed for chunk in chunks for viewed in each_view(str(root), chunk, looking)]


def seconds(task: Callable[[], object]) -> float:
    """Processor time of a task."""
    start = time.process_time()
    task()
    return time.process_time() - start


def stages(collected: Collected, viewed: list[Viewed]) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, and on how many frames."""
    annotator, embedder = make_annotator("thermal", "thermal", False, "auto"), registry.embedder()
    views = [view for _, frames in collected for view in frames]
    clips = [(item, frames) for item, frames in collected if item.is_video]
    moving = sum(len(frames) for _, frames in clips)

    def decode() -> None:
        for one in viewed:
            for _ in islice(one.frames(), FRAMES_OF_CLIP):
                pass

    def frame_checks(*modules: Any) -> None:
        for view in views:
            for module in modules:
                for _ in module.frame_scores(view):
                    pass

    def embed(gray: Any, landmarks: Any) -> Any:
        return embedder.embed(gray, five_points(landmarks)[None])[0]

    def watch(make: Callable[[ItemView], Any]) -> None:
        for item, frames in clips:
            watching = make(item)
            for view in frames:
                watching.add(view)
            list(watching.finish())

    def label_checks() -> None:
        for item, _ in collected:
            list(labels.item_scores(item))
        frame_checks(labels)

    def annotate() -> None:
        list(annotator.main_faces(view.gray for view in views[::8]))

    def describe() -> None:
        for view in views:
            frame_digest(view.gray)
            frame_hash(view.gray)

    count = len(views)
    return {
        "decode": (decode, count),
        "check: images": (partial(frame_checks, pixels), count),
        "check: repeats in clips": (partial(watch, pixels.PixelWatch), moving),
        "check: faces and heat": (partial(frame_checks, anatomy, physics), count),
        "check: labels": (label_checks, count),
        "check: sequences, with the embedder": (partial(watch, lambda i: sequence.SequenceWatch(i, embed)), moving),
        "detector and landmarker": (annotate, len(views[::8])),
        "dedupe: digest and hash": (describe, count),
    }


def peers(collected: Collected, folder: Path) -> dict[str, tuple[Callable[[], object], int]]:
    """The same frames through other packages, and our image checks on the same files."""
    views = [view for _, frames in collected for view in frames]
    for number, view in enumerate(views):
        cv2.imwrite(str(folder / f"{number:05d}.png"), view.gray)

    def hashes() -> None:
        import imagehash
        from PIL import Image

        for view in views:
            imagehash.phash(Image.fromarray(view.gray), hash_size=16)

    def ours() -> None:
        for number, view in enumerate(views):
            gray = cv2.imread(str(folder / f"{number:05d}.png"), cv2.IMREAD_GRAYSCALE)
            assert gray is not None
            for _ in pixels.frame_scores(replace(view, pixels=gray, gray=gray)):  # type: ignore[arg-type]
                pass

    found: dict[str, tuple[Callable[[], object], int]] = {
        "imagehash.phash, as many bits": (hashes, len(views)),
        "check: images from PNG": (ours, len(views)),
    }
    try:
        from cleanvision import Imagelab
    except ImportError:
        return found

    def issues() -> None:
        Imagelab(data_path=str(folder), verbose=False).find_issues(n_jobs=1, verbose=False)

    return {**found, "cleanvision, all its checks from PNG": (issues, len(views))}


def timed(tasks: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds a frame and frames a second of each."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, (task, _) in tasks.items():
            spent[name].append(seconds(task))
    table = {}
    for name, (_, count) in tasks.items():
        each = statistics.median(spent[name]) / count
        table[name] = {"frames": count, "ms_a_frame": 1000 * each, "frames_a_second": 1 / each}
    return table


def whole(command: str, root: Path, clips: int) -> dict[str, float]:
    """Processor seconds and the most MiB of a command on so many clips and stills, in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--limit", str(clips), "--out", str(Path(folder) / "out"), "--quiet"]
        code = (
            "import resource, sys, thermvision_db; rc = thermvision_db.main(sys.argv[1:]);"
            " u = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)];"
            " print('USED', rc, sum(x.ru_utime + x.ru_stime for x in u), u[0].ru_maxrss / 1024)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, command, str(root), *options],
            capture_output=True, text=True,
        )  # fmt: skip
    used = next((line for line in run.stdout.splitlines() if line.startswith("USED")), "")
    if not used or used.split()[1] not in ("0", "1"):
        raise SystemExit(f"thermvision {command} failed: {run.stderr[-2000:]}")
    _, _, spent, peak = used.split()
    return {"seconds": float(spent), "mib": float(peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--clips", type=int, default=7, help="clips, and as many stills, to begin with")
    parser.add_argument("--growth", type=int, default=16, help="up to so many times as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--json", type=Path, default=RESULT)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    viewed = items_of(given.release, given.clips, Looking(make_annotator("thermal", "thermal", False, "auto")))
    collected = [(one.item, list(islice(one.frames(), FRAMES_OF_CLIP))) for one in viewed]
    plain = items_of(given.release, given.clips, Looking())
    with tempfile.TemporaryDirectory() as folder:
        tasks = stages(collected, plain)
        if not given.skip_peers:
            tasks |= peers(collected, Path(folder))
        table = timed(tasks, given.rounds)
    print(f"{'stage':40} {'frames':>7} {'ms a frame':>11} {'frames/s':>9}")
    for name, row in table.items():
        print(f"{name:40} {row['frames']:7d} {row['ms_a_frame']:11.2f} {row['frames_a_second']:9.1f}")
    growth: dict[str, list[dict[str, float]]] = {}
    for command in ("check", "dedupe"):
        growth[command] = []
        for times in (t for t in (1, 4, 16) if t <= given.growth):
            frames = open_checked(str(given.release), limit=given.clips * times).frames
            row = {"times": times, "frames": frames, **whole(command, given.release, given.clips * times)}
            growth[command].append(row)
            each = 1000 * row["seconds"] / row["frames"]
            print(
                f"{command} of {frames:6d} frames: {row['seconds']:7.1f} s, {each:6.2f} ms each, {row['mib']:5.0f} MiB"
            )
    given.json.write_text(json.dumps({"stages": table, "growth": growth}, indent=1) + "\n")


if __name__ == "__main__":
    main()
