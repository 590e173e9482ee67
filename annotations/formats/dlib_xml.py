"""dlib's image metadata (imglab): one XML file a data set, boxes with named parts.

A box is ``top left width height`` on the pixel grid, as in COCO. A part is the index of a pixel, so its centre is
0.5 further right and down in our coordinates. dlib itself reads whole numbers only and sorts the parts by name; the
CARL annotations hold fractions and six named points, and are read as they are. Source: dlib's
``image_dataset_metadata.cpp``, ``load`` and ``save``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from thermvision.annotations.conventions import SCHEMES
from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading
from .text import image_path, image_size, number, printed
from .xml_tree import Node, parse, quoted

MAX_BYTES = 256 * 2**20
_Printer = Callable[[float], str]
_COMMENT = "point scheme "
_BOX = ("left", "top", "width", "height")
_ATTRIBUTES = ("difficult", "truncated", "occluded", "ignore", "angle", "age", "gender", "pose")


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The images of a metadata file.

    Parts named by number are points of the scheme that the file's comment names, or of the one with that many points;
    any others keep their names.
    Codes of findings: those of `xml_tree.parse`, ``not-dlib``, ``path``, ``box``, ``part``, ``score``.

    Args:
        data: the file's content.
        path: of the label file, for findings.
        size: (width, height) of every image that does not say.
    """
    root, findings = parse(data, path, MAX_BYTES)
    if root is None or root.tag not in ("dataset", "images"):
        if root is not None or not findings:
            seen = "no element" if root is None else f"<{root.tag}>"
            findings.append(Finding(path, "not-dlib", f"the file starts with {seen}; allowed: <dataset> or <images>"))
        return Reading([], findings)
    nodes = list(root.all("image"))
    scheme = _numbered_scheme(nodes, root.child_text("comment"))
    files = []
    for node in nodes:
        image, complaint = image_path(node.attributes.get("file", ""))
        if complaint:
            findings.append(Finding(path, "path", f"line {node.line}: {complaint}"))
        if not image:
            continue
        faces = [face for box in node.all("box") if (face := _face(box, scheme, path, findings))]
        width, height = image_size(node.attributes.get("width"), node.attributes.get("height"), size)
        files.append(FileFaces(image, width, height, faces))
    return Reading(files, findings)


def _numbered_scheme(nodes: Sequence[Node], comment: str) -> str | None:
    """The scheme that all parts of the file belong to, when all are named by number.

    The comment that `write` leaves says it also where no face has the last point.
    """
    names = {part.attributes.get("name", "") for node in nodes for part in node.all("part")}
    if not names or not all(name.isascii() and name.isdigit() and len(name) <= 3 for name in names):
        return None
    count = max(map(int, names)) + 1
    stated = comment.removeprefix(_COMMENT)
    if comment.startswith(_COMMENT) and stated in SCHEMES and count <= SCHEMES[stated]:
        return stated
    return str(count) if str(count) in SCHEMES else None


def _face(box: Node, scheme: str | None, path: str, findings: list[Finding]) -> FaceRecord | None:
    values = [number(box.attributes.get(name)) for name in _BOX]
    left, top, width, height = (np.nan if value is None else value for value in values)
    if not (width > 0 and height > 0 and np.isfinite([left, top]).all()):
        seen = ", ".join(f"{name} {box.attributes.get(name, '?')[:20]!r}" for name in _BOX)
        message = f"line {box.line}: the box has {seen}; allowed: numbers, with an area; no box was made of it"
        findings.append(Finding(path, "box", message))
        return None
    points: dict[str, tuple[float, float]] = {}
    for part in box.all("part"):
        name = part.attributes.get("name", "")
        x, y = (number(part.attributes.get(axis)) for axis in "xy")
        if not name or name in points or x is None or y is None:
            message = f"line {part.line}: the part {name[:40]!r} is nameless, double or has no place; it was left out"
            findings.append(Finding(path, "part", message))
            continue
        points[name] = (x + 0.5, y + 0.5)
    facts = {name: box.attributes[name] for name in _ATTRIBUTES if name in box.attributes}
    label = box.child_text("label")
    if label:
        facts["label"] = label
    bbox = np.array([left, top, width, height], np.float32)
    score = number(box.attributes.get("detection_score"))
    if "detection_score" in box.attributes and score is None:
        message = f"line {box.line}: the score is {box.attributes['detection_score'][:20]!r}; allowed: a number"
        findings.append(Finding(path, "score", f"{message}; the box is kept without"))
    if not points:
        return FaceRecord(bbox, score, attributes=facts)
    if scheme is None:
        array = np.array(list(points.values()), np.float32)
        return FaceRecord(bbox, score, array, names=tuple(points), attributes=facts)
    array = np.full((SCHEMES[scheme], 2), np.nan, np.float32)
    for name, place in points.items():
        array[int(name)] = place
    return FaceRecord(bbox, score, array, convention=scheme, attributes=facts)


