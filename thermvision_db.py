"""ThermVision-DB: load the dataset, read its frames, build it; the toolkit behind it lives in ``thermvision.*``.

    >>> import thermvision_db
    >>> thermvision_db.CONFIGS[:2]
    ('video', 'image')

    clips = thermvision_db.load("video", "release", split="train")     # a folder, a Hub id, or the archives
    gray = thermvision_db.frames(clips[0], [0, 10])                    # (2, H, W) uint8

The module is also a loading script for versions of `datasets` that still run scripts (3.x).
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__version__ = "1.0.0"
__all__ = ["CONFIGS", "ThermVisionConfig", "ThermVisionDB", "__version__", "frames", "load", "main"]
PUBLISHED = "MAli-Farooq/ThermVision-DB"
CONFIGS = (
    "video", "image", "frontal_pose", "facial_accessories", "beard", "mix", "head_poses", "frames", "radiometric",
    "scenes",
)  # fmt: skip
_PACKAGES = ("annotations", "curation", "dataset_card", "generation")


def _define_builder() -> tuple[type, type]:
    """The config and builder classes. Made on demand: importing this module must not import `datasets`."""
    import datasets

    from thermvision.annotations.schema import config_description, features
    from thermvision.curation import sources
    from thermvision.curation.pack import complete

    class ThermVisionConfig(datasets.BuilderConfig):
        """A config of ThermVision-DB: what a row is. See `CONFIGS`."""

    class ThermVisionDB(datasets.ArrowBasedBuilder):
        """Rows of a release or of the published archives, one config at a time.

        ``data_dir`` is a release folder, a zip of the published archives, or a folder that holds them or their
        unpacked trees. The cache key includes a digest of the source: a changed source is read again.

            builder = ThermVisionDB(config_name="video", data_dir="release")
            builder.download_and_prepare()
            clips = builder.as_dataset("train")
        """

        BUILDER_CONFIG_CLASS = ThermVisionConfig
        BUILDER_CONFIGS = [  # noqa: RUF012
            ThermVisionConfig(name=name, version=__version__, description=config_description(name)) for name in CONFIGS
        ]
        DEFAULT_CONFIG_NAME = "video"

        def __init__(self, *args: Any, data_dir: str | None = None, hash: str | None = None, **kwargs: Any) -> None:
            if data_dir is None:
                raise sources.no_source()
            self._source = sources.open_source(Path(data_dir))
            digest = self._source.digest if hash is None else f"{hash}-{self._source.digest}"
            super().__init__(*args, data_dir=str(data_dir), hash=digest, **kwargs)

        def _info(self) -> Any:
            return datasets.DatasetInfo(
                description=config_description(self.config.name),
                features=features(self.config.name, self._source.identities),
                homepage=f"https://huggingface.co/datasets/{PUBLISHED}",
                citation="https://doi.org/10.1016/j.dib.2026.112506",
            )

        def _split_generators(self, dl_manager: Any) -> list[Any]:
            parts = sources.parts_of(self._source, self.config.name)
            return [datasets.SplitGenerator(name=split, gen_kwargs={"parts": found}) for split, found in parts.items()]

        def _generate_tables(self, parts: list[Any]) -> Any:
            schema = self.info.features.arrow_schema
            for number, part in enumerate(parts):
                for piece, table in enumerate(self._source.tables(self.config.name, part)):
                    yield f"{number}-{piece}", complete(table, schema)

    for cls in (ThermVisionConfig, ThermVisionDB):  # pickled by name, as module-level classes are
        cls.__module__, cls.__qualname__ = __name__, cls.__name__
    return ThermVisionConfig, ThermVisionDB


def _runs_scripts() -> bool:
    try:
        return int(metadata.version("datasets").split(".")[0]) < 4
    except (metadata.PackageNotFoundError, ValueError):
        return False


if _runs_scripts():  # a script's builder class has to exist once the script is imported
    ThermVisionConfig, ThermVisionDB = _define_builder()


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"thermvision.{name}")
    if name in ("ThermVisionConfig", "ThermVisionDB"):
        classes = _define_builder()
        globals().update(ThermVisionConfig=classes[0], ThermVisionDB=classes[1])
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *__all__})


def load(
    name: str = "video",
    source: str | Path | None = None,
    revision: str | None = None,
    split: str | None = None,
    streaming: bool = False,
    split_table: Mapping[str, str] | str | Path | None = None,
    overlay: str | Path | None = None,
) -> Any:
    """Rows of one config as `datasets.Dataset` (with ``split``) or `DatasetDict`, iterable ones when ``streaming``.

    Args:
        name: one of `CONFIGS`; the source must offer it.
        source: a release folder, a Hub id, or the published archives (a zip, a folder with the zips, or their
            unpacked trees). None is the published dataset on the Hub.
        revision: tag, branch or commit on the Hub.
        split: "train", "validation" or "test"; with a split table, one of its splits.
        split_table: other splits than those fixed at birth: a mapping from subject id to split, or a CSV or Parquet
            file (``thermvision split``) with the columns ``subject_id`` or ``item_id``, and ``split``. The split
            "excluded" leaves something out.
        overlay: folder of a label overlay (``thermvision annotate SOURCE --overlay``), whose labels take the place of
            the rows' own.

    Raises:
        UsageError: there is no such config, split or source, or the table lacks a subject.
        DamagedInputError: the source is broken.
    """
    from thermvision.curation import sources

    def builder(**kwargs: Any) -> Any:
        return __getattr__("ThermVisionDB")(**kwargs)

    return sources.load(
        name, PUBLISHED if source is None else source, revision, split, streaming, split_table, builder, overlay
    )


def frames(row: Mapping[str, Any], indices: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Gray frames (N, H, W) uint8 of a row of the config ``video``, all or those at ``indices``; needs no torch.

    Args:
        row: a row whose ``video`` is ``{"bytes", "path"}``, as `load` and `load_dataset` give it.
        indices: frame numbers in any order, repeats and negatives allowed; None: all.

    Raises:
        UsageError: the row has no readable video.
        DamagedInputError: the video does not decode.
        IndexError: an index is outside the clip.
    """
    from thermvision.annotations.errors import UsageError
    from thermvision.curation.video import decode_gray

    video = row.get("video") if hasattr(row, "get") else None
    if isinstance(video, dict) and video.get("bytes") is not None:
        return decode_gray(video["bytes"], indices)
    if isinstance(video, dict) and video.get("path") and Path(video["path"]).is_file():
        return decode_gray(Path(video["path"]), indices)
    seen = f"a {type(video).__name__}" if video is not None else "no video"
    raise UsageError(
        f"the row holds {seen}; allowed: a row of the config 'video' with {{'bytes', 'path'}}; for a column that was"
        " cast to decode, type: ds.cast_column('video', Video(decode=False))"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``thermvision``; returns its exit code (see `thermvision.annotations.errors`)."""
    try:
        from thermvision.curation import commands as curation
        from thermvision.curation.console import new_app, run
        from thermvision.dataset_card import commands as dataset_card
        from thermvision.generation import commands as generation
    except KeyboardInterrupt:  # nothing has begun: this is the first half second
        return 130

    app = new_app(__version__)
    curation.register(app, dataset_card.finish)
    generation.register(app, dataset_card.finish)
    dataset_card.register(app)
    return run(app, sys.argv[1:] if arguments is None else list(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
