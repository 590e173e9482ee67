"""Seconds a 512 × 512 frame of the phantom engine takes on one core, stage by stage, with hair, over many identities.

    python benchmarks/phantom.py --identities 8 --json phantom.json

Per identity: a new identity to its first still, then a clip (head poses and expressions in turn), of which set-up and
frames are told apart. Times are of the processor, so that other work on the machine does not wait into them. Then one
and two worker processes at once by the clock, with the memory of each. The peer, in the same run: trimesh with Embree
(`pip install trimesh embreex`) tells for 4 rays a pixel which triangle of the same posed head it hits first; without
hair, clothes, temperature and detector.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

for _name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and numba read them

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from thermvision.annotations import radiometry  # noqa: E402
from thermvision.generation.engines import get_engine  # noqa: E402
from thermvision.generation.engines.phantom import engine, facial_hair, raster, scene, sensor, truth  # noqa: E402
from thermvision.generation.specs import ClipSpec, StillSpec, Subject  # noqa: E402

SIZE, SEED = 512, 512
PEER_RAYS = 4  # a pixel
WHOLE = "other"  # the stage that all others lie in
# stage, where its function is looked up, name of the function
STAGES = (
    ("expression", scene, "deform"),
    ("normals", raster, "surface_normals"),
    ("facial hair", facial_hair.FacialHair, "strands"),
    ("head pose", scene, "bend"),
    ("head pose", scene, "facing"),
    ("head pose", raster, "project"),
    ("landmarks", scene, "outline_landmarks"),
    ("triangles", scene, "draw_triangles"),
    ("hair", scene, "draw_strands"),
    ("integrate", scene, "integrate"),
    ("detector", sensor.Sensor, "expose"),
    ("enlarge", sensor, "enlarge"),
    ("gain", radiometry.GainControl, "__call__"),
    ("labels", truth, "annotate"),
)


@contextmanager
def clocked(stages: tuple[tuple[str, Any, str], ...]) -> Iterator[dict[str, float]]:
    """Seconds spent in each stage while the context lasts; a stage inside another is taken off the outer one."""
    seconds: dict[str, float] = defaultdict(float)
    inner: list[float] = []
    originals = [(place, name, getattr(place, name)) for _, place, name in stages]

    def timed(stage: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if stage == WHOLE:  # what ran before belongs to the set-up
                seconds.clear()
            began = time.process_time()
            inner.append(0.0)
            try:
                return function(*args, **options)
            finally:
                took = time.process_time() - began
                seconds[stage] += took - inner.pop()
                if inner:
                    inner[-1] += took

        return call

    for (stage, _, _), (place, name, function) in zip(stages, originals, strict=True):
        setattr(place, name, timed(stage, function))
    try:
        yield seconds
    finally:
        for place, name, function in reversed(originals):
            setattr(place, name, function)


def _subject(index: int) -> Subject:
    return Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], seed=SEED)


def _clip(index: int, frames: int) -> ClipSpec:
    sequence = ("head_pose", "expression")[index // 2 % 2]
    return ClipSpec("clip", _subject(index), "phantom", sequence, item=1, num_frames=frames, size=SIZE)


def _warm() -> None:
    """Compile, once a machine, and read the head data."""
    for index in (999_998, 999_999):
        get_engine("phantom").render(StillSpec("warm", _subject(index), "phantom", "mix", item=1, size=64))
    get_engine("phantom").render(_clip(999_999, 2))


def measure(index: int, frames: int) -> dict[str, Any]:
    """One identity: seconds to its first still, of a clip's set-up and of a frame, and seconds a frame by stage."""
    phantom = get_engine("phantom")
    began = time.process_time()
    phantom.render(StillSpec("still", _subject(index), "phantom", "frontal_pose", item=1, size=SIZE))
    identity = time.process_time() - began
    with clocked((*STAGES, (WHOLE, engine, "_film"))) as seconds:
        began = time.process_time()
        clip = phantom.render(_clip(index, frames))
        whole = time.process_time() - began
    stages = {stage: taken / frames for stage, taken in seconds.items()}
    frame = sum(stages.values())
    return {
        "index": index, "hairstyle": clip.attributes["hairstyle"], "beard": clip.attributes["beard"],
        "first_still_s": identity, "set_up_s": whole - frames * frame,
        "frame_s": frame, "stages_s": stages,
    }  # fmt: skip


