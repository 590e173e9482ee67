"""Reading and printing what every label format is made of: bounded text, numbers, image paths, CSV rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from thermvision.annotations.findings import Finding

# six decimals of a pixel keep a float32 coordinate above 16 px exactly, and any to a millionth of a pixel
DECIMALS = 6
MAX_SIDE = 10**6
LARGEST = 1e9  # no coordinate or score is larger; float32 holds it without overflow
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def decoded(data: str | bytes, path: str, limit: int) -> tuple[str, list[Finding]]:
    """The text of a file of at most ``limit`` bytes; empty, with a finding, where it is larger or not UTF-8."""
    if len(data) > limit:
        message = f"the file has {len(data)} bytes; allowed: {limit}; nothing was read"
        return "", [Finding(path, "too-large", message)]
    if isinstance(data, str):
        return data.removeprefix("\ufeff"), []
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; allowed: UTF-8 text; nothing was read"
        return "", [Finding(path, "encoding", message)]


def number(token: object) -> float | None:
    """The number that a token of a file stands for, None for anything else and beyond `LARGEST`.

    >>> number(" 12.50 "), number("1_0"), number("nan"), number(3), number(True), number("1e30")
    (12.5, None, None, 3.0, None, None)
    """
    if isinstance(token, str):
        token = token.strip()
        value = float(token) if len(token) <= 64 and _NUMBER.fullmatch(token) else float("nan")
    elif isinstance(token, int | float) and not isinstance(token, bool):
        # an integer of JSON may have any number of digits
        value = float(token) if abs(token) <= LARGEST else float("inf")
    else:
        return None
    return value if abs(value) <= LARGEST else None


def image_size(
    width: object, height: object, otherwise: tuple[int, int] | None = None
) -> tuple[int | None, int | None]:
    """Width and height that a file states, else what the caller knows, else None twice.

    >>> image_size("320", 240), image_size("0", "x", (64, 48)), image_size(None, None)
    ((320, 240), (64, 48), (None, None))
    """
    stated = [number(width), number(height)]
    sides = [int(side) for side in stated if side is not None and 1 <= side <= MAX_SIDE]
    if len(sides) == 2:
        return sides[0], sides[1]
    return otherwise or (None, None)


def printed(value: float) -> str:
    """A number with at most six decimals and no trailing zeros.

    >>> printed(153.0), printed(-0.0), printed(12.34567891)
    ('153', '0', '12.345679')
    """
    text = f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def image_path(name: str) -> tuple[str, str]:
    """The path of an image as a label file names it, made safe: (path, complaint).

    A path that is absolute or leaves its root is cut to its file name, with a complaint; one that names no file is
    empty.

    >>> image_path("face01\\\\0001.jpg"), image_path("../../etc/passwd")[0]
    (('face01/0001.jpg', ''), 'passwd')
    """
    cleaned = name.strip().replace("\\", "/")
    parts = [part for part in cleaned.split("/") if part not in ("", ".")]
    seen = repr(name[:80])
    if not parts or parts[-1] == ".." or _CONTROL.search(cleaned) or len(cleaned) > 4096:
        return "", f"the image's path is {seen}; allowed: a relative path; nothing was made of it"
    if cleaned.startswith("/") or _DRIVE.match(cleaned) or ".." in parts:
        last = _DRIVE.sub("", parts[-1])
        complaint = f"the image's path is {seen}; allowed: a path below the labels' root"
        return (last, f"{complaint}; only {last!r} is kept") if last else ("", f"{complaint}; nothing was made of it")
    return "/".join(parts), ""


def csv_rows(text: str, path: str, findings: list[Finding]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, with the line each ends on; what ends the reading is a finding."""
    reader = csv.reader(io.StringIO(text, newline=""))
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            message = f"line {reader.line_num}: {error}; the rest of the file was not read"
            findings.append(Finding(path, "not-csv", message))
            return
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def csv_text(rows: Sequence[Sequence[str]]) -> bytes:
    """The bytes of a CSV file, lines ending in a bare newline."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()
