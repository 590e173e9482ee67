"""Label formats: round trips, malformed files, recognition, and what must never happen with an unknown file."""

from __future__ import annotations

import doctest
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations import formats
from thermvision.annotations.conventions import SCHEMES, convert
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.formats import FORMATS, charlotte, coco, dlib_xml, pts, sftl54, table, tfw, voc, xml_tree
from thermvision.annotations.formats.records import FaceRecord, FileFaces

SIZE = (512, 384)
# attributes that a format without free ones has a place for
HELD = {"voc": ("label", "pose", "truncated"), "dlib": ("label", "pose", "occluded"), "charlotte": ("Sensation",)}
FREE = ("label", "expression")
# how the names of options differ from the defaults, so that nothing is rounded on purpose
EXACT = {"dlib": {"whole": False}}

# eighths are exact in float32, in six decimals and half a pixel further
eighths = st.integers(0, 8 * 300).map(lambda n: n / 8)
words = st.text("abcdefghijklmnopqrstuvwxyz<&>\"'é ", min_size=1, max_size=8).map(str.strip).filter(bool)


@st.composite
def face_records(draw: st.DrawFn, scheme: str | None, names: Sequence[str]) -> FaceRecord:
    x, y = draw(eighths), draw(eighths)
    box = [x, y, draw(st.integers(8, 600)) / 8, draw(st.integers(8, 600)) / 8]
    points = visibility = None
    if scheme is not None and draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        points = rng.integers(0, 8 * 380, (SCHEMES[scheme], 2)) / 8
        unknown = rng.random(len(points)) < draw(st.sampled_from([0, 0.3]))
        points[unknown & (np.arange(len(points)) > 0)] = np.nan
        visibility = np.where(np.isnan(points[:, 0]), 0, rng.integers(1, 3, len(points)))
    score = draw(st.none() | st.integers(1, 64).map(lambda n: n / 64))
    facts = draw(st.dictionaries(st.sampled_from(tuple(names)), words, max_size=2))
    return FaceRecord(box, score, points, visibility, scheme if points is not None else None, None, facts)


@st.composite
def data_sets(draw: st.DrawFn, name: str) -> list[FileFaces]:
    form = FORMATS[name]
    scheme = draw(st.sampled_from(["68", "54", "5", None]))
    stems = draw(st.lists(st.from_regex(r"[a-z]{1,6}(/[a-z0-9é]{1,6})?", fullmatch=True), max_size=4, unique=True))
    faces = st.lists(face_records(scheme, HELD.get(name, FREE)), max_size=3 if form.faces else 1)
    return [FileFaces(f"{stem}.png", *SIZE, draw(faces)) for stem in stems]


def kept(image: FileFaces, name: str) -> list[FaceRecord]:
    """The faces that a format should give back, said independently of its module."""
    form, faces = FORMATS[name], []
    for face in image.faces:
        points, scheme, visibility = face.points, face.convention, face.visibility
        if points is not None and form.points not in ("any", scheme):
            points = None if not form.points else convert(points, str(scheme), form.points)
            scheme = form.points
            if points is not None and np.isnan(points).all():
                points = None
        if points is None:
            scheme = None
        elif name == "yolo":
            inside = ((points >= 0) & (points <= SIZE)).all(1)
            points = np.where(inside[:, None], points, np.nan)
        if name == "pts" and points is None:
            continue
        if name not in ("coco", "csv", "parquet") or points is None:
            visibility = None
        score = face.score if form.scores and not (name == "yolo" and points is not None) else None
        facts = dict(face.attributes) if form.attributes else {}
        if name == "voc":
            facts = {"label": "face", "pose": "Unspecified", "truncated": "0", "difficult": "0", **facts}
        if name == "charlotte":
            scheme = None
        box = face.bbox if form.boxes else np.full(4, np.nan)
        if name == "yolo":
            low, high = np.minimum(box[:2], SIZE), np.minimum(box[:2] + box[2:], SIZE)
            box = np.concatenate([low, high - low])
        faces.append(FaceRecord(box, score, points, visibility, scheme, None, facts))
    return faces


