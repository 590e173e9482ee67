"""`thermvision_db.py` as a dataset script, the way `datasets` 3.6 ran scripts; not collected by pytest.

Usage: python -I script_loading.py path/to/thermvision_db.py RELEASE
"""

import io
import sys
from pathlib import Path

import av
import datasets
from datasets import get_dataset_config_names, load_dataset


def same(a: object, b: object) -> bool:
    """Equality in which NaN equals NaN (the box of a frame without a face)."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def kind(feature: object) -> object:
    """A feature with lists written one way: 3.x reads them from YAML as `[x]`, and from a script as `Sequence(x)`."""
    if isinstance(feature, datasets.Sequence):
        return [kind(feature.feature)]
    if isinstance(feature, list):
        return [kind(inner) for inner in feature]
    if isinstance(feature, dict):
        return {name: kind(inner) for name, inner in feature.items()}
    return feature


def main(script: Path, release: Path) -> None:
    assert datasets.__version__.startswith("3."), f"datasets is {datasets.__version__}; needed: 3.x, which runs scripts"
    for config in get_dataset_config_names(str(release)):
        scripted = load_dataset(str(script), config, data_dir=str(release), trust_remote_code=True)
        plain = load_dataset(str(release), config)
        assert scripted.keys() == plain.keys(), f"{config}: splits {sorted(scripted)} and {sorted(plain)}"
        for split in plain:
            a, b = scripted[split], plain[split]
            different = [n for n in b.features if n in a.features and kind(a.features[n]) != kind(b.features[n])]
            assert list(a.features) == list(b.features), f"{config}/{split}: columns differ"
            assert not different, f"{config}/{split}: features of {', '.join(different)} differ"
            assert a.num_rows == b.num_rows > 0, f"{config}/{split}: {a.num_rows} and {b.num_rows} rows"
            for i in (0, a.num_rows - 1):
                assert same(a[i], b[i]), f"{config}/{split}: row {i} differs"
        print(f"{config:20} { {split: data.num_rows for split, data in scripted.items()} }")
    video = load_dataset(str(script), "video", data_dir=str(release), trust_remote_code=True)
    row = next(iter(video.values()))[0]
    with av.open(io.BytesIO(row["video"]["bytes"])) as container:
        count = sum(1 for _ in container.decode(video=0))
    assert count == row["num_frames"] == len(row["bbox"]), f"{count} frames decode, the row says {row['num_frames']}"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
