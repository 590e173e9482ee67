"""Commands about trust: is a release what its manifest says (verify), and who says so (sign)?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thermvision.annotations.errors import FindingsError

from .console import counted, human_bytes, printable, show_json, to_stderr
from .options import AsJson, Release

_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""

    @app.command()
    def verify(
        release: Release,
        signature: Annotated[
            str | None,
            typer.Option("--signature", help="A minisign public key (file, or its line of 56 characters) to trust."),
        ] = None,
        workers: Annotated[int, typer.Option(min=1, help="Threads that hash files.")] = 2,
        as_json: AsJson = False,
        quiet: Annotated[bool, typer.Option("--quiet", help="Nothing about files that are no part of it.")] = False,
    ) -> None:
        """Check every file against release.json, and that against its signature. Exit code 1 lists all findings.

        Example: thermvision verify release --signature publisher.pub
        """
        from .contents import is_sealed, listed, may_be_sealed, unlisted
        from .release import read_release
        from .signature import Signed, verify_signature
        from .verify import verify_release

        manifest = read_release(release)
        signed = verify_signature(release, signature) if signature is not None else None
        findings = [] if signed is None or isinstance(signed, Signed) else [signed]
        findings += verify_release(release, workers=workers)
        if as_json:
            show_json([{"path": printable(f.path), "code": f.code, "message": f.message} for f in findings])
        else:
            for finding in findings:
                print(printable(str(finding)))
        if findings:
            raise FindingsError(f"{counted(len(findings), 'finding')} in {release}")
        if as_json:
            return
        others = unlisted(release, manifest)
        if not is_sealed(manifest):  # the command below lists the others of these
            others = [path for path in others if not may_be_sealed(path)]
        if others and not quiet:
            more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
            shown = ", ".join(map(printable, others[:_SHOWN]))
            to_stderr(f"no part of the release, and never published: {shown}{more}")
        size = human_bytes(sum(s.bytes for s in manifest.shards))
        others_listed = len(listed(manifest)) - len(manifest.shards)
        print(
            f"{release}: {len(manifest.shards)} shards, {size}, and {counted(others_listed, 'other file')}, all whole"
        )
        if isinstance(signed, Signed):
            print(f"signed with key {signed.key}: {signed.comment}")
        if not is_sealed(manifest):
            print(f"next: thermvision card {release}    # so that the manifest answers for the card as well")
        else:
            print(f'next: python -c "from datasets import load_dataset; print(load_dataset({str(release)!r}))"')

    @app.command()
    def sign(
        release: Release,
        key: Annotated[Path, typer.Option("--key", help="File of a minisign secret key.")],
        new: Annotated[
            bool, typer.Option("--new", help="Make the key first, and its public half beside it (KEY.pub).")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """Sign release.json, which answers for every file, with minisign; its password is asked for where it has one.

        Example: thermvision sign release --key publisher.key
        """
        from .release import read_release
        from .signature import SIGNATURE, ask_password, check_place, new_keys, public_path, sign_release

        read_release(release)  # no key for nothing
        check_place(release, key)
        chosen = ask_password("Password for the new key, empty for none", twice=True) if new else None
        if chosen is not None:
            made = new_keys(key, chosen)
            to_stderr(f"made {key}, which only you may read, and {made}, which readers verify with")
        signed = sign_release(release, key, lambda: ask_password() if chosen is None else chosen)
        if as_json:
            show_json({"signature": str(release / SIGNATURE), "key": signed.key, "comment": signed.comment})
            return
        print(f"{release / SIGNATURE}: {signed.comment}, key {signed.key}")
        print(f"next: thermvision verify {release} --signature {public_path(key)}")