def assert_same(seen: Sequence[FaceRecord], expected: Sequence[FaceRecord], tolerance: float = 0) -> None:
    assert len(seen) == len(expected)
    for a, b in zip(seen, expected, strict=True):
        np.testing.assert_allclose(a.bbox, b.bbox, atol=tolerance, rtol=0)
        assert (a.score is None) == (b.score is None)
        assert a.score is None or a.score == pytest.approx(b.score, abs=1e-6)
        assert a.convention == b.convention
        assert a.names == b.names
        assert dict(a.attributes) == dict(b.attributes)
        assert (a.points is None) == (b.points is None)
        if a.points is not None and b.points is not None:
            np.testing.assert_allclose(a.points, b.points, atol=max(tolerance, 1e-4), rtol=0)
        if b.visibility is not None:
            np.testing.assert_array_equal(a.visibility, b.visibility)


@pytest.mark.parametrize("name", list(FORMATS))
@settings(max_examples=40, deadline=None)  # the first example imports the module
@given(st.data())
def test_what_is_written_is_read_again(name: str, data: st.DataObject) -> None:
    form, files = FORMATS[name], data.draw(data_sets(name))
    written = list(formats.label_files(name, files, **EXACT.get(name, {})))
    read: list[FileFaces] = []
    for path, content in written:
        reading = form.read(content, path, SIZE)
        assert reading.findings == []
        read += reading.files
    expected = {image.path: kept(image, name) for image in files}
    if name in ("tfw", "charlotte", "pts"):  # no row or file without a face
        expected = {path: faces for path, faces in expected.items() if faces}
    if name == "charlotte":  # a row a face
        assert_same([face for image in read for face in image.faces], [f for some in expected.values() for f in some])
        return
    if name in ("yolo", "pts"):
        expected = {path.removesuffix(".png"): faces for path, faces in expected.items()}
    assert [image.path for image in read] == list(expected)
    assert all(image.size == SIZE for image in read)
    for image in read:
        # six decimals of 512 pixels, rounded four times over
        assert_same(image.faces, expected[image.path], tolerance=2e-3 if name == "yolo" else 0)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_written_file_is_recognised(name: str, tmp_path: Path) -> None:
    points = np.arange(136).reshape(68, 2) + 0.5
    image = FileFaces("a/b.png", 200, 200, [FaceRecord([1, 2, 30, 40], 0.5, points, convention="68")])
    for path, content in formats.label_files(name, [image]):
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
        assert formats.sniff(target) == name
        assert formats.sniff(tmp_path) == name
    reading = formats.read_path(tmp_path, sizes=lambda path: (200, 200))
    assert reading.findings == []
    assert [len(file.faces) for file in reading.files] == [1]
    assert reading.files[0].size == (200, 200)


def test_what_is_no_label_file_is_not_recognised(tmp_path: Path) -> None:
    for name, text in {
        "a.txt": "some words",
        "b.json": "[1]",
        "c.csv": "a,b",
        "d.xml": "<svg/>",
        "e.json": "{}",
    }.items():
        (tmp_path / name).write_text(text)
        assert formats.sniff(tmp_path / name) is None
    with pytest.raises(UsageError, match="is not recognised; type --format with one of coco, yolo, voc"):
        formats.read_path(tmp_path)
    with pytest.raises(UsageError, match="format 'kitti' does not exist; allowed: coco"):
        formats.read_path(tmp_path, "kitti")
    with pytest.raises(UsageError, match="does not exist"):
        formats.read_path(tmp_path / "x")


BOX = '<box top="1" left="2" width="3" height="4"'
TFW_ROW = "a.png,1,2,11,22,3,4,8,4,5,8,3,12,8,12"
COCO = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}
GOOD_TABLE = ",".join(table.HEADER) + "\na.png,64,48,0,1,2,3,4,0.5,\n"


def coco_with(**changes: object) -> str:
    return json.dumps({**COCO, "annotations": [*COCO["annotations"], {"image_id": 1, "bbox": [5, 6, 7, 8], **changes}]})


