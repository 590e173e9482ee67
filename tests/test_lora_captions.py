"""Training sets: captions, what cannot be used, what is held out, and the order in which pictures are shown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lora_pictures import CAPTIONS, dataset, draw_pictures
from PIL import Image

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.flux.training.captions import batches, read_caption, read_training_set


def test_pictures_and_captions_at_two_sizes(tmp_path: Path):
    draw_pictures(tmp_path)
    found = read_training_set([dataset(tmp_path), dataset(tmp_path, 96, repeats=2)])
    assert [e.caption for e in found.examples] == [*CAPTIONS, *CAPTIONS]
    assert [(e.dataset, e.repeats) for e in found.examples] == [(0, 1)] * 3 + [(1, 2)] * 3
    assert not found.findings
    assert not found.held_out


def test_what_cannot_be_used_is_found_once_and_the_rest_is_used(tmp_path: Path):
    draw_pictures(tmp_path)
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (tmp_path / "1.txt").unlink()
    Image.fromarray(np.full((8, 8), 30000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "deep.txt").write_text("deep")
    found = read_training_set([dataset(tmp_path), dataset(tmp_path, 96)])
    assert {e.path.name for e in found.examples} == {"2.png"}
    assert len(found.findings) == 3
    told = "\n".join(found.findings)
    assert "0.png cannot be read" in told
    assert "1.txt" in told
    assert "uint16" in told


def test_trigger_words(tmp_path: Path):
    picture = draw_pictures(tmp_path, 1) / "0.png"
    assert read_caption(picture, ".txt", "") == CAPTIONS[0]
    assert read_caption(picture, ".txt", " thermface ") == f"thermface, {CAPTIONS[0]}"
    assert read_caption(picture, ".caption", "thermface") == "thermface"
    (tmp_path / "0.txt").write_text("\n  \n second line \nthird")
    assert read_caption(picture, ".txt", "") == "second line"


@pytest.mark.parametrize(("content", "told"), [(b"", "empty"), (b"\xff\xfe\x00", "UTF-8"), (b"a" * 70_000, "70000")])
def test_captions_that_cannot_be_used(tmp_path: Path, content: bytes, told: str):
    picture = draw_pictures(tmp_path, 1) / "0.png"
    (tmp_path / "0.txt").write_bytes(content)
    with pytest.raises(DamagedInputError, match=told):
        read_caption(picture, ".txt", "")


def test_nothing_to_train_on(tmp_path: Path):
    with pytest.raises(UsageError, match=r"no \[\[lora.datasets\]\]"):
        read_training_set([])
    with pytest.raises(UsageError, match="no folder"):
        read_training_set([dataset(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="nothing to train on"):
        read_training_set([dataset(tmp_path)])


def test_people_for_testing_are_never_trained_on(tmp_path: Path):
    tmp_path = tmp_path / "sets" / "tufts"
    for split in ("train", "holdout"):
        draw_pictures(tmp_path / split / "512", 2)
    rows = [{"file": f"{s}/512/{k}.png", "split": s} for s in ("train", "holdout") for k in range(2)]
    (tmp_path / "index.json").write_text(json.dumps({"pictures": rows}))
    found = read_training_set([dataset(tmp_path)])
    assert {e.path.parent.parent.name for e in found.examples} == {"train"}
    assert found.held_out == 2
    assert read_training_set([dataset(tmp_path / "train" / "512")]).held_out == 0
    with pytest.raises(UsageError, match="2 pictures held out"):
        read_training_set([dataset(tmp_path / "holdout" / "512")])
    # several sets in one folder: each picture's own index counts
    assert read_training_set([dataset(tmp_path.parent)]).held_out == 2
    (tmp_path / "index.json").write_text('{"something": "else"}')
    assert read_training_set([dataset(tmp_path)]).held_out == 0
    (tmp_path / "index.json").write_text('{"pictures": [{"file": "a.png"}]}')
    with pytest.raises(DamagedInputError, match="held out"):
        read_training_set([dataset(tmp_path)])


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path):
    draw_pictures(tmp_path / "elsewhere")
    draw_pictures(tmp_path / "set", 1)
    (tmp_path / "set" / "9.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    found = read_training_set([dataset(tmp_path / "set", trigger="x")])
    assert [e.path.name for e in found.examples] == ["0.png"]


def test_an_epoch_shows_each_picture_as_often_as_it_is_repeated(tmp_path: Path):
    draw_pictures(tmp_path, 5)
    found = read_training_set([dataset(tmp_path, batch=2), dataset(tmp_path, 128, repeats=3)])
    cut = batches(found.examples, seed=7, epoch=0)
    shown = Counter((e.path.name, e.dataset) for batch in cut for e in batch)
    assert shown == {(f"{k}.png", d): (1, 3)[d] for k in range(5) for d in range(2)}
    assert all(len({(e.dataset, e.placement.bucket) for e in batch}) == 1 for batch in cut)
    assert all(len(batch) <= batch[0].batch for batch in cut)
    assert cut == batches(found.examples, seed=7, epoch=0)
    assert cut != batches(found.examples, seed=7, epoch=1)
    assert cut != batches(found.examples, seed=8, epoch=0)
    assert len(cut) == len(batches(found.examples, seed=7, epoch=1))


def test_the_digest_knows_contents_not_places(tmp_path: Path):
    a, b = draw_pictures(tmp_path / "a"), draw_pictures(tmp_path / "b")
    same = [read_training_set([dataset(folder)]).digest for folder in (a, b)]
    (b / "0.txt").write_text("another caption")
    assert same[0] == same[1] != read_training_set([dataset(b)]).digest
