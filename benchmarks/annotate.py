"""Frames a second of detector and landmarker on one core, beside MTCNN, YuNet and Haar on the same frames.

    python benchmarks/annotate.py --yunet face_detection_yunet_2023mar.onnx
    python benchmarks/annotate.py release --models models --rounds 5

Frames are 512 x 512: of a release's stills and clips, or stills that phantom renders for this. One round gives every
detector all frames, one frame after the other in turn, so that whatever else the machine does meets all of them alike.
Times are of the clock; everything has one thread. `faces` counts what was found and is no measure of quality (see
`thermvision evaluate`). `thermal` is the detector with its second look, which the landmarker takes; `detector +
landmarker` is all that `thermvision annotate` does to a frame in memory; `detector` and `landmarker` are the networks
alone, the latter for one known face.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy, torch and ONNX Runtime read them

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from thermvision.annotations import registry  # noqa: E402
from thermvision.annotations.confirmation import FILES, ConfirmedDetector  # noqa: E402
from thermvision.annotations.detector import ThermalDetector  # noqa: E402
from thermvision.annotations.errors import ThermVisionError, UsageError  # noqa: E402
from thermvision.annotations.faces import Detections, FaceDetector, FaceLandmarker, Gray  # noqa: E402
from thermvision.annotations.landmarker import ThermalLandmarker  # noqa: E402
from thermvision.annotations.pipeline import Annotator  # noqa: E402
from thermvision.curation.inputs import is_release, open_input  # noqa: E402

SIZE = 512
RESULT = Path(__file__).with_suffix(".json")
NO_YUNET = "fetch face_detection_yunet_2023mar.onnx of opencv_zoo and type: --yunet PATH"


def rendered(count: int) -> list[Gray]:
    """Stills of as many people as there are frames, by phantom."""
    from thermvision.generation.engines import get_engine
    from thermvision.generation.specs import StillSpec, Subject

    phantom, frames = get_engine("phantom"), []
    for index in range(count):
        subject = Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], seed=SIZE)
        category = ("frontal_pose", "head_poses", "mix")[index % 3]
        frames.append(phantom.render(StillSpec("still", subject, "phantom", category, item=1, size=SIZE)).frame)
    return frames


def of_release(root: Path, count: int) -> list[Gray]:
    """The first frames of a release's clips and stills, brought to 512 x 512 where they have another size."""
    if not is_release(root):
        raise UsageError(f"{root} is no release; build one: thermvision build --out {root}")
    frames: list[Gray] = []
    for chunk in open_input(str(root)).chunks:
        for item in chunk.read():
            frame = next(iter(item.read()))
            frames.append(np.asarray(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8))
            if len(frames) == count:
                return frames
    return frames


def opened(make: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """A model, and the median of the seconds that opening it took."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        model = make()
        taken.append(time.perf_counter() - began)
    return model, statistics.median(taken)


def detectors(options: argparse.Namespace) -> tuple[dict[str, FaceDetector], dict[str, float], dict[str, str]]:
    """The detectors that are there, the seconds each took to open, and why others are not there."""
    specs = {
        "thermal": "thermal",
        "mtcnn": "mtcnn",
        "yunet": f"yunet:{options.yunet}" if options.yunet else "",
        "haar": "haar",
    }
    found: dict[str, FaceDetector] = {}
    load, absent = {}, {}
    for name, spec in specs.items():
        if not spec:
            absent[name] = NO_YUNET
            continue
        try:
            found[name], load[name] = opened(lambda spec=spec: registry.detector(spec), 5 if name == "thermal" else 1)
        except (ThermVisionError, ImportError) as error:
            if name == "thermal":
                raise
            absent[name] = str(error)
    return found, load, absent


def measure(
    frames: list[Gray], found: dict[str, FaceDetector], alone: FaceDetector, landmarker: FaceLandmarker, rounds: int
) -> list[dict[str, Any]]:
    """Per round: seconds a frame of each detector, of the networks alone and of everything, and the faces found."""
    rows: list[dict[str, Any]] = []
    middle = Detections(np.array([[SIZE / 4] * 2 + [SIZE / 2] * 2]), np.ones(1), np.full((1, 5, 2), np.nan))
    annotator = Annotator(found["thermal"], landmarker)
    works: dict[str, Callable[[Gray], Any]] = {
        **{name: lambda frame, name=name: found[name].detect([frame])[0] for name in found},  # type: ignore[misc]
        "detector": lambda frame: alone.detect([frame]),
        "landmarker": lambda frame: landmarker.locate(frame, middle),
        "detector + landmarker": lambda frame: annotator.annotate([frame]),
    }
    order = list(works)
    for number in range(rounds + 1):  # the first warms up
        seconds, faces = dict.fromkeys(works, 0.0), dict.fromkeys(found, 0)
        for k, frame in enumerate(frames):
            for name in order[k % len(order) :] + order[: k % len(order)]:
                began = time.perf_counter()
                answer = works[name](frame)
                seconds[name] += time.perf_counter() - began
                if name in faces:
                    faces[name] += len(answer)
        if number:
            rows.append({"seconds": {n: s / len(frames) for n, s in seconds.items()}, "faces": faces})
    return rows


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, nargs="?", help="take its frames instead of rendering some")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", type=Path, help=f"folder with {', '.join(FILES)}")
    parser.add_argument("--yunet", type=Path, help="YuNet's ONNX file")
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.frames < 1 or options.rounds < 1:
        parser.error(f"--frames {options.frames} --rounds {options.rounds}; allowed: 1 or more of each")
    cv2.setNumThreads(1)

    def file(index: int) -> Path | None:
        return options.models / FILES[index] if options.models else None

    try:
        found, load, absent = detectors(options)
        landmarker, load["landmarker"] = opened(lambda: ThermalLandmarker(file(1)))
        alone, load["detector"] = opened(lambda: ThermalDetector(file(0)))
        if options.models:
            found["thermal"] = ConfirmedDetector(models=options.models)
        frames = of_release(options.release, options.frames) if options.release else rendered(options.frames)
    except ThermVisionError as error:
        parser.error(str(error))
    rows = measure(frames, found, alone, landmarker, options.rounds)

    print(f"{len(frames)} frames of {SIZE} x {SIZE}, {options.rounds} rounds, one thread")
    print(f"{'':24} {'frames/s':>9} {'best':>9} {'faces':>6} {'load s':>7}")
    table = {}
    for name in rows[0]["seconds"]:
        rates = [1 / row["seconds"][name] for row in rows]
        faces = rows[0]["faces"].get(name)
        table[name] = {
            "median_fps": statistics.median(rates), "best_fps": max(rates), "faces": faces, "load_s": load.get(name)
        }  # fmt: skip
        known = "" if faces is None else faces
        opening = f"{load[name]:7.3f}" if name in load else ""
        print(f"{name:24} {statistics.median(rates):9.1f} {max(rates):9.1f} {known:>6} {opening:>7}")
    for name, why in absent.items():
        print(f"{name:24} not there: {why}")
    # both are of the same round, so that a busy machine cancels out
    for name in set(found) - {"thermal"}:
        ratio = statistics.median(row["seconds"][name] / row["seconds"]["thermal"] for row in rows)
        table[name]["times_thermal"] = ratio
        print(f"{name} takes {ratio:.1f} times as long as thermal")
    sources = {name: detector.source for name, detector in found.items()} | {"landmarker": landmarker.source}
    result = {"frames": len(frames), "size": SIZE, "sources": sources, "table": table, "absent": absent, "rounds": rows}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