@pytest.mark.parametrize(
    ("name", "text", "code", "place", "faces"),
    [
        ("voc", "<annotation><object><name>face</name>\n<bndbox><xmin>x</xmin></bndbox></object></annotation>", "box",
         "line 1", 0),
        ("voc", "<annotation><size><width>0</width></size></annotation>", "image-size", "line 1", 0),
        ("voc", "<data/>", "not-voc", "<data>", 0),
        ("dlib", f"<dataset><images><image file='a.png'>{BOX}/>\n<box top='x'/></image></images></dataset>", "box",
         "line 2", 1),
        ("dlib", f"<images><image file='a.png'>{BOX}>\n<part name='a' x='1'/></box></image></images>", "part",
         "line 2", 1),
        ("dlib", f"<images><image file='a.png'>{BOX} detection_score='best'/></image></images>", "score", "line 1", 1),
        ("dlib", "<images>\n<image/></images>", "path", "line 2", 0),
        ("dlib", f"<dataset><image file='a.png'>{BOX}/></image>\n<image file='b", "not-xml", "line 2", 1),
        ("dlib", "<svg/>", "not-dlib", "<svg>", 0),
        ("pts", "version: 1\nn_points: 2\n{\n1 2\nx 3\n}\n", "point", "line 5", 1),
        ("pts", "version: 1\nn_points: 3\n{\n1 2\n3 3\n}\n", "point-count", "n_points 3", 1),
        ("pts", "1 2\n", "not-pts", "brace", 0),
        ("tfw", f"header\n{TFW_ROW}\nb.png,1,2\n", "column-count", "line 3", 1),
        ("tfw", f"{TFW_ROW}\nb.png,1,2,x,22,3,4,8,4,5,8,3,12,8,12\n", "not-a-number", "line 2", 1),
        ("tfw", f"{TFW_ROW}\nb.png,11,2,1,22,3,4,8,4,5,8,3,12,8,12\n", "box", "line 2", 1),
        ("tfw", f"{TFW_ROW}\n../b.png,1,2,11,22,3,4,8,4,5,8,3,12,8,12\n", "path", "line 2", 2),
        ("charlotte", "ID,x0,y0\nR1,1,2\nR2,1\n", "column-count", "line 3", 1),
        ("charlotte", "ID,x0,y0\nR1,1,b\n", "not-a-number", "line 2", 1),
        ("charlotte", "name,x0,y0\nR1,1,2\n", "header", "line 1", 0),
        ("sftl54", '{"shapes": [{"label": "face", "points": [[1, 2], [3, "a"]]}]}', "shape", "shapes[0]", 0),
        ("sftl54", '{"shapes": [{"label": "face", "points": [[1, 2], [1, 5]]}]}', "box", "shapes[0]", 0),
        ("sftl54", '{"shapes": [{"label": "p", "points": [[1, 2]]}]}', "point-count", "1 points", 1),
        ("sftl54", "{}", "not-labelme", "shapes", 0),
        ("coco", coco_with(bbox=[1, 2, 3]), "box", "annotations[1]", 1),
        ("coco", coco_with(bbox=[1, 2, 0, 4]), "box", "annotations[1]", 1),
        ("coco", coco_with(bbox=[1e300, 2, 3, 10**40]), "box", "annotations[1]", 1),
        ("coco", coco_with(image_id=7), "annotation", "annotations[1]", 1),
        ("coco", coco_with(image_id=[1]), "annotation", "annotations[1]", 1),
        ("coco", coco_with(keypoints=[1, 2]), "keypoints", "annotations[1]", 2),
        ("coco", coco_with(keypoints=[1, 2, 7]), "keypoints", "annotations[1]", 2),
        ("coco", coco_with(score="high"), "score", "annotations[1]", 2),
        ("coco", '{"images": [{"id": 1}], "annotations": []}', "image", "images[0]", 0),
        ("coco", '{"images": {}, "annotations": []}', "not-coco", "keys", 0),
        ("coco", '{"images": [', "not-json", "JSON", 0),
        ("coco", "[" * 100_000, "not-json", "JSON", 0),
        ("csv", GOOD_TABLE + "b.png,64,48,0,1,2,3,4\n", "column-count", "line 3", 1),
        ("csv", GOOD_TABLE + "b.png,64,48,0,1,2,3,x,,\n", "row", "line 3", 1),
        ("csv", "path,width\na,1\n", "header", "line 1", 0),
        ("parquet", "PAR1", "not-parquet", "Parquet", 0),
        ("yolo", "0 0.5 0.5 0.1 0.1\n00.5 0.5 0.1 0.1\n", "missing-space", "line 2", 1),
    ],
)  # fmt: skip
def test_malformed_parts_are_findings_and_the_rest_is_kept(
    name: str, text: str, code: str, place: str, faces: int
) -> None:
    reading = FORMATS[name].read(text, "labels/x", (64, 48))
    assert [(finding.path, finding.code) for finding in reading.findings] == [("labels/x", code)]
    assert place in reading.findings[0].message
    assert "allowed" in reading.findings[0].message or code in ("not-xml", "part", "point-count")
    assert sum(len(file.faces) for file in reading.files) == faces


