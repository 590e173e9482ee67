"""What `check`, `audit` and `dedupe` said about a release, for its items and for the page's table of findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from thermvision.curation.contents import content_digest
from thermvision.curation.release import Manifest

from .finding_files import MAX_FINDINGS, SeenFile, files_of, read_file
from .finding_files import SeenFinding as SeenFinding


class HasItems(Protocol):
    """What is needed of a catalogue."""

    @property
    def generation(self) -> int:
        """It changed when this did."""
        ...

    @property
    def manifest(self) -> Manifest | None:
        """None while the release is being built."""
        ...

    def keys_of(self, item_ids: Sequence[str]) -> dict[str, int]:
        """Keys of those items that there are."""
        ...

    def by_subject(self) -> dict[str, list[int]]:
        """Keys of the items of each subject."""
        ...

    def row(self, key: int) -> Any:
        """The item of a key; its ``item_id`` is read."""
        ...


class FindingFiles:
    """What the files and folders at ``paths`` say; they are read once.

    seen = FindingFiles([Path("findings"), Path("audit")])
    catalogue.put_findings(seen.of(catalogue, digest))

    Raises:
        UsageError: a path is not there, or a folder holds none of these files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [read_file(path) for given in paths for path in files_of(given)]
        self._known: dict[int, tuple[tuple[int, str | None], list[SeenFile]]] = {}

    def of(self, catalogue: HasItems, digest: str | None) -> list[SeenFinding]:
        """Findings of the items of a release; ``digest`` is `ReleaseSource.digest`, None of one that is being built."""
        return [f for found in self._about(catalogue, digest) for f in found.findings]

    def told(self, sides: Mapping[str, tuple[HasItems, str | None]]) -> dict[str, Any]:
        """The page's table of kinds of findings, of the files they are from, and the answers of an audit.

        Args:
            sides: catalogue and digest of the release ("a"), and of the other one ("b") where there is one. A source
                names those that it is about in its own ``sides``.
        """
        kinds: dict[tuple[str, str], list[SeenFinding]] = {}
        sources, audit = [], None
        about = {side: self._about(*given) for side, given in sides.items()}
        for place, found in enumerate(self._files):
            seen = [of_side[place] for of_side in about.values()]
            problem = found.problem
            if not problem and all(s.problem for s in seen):
                problem = seen[0].problem
            fits = [side for side, s in zip(about, seen, strict=True) if not s.problem]
            sources.append({"name": found.source, "path": found.path.name, "problem": problem or None, "sides": fits})
            if found.audit is not None and audit is None:
                audit = found.audit | {"problem": problem or None, "sides": fits}
            for finding in dict.fromkeys(f for s in seen for f in s.findings):
                kinds.setdefault((finding.source, finding.code), []).append(finding)
        return {"kinds": [_kind(*key, found) for key, found in sorted(kinds.items())], "sources": sources,
                "audit": audit}  # fmt: skip

    def _about(self, catalogue: HasItems, digest: str | None) -> list[SeenFile]:
        """The files with the findings of a release only, and with what is wrong where they are of another."""
        state = catalogue.generation, digest
        known = self._known.get(id(catalogue))
        if known is None or known[0] != state:
            known = state, [_of_release(found, catalogue, digest) for found in self._files]
            self._known[id(catalogue)] = known
        return known[1]


def _of_release(found: SeenFile, catalogue: HasItems, digest: str | None) -> SeenFile:
    manifest = catalogue.manifest
    if found.digest and digest is not None and manifest is not None:
        mine = content_digest(manifest) if len(found.digest) == 64 else digest
    else:
        mine = found.digest
    if found.digest != mine:
        problem = (
            f"it is about version {found.version or '?'} of digest {found.digest[:16]}, and this release has the digest"
            f" {mine[:16]}; type: thermvision {found.source} on this one"
        )
        return replace(found, findings=(), of_people=(), problem=problem)
    findings = [*found.findings, *_of_people(found.of_people, catalogue)]
    named = sorted({f.item_id for f in findings if f.item_id})
    known = catalogue.keys_of(named)
    unknown = [name for name in named if name not in known]
    problem = found.problem
    if unknown and not problem:
        problem = (
            f"{len(unknown)} of {len(named)} items it names are not here, such as {unknown[0][:80]}: it is about"
            f" another release or version; type: thermvision {found.source} on this one"
        )
    return replace(
        found, findings=tuple(f for f in findings if not f.item_id or f.item_id in known), problem=problem
    )  # fmt: skip


def _of_people(findings: Iterable[SeenFinding], catalogue: HasItems) -> list[SeenFinding]:
    """Findings of people as findings of each of their clips and stills."""
    findings = list(findings)
    if not findings:
        return []
    keys = catalogue.by_subject()
    told = [(f, key) for f in findings for key in keys.get(f.item_id, ())][:MAX_FINDINGS]
    return [replace(f, item_id=catalogue.row(key).item_id) for f, key in told]


def _kind(source: str, code: str, found: Sequence[SeenFinding]) -> dict[str, Any]:
    items = {f.item_id for f in found if f.item_id}
    spans = [
        f.last_frame - f.first_frame + 1 for f in found if f.first_frame is not None and f.last_frame is not None
    ]  # fmt: skip
    return {
        "code": code,
        "source": source,
        "items": len(items),
        "findings": len(found),
        "frames": sum(spans),
        "message": _meaning(source, code) or found[0].message,
        "examples": [f.message for f in found if not f.item_id][:20],
    }


def _meaning(source: str, code: str) -> str:
    if source == "check":
        from thermvision.curation.checks.catalogue import KINDS

        return KINDS[code].meaning if code in KINDS else ""
    if source == "dedupe":
        from thermvision.curation.duplicates.dedupe import CODES

        return str(CODES.get(code, ""))  # type: ignore[call-overload]
    return _AUDIT_MEANINGS.get(code, "")


_AUDIT_MEANINGS = {
    "picture-in-two-splits": "Two frames of different splits are nearly equal: a score on the second says little.",
    "look-alikes-in-two-splits": "Two people of different splits look like one to a recogniser.",
    "subject-in-two-splits": "A person is in more than one split.",
}
