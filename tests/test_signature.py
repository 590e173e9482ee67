"""Signatures: what holds, and everything that must not."""

from __future__ import annotations

import builtins
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minisign
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.curation import signature
from thermvision.curation.contents import MANIFEST, SIGNATURE, seal
from thermvision.curation.release import README, read_release
from thermvision.curation.signature import Signed, comment_of, new_keys, sign_release, verify_signature


def no_password() -> str:
    raise AssertionError("nobody may be asked")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    new_keys(folder / "a.key", "")
    new_keys(folder / "b.key", "")
    return folder


@pytest.fixture(scope="module")
def signed(wave_release: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(wave_release, tmp_path_factory.mktemp("signed") / "release"))
    seal(root)
    sign_release(root, keys / "a.key", no_password)
    return root


@pytest.fixture
def root(signed: Path, copied: Callable[[Path], Path]) -> Path:
    return copied(signed)


def code(root: Path, key: Path | str) -> str:
    seen = verify_signature(root, str(key))
    return seen.code if isinstance(seen, Finding) else "holds"


def test_a_signature_holds_and_names_the_release(root: Path, keys: Path) -> None:
    seen = verify_signature(root, str(keys / "a.pub"))
    assert isinstance(seen, Signed)
    assert seen.comment == "release waves 1.0"
    lines = (keys / "a.pub").read_text().splitlines()
    assert lines[0] == f"untrusted comment: minisign public key {seen.key}"
    assert verify_signature(root, lines[1]) == seen  # the key itself
    assert (root / SIGNATURE).read_text().splitlines()[2] == "trusted comment: release waves 1.0"


def test_minisign_itself_reads_what_is_written(root: Path, keys: Path) -> None:
    minisign.PublicKey.from_file(keys / "a.pub").verify_file(root / MANIFEST)
    minisign.SecretKey.from_file(keys / "b.key").sign_file(root / MANIFEST, drop_signature=True)  # not prehashed
    seen = verify_signature(root, str(keys / "b.pub"))
    assert isinstance(seen, Signed)
    assert seen.comment.endswith("file:release.json")


def test_equal_releases_and_keys_give_equal_bytes(root: Path, signed: Path, keys: Path) -> None:
    sign_release(root, keys / "a.key", no_password)
    assert (root / SIGNATURE).read_bytes() == (signed / SIGNATURE).read_bytes()


def test_what_does_not_hold(root: Path, keys: Path) -> None:
    whole = (root / SIGNATURE).read_bytes()
    assert code(root, keys / "b.pub") == "signature-of-another-key"
    for cut in (b"", whole[:-3], whole[:80], b"\xff" * 300, b"x" * 100_000):
        (root / SIGNATURE).write_bytes(cut)
        assert code(root, keys / "a.pub") == "signature-unreadable"
    (root / SIGNATURE).write_bytes(whole.replace(b"release waves", b"release WAVES"))
    assert code(root, keys / "a.pub") == "signature"
    (root / SIGNATURE).write_bytes(whole)
    assert code(root, keys / "a.pub") == "holds"
    manifest = (root / MANIFEST).read_text()
    (root / MANIFEST).write_text(manifest.replace('"1.0"', '"1.1"', 1))
    assert code(root, keys / "a.pub") == "signature"
    (root / MANIFEST).write_text(manifest)
    (root / SIGNATURE).unlink()
    assert code(root, keys / "a.pub") == "signature-missing"


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_any_bit_of_the_manifest_counts(place: int, bit: int, signed: Path, keys: Path) -> None:
    whole = (signed / MANIFEST).read_bytes()
    changed = bytearray(whole)
    changed[place % len(whole)] ^= 1 << bit
    try:
        (signed / MANIFEST).write_bytes(changed)
        assert code(signed, keys / "a.pub") == "signature"
    finally:
        (signed / MANIFEST).write_bytes(whole)
    assert code(signed, keys / "a.pub") == "holds"


@pytest.mark.parametrize(
    "content", [b"", b"nonsense\n", b"untrusted comment: x\nAAAA\n", b"\0" * 70_000, b"\xff\xfe\n\n"]
)
def test_a_key_file_of_nonsense_is_one_clear_error(root: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match=r"is no public key .* allowed: the file of a minisign public key"):
        verify_signature(root, str(tmp_path / "key"))
    with pytest.raises(UsageError, match=r"holds no secret key .* thermvision sign DIR --key FILE --new"):
        sign_release(root, tmp_path / "key", no_password)


