"""A detached minisign signature of `release.json`, and through its digests of every file of a release.

Whoever holds the public key can tell that a release is the publisher's, wherever it was copied. Any minisign program
reads and makes the same files: ``minisign -Vm release.json -p KEY.pub``.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.findings import Finding

from .contents import SIGNATURE, is_sealed
from .release import MANIFEST, Manifest, read_release
from .store import atomic_write
from .verify import verify_release

PASSWORD_VARIABLE = "THERMVISION_KEY_PASSWORD"
_MAX_BYTES = 2**16  # of a key or a signature
_KEY_LENGTH = 56  # characters of a public key in base64
_NAME_LENGTH = 200
Password = Callable[[], str]


@dataclass(frozen=True)
class Signed:
    """A signature that holds: the id of its key (16 hex digits) and the comment that was signed with it."""

    key: str
    comment: str


def _minisign() -> Any:
    try:
        import minisign
    except ImportError as error:
        raise MissingDependencyError(
            'signatures need the package py-minisign; type: pip install -c constraints.txt -e ".[sign]"'
        ) from error
    return minisign


def comment_of(manifest: Manifest) -> str:
    """The trusted comment: name and version, in the printable ASCII that minisign allows."""
    name = manifest.name[:_NAME_LENGTH].encode("unicode_escape").decode("ascii")
    return f"release {name} {manifest.version}"


def sign_release(root: Path, key: Path, password: Password) -> Signed:
    """Sign the manifest of the release in ``root`` into `release.json.minisig`; equal releases and keys, equal bytes.

    Args:
        root: a release that is sealed and whole.
        key: file of the secret key.
        password: called once, and only where the key is encrypted.

    Raises:
        UsageError: there is no release, it is not sealed, the key file is none or lies in it, the password is wrong.
        DamagedInputError: the release is not what its manifest says.
        MissingDependencyError: py-minisign is not installed.
        OutputError: the signature cannot be written.
    """
    manifest = read_release(root)
    check_place(root, key)
    with _secret_key(key, password) as secret:
        if not is_sealed(manifest):
            raise UsageError(
                f"{root} is not sealed, its manifest does not answer for the card; type: thermvision card {root}"
            )
        if findings := verify_release(root):
            raise DamagedInputError(
                f"{root} is not what its manifest says ({len(findings)} findings, the first: {findings[0]}); what is"
                f" signed must be whole; type: thermvision verify {root}"
            )
        data, comment = (root / MANIFEST).read_bytes(), comment_of(manifest)
        signature = secret.sign(data, untrusted_comment="signature of a ThermVision release", trusted_comment=comment)
        public = secret.get_public_key()
        try:
            public.verify(data, signature)
        except ValueError as error:
            raise UsageError(
                f"the halves of {key} do not belong together, and nobody could verify what it signs; make another with"
                " --new"
            ) from error
        atomic_write(root / SIGNATURE, bytes(signature) + b"\n")
        return Signed(_id(public.to_base64()), comment)


def signature_findings(root: Path, key: str) -> list[Finding]:
    """What is wrong with the signature of the release in ``root``; nothing, where it holds.

    ``key`` is the file of a public key, or the key itself in base64.

    Raises:
        UsageError: the key is none.
        MissingDependencyError: py-minisign is not installed.
    """
    signed = verify_signature(root, key)
    return [signed] if isinstance(signed, Finding) else []


def verify_signature(root: Path, key: str) -> Signed | Finding:
    """The signature of the release in ``root`` where it holds, else why not; see `signature_findings`."""
    minisign, public = _minisign(), _public_key(key)
    if not (root / SIGNATURE).is_file():
        return Finding(
            SIGNATURE, "signature-missing", "the release is not signed; the publisher signs: thermvision sign"
        )
    try:
        signature = minisign.Signature.from_bytes(_read(root / SIGNATURE))
    except ValueError as error:
        message = f"the file is no whole signature ({error}); fetch it again from the publisher"
        return Finding(SIGNATURE, "signature-unreadable", message)
    if (maker := _id(bytes(signature).splitlines()[1])) != _id(public.to_base64()):
        message = f"made with key {maker}, and the key given is {_id(public.to_base64())}: ask the publisher for theirs"
        return Finding(SIGNATURE, "signature-of-another-key", message)
    try:
        public.verify((root / MANIFEST).read_bytes(), signature)
    except ValueError:
        message = f"it does not hold: {MANIFEST} or the signature was changed after signing; trust neither"
        return Finding(SIGNATURE, "signature", message)
    return Signed(_id(public.to_base64()), signature.trusted_comment)


def check_place(root: Path, key: Path) -> None:
    """Raise UsageError where a secret key lies in a release: sealed and published with it, it would be everybody's."""
    if root.resolve() in key.resolve().parents:
        raise UsageError(
            f"the key {key} lies in the release {root}; secret keys stay at home: choose a place outside it"
        )


