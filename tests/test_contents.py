"""Which files a release is made of, and the seal: the manifest answers for every one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import thermvision_db
from thermvision.annotations.errors import DamagedInputError
from thermvision.curation import benchmark, contents
from thermvision.curation.contents import (
    CROISSANT,
    MANIFEST,
    SIGNATURE,
    is_sealed,
    listed,
    release_files,
    seal,
    unlisted,
)
from thermvision.curation.release import README, manifest_text, read_release
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.store import atomic_write, sha256_file
from thermvision.curation.verify import verify_release
from thermvision.dataset_card.commands import finish
from thermvision.dataset_card.previews import Previews

PICTURES = {f"preview/{name}" for name in ("contact_sheet.jpg", "overlay.mp4", "strip.jpg", "clips.webp")}


@pytest.fixture
def root(wave_release: Path, copied: Callable[[Path], Path]) -> Path:
    return copied(wave_release)


@pytest.fixture
def quick_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews are not drawn: these tests are about what is listed."""

    def write_previews(root: Path) -> Previews:
        for path in PICTURES:
            atomic_write(root / path, "drawn")
        return Previews(root / "preview" / "contact_sheet.jpg", root / "preview" / "overlay.mp4")

    monkeypatch.setattr("thermvision.dataset_card.previews.write_previews", write_previews)


def every_file(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in root.rglob("*") if p.is_file()}


def test_a_build_ends_sealed_and_its_manifest_lists_every_file(tiny_release: Path) -> None:
    manifest = read_release(tiny_release)
    assert is_sealed(manifest)
    assert manifest.files.keys() == {README, CROISSANT, *PICTURES}
    there = every_file(tiny_release)
    assert there.pop(MANIFEST) == sha256_file(tiny_release / MANIFEST)
    assert listed(manifest) == there
    assert unlisted(tiny_release, manifest) == []
    assert verify_release(tiny_release) == []


