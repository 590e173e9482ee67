"""What a card says of labels, uses, limits, terms and versions, and that the Hub and its readers understand it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from test_card_reports import MADE, section, written

from thermvision.annotations.schema import CATEGORIES
from thermvision.curation.release import Manifest, front_matter, manifest_text, read_release
from thermvision.curation.reviews.decisions import decide
from thermvision.curation.store import sha256_bytes
from thermvision.dataset_card import advice, card, plots
from thermvision.dataset_card.commands import finish
from thermvision.dataset_card.trust import Known, known_labels, label_rows
from thermvision_db import main

EXAMPLE = Path(__file__).parents[1] / "docs" / "example_card"
# as the Hub lists them: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
TASKS = {"image-classification", "object-detection", "keypoint-detection", "video-classification"}
TASK_IDS = {"face-detection", "multi-class-image-classification"}


def body(root: Path) -> str:
    return card.split_front_matter(root / "README.md")[1].decode()


def targets(text: str) -> list[str]:
    """What the links and pictures of a card lead to."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return re.findall(r'(?:href|src|srcset)="([^"]*)"', html)


@pytest.fixture
def complete(
    oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A release with all parts of a card."""
    from thermvision.dataset_card.reports import take_reports

    monkeypatch.setattr(plots, "FEWEST", 1)
    monkeypatch.setattr(plots, "SHOWN", {"box_map": "Places of faces"})
    root = copied(oval_release)
    take_reports(root, written(tmp_path, **{kind: make(root) for kind, make in MADE.items()}))
    finish(root)
    return root


@pytest.mark.parametrize(
    "change",
    [
        lambda evil: {"name": evil},
        lambda evil: {"software": {evil: evil}},
        lambda evil: {"engines": {evil: {evil: evil}, f"flux@{evil}": {}}},
        lambda evil: {"licences": {f"flux@{evil}": "flux-1-dev-non-commercial-license"}},
        lambda evil: {"failed": [{"item_id": evil, "code": evil, "reason": evil}]},
        lambda evil: {"recipes": {evil.replace("/", ""): "0" * 64}},
        lambda evil: {"limits": {evil: 3}},
    ],
)
def test_names_are_text(change: Callable[[str], dict[str, Any]], oval_release: Path) -> None:
    evil = 'x"><script>alert(1)</script>|`a`|[l](javascript:1)![p](q)\n# Big\n---\n\n<img src=x>'
    manifest = Manifest.model_validate({**read_release(oval_release).model_dump(), **change(evil)})
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    html = markdown.render(card.card_text(oval_release, manifest))
    for broken in ("<script", "<h1>Big", 'href="javascript', "<img src=x", 'src="q"'):
        assert broken not in html
    assert yaml.safe_load(front_matter(manifest))["pretty_name"] == manifest.name


def test_every_link_and_picture_is_in_the_release(complete: Path) -> None:
    found = targets(body(complete))
    local = [t for t in found if not t.startswith(("https://", "#"))]
    pictures = ["strip.jpg", "clips.webp", "contact_sheet.jpg", "overlay.mp4", "box_map-dark.png", "box_map.png"]
    assert local == [*(f"preview/{name}" for name in pictures), "recipes/1.0.toml"]
    assert all((complete / t).is_file() for t in local)
    headings = [line.lstrip("# ").lower().replace(" ", "-") for line in body(complete).splitlines() if line[:1] == "#"]
    assert all(t[1:] in headings for t in found if t.startswith("#"))
    assert "#audit" in found


def test_the_hub_reads_the_yaml(complete: Path) -> None:
    from huggingface_hub import DatasetCard, DatasetCardData

    read = DatasetCard.load(complete / "README.md")
    told = yaml.safe_load(front_matter(read_release(complete)))
    assert read.data.to_dict() == told
    again = DatasetCardData(**told)
    assert yaml.safe_load(again.to_yaml()) == told
    assert (read.data.license, read.data.pretty_name) == ("cc-by-4.0", "Ovals")
    assert set(read.data.task_categories) <= TASKS
    assert set(read.data.task_ids) <= TASK_IDS
    assert read.data.size_categories == ["n<1K"]
    assert {i["config_name"] for i in told["dataset_info"]} == {c["config_name"] for c in told["configs"]}
    assert all(s["num_bytes"] > 0 and s["num_examples"] > 0 for i in told["dataset_info"] for s in i["splits"])
    assert len(read.text) > 1000


def test_a_licence_of_its_own_has_a_name(imported_release: Path) -> None:
    told = yaml.safe_load(front_matter(read_release(imported_release)))
    assert (told["license"], told["license_name"]) == ("other", "thermvision-db-research")
    assert (told["doi"], told["article_doi"]) == ("10.57967/hf/7026", "10.1016/j.dib.2026.112506")


def test_yaml_of_an_earlier_program_is_renewed(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    path = root / "README.md"
    whole = path.read_text()
    assert not card.renew_header(root, read_release(root))
    path.write_text(whole.replace("article_doi: 10.1016/j.dib.2026.112506\n", ""))
    assert main(["card", str(root)]) == 0
    assert path.read_text().startswith(whole.partition("\n---\n")[0])
    path.write_text(whole.replace("config_name: video\n  features:", "config_name: video\n  x: 1\n  features:"))
    assert not card.renew_header(root, read_release(root))  # columns that differ are for `verify` to tell


def test_labels_and_their_sources(oval_release: Path, imported_release: Path) -> None:
    known = known_labels(oval_release, read_release(oval_release))
    assert (known.frames, known.by_source) == (58, Counter({"ground_truth": 58}))
    assert {n: known.total(n) for n in ("bbox", "landmarks", "jewellery")} == {
        "bbox": 58,
        "landmarks": 58,
        "jewellery": 0,
    }
    assert known.total("beard") == 10  # of stills only
    rows = label_rows(known, {"bbox": "AP50 1.000"})
    assert [r["name"] for r in rows] == [
        "face box", "68 landmarks, visibility of landmarks, head pose, expression, openness of eyes, openness of the"
        " mouth", "hairstyle, beard, glasses", "gender",
    ]  # fmt: skip
    assert [r["frames"] for r in rows] == ["58 of 58", "58 of 58", "10 of 58", "58 of 58"]
    assert rows[-1]["source"] == "the recipe"
    imported = known_labels(imported_release, read_release(imported_release))
    rows = label_rows(imported, {}, imported=True)
    assert [(r["name"], r["source"]) for r in rows] == [
        ("face box", "`published labels`"), ("gender", "names of published files")
    ]  # fmt: skip


def test_corrected_labels_are_told_apart() -> None:
    known = Known(frames=10)
    known.labels["bbox"] = Counter({"ground_truth": 7, "ground_truth, corrected by a person": 2, "a|b" * 40: 1})
    (row,) = label_rows(known, {})
    assert row["source"].startswith("ground truth 7, ground truth, corrected by a person 2, `a/ba/b")
    assert "|" not in row["source"]


def facts_of(manifest: Manifest, **change: Any) -> tuple[str, str, str]:
    """What the release is not for, its ethics and its limits."""
    changed = Manifest.model_validate({**manifest.model_dump(), **change})
    poses = np.array([[-40.0, -9, -3], [-30, -5, -2], [0, 0, 0], [30, 5, 2], [41, 9, 3]])
    return (
        "\n".join(advice.not_for(changed, poses)), "\n".join(advice.ethics(changed)), "\n".join(advice.limits(changed))
    )  # fmt: skip


def test_terms_and_people(oval_release: Path, imported_release: Path) -> None:
    manifest = read_release(oval_release)
    never, ethics, limits = facts_of(manifest)
    assert "none of the 14 items was recorded with a camera" in never
    assert "2 subjects are too few" in never
    assert "**Scores on validation**: no identity of the 2 is there" in never
    assert "yaw ends at -40° and 41°" in never
    assert "Commercial" not in never
    assert "no picture of a person is an input" in ethics
    assert "(1 female, 1 male)" in ethics
    assert "FLUX" not in ethics
    assert "those that `phantom@1` can draw: 14 items" in limits
    engines = {"phantom@1": {}, "flux@1": {}}
    terms = {"phantom@1": "cc-by-4.0", "flux@1": "flux-1-dev-non-commercial-license"}
    never, ethics, limits = facts_of(manifest, engines=engines, licences=terms, passed_over=("P_9: alike",))
    assert "**Commercial use**: FLUX.1-dev non-commercial terms (`flux@1`)." in never
    assert "Items of `flux@1` are outputs of FLUX.1-dev" in ethics
    assert "no picture of a person is an input" not in ethics
    assert "may have learned some of them" in ethics
    assert "1 subject passed over" in limits
    never, ethics, limits = facts_of(manifest, engines={"liveportrait@1": {}}, limits={"1.0": 9})
    assert "recorded with a camera" not in never  # it moves any picture
    assert "synthetic" not in never + ethics  # of anybody
    assert "does not know whom they show" in ethics
    assert "moves the shape" not in ethics
    assert "nothing ties gray levels to degrees" in never
    assert "version 1.0: 9" in limits
    never, ethics, _ = facts_of(read_release(imported_release))
    assert "Charlotte-ThermalFace" in ethics
    assert "**Commercial use**: research and non-commercial use, as the published dataset (`thermvision-db`)." in never
    assert "value of the recipe" not in never + ethics


@pytest.mark.parametrize("config", ["video", "image", "frames"])
def test_a_release_of_one_kind(config: str, oval_release: Path) -> None:
    manifest = read_release(oval_release)
    kept = tuple(s for s in manifest.shards if s.config == config or (config == "image" and s.config in CATEGORIES))
    one = {"shards": kept, "identities": manifest.identities[:1]}
    text = card.card_text(oval_release, manifest.model_copy(update=one))
    assert ("### Good for" in text) == (config != "image")
    assert ("| items |" in text) == (config != "frames")
    assert ("| items |  |" in text, "the 0 items" in text) == (False, False)
    assert "1 subject is too few" in text


def test_uses_have_their_numbers(oval_release: Path, imported_release: Path) -> None:
    text = section(card.card_text(oval_release, read_release(oval_release)), "### Good for")
    assert "**Face detection**: 58 frames, ground truth." in text
    assert "**Temperatures**: 2 items as 16-bit frames" in text
    assert "Recognition" not in text
    assert "**Expressions**: 2 of 7 classes, in 58 frames" in text
    assert "**Attributes**: beard, in 10 frames" in text  # the others are not known, or alike in all frames
    text = section(card.card_text(imported_release, read_release(imported_release)), "### Good for")
    assert text.strip().splitlines() == [
        "* **Face detection**: 5 frames.", "* **Motion**: 1 clip, labelled frame by frame."
    ]  # fmt: skip


def test_versions_are_listed_newest_first(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    said = {"who": "Ana", "why": "blurred", "version": "1.0", "digest": "0" * 16, "when": "2026-01-02T03:04:05Z"}
    lines = [decide(item, action, **said) for item, action in (("a", "reject"), ("b", "reject"), ("c", "accept"))]
    table = "".join(d.line() + "\n" for d in lines).encode()
    (root / "decisions").mkdir()
    (root / "decisions" / "1.1.jsonl").write_bytes(table)
    manifest = read_release(root)
    recipes = {**manifest.recipes, "decisions/1.1.jsonl": sha256_bytes(table)}
    later = manifest.model_copy(update={"version": "1.1", "parent": "1.0", "recipes": recipes})
    (root / "release.json").write_text(manifest_text(later))
    text = section(card.card_text(root, later), "## Versions")
    assert "Version 1.1 was made from 1.0." in text
    rows = [line for line in text.splitlines() if line.startswith("| 1.")]
    link = "[decisions/1.1.jsonl](decisions/1.1.jsonl): 1 accept, 2 reject"
    assert rows[0] == f"| 1.1 | – | 0 new | 0 | 0 B | {link} |"
    assert rows[1].startswith("| 1.0 | +2 | 11 new | 58 | ")
    assert "first" in section(card.card_text(oval_release, manifest), "## Versions")


def structure(text: str) -> list[str]:
    """Headings, and the heads of tables without the names of splits."""
    lines = text.splitlines()
    heads = {k - 1 for k, line in enumerate(lines) if line.startswith("|--")}
    kept = [line for k, line in enumerate(lines) if line.startswith("#") or k in heads]
    return [re.sub(r" (train|validation|test) \|", "", line) for line in kept]


def test_the_example_is_as_cards_are(complete: Path) -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    made = body(complete)
    left_out = ("| finding | severity |", "| package |")  # the example has no finding, the other tells no packages
    expected = [line for line in structure(made)[1:] if not line.startswith(left_out)]
    assert [line for line in structure(body(EXAMPLE))[1:] if not line.startswith(left_out)] == expected
    local = [t for t in targets(body(EXAMPLE)) if not t.startswith(("https://", "#"))]
    assert len(local) == 20
    assert [t for t in local if not (EXAMPLE / t).is_file()] == []
    assert yaml.safe_load(text.split("---\n")[1]).keys() == yaml.safe_load(front_matter(read_release(complete))).keys()
    files = [p for p in EXAMPLE.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 1_500_000
    assert "overlay.mp4" not in text