def test_keys_that_are_not_there_or_changed_places(root: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key"):
        verify_signature(root, str(tmp_path / "none.pub"))
    with pytest.raises(UsageError, match="is no public key"):
        verify_signature(root, "R" * 56)
    with pytest.raises(UsageError, match="is no public key"):
        verify_signature(root, str(keys / "a.key"))
    with pytest.raises(UsageError, match="there is no key"):
        sign_release(root, tmp_path / "none.key", no_password)
    with pytest.raises(UsageError, match="holds no secret key"):
        sign_release(root, keys / "a.pub", no_password)
    with pytest.raises(UsageError, match="there is no key"):
        sign_release(root, tmp_path, no_password)


def test_a_secret_key_with_a_password(root: Path, tmp_path: Path) -> None:
    public = new_keys(tmp_path / "c.key", "hard to guess")
    assert public == tmp_path / "c.pub"
    assert stat.S_IMODE((tmp_path / "c.key").stat().st_mode) == 0o600
    assert minisign.SecretKey.from_file(tmp_path / "c.key").is_encrypted()
    before = (root / SIGNATURE).read_bytes()
    with pytest.raises(UsageError, match=r"c\.key does not open: wrong password") as caught:
        sign_release(root, tmp_path / "c.key", lambda: "guessed")
    assert "guessed" not in str(caught.value)
    assert (root / SIGNATURE).read_bytes() == before
    sign_release(root, tmp_path / "c.key", lambda: "hard to guess")
    assert code(root, public) == "holds"
    for path in ("c.key", "d.key"):
        (tmp_path / "d.pub").touch()
        with pytest.raises(UsageError, match="is there already, and keys are never overwritten"):
            new_keys(tmp_path / path, "")
    assert not (tmp_path / "d.key").exists()


def test_a_key_that_would_lose_its_secret_half_or_be_published(
    root: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"is the name of a public key; allowed: another --key, such as x\.key"):
        new_keys(tmp_path / "x.pub", "")
    assert not (tmp_path / "x.pub").exists()
    monkeypatch.setenv(signature.PASSWORD_VARIABLE, "")
    inside = root / "preview" / "x.key"
    assert thermvision_db.main(["sign", str(root), "--key", str(inside), "--new"]) == 2
    assert "lies in the release" in capsys.readouterr().err
    assert not inside.exists()
    inside.parent.mkdir(exist_ok=True)
    shutil.copy(keys / "a.key", inside)
    with pytest.raises(UsageError, match="choose a place outside it"):
        sign_release(root, inside, no_password)


def test_no_key_is_made_for_a_folder_that_is_no_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signature.PASSWORD_VARIABLE, "")
    assert thermvision_db.main(["sign", str(tmp_path), "--key", str(tmp_path / "x.key"), "--new"]) == 2
    assert not (tmp_path / "x.key").exists()


def test_a_new_password_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signature.PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    typed = iter(["secret", "secret", "secret", "sceret"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert signature.ask_password(twice=True) == "secret"
    with pytest.raises(UsageError, match="the two passwords differ"):
        signature.ask_password(twice=True)


def test_only_a_sealed_and_whole_release_is_signed(root: Path, keys: Path, wave_release: Path) -> None:
    (root / README).write_text((root / README).read_text() + "more\n")
    with pytest.raises(DamagedInputError, match="what is signed must be whole; type: thermvision verify"):
        sign_release(root, keys / "a.key", no_password)
    with pytest.raises(UsageError, match=r"is not sealed.* thermvision card"):
        sign_release(wave_release, keys / "a.key", no_password)


def test_a_key_whose_halves_do_not_belong_together_signs_nothing(root: Path, keys: Path, tmp_path: Path) -> None:
    ours, other = (minisign.SecretKey.from_file(keys / name) for name in ("a.key", "b.key"))
    ours._keynum_sk.public_key[:] = other._keynum_sk.public_key
    ours._update_checksum()
    (tmp_path / "mixed.key").write_bytes(bytes(ours))
    before = (root / SIGNATURE).read_bytes()
    with pytest.raises(UsageError, match=r"halves of .* do not belong together"):
        sign_release(root, tmp_path / "mixed.key", no_password)
    assert (root / SIGNATURE).read_bytes() == before


def test_a_name_beyond_ascii_is_signed_all_the_same(root: Path) -> None:
    manifest = read_release(root).model_copy(update={"name": "Wärme\n" + "x" * 300})
    assert comment_of(manifest) == f"release W\\xe4rme\\n{'x' * 194} 1.0"


def test_without_the_package_the_extra_is_named(root: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "minisign":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (lambda: verify_signature(root, str(keys / "a.pub")), lambda: new_keys(root / "k", "")):
        with pytest.raises(MissingDependencyError, match=r'pip install -c constraints.txt -e "\.\[sign\]"'):
            call()


def test_the_commands(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(signature.PASSWORD_VARIABLE, "hard to guess")
    key = tmp_path / "publisher.key"
    assert thermvision_db.main(["sign", str(root), "--key", str(key), "--new"]) == 0
    output = capsys.readouterr()
    assert f"next: thermvision verify {root} --signature {tmp_path / 'publisher.pub'}" in output.out
    assert "hard to guess" not in output.out + output.err
    assert thermvision_db.main(["verify", str(root), "--signature", str(tmp_path / "publisher.pub")]) == 0
    assert "release waves 1.0" in capsys.readouterr().out
    assert thermvision_db.main(["sign", str(root), "--key", str(key), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comment"] == "release waves 1.0"
    (root / SIGNATURE).unlink()
    assert thermvision_db.main(["verify", str(root), "--signature", str(tmp_path / "publisher.pub")]) == 1
    assert "signature-missing" in capsys.readouterr().out
    monkeypatch.delenv(signature.PASSWORD_VARIABLE)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert thermvision_db.main(["sign", str(root), "--key", str(key)]) == 2
    assert "put it in the variable THERMVISION_KEY_PASSWORD" in capsys.readouterr().err
