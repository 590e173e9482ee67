"""What a reader or a check saw and wants somebody to know: data with a reason, not an exception."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One thing seen in one place.

    Attributes:
        path: file, archive member or item it is about; empty when the caller knows it.
        code: stable kebab-case name of the kind of finding, for filters and counts.
        message: what was seen, what is allowed and what follows from it.

    >>> str(Finding("labels/frame_0007.txt", "column-count", "line 1 has 4 columns; allowed: 5"))
    'labels/frame_0007.txt: line 1 has 4 columns; allowed: 5 [column-count]'
    """

    path: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.code}]" if self.path else f"{self.message} [{self.code}]"


def count_codes(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each code, in the order of the codes.

    >>> count_codes([Finding("b", "x", ""), Finding("a", "x", "")])
    {'x': 2}
    """
    return dict(sorted(Counter(f.code for f in findings).items()))