def test_files_that_ride_along_are_listed_and_others_are_not(root: Path) -> None:
    for name in ("LICENSE", "import_report.json", "protocols/a/b.csv", "notes.txt", ".hidden", "data/x.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "preview").mkdir()
    (root / "preview" / ".sheet.png.12.partial").write_text("left by a killed writer")
    manifest = seal(root)
    assert manifest.files.keys() == {README, "LICENSE", "import_report.json", "protocols/a/b.csv"}
    assert read_release(root) == manifest
    assert unlisted(root, manifest) == ["data/x.txt", "notes.txt"]
    assert not list(root.rglob("*.partial"))


@pytest.mark.usefixtures("quick_previews")
def test_sealing_again_changes_nothing(root: Path) -> None:
    finish(root)
    before = (root / MANIFEST).read_bytes(), (root / MANIFEST).stat().st_mtime_ns
    finish(root)
    assert ((root / MANIFEST).read_bytes(), (root / MANIFEST).stat().st_mtime_ns) == before


@pytest.mark.usefixtures("quick_previews")
def test_a_signature_goes_when_the_manifest_changes_and_only_then(root: Path) -> None:
    seal(root)
    (root / SIGNATURE).write_text("signed")
    seal(root)
    assert (root / SIGNATURE).is_file()
    (root / README).write_text((root / README).read_text() + "more\n")
    seal(root)
    assert not (root / SIGNATURE).exists()
    (root / SIGNATURE).write_text("signed")
    assert [line for line in finish(root) if "sign again" in line]


@pytest.mark.parametrize("place", [README, "preview", "preview/a.png", "protocols/list.csv"])
def test_a_link_or_pipe_is_not_sealed(root: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "outside").mkdir()
    (root / place).unlink(missing_ok=True)
    (root / place).parent.mkdir(exist_ok=True)
    before = (root / MANIFEST).read_bytes()
    (root / place).symlink_to(tmp_path / "outside")
    with pytest.raises(DamagedInputError, match="is no plain file; put a copy in its place"):
        seal(root)
    (root / place).unlink()
    os.mkfifo(root / place)
    with pytest.raises(DamagedInputError, match="is no plain file"):
        seal(root)
    assert (root / MANIFEST).read_bytes() == before


def test_the_files_of_a_release_come_with_size_and_digest(root: Path) -> None:
    manifest = seal(root)
    (root / SIGNATURE).write_text("signed")
    (root / "notes.txt").write_text("not a part")
    files = release_files(root, manifest)
    assert [f.path for f in files] == sorted({*listed(manifest), MANIFEST, SIGNATURE})
    for file in files:
        assert (file.local, file.size) == (root / file.path, (root / file.path).stat().st_size)
        assert file.sha256 == sha256_file(file.local)
    (root / manifest.shards[0].path).unlink()
    with pytest.raises(DamagedInputError, match=r"is listed in release.json and cannot be read .* thermvision verify"):
        release_files(root, manifest)


@pytest.mark.usefixtures("quick_previews")
def test_decisions_and_lists_hold_on_to_the_rows_and_not_to_the_card(root: Path) -> None:
    before = ReleaseSource(root).digest, benchmark.content_digest(read_release(root))
    index = benchmark.write_lists(root, root / "protocols")
    assert finish(root)
    assert {f"protocols/{e.path}" for e in index.lists.values()} < read_release(root).files.keys()
    assert (ReleaseSource(root).digest, benchmark.content_digest(read_release(root))) == before
    assert benchmark.read_lists(root / "protocols", read_release(root), ["detection"]).index == index
    assert verify_release(root) == []
    sealed = read_release(root)
    (root / MANIFEST).write_text(manifest_text(sealed.model_copy(update={"shards": sealed.shards[1:]})))
    assert ReleaseSource(root).digest != before[0]


def test_a_release_from_before_seals_keeps_its_digest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (root / MANIFEST).read_text().replace(' "files": {},\n', "").replace(' "limits": {},\n', "")
    assert "files" not in text
    (root / MANIFEST).write_text(text)
    digest = ReleaseSource(root).digest
    assert digest == sha256_file(root / MANIFEST)[:16]
    assert not is_sealed(read_release(root))
    assert verify_release(root) == []
    (root / "notes.txt").write_text("mine")
    assert thermvision_db.main(["verify", str(root)]) == 0
    assert "never published: notes.txt\n" in capsys.readouterr().err  # the card is, once it is sealed
    assert is_sealed(seal(root))
    assert ReleaseSource(root).digest == digest


@pytest.mark.usefixtures("quick_previews")
def test_lists_written_into_a_sealed_release_are_sealed_with_it(root: Path) -> None:
    finish(root)
    command = ["evaluate", str(root), "--write-protocols", str(root / "protocols")]
    assert thermvision_db.main(command) == 0
    assert "protocols/protocols.json" in read_release(root).files
    assert verify_release(root) == []


@pytest.mark.usefixtures("quick_previews")
def test_the_command_card_mends_a_card_and_can_keep_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(root)
    whole = every_file(root)
    (root / README).write_text("# mine\n")
    (root / "preview" / "overlay.mp4").write_bytes(b"replaced")
    assert {(f.path, f.code) for f in verify_release(root)} >= {(README, "digest"), ("preview/overlay.mp4", "digest")}
    assert thermvision_db.main(["card", str(root)]) == 0
    assert every_file(root) == whole
    assert "next: thermvision info" in capsys.readouterr().out
    (root / README).write_text((root / README).read_text() + "\nWritten by hand.\n")
    (root / SIGNATURE).write_text("signed")
    assert thermvision_db.main(["card", str(root), "--keep"]) == 0
    assert (root / README).read_text().endswith("Written by hand.\n")
    assert "sign again: thermvision sign" in capsys.readouterr().out
    assert verify_release(root) == []
    (root / README).unlink()
    assert thermvision_db.main(["card", str(root), "--json"]) == 0
    assert every_file(root) == whole


def test_paths_that_are_not_in_their_plainest_form_are_refused() -> None:
    from thermvision.curation.release import Manifest

    field = {"name": "a", "version": "1.0", "source": "build", "licences": {}, "identities": [], "shards": []}
    for path in ("./a", "a//b", "a/", ".", "a/./b"):
        with pytest.raises(ValueError, match="leaves the release"):
            Manifest.model_validate({**field, "plan": "0" * 64, "files": {path: "0" * 64}})


def test_a_folder_that_cannot_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(top: object, onerror: Callable[[OSError], None]) -> list[object]:
        onerror(PermissionError(13, "Permission denied", "data/video"))
        return []

    monkeypatch.setattr(contents.os, "walk", refuse)
    with pytest.raises(DamagedInputError, match="data/video cannot be read"):
        unlisted(root, read_release(root))
