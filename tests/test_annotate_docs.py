"""Every command and Python block of docs/annotate.md runs in its order, with an annotator that needs no models."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import oval_face
from fake_annotator import BrightAnnotator

import thermvision_db
from thermvision.curation import annotate_commands
from thermvision.curation.ingest import import_release
from thermvision.curation.label_files import WRITTEN
from thermvision.curation.overlay import frame_findings
from thermvision.curation.video import encode_gray

from .published_imitation import imitation

DOC = (Path(__file__).parents[1] / "docs" / "annotate.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from datasets import Dataset, Features, Image

    gray = oval_face(64)[0]
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/face.png"), gray)
    (tmp_path / "photos/walk.mp4").write_bytes(encode_gray(np.stack([gray] * 8), 30.0))
    picture = {"bytes": (tmp_path / "photos/face.png").read_bytes(), "path": None}
    data = Dataset.from_list([{"picture": picture}], features=Features({"picture": Image()}))
    data.to_parquet(str(tmp_path / "parquet_folder/train.parquet"))
    import_release(imitation().write_zips(tmp_path / "downloads"), tmp_path / "imported", quiet=True)
    monkeypatch.setattr(annotate_commands, "make_annotator", lambda *_: BrightAnnotator())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_run(workplace: Path) -> None:
    blocks = BLOCK.findall(DOC)
    assert len(blocks) >= 7
    namespace: dict[str, object] = {}
    for kind, text in blocks:
        if kind == "python":
            exec(text, namespace)
            continue
        for line in text.splitlines():
            verb, *arguments = shlex.split(line)
            assert verb == "thermvision"
            assert thermvision_db.main([*arguments, *([] if arguments[0] == "verify" else ["--quiet"])]) == 0, line
    assert len(list((workplace / "drawings").rglob("*.png"))) == 9


def test_formats_and_findings_are_the_codes() -> None:
    table = DOC.split("| `--format` |")[1].split("\n\n")[0]
    assert re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines()[2:])) == list(WRITTEN)
    import inspect

    told = set(re.findall(r"`([a-z-]+)`", DOC.split("| finding |")[1].split("\n\n")[0]))
    assert told == set(re.findall(r'"([a-z]+-[a-z-]+)"', inspect.getsource(frame_findings)))
