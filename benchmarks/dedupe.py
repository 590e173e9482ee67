"""Neighbours among very many pictures: build and query time, recall against exact search, and memory, on one core.

    python benchmarks/dedupe.py --count 200000
    python benchmarks/dedupe.py --count 1000000 --kind bits
    python benchmarks/dedupe.py --clips 67 267 1067

Vectors and hashes are made up: ten pictures of each person around the person's own vector, as descriptors of faces lie.
Queries are copies of some with noise, so that the picture each was made from is known. Times are of this process
(user and system), since other work may share the machine; memory is the most the process had in use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy reads them

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from thermvision.curation.duplicates.clips import overlaps  # noqa: E402
from thermvision.curation.duplicates.dedupe import SAME_FRAME_BITS  # noqa: E402
from thermvision.curation.duplicates.describe import Described  # noqa: E402
from thermvision.curation.duplicates.descriptors import HASH_BYTES, VECTOR_SIZE  # noqa: E402
from thermvision.curation.duplicates.neighbours import Neighbours  # noqa: E402

RESULT = Path(__file__).with_suffix(".json")
PICTURES_A_PERSON = 10
K = 6
LATENT = 64  # dimensions: hashes of phantom stills are 116 bits apart with a deviation of 13, as such ones are


def made_up(kind: str, count: int, rng: np.random.Generator) -> NDArray[Any]:
    """(count, 128) float16 unit vectors or (count, 32) uint8 hashes, ten around each centre."""
    size = VECTOR_SIZE if kind == "vectors" else HASH_BYTES * 8
    found = np.empty((count, VECTOR_SIZE), np.float16) if kind == "vectors" else np.empty((count, HASH_BYTES), np.uint8)
    mixing = rng.normal(size=(LATENT, size)).astype(np.float32)
    block = 10_000
    for start in range(0, count, block):
        stop = min(start + block, count)
        centres = rng.normal(size=(-(-(stop - start) // PICTURES_A_PERSON), LATENT)).astype(np.float32)
        pictures = np.repeat(centres, PICTURES_A_PERSON, 0)[: stop - start]
        values = (pictures + rng.normal(size=pictures.shape).astype(np.float32)) @ mixing
        found[start:stop] = unit(values) if kind == "vectors" else np.packbits(values > 0, axis=1)
    return found


def copies(base: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """The same with noise: a cosine of about 0.9, or 20 of 256 bits turned."""
    if base.dtype == np.uint8:
        turned = np.packbits(rng.random((len(base), HASH_BYTES * 8)) < 20 / 256, axis=1)
        return base ^ turned
    noise = rng.normal(size=base.shape) * (0.48 / base.shape[1] ** 0.5)
    return unit(base.astype(np.float32) + noise.astype(np.float32))


def unit(values: NDArray[Any]) -> NDArray[np.float32]:
    """Rows of length one."""
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def measure(kind: str, count: int, queries: int) -> dict[str, Any]:
    """One row of the table."""
    rng = np.random.default_rng(np.random.SeedSequence(0))
    base = made_up(kind, count, rng)
    chosen = np.sort(rng.choice(count, queries, replace=False))
    asked = copies(base[chosen], rng)
    before = time.process_time()
    graph = Neighbours(base, exact=False)
    build = time.process_time() - before
    before = time.process_time()
    found = graph.query(asked, K)[0]
    query = time.process_time() - before
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    few = min(queries, 500)
    before = time.process_time()
    exact = Neighbours(base, exact=True).query(asked[:few], K)[0]
    slow = time.process_time() - before
    shared = [len(set(a.tolist()) & set(b.tolist())) / K for a, b in zip(found[:few], exact, strict=True)]
    return {
        "kind": kind, "count": count, "build_s": round(build, 1), "query_ms": round(1000 * query / queries, 3),
        "exact_query_ms": round(1000 * slow / few, 3), "source_found": float((found == chosen[:, None]).any(1).mean()),
        "source_found_exact": float((exact == chosen[:few, None]).any(1).mean()),
        f"recall_at_{K}": round(float(np.mean(shared)), 4),
        "data_mb": round(base.nbytes / 2**20), "most_mb": round(most),
    }  # fmt: skip


def drifting_clips(count: int, frames: int, rng: np.random.Generator) -> Described:
    """Clips whose hashes drift by two bits a frame; every fiftieth is a copy of another with 5 % of its bits turned."""
    clips: list[NDArray[np.uint8]] = []
    for k in range(count):
        if k % 50 == 49:
            turned = np.packbits(rng.random((frames, HASH_BYTES * 8)) < 0.05, axis=1)
            clips.append(clips[k - 25] ^ turned)
            continue
        steps = np.zeros((frames, HASH_BYTES * 8), bool)
        for _ in range(2):
            steps[np.arange(1, frames), rng.integers(0, HASH_BYTES * 8, frames - 1)] = True
        first = rng.random(HASH_BYTES * 8) < 0.5
        clips.append(np.packbits(np.logical_xor.accumulate(steps) ^ first, axis=1))
    starts = np.arange(count + 1) * frames
    return Described(
        items=[str(k) for k in range(count)], is_video=np.ones(count, bool), starts=starts,
        digests=np.arange(starts[-1], dtype=np.uint64), hashes=np.concatenate(clips),
    )  # fmt: skip


def measure_clips(count: int, frames: int = 300) -> dict[str, Any]:
    """One row of the table of clips: every pair compared, and those that the graph proposes."""
    described = drifting_clips(count, frames, np.random.default_rng(np.random.SeedSequence(0)))
    row: dict[str, Any] = {"clips": count, "frames": described.frames, "copies": count // 50}
    found = {}
    for name, exact in (("exact", True), ("graph", False)):
        before = time.process_time()
        found[name] = list(overlaps(described, SAME_FRAME_BITS, exact=exact))
        row |= {f"{name}_s": round(time.process_time() - before, 2), f"{name}_found": len(found[name])}
    return {**row, "same": found["exact"] == found["graph"]}


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--kind", choices=("vectors", "bits"), nargs="+", default=["vectors", "bits"])
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--clips", type=int, nargs="+", help="compare so many clips instead; a thousand take minutes")
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.clips:
        for count in options.clips:
            print(json.dumps(measure_clips(count)), flush=True)
        return
    if min(options.count) < options.queries:
        parser.error(f"--count {min(options.count)}; allowed: at least --queries ({options.queries})")
    rows = []
    for kind in options.kind:
        for count in options.count:
            rows.append(measure(kind, count, options.queries))
            print(json.dumps(rows[-1]), flush=True)
    options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
