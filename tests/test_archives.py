from __future__ import annotations

import os
import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation import archives
from thermvision.curation.archives import Member, open_archives

MEMBERS = {"a/b.txt": b"first", "a/c.bin": b"\0" * 5000}


def make_zip(path: Path, members: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in (MEMBERS if members is None else members).items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DamagedInputError) as caught:
        open_archives(path)
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)
    return str(caught.value)


def contents(path: Path) -> dict[str, bytes]:
    with open_archives(path) as source:
        return {str(m): source.read(m) for m in source.members}


def test_zip_folder_of_zips_and_unpacked_tree(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    one = make_zip(folder / "sub" / "one.zip")
    assert contents(one) == {"one.zip:a/b.txt": b"first", "one.zip:a/c.bin": b"\0" * 5000}
    (folder / "plain.txt").write_bytes(b"second")
    assert contents(folder) == {
        "sub/one.zip:a/b.txt": b"first",
        "sub/one.zip:a/c.bin": b"\0" * 5000,
        "data/plain.txt": b"second",
    }


def test_checksums_agree_between_zip_and_tree(tmp_path: Path) -> None:
    one = make_zip(tmp_path / "one.zip")
    with zipfile.ZipFile(one) as archive:
        archive.extractall(tmp_path / "tree")
    with open_archives(one) as packed, open_archives(tmp_path / "tree") as plain:
        sums = [[source.checksum(m) for m in source.members] for source in (packed, plain)]
    assert sums[0] == sums[1]
    assert len(set(sums[0])) == 2


def test_nothing_and_wrong_things(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_archives(tmp_path / "absent")
    (tmp_path / "text.zip").write_bytes(b"<html>moved</html>" * 10)
    assert "download it again" in refusal(tmp_path / "text.zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    assert "download it again" in refusal(tmp_path / "empty.zip")
    (tmp_path / "pointer.zip").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    assert "git lfs pull" in refusal(tmp_path / "pointer.zip")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, kept: float) -> None:
    path = make_zip(tmp_path / "cut.zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert "download it again" in refusal(path)


def test_a_broken_zip_beside_a_good_one_is_not_passed_over(tmp_path: Path) -> None:
    make_zip(tmp_path / "good.zip")
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4")
    with pytest.raises(DamagedInputError, match=r"bad\.zip"):
        open_archives(tmp_path)


def test_changed_bytes_of_a_member_are_seen(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "changed.zip", {"a.bin": os.urandom(1000)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[500] ^= 0xFF
    path.write_bytes(data)
    with open_archives(path) as source, pytest.raises(DamagedInputError, match=r"a\.bin cannot be read"):
        source.read(source.members[0])


def set_flags(path: Path, flags: int, local: bool = True) -> Path:
    """Set general purpose bits in the central directory, and in the local headers too."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        if signature == b"PK\3\4" and not local:
            continue
        at = data.find(signature)
        while at >= 0:
            old = struct.unpack_from("<H", data, at + offset)[0]
            struct.pack_into("<H", data, at + offset, old | flags)
            at = data.find(signature, at + 4)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("local", [True, False])
def test_a_password_is_named(tmp_path: Path, local: bool) -> None:
    message = refusal(set_flags(make_zip(tmp_path / "locked.zip"), 0x1, local))
    assert "password-protected" in message
    assert "unpack it with its password" in message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.txt", "leaves the archive"),
        ("a/../../evil.txt", "leaves the archive"),
        ("/etc/passwd", "leaves the archive"),
        ("C:/evil.txt", "leaves the archive"),
        ("..\\evil.txt", "leaves the archive"),
        ("a/\x07bell", "unprintable"),
        (".", "or with none"),
        ("x" * 2000, "unprintable characters, with more than"),
        ("d/" * 20 + "deep.txt", "folders deep"),
    ],
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    assert reason in refusal(make_zip(tmp_path / "evil.zip", {"a.txt": b"1", name: b"2"}))


def test_names_from_other_systems_are_no_reason_to_refuse(tmp_path: Path) -> None:
    members = {"a/Gr\u00fc\u00dfe\u202f1.txt": b"1", "./b.txt": b"2"}
    assert set(contents(make_zip(tmp_path / "a.zip", members)).values()) == {b"1", b"2"}


def test_large_archives_have_another_end_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 5)
    path = make_zip(tmp_path / "zip64.zip", {str(i): b"%d" % i for i in range(12)})
    data = bytearray(path.read_bytes())
    assert b"PK\6\6" in data
    # what does not fit the ordinary end record is all ones there
    struct.pack_into("<HHLL", data, len(data) - 14, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    path.write_bytes(data)
    assert len(contents(path)) == 12
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    assert "announces 12 members" in refusal(path)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "nul.zip", {"harmless.txtXevil.exe": b"1"})
    path.write_bytes(path.read_bytes().replace(b"txtXevil", b"txt\0evil"))
    assert "unprintable" in refusal(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "symbolic link" in refusal(path)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a.txt", b"1")
        archive.writestr("a.txt", b"2")
    assert "'a.txt' is there 2 times" in refusal(path)


def test_an_uncommon_compression_is_refused(tmp_path: Path) -> None:
    assert "method 12" in refusal(make_zip(tmp_path / "bzip2.zip", method=zipfile.ZIP_BZIP2))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    message = refusal(make_zip(tmp_path / "evil.zip", {f"../{i}": b"" for i in range(7)} | {"/x": b""}))
    assert message.count("leaves the archive") == 5
    assert "and 3 more" in message


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    assert "expands" in refusal(make_zip(tmp_path / "bomb.zip", {"zeros": b"\0" * (4 * 2**20)}))


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "overlap.zip", {"a": b"1" * 100, "b": b"1" * 100}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    second = data.find(b"PK\1\2", data.find(b"PK\1\2") + 4)
    struct.pack_into("<L", data, second + 42, 10)  # into the first member
    path.write_bytes(data)
    assert "share bytes" in refusal(path)


def test_a_size_that_lies_is_seen_while_reading(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "lie.zip", {"zeros": b"\0" * 100_000})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        struct.pack_into("<L", data, data.find(signature) + offset, 10)
    path.write_bytes(data)
    with open_archives(path) as source, pytest.raises(DamagedInputError, match="cannot be read"):
        source.read(source.members[0])


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "b").write_bytes(b"x" * 100)
    for source_path, name in ((path, "a/c.bin"), (tmp_path / "tree", "tree/b")):
        with open_archives(source_path) as source:
            member = next(m for m in source.members if m.name == name)
            with pytest.raises(DamagedInputError, match="allowed: 99"):
                source.read(member, 99)
            with pytest.raises(DamagedInputError, match="more than the allowed 50"):
                source.read(Member(member.archive, member.name, 7), 50)
            with pytest.raises(DamagedInputError, match="announces 7 bytes"):
                source.read(Member(member.archive, member.name, 7))


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "many.zip", {str(i): b"" for i in range(12)})
    (tmp_path / "tree").mkdir()
    for i in range(12):
        (tmp_path / "tree" / str(i)).touch()
    with open_archives(path) as source:
        assert len(source.members) == 12
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    assert "announces 12 members" in refusal(path)
    assert "more than 10 files" in refusal(tmp_path / "tree")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1000)
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    assert "directory of" in refusal(path)


def test_an_end_record_that_lies_about_the_count_is_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "many.zip", {str(i): b"" for i in range(12)})
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, len(data) - 14, 1, 1)
    path.write_bytes(data)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    assert "12 members" in refusal(path)


def test_links_and_pipes_in_a_folder_are_findings_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_bytes(b"secret")
    make_zip(secret / "outside.zip")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.txt").symlink_to(secret / "key.txt")
    (root / "folder").symlink_to(secret)
    (root / "outside.zip").symlink_to(secret / "outside.zip")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe")
    (root / "own.txt").write_bytes(b"own")
    assert contents(root) == {"root/own.txt": b"own"}
    with open_archives(root) as source:
        assert [(f.path, f.code) for f in source.findings] == [
            ("file.txt", "symlink"),
            ("folder", "symlink"),
            ("loop", "symlink"),
            ("outside.zip", "symlink"),
            ("pipe", "special-file"),
        ]


def test_a_file_that_becomes_a_link_after_listing_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"abc")
    (root / "own").write_bytes(b"own")
    with open_archives(root) as source:
        (root / "own").unlink()
        (root / "own").symlink_to(tmp_path / "secret")
        with pytest.raises(DamagedInputError, match="cannot be read"):
            source.read(source.members[0])


def test_a_source_that_is_itself_a_link_is_opened(tmp_path: Path) -> None:
    make_zip(tmp_path / "blob")
    (tmp_path / "link.zip").symlink_to(tmp_path / "blob")
    assert len(contents(tmp_path / "link.zip")) == 2


def test_names_that_are_no_text_and_deep_folders(tmp_path: Path) -> None:
    root = tmp_path / "root"
    deep = root.joinpath(*["d"] * 20)
    deep.mkdir(parents=True)
    Path(os.fsdecode(bytes(root) + b"/bad\xff.txt")).write_bytes(b"1")
    with open_archives(root) as source:
        assert source.members == ()
        assert sorted(f.code for f in source.findings) == ["too-deep", "unprintable-name"]
        assert all(f.path.isprintable() and f.path.encode() for f in source.findings)
