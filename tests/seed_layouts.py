"""Small imitations of the published layouts: one warm oval a picture, labels as the data sets have them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from thermvision.annotations.pipeline import Face

WIDTH, HEIGHT = 160, 120
BOX = (50.0, 25.0, 60.0, 72.0)


def picture(seed: int = 0, face: int = 180, room: int = 40) -> np.ndarray:
    """A gray (120, 160) uint8 frame whose face fills `BOX`."""
    frame = np.full((HEIGHT, WIDTH), room, np.float64)
    x, y, w, h = BOX
    cv2.ellipse(frame, (round(x + w / 2), round(y + h / 2)), (round(w / 2), round(h / 2)), 0, 0, 360, float(face), -1)
    cv2.ellipse(frame, (80, 70), (6, 9), 0, 0, 360, float(face - 30), -1)
    noise = np.random.default_rng(seed).normal(0, 1, frame.shape)
    return np.clip(np.rint(cv2.GaussianBlur(frame, (0, 0), 1.2) + noise), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


class OneFace:
    """A finder that sees `BOX` in every frame, turned 40 degrees; counts what it is asked."""

    source = "one-face@1"

    def __init__(self, box: tuple[float, ...] | None = BOX) -> None:
        self.box, self.asked = box, 0

    def faces(self, frame: np.ndarray) -> list[Face]:
        from thermvision.annotations.faces import FaceShape

        self.asked += 1
        if self.box is None:
            return []
        shape = FaceShape(np.zeros((68, 2), np.float32), head_pose=np.array([40, 0, 0], np.float32))
        return [Face(np.array(self.box, np.float32), 0.9, np.zeros((5, 2), np.float32), shape)]


def tufts(root: Path, people: int = 3) -> Path:
    rows = ["Set,Participant,File,Left,Top,Width,Height"]
    for person in range(1, people + 1):
        for kind, place in (("A", 0), ("A", 4), ("E", 2), ("E", 5)):
            folder, name = f"TD_IR_{kind}_Set1", f"TD_IR_{kind}_{place}.jpg"
            save(root / folder / str(person) / name, picture(person * 10 + place))
            rows.append(f"{folder},{person},{name},50,25,60,72")
    rows.append("TD_IR_A_Set1,1,TD_IR_A_8.jpg,178,158,1,2")
    (root / "bounding-boxes.csv").write_text("\n".join(rows) + "\n")
    return root


def carl(root: Path) -> Path:
    images = []
    for person in ("01", "02"):
        for light in ("NA", "IR", "AR"):
            name = f"{person}S4B{light}1.bmp"
            save(root / person / "session_4" / "thermal_bmp" / name, picture())
            images.append(
                f'<image file="{person}/session_4/thermal_bmp/{name}"><box height="72" left="50" top="25" width="60">'
                '<part name="righteye_outer" x="60" y="50"/></box></image>'
            )
        save(root / person / "session_4" / "classic" / f"{person}S4CNA1.bmp", picture())
    (root / "annotations").mkdir()
    (root / "annotations" / "all.xml").write_text(f"<dataset><images>{''.join(images)}</images></dataset>")
    return root


def charlotte(root: Path) -> Path:
    for number in (1, 2):
        rows = ["ID,x0,y0,x1,y1,AirTemp,Sensation"]
        for shot in (11185, 11186):
            celsius = 22 + (picture(shot).astype(np.float64) - 40) / 140 * 12
            counts = np.rint((celsius + 273.15) * 100).astype(np.uint16)
            save(root / f"S{number}" / f"R{shot}.tiff", counts)
            save(root / f"S{number}" / f"N{shot}.jpg", picture(shot))
            rows.append(f"R{shot},50,25,110,97,21.5,-1")
        rows.append("R99999,1,2,3,4,21.5,0")
        (root / f"S{number}.csv").write_text("\n".join(rows) + "\n")
    return root


def sftl54(root: Path) -> Path:
    people = ["Sub_ID,Split,Age,Gender,Ethnicity,Acc_Trial_1,Acc_Trial_2"]
    people += ["1,Train,32,Male,Asian,Glasses,None", "2,Train,27,Female,Asian,None,None"]
    people += ["131,Test,61,Male,Caucasian,Glasses,Glasses"]
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.csv").write_text("\n".join(people) + "\n")
    for folder, number in (("train", 1), ("train", 2), ("test", 131)):
        name = f"{number}_1_1_4_450_1"
        for palette in ("gray", "iron"):
            save(root / "dataset" / palette / folder / "images" / f"{name}.png", picture(number))
        x, y, w, h = BOX
        face = {"label": "face", "points": [[x, y], [x + w, y + h]], "shape_type": "rectangle", "group_id": None}
        label = {"shapes": [face], "imagePath": f"../images/{name}.png", "imageWidth": WIDTH, "imageHeight": HEIGHT}
        path = root / "dataset" / "gray" / folder / "json" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(label))
    return root


def tfw(root: Path) -> Path:
    header = "image,xs,ys,xe,ye," + ",".join(f"p{i}{a}" for i in range(1, 6) for a in "xy")
    points = "70,55,90,55,80,70,72,85,88,85"
    for split, indoor, outdoor in (("train", "1_1_1_4_450_1", "3312"), ("test", "131_1_1_4_450_1", "4076")):
        save(root / split / "indoor_gray" / f"{indoor}.png", picture())
        save(root / split / "outdoor" / f"{outdoor}.png", picture(5))
        row = f"{indoor}.png,50,25,110,97,{points}"
        (root / split / "indoor.csv").write_text(f"{header}\n{row}\n")
        rows = [
            f"{outdoor}.png,50,25,110,97,{points}",
            f"{outdoor}.png,2,2,12,14,{points}",
            f"gone.png,50,25,110,97,{points}",
        ]
        (root / split / "outdoor.csv").write_text("\n".join([header, *rows]) + "\n")
    return root
