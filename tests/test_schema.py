import re
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Features

from thermvision.annotations import errors, schema
from thermvision.annotations.schema import FrameAnnotation, clip_columns, frame_columns

DOCUMENT = (Path(__file__).parents[1] / "docs" / "schema.md").read_text(encoding="utf-8")


def columns() -> set[str]:
    return {name for config in schema.CONFIGS for name in schema.features(config)}


def test_every_column_is_documented_and_nothing_else():
    tables = DOCUMENT.split("## Identity and medium")[1]
    cells = [line.split("|")[1] for line in tables.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == columns()


@pytest.mark.parametrize(
    "names", [*schema.ATTRIBUTES.values(), schema.EXPRESSIONS, schema.SEQUENCES, schema.CATEGORIES]
)
def test_every_class_name_is_documented(names):
    assert all(f"`{name}`" in DOCUMENT for name in names)


def test_segments_and_exit_codes_are_documented():
    assert all(f"{n} {name}" in DOCUMENT for n, name in enumerate(schema.SEGMENTS))
    codes = {e.exit_code for e in errors.ThermVisionError.__subclasses__()} | {0, 130}
    assert {int(c) for c in re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)} == codes


def test_the_identity_is_an_integer_above_a_thousand_names():
    few, many = (schema.features("frames", [f"P{n}" for n in range(count)])["identity"] for count in (1000, 1001))
    assert isinstance(few, ClassLabel)
    assert many.dtype == "int32"


def test_classes_are_appended_only():
    # indices in published shards: these never move
    assert schema.GENDERS == ("female", "male")
    assert schema.CATEGORIES == ("frontal_pose", "facial_accessories", "beard", "mix", "head_poses")
    assert schema.SEQUENCES == ("head_pose", "expression")
    assert schema.EXPRESSIONS[:4] == ("neutral", "smile", "frown", "surprise")
    assert schema.BEARDS[:3] == ("none", "stubble", "full")


@pytest.mark.parametrize("config", schema.CONFIGS)
def test_features_survive_the_yaml_of_a_card(config):
    features = schema.features(config, ["a", "b"])
    assert Features._from_yaml_list(features._to_yaml_list()) == features


def test_a_wrong_shape_or_word_is_refused():
    good = {"bbox": [0, 0, 1, 1], "face_count": 1, "source": "x"}
    with pytest.raises(ValueError, match=r"landmarks has shape \(54, 2\); allowed: \(68, 2\)"):
        FrameAnnotation(**good, landmarks=np.zeros((54, 2)))
    with pytest.raises(ValueError, match="expression is 'happy'; allowed: neutral"):
        FrameAnnotation(**good, expression="happy")
    with pytest.raises(ValueError, match="beard is 'long'"):
        schema.attribute_columns({"beard": "long"})
    with pytest.raises(ValueError, match="'videos' does not exist"):
        schema.features("videos")


def test_what_is_known_of_no_frame_is_null_as_a_whole():
    bare = FrameAnnotation(bbox=[1, 2, 3, 4], face_count=1, source="x")
    rich = FrameAnnotation(bbox=[1, 2, 3, 4], face_count=1, source="x", eye_openness=0.5)
    assert clip_columns([bare, bare])["landmarks"] is None
    assert clip_columns([bare, rich])["eye_openness"] == [None, 0.5]
    assert frame_columns(rich)["bbox"] == [1, 2, 3, 4]
    assert np.isnan(FrameAnnotation.no_face("x").bbox).all()
