"""What an import found, used and left out: every file of the archives accounted for, as JSON and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from thermvision.annotations.findings import Finding, count_codes
from thermvision.annotations.schema import GENDERS

from .raw_rows import ItemFacts
from .release import Failed

REPORT = "import_report.json"
FORMAT = "thermvision-import/1"
LISTED = 20


@dataclass(frozen=True)
class ImportReport:
    """What an import found, used and left out.

    Attributes:
        source: name of the zip or folder.
        version: of the release.
        items: by clip or still, what was read (empty after a dry run).
        planned_clips, planned_stills: how many the listing promises, after ``--limit``.
        subjects: subject_id → gender of these.
        uses: members used or known and not read, by role.
        left_out: a finding for each member that is not used: why.
        failed: clips and stills that did not decode.
        findings: everything unusual about what was used.
        not_planned: items that ``--limit`` left aside.
    """

    source: str
    version: str
    items: tuple[ItemFacts, ...]
    planned_clips: int
    planned_stills: int
    subjects: dict[str, str]
    uses: dict[str, int]
    left_out: tuple[Finding, ...]
    failed: tuple[Failed, ...]
    findings: tuple[Finding, ...]
    not_planned: int = 0

    def totals(self) -> dict[str, int]:
        """The figures of the table."""
        made = {item.item_id for item in self.items}
        clips = [item for item in self.items if item.num_frames]
        return {
            "subjects": len(self.subjects),
            **{gender: sum(g == gender for g in self.subjects.values()) for gender in GENDERS},
            "clips": len(clips) if made or self.failed else self.planned_clips,
            "stills": len(made) - len(clips) if made or self.failed else self.planned_stills,
            "frames": sum(c.num_frames for c in clips),
            "frames_without_face": sum(c.without_face for c in clips),
            "frames_with_several_faces": sum(c.several_faces for c in clips),
            "frames_of_unknown_face_count": sum(c.unknown for c in clips),
            "failed": len(self.failed),
            "members_used": sum(self.uses.get(role, 0) for role in ("clip", "label", "still")),
            "members_known_and_not_read": sum(
                self.uses.get(role, 0) for role in ("frame-image", "face-crop", "system-file")
            ),
            "members_left_out": len(self.left_out),
        }

    def as_dict(self) -> dict[str, Any]:
        """The whole report as plain values, the content of `import_report.json`."""
        return {
            "format": FORMAT,
            "source": self.source,
            "version": self.version,
            "totals": self.totals(),
            "uses": self.uses,
            "not_planned": self.not_planned,
            "items": [item.to_json() for item in self.items],
            "failed": [item.model_dump() for item in self.failed],
            "left_out": [asdict(f) for f in self.left_out],
            "findings": [asdict(f) for f in self.findings],
        }


def print_report(report: ImportReport) -> None:
    """The report as a table, then what failed, what was left out and what is unusual (the first of each kind)."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    table = Table(title=f"import of {report.source}", title_justify="left", show_header=False)
    for name, count in report.totals().items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    if report.not_planned:
        table.add_row("left aside by --limit", f"{report.not_planned:,}")
    console.print(table)
    console.print(f"members: {', '.join(f'{n:,} {role}' for role, n in report.uses.items())}", markup=False)
    failed = [Finding(f.item_id, f.code, f.reason) for f in report.failed]
    for title, found in (("failed", failed), ("left out", report.left_out), ("findings", report.findings)):
        if found:
            codes = ", ".join(f"{n:,} {code}" for code, n in count_codes(found).items())
            console.print(f"{title}: {codes}", markup=False)
            for finding in found[:LISTED]:
                console.print(f"  {finding}", markup=False)
            if len(found) > LISTED:
                console.print(f"  and {len(found) - LISTED:,} more in {REPORT}", markup=False)
