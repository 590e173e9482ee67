"""Polarity from file to label, stills looked at together, several processes, and attributes of whole items."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import oval_face
from fake_annotator import BrightAnnotator, bright_box

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import Detections
from thermvision.annotations.palettes import apply_palette
from thermvision.annotations.pipeline import Annotator
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.annotate import annotate_to_files
from thermvision.curation.inputs import Item, PixelReading, open_input
from thermvision.curation.item_faces import TOGETHER, FrameFaces, Temporal, attributes_of, each_item, frames_of
from thermvision.curation.label_files import write_label_files
from thermvision.curation.relabel import plan_relabelling, relabel
from thermvision.curation.video import encode_gray

GRAY = oval_face(64)[0]
BOX = bright_box(GRAY)


class Bright:
    """A detector: the face is the bright part, and a frame whose corner is bright is black-hot with ``sure``."""

    source = "bright@1"

    def __init__(self, sure: float = 0.8, tells: bool = True) -> None:
        self.sure, self.tells_polarity = sure, tells
        self.calls: list[int] = []
        self.corners: list[int] = []

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        self.calls.append(len(frames))
        self.corners += [int(frame[0, 0]) for frame in frames]
        return [self._one(frame) for frame in frames]

    def _one(self, frame: np.ndarray) -> Detections:
        doubt = (self.sure if frame[0, 0] > 127 else 1 - self.sure) if self.tells_polarity else None
        box = bright_box(frame)
        boxes = np.zeros((0, 4)) if box is None else box[None]
        return Detections(boxes, np.ones(len(boxes)), np.full((len(boxes), 5, 2), np.nan), doubt)


def annotated(folder: Path, detector: Bright, polarity: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summary, and readings by item."""
    found = open_input(str(folder), reading=PixelReading(palette="iron", polarity=polarity))
    out = folder.with_name(f"{folder.name}-{polarity}-{len(list(folder.parent.iterdir()))}.json")
    summary = annotate_to_files(found, out, "coco", Annotator(detector), Temporal(), quiet=True).as_dict()
    return summary, {r["item"]: r for r in summary["readings"]}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    colours = apply_palette(GRAY, "iron"), apply_palette(255 - GRAY, "iron")
    for name, pixels in {
        "hot": GRAY,
        "cold": 255 - GRAY,
        "iron": colours[0][..., ::-1],
        "noiron": colours[1][..., ::-1],
    }.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    np.save(folder / "measured.npy", (40.0 - GRAY / 16.0).astype(np.float32))  # a cold face before a warm wall
    (folder / "walk.mp4").write_bytes(encode_gray(np.stack([255 - GRAY] * 3), 30.0, crf=0))
    return folder


def test_black_hot_is_inverted_exactly_once_and_that_is_told(pictures: Path) -> None:
    detector = Bright()
    summary, readings = annotated(pictures, detector, "open")
    inverted = {name for name, r in readings.items() if r["inverted"]}
    assert inverted == {"cold.png", "walk.mp4"}  # a known palette and a temperature are not doubted with 0.8
    assert summary["annotation_source"] == "bright@1; bright@1+inverted"
    assert summary["recognised"]["polarity"] == {"as it was": 4, "inverted": 2}
    assert summary["recognised"]["units"] == {"gray": 5, "celsius": 1}
    assert summary["recognised"]["palette"]["iron"] == 2
    assert readings["cold.png"]["polarity"] == "open (left to the detector)"
    assert readings["measured.npy"]["polarity"] == "white-hot (measured)"
    assert json.loads(json.dumps(summary)) == json.loads(json.dumps(summary, default=str))
    _, readings = annotated(pictures, Bright(sure=0.97), "open")
    assert {n for n, r in readings.items() if r["inverted"]} == {"cold.png", "noiron.png", "walk.mp4"}


