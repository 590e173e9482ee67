"""Writes the example of a dataset card, docs/example_card/, from a release whose reports ride in it.

thermvision build --out release
thermvision check release --out findings
thermvision dedupe release --out duplicates
thermvision stats release --out statistics
thermvision audit release --out audit
thermvision evaluate release --protocol all --split all --out results.json
thermvision card release --report findings --report duplicates --report statistics --report audit --report results.json
python docs/example_card.py release

The clip with annotations stays out: it is larger than all the rest.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from thermvision.dataset_card.card import write_card
from thermvision.dataset_card.previews import FOLDER, OVERLAY

KEPT = (FOLDER, "recipes", "reports")


def main(release: Path, out: Path) -> None:
    """Write the card of ``release`` with its pictures, recipes and reports into ``out``, which is made anew."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "release"
        shutil.copytree(release, copy)
        (copy / FOLDER / OVERLAY).unlink()
        text = write_card(copy).read_text(encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        for name in KEPT:
            shutil.copytree(copy / name, out / name)
        (out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_suffix(""))
