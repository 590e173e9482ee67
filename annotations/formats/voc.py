"""Pascal VOC: one XML file an image, a box an object.

``xmin ymin xmax ymax`` are pixels counted from 1, both ends inside the box, so ``xmin = 1, xmax = width`` is the whole
image (M. Everingham et al., "The PASCAL VOC2012 Development Kit"). In our coordinates ``x = xmin - 1`` and
``x + width = xmax``. labelImg truncates a mouse position instead and so may be off by one pixel at the left and top;
a file does not say which of the two it is. VOC has neither scores nor points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading, single
from .text import image_path, image_size, number, printed
from .xml_tree import Node, parse, quoted

MAX_BYTES = 2**20
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FACTS = ("pose", "truncated", "difficult", "occluded")


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The image of one annotation file.

    Codes of findings: those of `xml_tree.parse`, ``not-voc``, ``path``, ``image-size``, ``box``.

    Args:
        data: the file's content.
        path: of the label file, for findings and for an annotation that does not name its image.
        size: (width, height) for an annotation that does not say.
    """
    root, findings = parse(data, path, MAX_BYTES)
    if root is None or root.tag != "annotation":
        seen = "no element" if root is None else f"<{root.tag}>"
        if root is not None or not findings:
            findings.append(Finding(path, "not-voc", f"the file starts with {seen}; allowed: <annotation>"))
        return Reading([], findings)
    image, complaint = _image(root, path)
    if complaint:
        findings.append(Finding(path, "path", f"line {root.line}: {complaint}"))
    faces = []
    for node in root.all("object"):
        face, refusal = _face(node)
        if face is None:
            findings.append(Finding(path, "box", f"line {node.line}: {refusal}; no box was made of it"))
        else:
            faces.append(face)
    width, height = _size(root, path, findings, size)
    return Reading([FileFaces(image, width, height, faces)], findings)


def _image(root: Node, path: str) -> tuple[str, str]:
    """The image's path: as labelImg writes it where that is safe, else folder and file name, else the label's own."""
    named, _ = image_path(root.child_text("path"))
    whole, complaint = image_path(root.child_text("filename"))
    folder, _ = image_path(root.child_text("folder"))
    if not whole:
        stated = root.child_text("filename")
        return named or path.removesuffix(".xml"), complaint if stated and not named else ""
    if named and "/" in named and named.endswith(whole):
        return named, complaint
    return (f"{folder}/{whole}" if folder and "/" not in whole else whole), complaint


def _size(
    root: Node, path: str, findings: list[Finding], size: tuple[int, int] | None
) -> tuple[int | None, int | None]:
    node = next(root.all("size"), None)
    if node is None:
        return size or (None, None)
    stated = node.child_text("width"), node.child_text("height")
    if image_size(*stated) == (None, None):
        message = f"line {node.line}: the size is {stated[0]!r} x {stated[1]!r}; allowed: 1 x 1 and more"
        findings.append(Finding(path, "image-size", message[:200]))
    return image_size(*stated, size)


def _face(node: Node) -> tuple[FaceRecord | None, str]:
    box = next(node.all("bndbox"), None)
    if box is None:
        return None, "the object has no <bndbox>; allowed: one"
    sides = [number(box.child_text(side)) for side in _SIDES]
    seen = " ".join(box.child_text(side)[:20] or "?" for side in _SIDES)
    if None in sides:
        return None, f"the box is {seen}; allowed: four numbers {' '.join(_SIDES)}"
    left, top, right, bottom = (float(side or 0) for side in sides)
    if right <= left - 1 or bottom <= top - 1:
        return None, f"the box is {seen}; allowed: xmax and ymax not below xmin and ymin"
    facts = {name: node.child_text(name) for name in _FACTS if node.child_text(name)}
    label = node.child_text("name")
    bbox = np.array([left - 1, top - 1, right - left + 1, bottom - top + 1], np.float32)
    return FaceRecord(bbox, attributes={**({"label": label} if label else {}), **facts}), ""


def write(files: Sequence[FileFaces]) -> bytes:
    """The annotation of one image; a face without box gets the extent of its points, one with neither is left out.

    Raises:
        ValueError: there is not exactly one image.

    >>> image = FileFaces("face01/0001.jpg", 320, 240, [FaceRecord([122, 9, 117, 174])])
    >>> print(write([image]).decode().split("<bndbox>")[1].split("</bndbox>")[0])
    <BLANKLINE>
          <xmin>123</xmin>
          <ymin>10</ymin>
          <xmax>239</xmax>
          <ymax>183</ymax>
    <BLANKLINE>
    """
    image = single(files, "VOC")
    folder, _, name = image.path.rpartition("/")
    lines = ["<annotation>"]
    lines += [f"  <folder>{quoted(folder)}</folder>"] if folder else []
    lines += [f"  <filename>{quoted(name)}</filename>", f"  <path>{quoted(image.path)}</path>"]
    if image.size:
        width, height = image.size
        lines.append(f"  <size><width>{width}</width><height>{height}</height><depth>1</depth></size>")
    lines.append("  <segmented>0</segmented>")
    for face in image.faces:
        box = face.box_or_extent
        if box is None:
            continue
        x, y, w, h = (float(value) for value in box)
        facts = {"pose": "Unspecified", "truncated": "0", "difficult": "0", **face.attributes}
        lines += ["  <object>", f"    <name>{quoted(facts.pop('label', 'face'))}</name>"]
        lines += [f"    <{fact}>{quoted(facts[fact])}</{fact}>" for fact in _FACTS if fact in facts]
        sides = zip(_SIDES, (x + 1, y + 1, x + w, y + h), strict=True)
        lines += ["    <bndbox>", *(f"      <{side}>{printed(value)}</{side}>" for side, value in sides)]
        lines += ["    </bndbox>", "  </object>"]
    return ("\n".join([*lines, "</annotation>"]) + "\n").encode()
