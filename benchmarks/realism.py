"""Numbers that go beside the pictures: how near phantom frames are to real LWIR portraits and to published physiology.

    python benchmarks/realism.py --real FOLDER --json realism.json

FOLDER holds real portraits (PNG, gray or colour, head and shoulders); without it the spectrum has no reference.
Measured: radial power spectrum in six bands, gray-level percentiles, temperatures of facial regions, distance between
identities, landmark reprojection, and whether eyes close.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thermvision.annotations.schema import EXPRESSIONS, REGIONS
from thermvision.curation.statistics.spectrum import radial_spectrum
from thermvision.generation.engines.phantom.engine import PhantomEngine, subject_head
from thermvision.generation.engines.phantom.expression import deform, expression_style, expression_weights
from thermvision.generation.engines.phantom.identity import landmark_distance
from thermvision.generation.specs import Still, StillSpec, Subject

PERCENTILES = (5, 25, 50, 75, 95)
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
CLOSED_MM = 0.5


def portraits(count: int, category: str = "frontal_pose", **parameters: Any) -> list[Still]:
    """One still of each of ``count`` identities, genders by turns."""
    engine, stills = PhantomEngine(), []
    for index in range(count):
        subject = Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], seed=31)
        stills.append(engine.render(StillSpec(f"s{index}", subject, "phantom", category, 1, parameters=parameters)))
    return stills


def measure_spectrum(stills: list[Still], folder: Path | None) -> dict[str, Any]:
    """Mean spectra and gray percentiles of ours and of the real images."""
    ours = np.array([radial_spectrum(s.frame) for s in stills])
    result: dict[str, Any] = {
        "ours": ours.mean(0).round(2).tolist(),
        "ours_percentiles": np.percentile([s.frame for s in stills], PERCENTILES).tolist(),
    }
    paths = sorted(folder.glob("*.png")) if folder else []
    if paths:
        real = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
        spectra = np.array([radial_spectrum(np.asarray(frame, np.uint8)) for frame in real])
        result |= {
            "real": spectra.mean(0).round(2).tolist(),
            "real_images": [p.name for p in paths],
            "difference": (ours.mean(0) - spectra.mean(0)).round(2).tolist(),
            "real_percentiles": np.mean([np.percentile(f, PERCENTILES) for f in real], 0).round(0).tolist(),
        }
    return result


def measure_regions(stills: list[Still]) -> dict[str, list[float]]:
    """Mean and s.d. in °C of each region over identities."""
    rows = np.array([s.radiometry.truth["region_temperatures"][0] for s in stills if s.radiometry])
    return {
        name: [round(float(np.nanmean(rows[:, i])), 2), round(float(np.nanstd(rows[:, i])), 2)]
        for i, name in enumerate(REGIONS)
    }


def measure_identities(count: int) -> dict[str, float]:
    """Least and median RMS landmark distance in mm over all pairs of ``count`` identities."""
    faces = np.array([
        subject_head(Subject(f"P_{i:06d}", i, ("female", "male")[i % 2], seed=31)).landmarks for i in range(count)
    ])  # fmt: skip
    distances = np.concatenate([landmark_distance(faces[i], faces[i + 1 :]) for i in range(count - 1)]) * 1e3
    return {"identities": count, "least_mm": float(distances.min()), "median_mm": float(np.median(distances))}


def measure_lids(count: int) -> dict[str, float]:
    """Share of identities whose lids close at a blink: every lid pair within half a millimetre."""
    closed = []
    for index in range(count):
        subject = Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], seed=31)
        head = subject_head(subject)
        _, surface = deform(head, expression_weights("blink") * expression_style(subject))
        marks = surface[head.topology.landmarks]
        closed.append(max(marks[a, 1] - marks[b, 1] for a, b in LIDS) * 1e3 <= CLOSED_MM)
    return {"identities": count, "closed_share": float(np.mean(closed))}


def measure_reprojection(count: int) -> dict[str, float]:
    """Largest distance in pixels between stored landmarks 17-67 and a pinhole's projection of the stored 3-D points."""
    worst = 0.0
    for index, expression in enumerate(EXPRESSIONS[:count]):
        subject = Subject("P_000000", index, "male", seed=31)
        spec = StillSpec("s", subject, "phantom", "head_poses", 1, parameters={"expression": expression})
        still = PhantomEngine().render(spec)
        assert still.radiometry is not None
        assert still.annotation.landmarks is not None
        x, y, z = still.radiometry.truth["landmarks_3d"][0].astype(np.float64).T
        camera, window = still.engine["camera"], still.engine["window"]
        focal = camera["focal_length_mm"] * 1e3 / camera["pixel_pitch_um"] * window / 300
        seen = np.stack([window / 2 + focal * x / z, window / 2 + focal * y / z], 1) * spec.size / window
        worst = max(worst, float(np.linalg.norm(seen - still.annotation.landmarks, axis=1)[17:].max()))
    return {"stills": min(count, len(EXPRESSIONS)), "worst_px": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder of real LWIR portraits")
    parser.add_argument("--identities", type=int, default=40, help="rendered identities")
    parser.add_argument("--pairs", type=int, default=1000, help="identities whose distances are measured")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    stills = portraits(options.identities)
    results = {
        "spectrum": measure_spectrum(stills, options.real),
        "regions": measure_regions(stills),
        "distances": measure_identities(options.pairs),
        "lids": measure_lids(options.identities),
        "reprojection": measure_reprojection(7),
    }
    for name, found in results.items():
        print(name)
        for key, value in found.items():
            print(f"  {key:20} {value}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