@pytest.mark.parametrize("name", list(FORMATS))
@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("{}[]<>/=\"'0123456789., \n", max_size=200).map(str.encode))
def test_no_file_raises(name: str, content: bytes) -> None:
    reading = FORMATS[name].read(content, "x", SIZE)
    assert reading.findings or all(file.path for file in reading.files)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_over_the_limit_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    form = FORMATS[name]
    image = FileFaces("a.png", *SIZE, [FaceRecord([1, 2, 30, 40], points=np.ones((5, 2)), convention="5")])
    ((path, content),) = formats.label_files(name, [image])
    monkeypatch.setattr(form._module(), "MAX_BYTES", len(content) - 1)
    reading = form.read(content, path, SIZE)
    assert [finding.code for finding in reading.findings] == ["too-large"]
    assert not any(file.faces for file in reading.files)
    (tmp_path / path).write_bytes(content)
    with pytest.raises(DamagedInputError, match=f"allowed for {name}: {len(content) - 1}"):
        formats.read_path(tmp_path / path, name)


def test_xml_has_no_entities_and_is_bounded() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><dataset>&c;</dataset>'
    outside = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><dataset/>'
    for text in (bomb, outside):
        root, findings = xml_tree.parse(text, "x", 1000)
        assert root is None
        assert [finding.code for finding in findings] == ["dtd"]
    root, findings = xml_tree.parse("<a>&undefined;</a>", "x", 1000)
    assert [finding.code for finding in findings] == ["not-xml"]
    assert [finding.code for finding in xml_tree.parse("<a>" * 32, "x", 1000)[1]] == ["not-xml"]
    (finding,) = xml_tree.parse("<a>" * 33, "x", 1000)[1]
    assert finding.code == "too-large"
    assert "more than 32 levels" in finding.message


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "C:\\etc\\passwd", "a/../../etc/passwd"])
def test_no_image_lies_outside_the_root(path: str) -> None:
    texts = {
        "voc": f"<annotation><filename>{path}</filename><path>{path}</path></annotation>",
        "dlib": f"<images><image file='{path}'/></images>",
        "coco": json.dumps({"images": [{"id": 1, "file_name": path}], "annotations": []}),
        "tfw": TFW_ROW.replace("a.png", path),
        "charlotte": f"ID,x0,y0\n{path},1,2",
        "csv": GOOD_TABLE.replace("a.png", path),
    }
    for name, text in texts.items():
        reading = FORMATS[name].read(text, "x", SIZE)
        assert [file.path for file in reading.files] == ["passwd"]
        assert [finding.code for finding in reading.findings] == ["path"]
    with pytest.raises(UsageError, match="allowed: a path below the labels' root"):
        list(formats.label_files("voc", [FileFaces(path)]))


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "in" / "a.txt").symlink_to(tmp_path / "out.txt")
    reading = formats.read_path(tmp_path / "in", "yolo", lambda path: SIZE)
    assert reading.files == []
    assert [(finding.path, finding.code) for finding in reading.findings] == [("a.txt", "link")]


def test_two_images_never_share_a_label_file() -> None:
    with pytest.raises(UsageError, match=r"want the label file a\.txt"):
        list(formats.label_files("yolo", [FileFaces("a.png", *SIZE), FileFaces("a.jpg", *SIZE)]))