def new_keys(secret: Path, password: str) -> Path:
    """Make a pair of keys: ``secret`` (encrypted where the password is not empty) and, beside it, the public ``.pub``.

    Raises:
        UsageError: one of the files is there already, or both would have one name.
        MissingDependencyError: py-minisign is not installed.
        OutputError: they cannot be written.
    """
    minisign, public = _minisign(), public_path(secret)
    if secret == public:
        raise UsageError(f"{secret} is the name of a public key; allowed: another --key, such as {secret.stem}.key")
    for path in (secret, public):
        if os.path.lexists(path):
            raise UsageError(f"{path} is there already, and keys are never overwritten; leave --new out, or choose"
                             " another --key")  # fmt: skip
    pair = minisign.KeyPair.generate()
    pair.public_key.untrusted_comment = f"minisign public key {_id(pair.public_key.to_base64())}"
    if password:
        pair.secret_key.encrypt(password)
    before = os.umask(0o077)  # nobody else may read a secret key, not even while it is being written
    try:
        atomic_write(secret, bytes(pair.secret_key) + b"\n")
    finally:
        os.umask(before)
    atomic_write(public, bytes(pair.public_key) + b"\n")
    return public


def public_path(secret: Path) -> Path:
    """Where the public half of a key pair lies: beside the secret one, with the suffix ``.pub``."""
    return secret.with_suffix(".pub")


def ask_password(prompt: str = "Password of the secret key", *, twice: bool = False) -> str:
    """The password of a key: from the environment, else from whoever sits at the terminal, who may have to repeat it.

    Raises:
        UsageError: it is in neither, or was repeated otherwise.
    """
    if (given := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            f"there is no terminal to ask for the key's password; put it in the variable {PASSWORD_VARIABLE} (empty:"
            " none)"
        )
    password = getpass.getpass(f"{prompt}: ")
    if twice and getpass.getpass("The same once more: ") != password:
        raise UsageError("the two passwords differ; no key was made; type the same command again")
    return password


@contextlib.contextmanager
def _secret_key(path: Path, password: Password) -> Iterator[Any]:
    minisign = _minisign()
    form = "allowed: the file of a minisign secret key; make one: thermvision sign DIR --key FILE --new"
    if not path.is_file():
        raise UsageError(f"there is no key {path}; {form}")
    try:
        secret = minisign.SecretKey.from_bytes(_read(path))
    except ValueError as error:
        raise UsageError(f"{path} holds no secret key ({error}); {form}") from error
    with secret:  # its bytes are wiped at the end
        if secret.is_encrypted():
            try:
                secret.decrypt(password())
            except ValueError as error:
                raise UsageError(f"{path} does not open: {error}; type the password it was made with") from error
        yield secret


def _public_key(key: str) -> Any:
    minisign, path = _minisign(), Path(key)
    form = "allowed: the file of a minisign public key, or its line of 56 characters that begins with RW"
    try:
        if len(key) == _KEY_LENGTH and not os.path.lexists(path):
            return minisign.PublicKey.from_base64(key)
        if not path.is_file():
            raise UsageError(f"there is no key {key[:200]}; {form}")
        return minisign.PublicKey.from_bytes(_read(path))
    except ValueError as error:
        raise UsageError(f"{key[:200]} is no public key ({error}); {form}") from error


def _read(path: Path) -> bytes:
    """The bytes of a small file; ValueError for what is too large for a key or signature or cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    return data


def _id(encoded: bytes) -> str:
    """The id of the key in an encoded key or signature, as minisign prints it: a little-endian number."""
    return base64.b64decode(encoded)[2:10][::-1].hex().upper()