@pytest.mark.parametrize("polarity", ["open", "black-hot"])
def test_the_box_is_where_the_face_is(pictures: Path, polarity: str) -> None:
    for item in (item for c in open_input(str(pictures), reading=PixelReading(polarity=polarity)).chunks
                 for item in c.read() if item.item_id in ("cold.png", "walk.mp4")):  # fmt: skip
        annotator = Annotator(Bright(), polarity="auto" if polarity == "open" else "white-hot")
        for frame in frames_of(annotator, item, Temporal()):
            np.testing.assert_allclose(frame.annotation.bbox, BOX, atol=1)
            assert frame.annotation.source == "bright@1+inverted"


def test_without_a_detector_that_tells_reading_guesses_and_it_is_told_too(pictures: Path) -> None:
    detector = Bright(tells=False)
    _, readings = annotated(pictures, detector, "auto")
    assert {n for n, r in readings.items() if r["inverted"]} == {"cold.png", "walk.mp4"}
    assert readings["hot.png"]["polarity"].startswith("white-hot (weak guess")
    assert readings["cold.png"]["polarity"].endswith("inverted")


def stills(count: int, broken: int | None = None) -> list[Item]:
    def read(number: int) -> list[np.ndarray]:
        if number == broken:
            raise DamagedInputError("half a picture")
        return [GRAY]

    return [Item(f"{n}.png", f"{n}.png", False, lambda n=n: read(n)) for n in range(count)]


def test_stills_are_detected_together_in_their_order() -> None:
    detector, advanced = Bright(), []
    found = list(each_item(stills(TOGETHER + 3), Annotator(detector), Temporal(), advanced.append))
    assert detector.calls == [TOGETHER, 3]
    assert [item.item_id for item, _ in found] == [f"{n}.png" for n in range(TOGETHER + 3)]
    assert sum(advanced) == TOGETHER + 3
    found = list(each_item(stills(5, broken=2), Annotator(detector), Temporal()))
    assert detector.calls[2:] == [2, 2]
    assert [isinstance(faces, DamagedInputError) for _, faces in found] == [False, False, True, False, False]


def test_large_stills_wait_in_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thermvision.curation.item_faces.MOST_PIXELS", 2 * GRAY.size)
    detector = Bright()
    assert len(list(each_item(stills(5), Annotator(detector), Temporal()))) == 5
    assert detector.calls == [2, 2, 1]


@pytest.mark.slow
def test_workers_make_no_difference(pictures: Path, tmp_path: Path, imported_release: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    summaries = [
        annotate_to_files(open_input(str(pictures)), out, "coco", BrightAnnotator(), Temporal(), workers=n, quiet=True)
        for n, out in ((1, one), (2, two))
    ]
    assert summaries[0] == summaries[1]
    assert one.read_bytes() == two.read_bytes()
    for workers in (1, 2):
        plan = plan_relabelling(imported_release, BrightAnnotator(), Temporal())
        relabel(plan, tmp_path / f"r{workers}", BrightAnnotator(), Temporal(), workers=workers, quiet=True)
    assert (tmp_path / "r1/release.json").read_bytes() == (tmp_path / "r2/release.json").read_bytes()


def test_attributes_of_an_item_are_what_its_frames_say_most() -> None:
    nobody = FrameAnnotation.no_face("x")
    said = [{"mask": ("mask", 0.9)}, {"mask": ("none", 0.6)}, {}, {"mask": ("none", 0.5), "beard": ("full", 0.4)}]
    assert attributes_of([FrameFaces(9, 9, nobody, attributes=s) for s in said]) == {"mask": "none", "beard": "full"}
    assert attributes_of([]) == {}


def test_yolo_has_5_or_15_columns(tmp_path: Path, pictures: Path) -> None:
    from thermvision.curation.annotate import file_faces

    (item,) = (i for c in open_input(str(pictures)).chunks for i in c.read() if i.item_id == "hot.png")
    (frame,) = frames_of(BrightAnnotator(), item, Temporal())
    for points, columns in ((True, 15), (False, 5)):
        write_label_files("yolo", [file_faces(item, 0, frame)], tmp_path / f"{points}", "x", points=points)
        assert [len(t.split()) for t in (tmp_path / f"{points}/hot.txt").read_text().splitlines()] == [columns]