def test_voc_counts_pixels_from_one() -> None:
    whole = FileFaces("a.png", 320, 240, [FaceRecord([0, 0, 320, 240])])
    text = voc.write([whole]).decode()
    for side in ("<xmin>1<", "<ymin>1<", "<xmax>320<", "<ymax>240<"):
        assert side in text
    # as labelImg writes it
    text = """<annotation>
    <folder>face01</folder><filename>0001.jpg</filename><path>face01/0001.jpg</path>
    <size><width>320</width><height>240</height><depth>1</depth></size>
    <object><name>thermal_face</name><truncated>0</truncated>
    <bndbox><xmin>123</xmin><ymin>10</ymin><xmax>239</xmax><ymax>183</ymax></bndbox></object></annotation>"""
    (image,), findings = voc.read(text)
    assert findings == []
    assert (image.path, image.size) == ("face01/0001.jpg", (320, 240))
    assert image.faces[0].bbox.tolist() == [122, 9, 117, 174]
    assert image.faces[0].attributes == {"label": "thermal_face", "truncated": "0"}


def test_dlib_with_float_boxes_and_few_named_parts() -> None:
    text = """<dataset><name>faces</name>
    <images><image file="01/s4/a.bmp">
      <box height="188.25" left="55.5" top="23.125" width="192.75"><label>unlabelled</label>
        <part name="righteye_outer" x="123" y="103" /><part name="mouthcorner_left" x="163" y="151" />
      </box></image></images></dataset>"""
    (image,), findings = dlib_xml.read(text)
    assert findings == []
    (face,) = image.faces
    assert face.bbox.tolist() == [55.5, 23.125, 192.75, 188.25]
    assert face.names == ("righteye_outer", "mouthcorner_left")
    assert face.points is not None
    # the centre of pixel (123, 103)
    assert face.points.tolist() == [[123.5, 103.5], [163.5, 151.5]]
    assert face.convention is None
    again = dlib_xml.read(dlib_xml.write([image], whole=False))
    assert_same(again.files[0].faces, [face])


def test_dlib_gets_whole_numbers_and_names_that_sort() -> None:
    points = np.arange(136).reshape(68, 2) + 0.3
    points[3] = np.nan
    text = dlib_xml.write([FileFaces("a.png", faces=[FaceRecord([1.4, 2.6, 3.5, 4], points=points, convention="68")])])
    numbers = [value for part in text.decode().split('"')[1::2] for value in [part] if "a.png" not in value]
    assert not any("." in value for value in numbers[2:])
    (image,), findings = dlib_xml.read(text)
    assert findings == []
    face = image.faces[0]
    assert face.convention == "68"
    assert face.points is not None
    assert np.isnan(face.points[3]).all()
    assert np.nanmax(abs(face.points - points)) <= 0.5
    names = [part.split('"')[0] for part in text.decode().split('part name="')[1:]]
    assert names == sorted(names)
    assert len(names) == 67
    points = np.ones((54, 2))
    points[53] = np.nan
    short = dlib_xml.write([FileFaces("a.png", faces=[FaceRecord([1, 2, 3, 4], points=points, convention="54")])])
    assert b"<comment>point scheme 54</comment>" in short
    assert dlib_xml.read(short).files[0].faces[0].convention == "54"
    mixed = [FaceRecord([0, 0, 1, 1], points=np.ones((SCHEMES[s], 2)), convention=s) for s in ("68", "5")]
    with pytest.raises(ValueError, match="the points are of the schemes 5, 68; allowed: one in a dlib file"):
        dlib_xml.write([FileFaces("a.png", faces=mixed)])


def test_pts_counts_pixel_centres_from_one() -> None:
    (image,), findings = pts.read("version: 1\nn_points:  2\n{\n1.000 1.000\n10.5 20\n}\n", "a.pts")
    assert findings == []
    assert image.path == "a"
    assert image.faces[0].points is not None
    assert image.faces[0].points.tolist() == [[0.5, 0.5], [10, 19.5]]
    assert not image.faces[0].has_box
    two = FileFaces("a.png", faces=[FaceRecord(points=np.full((5, 2), i), convention="5") for i in range(2)])
    assert [path for path, _ in formats.label_files("pts", [two])] == ["a.pts", "a_2.pts"]


