"""The plots of a release show the numbers of its tables, in two looks, and leave out what nobody knows."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thermvision.annotations.schema import EXPRESSIONS, REGIONS
from thermvision.curation.plots import plot_look, save_looks
from thermvision.curation.statistics.collect import Statistics, statistics
from thermvision.curation.statistics.figures import classes_figure, plots, spectrum_figure, temperatures_figure
from thermvision.curation.statistics.labels import PLACE_CELLS, POSE_CELL, Person, _count_boxes
from thermvision.curation.statistics.maps import (
    MOST_NAMED,
    box_map_figure,
    coverage_figure,
    identities_figure,
    identity_rows,
)
from thermvision.curation.statistics.pixels import Pixels
from thermvision.curation.statistics.spectrum import BANDS, EDGES, REAL_PORTRAITS, SIDE, radial_spectrum
from thermvision.curation.statistics.tables import tables
from thermvision.curation.statistics.temperatures import Temperatures


@pytest.fixture(scope="module")
def seen(oval_release: Path) -> Statistics:
    return statistics(oval_release, sample=16)


def shown(axes: Any) -> np.ndarray:
    """The array of a heat map, 0 where it is masked."""
    return np.asarray(np.ma.filled(axes.images[0].get_array(), 0))


def test_what_is_known_is_drawn(seen: Statistics, imported_release: Path) -> None:
    found = plots(seen)
    assert list(found) == [
        "pose", "coverage", "identities", "classes", "openness", "boxes", "box_map", "gray", "spectrum"
    ]  # fmt: skip
    assert all(caption.endswith(".") for caption, _ in found.values())
    assert list(plots(statistics(imported_release, sample=0))) == ["boxes", "box_map"]
    versions = tuple({"version": v, "identities": 1, "frames": 2, "bytes": 3} for v in ("1.0", "1.1"))
    assert "growth" in plots(replace(seen, versions=versions))
    assert "growth" not in plots(replace(seen, versions=versions[:1]))


def test_equal_statistics_give_equal_bytes_in_both_looks(seen: Statistics, tmp_path: Path) -> None:
    for name in ("identities", "spectrum"):
        draw = plots(seen)[name][1]
        first, again = (save_looks(draw, tmp_path / folder / name) for folder in "ab")
        assert [p.name for p in first] == [name + end for end in (".svg", ".png", "-dark.svg", "-dark.png")]
        assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
        assert first[0].read_bytes() != first[2].read_bytes()


def test_identities_are_those_of_their_table(seen: Statistics) -> None:
    rows = tables(seen)["identity_poses"]
    with plot_look():
        figure = identities_figure(seen)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["P_000000", "P_000001"]
    for axes, angle in zip(figure.axes, ("yaw", "pitch"), strict=False):
        for row, name in enumerate(names):
            told = {(r["from"] + 90) // POSE_CELL: r["frames"] for r in rows
                    if r["subject_id"] == name and r["angle"] == angle}  # fmt: skip
            assert {k: n for k, n in enumerate(shown(axes)[row]) if n} == told
    assert shown(figure.axes[0]).sum() == 58
    assert [t.get_text() for t in figure.axes[1].texts] == ["female", "male"]


@pytest.mark.parametrize("count", [1, 4, 50, 60, 1000])
def test_any_number_of_identities_is_drawn(seen: Statistics, count: int) -> None:
    labels = type(seen.labels)()
    for n in range(count):
        person = labels.people[f"somebody-{n:06d}-of-many"] = Person(gender=n % 3)
        person.turns[:, n % 18] = n + 1
    names, genders, rows = identity_rows(labels.people)
    assert len(names) == len(genders) == len(rows) <= 82
    assert genders == sorted(genders)
    assert max(map(len, names)) == 16
    if count <= 80:
        assert rows.sum() == sum(p.turns.sum() for p in labels.people.values())
    with plot_look():
        axes = identities_figure(replace(seen, labels=labels)).axes
    assert len(axes[0].get_yticks()) == (count if count <= MOST_NAMED else 0)
    assert shown(axes[0]).shape == (len(names), 18)


def test_coverage_is_that_of_the_table(seen: Statistics) -> None:
    told: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((18, 18)))
    for row in tables(seen)["poses"]:
        told[row["gender"]][(row["pitch"] + 90) // POSE_CELL, (row["yaw"] + 90) // POSE_CELL] += row["frames"]
    with plot_look():
        axes = coverage_figure(seen).axes
    assert [a.get_title("left") for a in axes[:2]] == ["female, 28 frames", "male, 30 frames"]
    for place, gender in zip(axes, ("female", "male"), strict=False):
        assert np.array_equal(shown(place), told[gender])


def test_bars_of_classes_are_shares_of_the_table(seen: Statistics) -> None:
    counts = Counter[tuple[str, str]]()
    for row in tables(seen)["classes"]:
        if row["value"] is not None:
            counts[row["attribute"], row["value"]] += row["frames" if row["attribute"] == "expression" else "items"]
    with plot_look():
        axes = classes_figure(seen).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[: len(EXPRESSIONS)] == list(EXPRESSIONS)
    widths: dict[float, float] = defaultdict(float)
    for bar in axes.patches:
        widths[round(bar.get_y() + bar.get_height() / 2, 3)] += bar.get_width()
    for name, spot in zip(EXPRESSIONS, axes.get_yticks(), strict=False):
        assert widths[round(spot, 3)] == pytest.approx(100 * counts["expression", name] / 58)
    texts = [t.get_text() for t in axes.texts]
    assert "expression, 58 frames" in texts
    assert texts[EXPRESSIONS.index("smile")] == "24"


def test_the_box_map_is_that_of_the_table(seen: Statistics) -> None:
    rows = tables(seen)["places"]
    with plot_look():
        axes = box_map_figure(seen).axes
    for place, key in zip(axes, ("covered", "frames"), strict=False):
        told = np.zeros((PLACE_CELLS, PLACE_CELLS))
        for row in rows:
            told[round(row["y"] * PLACE_CELLS), round(row["x"] * PLACE_CELLS)] += row[key]
        assert shown(place) == pytest.approx(100 * told / 58)
    # the ovals' boxes are half as wide and .66 as high as the frame, all of them about its middle
    assert shown(axes[0]).max() == pytest.approx(100)
    assert shown(axes[0]).sum() / PLACE_CELLS**2 == pytest.approx(100 * 12 / 24 * 16 / 24, rel=0.02)


def test_boxes_cover_the_cells_whose_middle_they_hold() -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(-0.3, 1, (40, 2))
    ends = np.concatenate([corner, corner + rng.uniform(0, 0.8, (40, 2))], 1)
    gender = rng.integers(0, 3, 40)
    counts = np.zeros((3, PLACE_CELLS, PLACE_CELLS), np.int64)
    _count_boxes(counts, gender, ends)
    middle = (np.arange(PLACE_CELLS) + 0.5) / PLACE_CELLS
    y, x = middle[:, None], middle[None]
    for g in range(3):
        slow = sum(((x >= a) & (x < c) & (y >= b) & (y < d)).astype(int) for a, b, c, d in ends[gender == g])
        assert np.array_equal(counts[g], slow)


def test_a_wave_has_its_power_in_its_band() -> None:
    x = np.arange(SIDE)
    for band in range(1, BANDS):  # the window spreads the lowest
        cycles = round(float(np.sqrt(EDGES[band] * EDGES[band + 1])))
        wave = np.broadcast_to(128 + 100 * np.cos(2 * np.pi * cycles * x / SIDE), (SIDE, SIDE))
        power = radial_spectrum(np.round(wave).astype(np.uint8))
        assert power.argmax() == band
        half = radial_spectrum(np.round((wave - 128) / 2 + 128).astype(np.uint8))
        assert power[band] - half[band] == pytest.approx(np.log10(4), abs=0.01)
    assert np.isneginf(radial_spectrum(np.full((40, 60), 7, np.uint8))).all()


def test_half_a_spectrum_is_as_good_as_a_whole_one() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    frame[100:200] //= 2
    window = np.hanning(SIDE)[:, None] * np.hanning(SIDE)
    power = np.abs(np.fft.fftshift(np.fft.fft2((frame - frame.mean()) * window))) ** 2
    radius = np.hypot(*(np.indices(power.shape) - SIDE // 2))
    rings = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(EDGES)]
    assert radial_spectrum(frame) == pytest.approx([np.log10(power[r].mean()) for r in rings], abs=1e-9)


def test_white_noise_has_the_same_power_everywhere() -> None:
    noise = np.random.default_rng(0).normal(128, 20, (SIDE, SIDE + 40))
    power = radial_spectrum(np.clip(np.round(noise), 0, 255).astype(np.uint8))
    # Parseval: the variance of noise and of rounding, times the sum of the squared window
    window = np.hanning(SIDE)
    wanted = np.log10((20**2 + 1 / 12) * (window**2).sum() ** 2)
    assert power[2:] == pytest.approx(wanted, abs=0.05)


def test_the_spectrum_is_that_of_the_table(seen: Statistics) -> None:
    rows = tables(seen)["spectra"]
    assert seen.facts()["spectra"] == rows
    assert Counter(r["kind"] for r in rows) == {"stills": BANDS, "clips": BANDS}
    with plot_look():
        (axes,) = spectrum_figure(rows).axes
    lines = {str(line.get_label()).split(",")[0]: line.get_ydata() for line in axes.lines}
    for kind in ("stills", "clips"):
        assert list(lines[kind]) == [r["50 %"] for r in rows if r["kind"] == kind]
    assert list(lines["two real portraits"]) == list(REAL_PORTRAITS)
    assert np.diff(lines["natural scenes"]) == pytest.approx(-2 * np.log10(EDGES[1] / EDGES[0]))
    assert axes.get_xticklabels()[0].get_text() == "2–4"


def test_frames_of_one_gray_level_have_no_spectrum(seen: Statistics) -> None:
    pixels = Pixels()
    for gray in (0, 90):
        frame = np.full((20, 20), gray, np.uint8)
        pixels.add(frame, None, 0, 0)
        pixels.add_spectrum(frame, "stills")
    assert pixels.spectra() == []
    found = plots(replace(seen, pixels=pixels))
    assert "gray" in found
    assert "spectrum" not in found


def test_temperatures_are_medians_by_region_and_gender(seen: Statistics) -> None:
    assert "temperatures" not in plots(seen)
    warm = Temperatures()
    for n, name in enumerate(REGIONS[:3]):
        warm.regions[name].add(0, np.array([0, 1, 1, 1]), np.array([34.0, 30.0, 30.0 + n, 37.0]))
    warm.regions[REGIONS[3]].add(0, np.array([1]), np.array([31.0]))
    dressed = replace(seen, temperatures=warm)
    assert "temperatures" in plots(dressed)
    with plot_look(dark=True):
        (axes,) = temperatures_figure(dressed).axes
    points = sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines)
    wanted = []
    for spot, name in enumerate(REGIONS[:4]):
        for gender, shift in ((0, -0.17), (1, 0.17)):
            summary = warm.regions[name].summary(gender=gender)
            if summary["count"]:
                wanted.append((spot + shift, summary["50 %"]))
    assert points == wanted
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["female", "male"]