def write(files: Sequence[FileFaces], whole: bool = True) -> bytes:
    """A metadata file; a face without box gets the extent of its points, one with neither is left out.

    Points without names are numbered with leading zeros, so that dlib's sorting keeps their order; unknown ones are
    left out.

    Args:
        files: the images.
        whole: round to whole numbers, the only ones that dlib reads; False keeps six decimals.

    >>> face = FaceRecord([10.4, 20, 30, 40], points=[[12.5, 25.5]], names=("nose",))
    >>> print(write([FileFaces("a.png", 64, 48, [face])]).decode().split("<images>")[1].split("</images>")[0])
    <BLANKLINE>
      <image file="a.png" width="64" height="48">
        <box top="20" left="10" width="30" height="40">
          <part name="nose" x="12" y="25"/>
        </box>
      </image>
    <BLANKLINE>

    Raises:
        ValueError: the faces have points of several schemes, which numbers cannot tell apart.
    """

    numbered = [face for image in files for face in image.faces if face.points is not None and face.names is None]
    schemes = sorted({face.convention or "none" for face in numbered})
    if len(schemes) > 1:
        raise ValueError(f"the points are of the schemes {', '.join(schemes)}; allowed: one in a dlib file")

    def shown(value: float) -> str:
        return printed(np.floor(value + 0.5)) if whole else printed(value)

    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<dataset>", "<name>faces</name>"]
    lines += [f"<comment>{_COMMENT}{schemes[0]}</comment>"] if schemes and schemes[0] in SCHEMES else []
    lines.append("<images>")
    for image in files:
        extent = ' width="{}" height="{}"'.format(*image.size) if image.size else ""
        lines.append(f'  <image file="{quoted(image.path)}"{extent}>')
        for face in image.faces:
            lines += _box_lines(face, shown)
        lines.append("  </image>")
    return ("\n".join([*lines, "</images>", "</dataset>"]) + "\n").encode()


def _box_lines(face: FaceRecord, shown: _Printer) -> list[str]:
    box = face.box_or_extent
    if box is None:
        return []
    x, y, w, h = (float(value) for value in box)
    facts = {name: face.attributes[name] for name in _ATTRIBUTES if name in face.attributes}
    if face.score is not None:
        facts["detection_score"] = printed(face.score)
    more = "".join(f' {name}="{quoted(value)}"' for name, value in facts.items())
    lines = [f'    <box top="{shown(y)}" left="{shown(x)}" width="{shown(w)}" height="{shown(h)}"{more}>']
    if face.attributes.get("label"):
        lines.append(f"      <label>{quoted(face.attributes['label'])}</label>")
    points = np.zeros((0, 2)) if face.points is None else face.points.astype(np.float64)
    digits = max(2, len(str(len(points) - 1)))
    names = face.names or [f"{i:0{digits}d}" for i in range(len(points))]
    for name, (px, py) in zip(names, points, strict=True):
        if np.isfinite([px, py]).all():
            lines.append(f'      <part name="{quoted(name)}" x="{shown(px - 0.5)}" y="{shown(py - 0.5)}"/>')
    return [*lines, "    </box>"]
