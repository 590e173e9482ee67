"""The dataset card: YAML kept, prose from the release's own numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CONFIGS, features
from thermvision.curation.release import Manifest, front_matter, read_release
from thermvision.dataset_card import card
from thermvision.dataset_card.card import write_card
from thermvision.dataset_card.coverage import coverage_lines, measured


def test_the_yaml_stays_byte_for_byte(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    before = (root / "README.md").read_bytes()
    head, _ = card.split_front_matter(root / "README.md")
    assert before.startswith(head)
    assert write_card(root) == root / "README.md"
    first = (root / "README.md").read_bytes()
    assert first.startswith(head + b"\n# Ovals 1.0\n")
    assert head == f"---\n{front_matter(read_release(root))}---\n".encode()
    write_card(root)
    assert (root / "README.md").read_bytes() == first
    assert yaml.safe_load(head.decode().strip("-\n"))["configs"][0]["config_name"] == "video"


def test_numbers_are_those_of_the_release(oval_release: Path) -> None:
    text = card.card_text(oval_release, read_release(oval_release))
    assert "2 subjects (1 female, 1 male), 4 clips, 10 stills, 58 annotated frames, 2 16-bit items" in text
    assert re.search(r"^\| `video` \| .* \| 2 \| 2 \| [\d.]+ kB \|$", text, re.MULTILINE)
    assert re.search(r"^\| `beard` \| .* \| 0 \| 2 \| [\d.]+ kB \|$", text, re.MULTILINE)
    assert "1 in train, 1 in test" in text
    assert "* 58 frames: 58 with one face, 0 with none, 0 with several" in text
    assert "* expression: neutral 34, smile 24 (frames)" in text
    assert "| yaw | 0.0 | 0.0 |" in text
    assert "| 55.0 |" in text
    assert "Creative Commons Attribution 4.0 (`cc-by-4.0`)" in text
    assert "None" not in text
    assert not re.search(r"\bnan\b", text)
    assert "temperatures are in `radiometric`, for 2 of 14 items" in text
    assert "No identity is in validation" in text


def test_an_import_claims_nothing_it_does_not_know(imported_release: Path) -> None:
    text = card.card_text(imported_release, read_release(imported_release))
    assert "* 5 frames: 3 with one face, 1 with none, 1 with several" in text
    assert "head pose, degrees" not in text
    assert "expression:" not in text
    assert "`image`" not in text
    assert "research and non-commercial" in text
    assert "byte for byte" in text
    assert "8-bit gray is no temperature: nothing ties gray levels to degrees.\n" in text
    assert "Recipe" not in text


def test_pictures_are_shown_when_they_are_there(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    manifest = read_release(root)
    assert "preview/" not in card.card_text(root, manifest)
    (root / "preview").mkdir()
    (root / "preview" / "contact_sheet.jpg").write_bytes(b"")
    text = card.card_text(root, manifest)
    assert "(preview/contact_sheet.jpg)" in text
    assert "overlay.mp4" not in text


def test_failures_are_counted(oval_release: Path) -> None:
    manifest = read_release(oval_release)
    failed = [{"item_id": f"P_{k}", "code": c, "reason": "x"} for k, c in enumerate(("render", "render", "encode"))]
    more = Manifest.model_validate({**manifest.model_dump(), "failed": failed})
    text = card.card_text(oval_release, more)
    assert "3 items could not be made" in text
    assert "| encode | 1 | P\\_2: x |\n| render | 2 | P\\_0: x |" in text


def test_every_column_is_described() -> None:
    names = {name for config in CONFIGS for name in features(config, ["P_000000"])}
    assert set(card.COLUMNS) == names


def test_the_python_in_the_card_runs(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: Callable[[Path], Path]
) -> None:
    root = copied(oval_release)
    write_card(root)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block.replace("path/to/this/folder", str(root)), namespace)
    assert namespace["gray"].shape == (12, 96, 96)  # type: ignore[attr-defined]
    assert namespace["first_and_last"].shape == (2, 96, 96)  # type: ignore[attr-defined]


def test_readmes_that_are_no_cards(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    with pytest.raises(DamagedInputError, match="cannot be read"):
        card.split_front_matter(path)
    for text in ("", "# Title\n", "---\nopen: yes\n", "text\n---\na: 1\n---\n"):
        path.write_text(text)
        with pytest.raises(DamagedInputError, match="does not begin with YAML"):
            card.split_front_matter(path)
    path.write_bytes(b"---\na: 1\n---\nprose\n---\n")
    assert card.split_front_matter(path) == (b"---\na: 1\n---\n", b"prose\n---\n")


def test_no_release(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no release"):
        write_card(tmp_path)


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (10**13, "10 TB")])
def test_sizes(number: int, text: str) -> None:
    assert card.megabytes(number) == text


def test_numbers_without_a_class_are_shown_as_numbers(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    for shard in read_release(root).shards_of("frames"):
        table = pq.read_table(root / shard.path)
        rows = [{**row, "expression": 60} for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), root / shard.path)
    assert any("class 60" in line for line in coverage_lines(measured(root, read_release(root))))
