"""Planned faults: which request goes wrong, and how."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KINDS = {
    "error": "a 5xx answer; the request had no effect",
    "error-after": "a 5xx answer although the request took effect",
    "reset-before": "the connection is reset; the request had no effect",
    "reset-after": "the connection is reset after the request took effect",
    "reset-upload": "the connection is reset in the middle of the request's body",
    "reset-download": "the connection is reset in the middle of the answer's body",
    "truncated": "the answer's body ends in the middle, and the connection is closed",
    "short": "the answer is cut in the middle and its length says so: only a digest tells",
    "slow": "the answer takes `seconds` longer",
    "limit": "429 with Retry-After: `seconds`",
    "stale": "the request sees branches one commit back; a commit is refused with 412",
    "expire": "401 to this and every later request of the account until `renew`",
    "kill": "process `pid` is killed before the request takes effect",
    "kill-after": "process `pid` is killed after the request took effect",
}


@dataclass(frozen=True)
class Fault:
    """One planned fault.

    Attributes:
        kind: of `KINDS`.
        number: it strikes the request with this number (from 1) among those of ``account`` since `Faults.restart`;
            0: the next ones that match.
        account: name of the account whose requests are meant; "" means everybody's.
        method, path: regular expressions that the whole method and path (without the query) must match.
        times: how many requests it strikes.
        seconds: of `slow` and `limit`.
        status: of `error`.
        pid: the process that `kill` kills.
    """

    kind: str
    number: int = 0
    account: str = ""
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    seconds: float = 1
    status: int = 503
    pid: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; allowed: {', '.join(KINDS)}")

    def strikes(self, number: int, account: str, method: str, path: str) -> bool:
        return (
            (not self.number or self.number == number)
            and self.account in ("", account)
            and bool(re.fullmatch(self.method, method) and re.fullmatch(self.path, path))
        )


class Faults:
    """The faults still to come, and how many requests each account has made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[tuple[Fault, int]] = []
        self._counts: dict[str, int] = {}
        self._expired: set[str] = set()

    def plan(self, *faults: Fault) -> None:
        with self._lock:
            self._planned += [(f, f.times) for f in faults]

    def restart(self, account: str) -> None:
        """Count the account's requests from 1 again, renew its token and forget the faults planned for it."""
        with self._lock:
            self._counts.pop(account, None)
            self._expired.discard(account)
            self._planned = [(f, n) for f, n in self._planned if f.account != account]

    def renew(self, account: str) -> None:
        with self._lock:
            self._expired.discard(account)

    def waiting(self) -> int:
        """How many strikes are still to come."""
        with self._lock:
            return sum(n for _, n in self._planned)

    def take(self, account: str, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
        with self._lock:
            number = self._counts[account] = self._counts.get(account, 0) + 1
            for place, (fault, left) in enumerate(self._planned):
                if fault.strikes(number, account, method, path):
                    self._planned[place : place + 1] = [(fault, left - 1)] if left > 1 else []
                    if fault.kind == "expire":
                        self._expired.add(account)
                    return fault
            return Fault("expire") if account in self._expired else None


def drawn(rng: random.Random, requests: int, kinds: Iterable[str] = KINDS, **more: Any) -> Fault:
    """A fault of a random kind at a random one of ``requests``.

    >>> fault = drawn(random.Random(2), 30, ["limit"], account="tester")
    >>> fault.kind, fault.number, fault.account
    ('limit', 3, 'tester')
    """
    status = rng.choice((500, 502, 503, 504))
    return Fault(**{"kind": rng.choice(sorted(kinds)), "number": rng.randint(1, requests), "status": status, **more})