def test_tfw_rows_are_grouped_by_image() -> None:
    text = f"{','.join(tfw.HEADER)}\n{TFW_ROW}\nb.png,0,0,5,5,1,1,,,-1,-1,1,1,2,2\n{TFW_ROW}\n"
    files, findings = tfw.read(text)
    assert findings == []
    assert [(file.path, len(file.faces)) for file in files] == [("a.png", 2), ("b.png", 1)]
    face = files[0].faces[0]
    assert face.bbox.tolist() == [1, 2, 10, 20]
    assert face.convention == "5"
    assert files[1].faces[0].points is not None
    assert np.isnan(files[1].faces[0].points[:, 0]).tolist() == [False, True, True, False, False]


def test_sftl54_shapes_become_a_face() -> None:
    points = [[i + 0.25, i] for i in range(54)]
    shapes = [
        {"label": "face", "shape_type": "rectangle", "points": [[50, 60], [10, 20]]},
        {"label": "chin", "points": points[:17]},
        {"label": "rest", "points": points[17:]},
    ]
    (image,), findings = sftl54.read(json.dumps({"shapes": shapes, "imagePath": "../images/1_1.png"}), "json/1_1.json")
    assert findings == []
    assert image.path == "1_1.png"
    (face,) = image.faces
    assert face.bbox.tolist() == [10, 20, 40, 40]
    assert face.convention == "54"
    assert face.points is not None
    assert face.points.tolist() == points
    bad = "Sub_ID,Split,Age,Gender,Ethnicity,Acc_Trial_1,Acc_Trial_2\n1,Train,32,Male,Asian,None,None\n1,x\n"
    subjects, findings = sftl54.read_metadata(bad, "m")
    assert subjects[1]["Gender"] == "Male"
    assert [(f.code, "line 3" in f.message) for f in findings] == [("row", True)]


def test_charlotte_profiles_have_fewer_points() -> None:
    (front, profile), findings = charlotte.read("ID,x0,y0,x1,y1,Sensation\nR1,1,2,3,4,0\nR2,5,6,,,-1\n")
    assert findings == []
    assert front.faces[0].points is not None
    assert profile.faces[0].points is not None
    assert front.faces[0].points.tolist() == [[1, 2], [3, 4]]
    assert profile.faces[0].points[0].tolist() == [5, 6]
    assert np.isnan(profile.faces[0].points[1]).all()
    assert profile.faces[0].attributes == {"Sensation": "-1"}


def test_coco_is_what_its_tools_expect() -> None:
    points = np.arange(136, dtype=float).reshape(68, 2)
    points[5] = np.nan
    seen = np.full(68, 2)
    seen[6] = 1
    faces = [FaceRecord([1, 2, 3, 4], 0.25, points, seen, "68"), FaceRecord([5, 6, 7, 8], attributes={"ignore": "1"})]
    document = json.loads(coco.write([FileFaces("a.png", 64, 48, faces), FileFaces("b.png", 64, 48)]))
    first, second = document["annotations"]
    assert (first["bbox"], first["area"], first["score"], first["num_keypoints"]) == ([1, 2, 3, 4], 12, 0.25, 67)
    assert first["keypoints"][15:21] == [0, 0, 0, 12, 13, 1]
    plain = json.loads(
        coco.write([FileFaces("a.png", faces=[FaceRecord([1, 2, 3, 4], points=[[1, 2]], names=("nose",))])])
    )
    assert plain["annotations"][0]["keypoints"] == [1, 2, 2]
    assert "width" not in plain["images"][0]
    assert second["ignore"] == 1
    assert "score" not in second
    (category,) = document["categories"]
    assert len(category["keypoints"]) == 68
    ends = np.array(category["skeleton"])
    # 1-based: every point is on a line, and none is beyond the last
    assert set(ends.ravel()) == set(range(1, 69))
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.png"]
    named = {**document, "categories": [{"id": 1, "name": "mug"}]}
    (image, _), findings = coco.read(json.dumps(named))
    assert findings == []
    assert image.faces[0].attributes == {"label": "mug"}
    assert image.faces[1].attributes == {"label": "mug", "ignore": "1"}