def peer(index: int) -> dict[str, Any] | None:
    """Seconds a frame of the peer for the posed head of one identity: building its tree, and shooting the rays."""
    if importlib.util.find_spec("embreex") is None or importlib.util.find_spec("trimesh") is None:
        return None
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    seen: list[Any] = []
    render = scene.Scene.render

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        seen[:] = [self, render(self, *args, **options)]
        return seen[1]

    scene.Scene.render = watched  # type: ignore[method-assign]
    try:
        get_engine("phantom").render(_clip(index, 1))
    finally:
        scene.Scene.render = render  # type: ignore[method-assign]
    view, surface = seen[0].view, seen[1].surface
    side = 2 * view.window  # 4 rays a pixel
    place = (np.arange(side) + 0.5) / 2 - view.window / 2
    across, down = np.meshgrid(place, place)
    rays = np.stack([across.ravel(), -down.ravel(), np.full(side * side, -view.focal)], 1)
    began = time.process_time()
    mesh = trimesh.Trimesh(surface, seen[0].head.topology.triangles, process=False)
    tracer = RayMeshIntersector(mesh)
    hits = tracer.intersects_first(np.broadcast_to(view.eye, rays[:1].shape), rays[:1])  # builds the tree
    built = time.process_time()
    hits = tracer.intersects_first(np.tile(view.eye, (len(rays), 1)), rays)
    shot = time.process_time()
    return {"tree_s": built - began, "rays_s": shot - built, "rays": len(rays), "hit": float((hits >= 0).mean())}


def work(first: int, count: int, frames: int) -> dict[str, float]:
    """What one worker process does: clips of ``count`` identities; frames a second and peak memory in MiB."""
    _warm()
    began = time.perf_counter()
    for index in range(first, first + count):
        get_engine("phantom").render(_clip(index, frames))
    rate = count * frames / (time.perf_counter() - began)
    return {"fps": rate, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def scaling(workers: int, frames: int) -> dict[str, float]:
    """``workers`` processes at once, each its own clips (set-up included): frames a second together, memory of one."""
    arguments = [sys.executable, __file__, "--frames", str(frames), "--worker"]
    running = [
        subprocess.Popen([*arguments, str(10_000 + 4 * k)], stdout=subprocess.PIPE, text=True) for k in range(workers)
    ]
    rows = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    return {
        "workers": workers, "fps": sum(row["fps"] for row in rows), "peak_mib": max(row["peak_mib"] for row in rows)
    }  # fmt: skip


def _milliseconds(values: list[float]) -> str:
    return f"{1e3 * statistics.median(values):7.1f} {1e3 * min(values):7.1f} {1e3 * max(values):7.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=50)
    parser.add_argument("--frames", type=int, default=8, help="of each clip")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.identities < 1 or options.frames < 1:
        parser.error(f"--identities {options.identities} --frames {options.frames}; allowed: 1 or more of each")
    cv2.setNumThreads(1)
    if options.worker is not None:
        print(json.dumps(work(options.worker, 2, options.frames)))
        return

    _warm()
    rows = [measure(index, options.frames) for index in range(options.identities)]
    peers = [found for index in range(min(3, options.identities)) if (found := peer(index))]
    window = engine.sensor_window(SIZE)
    samples = (window * scene.SAMPLES) ** 2
    print(
        f"{len(rows)} identities, {options.frames} frames each, {window} x {window} pixels x {scene.SAMPLES**2} samples"
    )
    print(f"{'milliseconds':24} {'median':>7} {'least':>7} {'most':>7}")
    names = dict.fromkeys(stage for row in rows for stage in row["stages_s"])
    for name in names:
        print(f"  {name:22} {_milliseconds([row['stages_s'].get(name, 0.0) for row in rows])}")
    for key, title in (
        ("frame_s", "a frame"),
        ("set_up_s", "set-up of a clip"),
        ("first_still_s", "new identity, 1st still"),
    ):
        print(f"{title:24} {_milliseconds([row[key] for row in rows])}")
    by_style: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_style[row["hairstyle"]].append(row["frame_s"])
    print(
        "a frame by hairstyle:", ", ".join(f"{k} {1e3 * statistics.median(v):.0f}" for k, v in sorted(by_style.items()))
    )
    frame = statistics.median(row["frame_s"] for row in rows)
    print(f"{samples} samples a frame: {1e9 * frame / samples:.0f} ns each for all stages together")
    if peers:
        tree, rays = (statistics.median(p[key] for p in peers) for key in ("tree_s", "rays_s"))
        print(
            f"trimesh + Embree, {PEER_RAYS} rays a pixel ({peers[0]['rays']} rays, first hit only): "
            f"{1e3 * (tree + rays):.0f} ms (tree {1e3 * tree:.0f}, rays {1e3 * rays:.0f}); "
            f"{(tree + rays) / frame:.1f} times our whole frame"
        )
    else:
        print("trimesh + Embree: not installed; type: pip install trimesh embreex")
    scaled = [scaling(workers, options.frames) for workers in (1, 2)]
    for row in scaled:
        print(
            f"{row['workers']} workers, set-up included: {row['fps']:.1f} frames/s, {row['peak_mib']:.0f} MiB a worker"
        )
    if options.json:
        result = {"identities": rows, "peer": peers, "workers": scaled, "samples": samples, "frame_s": frame}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
