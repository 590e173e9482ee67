"""What moves which face: the files that a recipe of the engine liveportrait names, dealt to its clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from thermvision.annotations.errors import UsageError
from thermvision.annotations.picture_file import SUFFIXES
from thermvision.annotations.schema import GENDERS
from thermvision.curation.store import sha256_file
from thermvision.generation.plan import Animate, Draw, still_spec
from thermvision.generation.recipe import Recipe
from thermvision.generation.specs import Animation, InputFile, StillSpec, Subject

STILLS = "stills"
RANDOM = "random"
SOURCE_CATEGORY = "frontal_pose"


def input_file(path: Path) -> InputFile:
    """The file at ``path`` with its digest.

    Raises:
        UsageError: it is not there.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give the path of a file")
    return InputFile(path.name, sha256_file(path), str(path.resolve()))


def below(folder: Path | None, name: str, key: str) -> Path:
    """The path that a recipe in ``folder`` names.

    Raises:
        UsageError: it leads out of the folder, is not there, or the recipe is no file.
    """
    if folder is None:
        raise UsageError(f"{key} is {name!r} and the recipe is no file; save it beside the file it names")
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise UsageError(f"{key} is {name!r}; allowed: a relative path below the recipe's folder {folder}")
    if not path.exists():
        raise UsageError(f"{key} is {name!r} and there is nothing in {folder} of that name; give what is there")
    return path


def weights_of(recipe: Recipe, folder: Path | None) -> str:
    """The folder of the networks as an absolute path, "random", or "" where the recipe names none.

    Weights are large and shared by recipes, so unlike other files they may lie anywhere.
    """
    given = recipe.clips.weights
    if given is None or given == RANDOM:
        return given or ""
    return str(((folder or Path()) / Path(given).expanduser()).resolve())


def animations(recipe: Recipe, folder: Path | None, draw: Draw | None = None) -> Animate | None:
    """Says what moves each clip of ``recipe``, which lies in ``folder``; None for engines that move no picture.

    ``draw`` is what `thermvision.generation.drawings.drawings` gives, for stills that are drawn from words.

    Raises:
        UsageError: a file is not there, or there are too few pictures.
    """
    clips, table = recipe.clips, recipe.liveportrait
    if clips.engine != "liveportrait":
        return None
    driving: dict[str, InputFile] = {
        sequence: input_file(below(folder, name, f"clips.driving.{sequence}"))
        for sequence, name in clips.driving.items()
        if getattr(clips, sequence)
    }
    common = Animation(
        source=InputFile("", "", ""),
        driving=InputFile("", "", ""),
        options=table.options,
        anchor=str(table.anchor),
        preprocess=table.preprocess,
        paste_back=table.paste_back,
        precision=table.precision,
        weights=weights_of(recipe, folder),
        device=table.device,
    )
    source = _still_of(recipe, draw)
    if clips.source is not None and clips.source != STILLS:
        wanted = {gender: getattr(recipe.subjects, gender) for gender in GENDERS}
        source = deal_pictures(below(folder, clips.source, "clips.source"), wanted)
    return lambda subject, sequence: replace(common, source=source(subject), driving=driving[sequence])


def _still_of(recipe: Recipe, draw: Draw | None) -> Callable[[Subject], StillSpec | InputFile]:
    def still(subject: Subject) -> StillSpec:
        spec = replace(still_spec(recipe, subject, SOURCE_CATEGORY, 0), radiometric=False)
        return draw(spec) if draw else spec

    return still


def deal_pictures(folder: Path, wanted: Mapping[str, int]) -> Callable[[Subject], InputFile]:
    """Gives each subject a picture of ``folder``, by turns in the order of their names, and the same one again.

    Pictures in the subfolders ``female`` and ``male`` go to subjects of that gender, others to anybody. ``wanted`` is
    how many subjects of each gender there will be.

    Raises:
        UsageError: there are fewer pictures than subjects.
    """
    if any((folder / gender).is_dir() for gender in wanted):
        waiting = {gender: _pictures(folder / gender, count) for gender, count in wanted.items()}
    else:
        waiting = dict.fromkeys(wanted, _pictures(folder, sum(wanted.values())))
    dealt: dict[int, InputFile] = {}

    def picture(subject: Subject) -> InputFile:
        if subject.index not in dealt:
            dealt[subject.index] = input_file(next(waiting[subject.gender]))
        return dealt[subject.index]

    return picture


def _pictures(folder: Path, wanted: int) -> Iterator[Path]:
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if len(found) < wanted:
        raise UsageError(
            f"{folder} holds {len(found)} pictures and the recipe asks for {wanted} subjects; add pictures"
            f" ({' '.join(SUFFIXES)}) or ask for fewer"
        )
    return iter(found)
