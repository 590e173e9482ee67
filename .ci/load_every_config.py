"""Load every config that a release offers with `datasets` alone, and hold it against the release's manifest.

Usage: python -I .ci/load_every_config.py RELEASE
"""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

from datasets import get_dataset_config_names, load_dataset


def main(release: Path) -> None:
    assert importlib.util.find_spec("torchcodec") is None, "torchcodec is installed; releases must load without it"
    shards = json.loads((release / "release.json").read_text(encoding="utf-8"))["shards"]
    for config in get_dataset_config_names(str(release)):
        rows = {split: data.num_rows for split, data in load_dataset(str(release), config).items()}
        for split, data in load_dataset(str(release), config, streaming=True).items():
            assert next(iter(data)).keys() == set(data.features), (
                f"{config}/{split} streams other columns than it declares"
            )
        folder = "data/image/" if config == "image" else None  # the union of the categories has no shards of its own
        expected: dict[str, int] = {}
        for shard in shards:
            if shard["config"] == config or (folder and shard["path"].startswith(folder)):
                expected[shard["split"]] = expected.get(shard["split"], 0) + shard["rows"]
        assert rows == expected, f"{config}: {rows}, the manifest says {expected}"
        print(f"{config:20} {rows}")


if __name__ == "__main__":
    warnings.simplefilter("error", UserWarning)
    main(Path(sys.argv[1]).resolve())