def test_a_face_without_box_gets_the_extent_of_its_points_where_one_is_needed() -> None:
    face = FaceRecord(points=[[10, 20], [30, 60], [20, 40], [12, 50], [25, 50]], convention="5")
    nothing = FaceRecord()
    for name in ("coco", "yolo", "voc", "dlib", "tfw"):
        ((path, content),) = formats.label_files(name, [FileFaces("a.png", *SIZE, [nothing, face])])
        (image,) = FORMATS[name].read(content, path, SIZE).files
        np.testing.assert_allclose([f.bbox for f in image.faces], [[10, 20, 20, 40]], atol=1e-3)


def test_yolo_needs_the_size_and_stays_inside_the_image() -> None:
    yolo = FORMATS["yolo"]
    reading = yolo.read("0 0.5 0.5 0.1 0.1", "a.txt")
    assert [finding.code for finding in reading.findings] == ["size-unknown"]
    with pytest.raises(ValueError, match="the size of 'a' is not known"):
        yolo.write([FileFaces("a")])
    outside = [FaceRecord([-10, 20, 30, 40]), FaceRecord([600, 0, 5, 5])]
    (image,), findings = yolo.read(yolo.write([FileFaces("a", *SIZE, outside)]), "a.txt", SIZE)
    assert findings == []
    np.testing.assert_allclose([face.bbox for face in image.faces], [[0, 20, 20, 40]], atol=1e-3)
    points = np.array([[5, 5], [600, 5], [20, 20], [5, 30], [25, 30]])
    face = FaceRecord([0, 0, 40, 40], 0.5, points, convention="5")
    assert len(yolo.write([FileFaces("a", *SIZE, [face])]).split()) == 15
    assert yolo.write([FileFaces("a", *SIZE, [face])]).split()[7:9] == [b"-1", b"-1"]
    assert len(yolo.write([FileFaces("a", *SIZE, [face])], points=False).split()) == 6
    assert len(yolo.write([FileFaces("a", *SIZE, [face])], points=False, scores=False).split()) == 5


def test_named_points_survive_in_tables_and_coco() -> None:
    face = FaceRecord([1, 2, 3, 4], points=[[1, 2], [3, 4]], names=("nose", "chin"))
    for name in ("csv", "parquet", "coco", "dlib"):
        ((path, content),) = formats.label_files(name, [FileFaces("a.png", *SIZE, [face])], **EXACT.get(name, {}))
        assert_same(FORMATS[name].read(content, path).files[0].faces, [face])


def test_parquet_of_unknown_origin() -> None:
    columns = {name: ["a.png"] for name in ("path", "convention")} | {
        name: [1.0] for name in table.HEADER if name != "path"
    }
    sink = io.BytesIO()
    pq.write_table(pa.table({**columns, "path": ["a.png"], "convention": ["68"], "points": [[[1.0]]]}), sink)
    reading = table.read_parquet(sink.getvalue(), "x")
    assert [finding.code for finding in reading.findings] == ["row"]
    assert [len(file.faces) for file in reading.files] == [0]


def test_the_document_lists_every_format_and_its_example_runs() -> None:
    document = Path(__file__).parents[1] / "docs" / "formats.md"
    rows = document.read_text(encoding="utf-8").split("## Formats")[1].split("### ")[0]
    assert [line.split("`")[1] for line in rows.splitlines() if line.startswith("| `")] == list(FORMATS)
    outcome = doctest.testfile(str(document), module_relative=False)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_records_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"bbox has shape \(3,\)"):
        FaceRecord([1, 2, 3])
    with pytest.raises(ValueError, match="5 points are given for scheme '68'; allowed: 68"):
        FaceRecord(points=np.ones((5, 2)), convention="68")
    with pytest.raises(ValueError, match="visibility has 1 entries for 5 points"):
        FaceRecord(points=np.ones((5, 2)), visibility=[1])
    with pytest.raises(ValueError, match="without points"):
        FaceRecord(names=("a",))
    assert FaceRecord(points=np.ones((2, 2)), names=("a", "b")).points_in("5") is None
    with pytest.raises(ValueError, match="point scheme '9'"):
        FaceRecord().points_in("9")
