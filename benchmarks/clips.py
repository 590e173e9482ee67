"""What clips of the phantom engine cost to store and to read: bytes, PSNR, encoder and decoder speed, on one core.

    python benchmarks/clips.py --json clips.json

Ratios are against the 512-pixel clips of the same run. `benchmarks/phantom.py` measures the renderer itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

for _name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and numba read them

from thermvision.curation.video import decode_gray, encode_faithful, min_psnr  # noqa: E402
from thermvision.generation.engines import get_engine  # noqa: E402
from thermvision.generation.specs import ClipSpec, Subject  # noqa: E402


def measure(size: int, subjects: int, frames: int) -> dict[str, Any]:
    """One row of the table: medians over subjects."""
    engine = get_engine("phantom")
    rows = []
    for index in range(subjects):
        subject = Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], seed=size)
        for sequence in ("head_pose", "expression"):
            spec = ClipSpec("clip", subject, "phantom", sequence, item=1, num_frames=frames, size=size)
            clip = engine.render(spec)
            began = time.perf_counter()
            video, crf = encode_faithful(clip.frames)
            encoded = time.perf_counter() - began
            began = time.perf_counter()
            decoded = decode_gray(video)
            read = time.perf_counter() - began
            rows.append({
                "encode_fps": frames / encoded, "decode_fps": frames / read, "bytes_a_frame": len(video) / frames,
                "crf": crf, "psnr": min_psnr(clip.frames, decoded),
            })  # fmt: skip
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    worst = min(row["psnr"] for row in rows)
    return {"size": size, "clips": len(rows), "frames": frames, **medians, "worst_psnr": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(size, options.subjects, options.frames) for size in options.sizes]
    reference = next((r["bytes_a_frame"] for r in rows if r["size"] == 512), rows[-1]["bytes_a_frame"])
    head = ("size", "clips", "encode fps", "decode fps", "B/frame", "ratio", "CRF", "worst dB")
    print(" ".join(f"{name:>10}" for name in head))
    for r in rows:
        values = (
            r["size"], r["clips"], f"{r['encode_fps']:.0f}", f"{r['decode_fps']:.0f}", f"{r['bytes_a_frame']:.0f}",
            f"{r['bytes_a_frame'] / reference:.2f}x", f"{r['crf']:.0f}", f"{r['worst_psnr']:.1f}",
        )  # fmt: skip
        print(" ".join(f"{value:>10}" for value in values))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "peak_mib": peak}, indent=1) + "\n")


if __name__ == "__main__":
    main()
