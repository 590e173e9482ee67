"""The commands animate, motion and retarget: faces that move, by LivePortrait's networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.curation.console import show_json
from thermvision.curation.options import AsJson, DryRun, Quiet

if TYPE_CHECKING:
    from thermvision.generation.animate import Animated
    from thermvision.generation.engines.liveportrait.engine import LivePortraitEngine

_LISTED = 20
NOISE_LINE = "random weights: pixels are noise"

Weights = Annotated[
    str,
    typer.Option(
        help="Folder of the checkpoints, or random for noise; default: $THERMVISION_LIVEPORTRAIT, or the usual."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the networks: a slow start, then faster frames.")]
AllowPth = Annotated[bool, typer.Option("--allow-pth", help="Read .pth checkpoints too, tensors only.")]
CropDriving = Annotated[
    bool | None,
    typer.Option("--crop-driving/--no-crop-driving", help="Cut the face out of the video; default: if not square."),
]
Preprocess = Annotated[str, typer.Option(help="Steps done to the picture: normalize,denoise,equalize; paper: all.")]
Crop = Annotated[bool, typer.Option("--crop/--no-crop", help="Cut the face out of the picture.")]
PasteBack = Annotated[bool, typer.Option("--paste-back", help="Give the whole picture, not the crop.")]
Units = Annotated[str, typer.Option(help="Units of pixels that are temperatures; auto finds out.")]
Palette = Annotated[str, typer.Option(help="Palette of false colours; auto finds out.")]
Polarity = Annotated[str, typer.Option(help="auto, white-hot or black-hot.")]
Stitching = Annotated[bool, typer.Option("--stitching/--no-stitching", help="Fit the shoulders.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""

    @app.command()
    def animate(
        sources: Annotated[list[Path], typer.Argument(help="Pictures of faces, or folders of them.")],
        driving: Annotated[
            list[Path], typer.Option("--driving", help="Video, motion template or picture that moves them; repeatable.")
        ],
        out: Annotated[Path, typer.Option("--out", help="Folder: OUT/PICTURE/VIDEO.mp4, with labels and a record.")],
        weights: Weights = "",
        absolute: Annotated[bool, typer.Option("--absolute", help="Take the driver's pose, not its changes.")] = False,
        region: Annotated[str, typer.Option(help="What moves: all, exp, pose, lip or eyes.")] = "all",
        option: Annotated[str, typer.Option(help="expression-friendly or pose-friendly.")] = "expression-friendly",
        multiplier: Annotated[float, typer.Option(help="Of all motion, 0 to 10.")] = 1.0,
        stitching: Stitching = True,
        eye_retargeting: Annotated[
            bool, typer.Option("--eye-retargeting", help="Eyes as open as the driver's.")
        ] = False,
        lip_retargeting: Annotated[
            bool, typer.Option("--lip-retargeting", help="Lips as open as the driver's.")
        ] = False,
        normalize_lip: Annotated[bool, typer.Option("--normalize-lip", help="Close an open mouth first.")] = False,
        lip_normalize_threshold: Annotated[float, typer.Option(help="Lip ratio from which a mouth is open.")] = 0.03,
        anchor: Annotated[str, typer.Option(help="Neutral driving frame: first, best or its number.")] = "first",
        preprocess: Preprocess = "",
        crop: Crop = True,
        crop_driving: CropDriving = None,
        paste_back: PasteBack = False,
        format: Annotated[str, typer.Option("--format", help="Of the labels: csv or parquet.")] = "csv",
        png: Annotated[bool, typer.Option("--png", help="Write each frame as PNG, too.")] = False,
        units: Units = "auto",
        palette: Palette = "auto",
        polarity: Polarity = "auto",
        batch: Annotated[int | None, typer.Option(min=1, max=256, help="Frames drawn at once.")] = None,
        device: Device = "auto",
        precision: Precision = "auto",
        compile: Compile = False,
        allow_pth: AllowPth = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Animate every picture with every driving video. A stopped run goes on; finished clips are kept.

        Example: thermvision animate faces/ --driving talk.mp4 --weights LivePortrait/checkpoints/thermal --out clips
        """
        from thermvision.curation.inputs import PixelReading

        from .animate import AnimateSettings, animate_files, find_pairs

        wanted = {
            "relative": not absolute, "region": region, "option": option, "multiplier": multiplier,
            "stitching": stitching, "eye_retargeting": eye_retargeting, "lip_retargeting": lip_retargeting,
            "normalize_lip": normalize_lip, "lip_normalize_threshold": lip_normalize_threshold,
        }  # fmt: skip
        settings = AnimateSettings(
            options={name: value for name, value in wanted.items() if value != _DEFAULTS[name]},
            anchor=anchor,
            preprocess=_steps(preprocess),
            crop=crop,
            crop_driving=crop_driving,
            paste_back=paste_back,
            reading=PixelReading(units, palette, _polarity(polarity)),
        )
        pairs = find_pairs(sources, driving)
        if dry_run:
            if as_json:
                show_json({"clips": [p.name for p in pairs], "out": str(out)})
            else:
                print(f"{len(pairs)} clips:")
                for pair in pairs:
                    print(f"  {out / pair.name}.mp4")
                print(f"next: the same command without --dry-run writes {out}")
            return
        engine = _engine(weights, device, precision, compile, allow_pth)
        done = animate_files(pairs, out, engine, settings, format=format, png=png, batch=batch, quiet=quiet)
        _show(done, out, engine, as_json)

    @app.command()
    def motion(
        video: Annotated[Path, typer.Argument(help="Driving video, or a picture.")],
        out: Annotated[Path, typer.Option("--out", help="Motion template to write, .npz.")],
        weights: Weights = "",
        crop_driving: CropDriving = None,
        smooth: Annotated[bool, typer.Option("--smooth", help="Smooth the motion over time.")] = False,
        device: Device = "auto",
        precision: Precision = "auto",
        allow_pth: AllowPth = False,
        as_json: AsJson = False,
    ) -> None:
        """Extract the motion of a driving video once, for any number of faces.

        Example: thermvision motion talk.mp4 --out talk.npz --weights LivePortrait/checkpoints/thermal
        """
        if out.suffix != ".npz":
            raise UsageError(f"--out is {out}; allowed: a name that ends in .npz")
        engine = _engine(weights, device, precision, False, allow_pth)
        from .animations import input_file
        from .engines.liveportrait.driver import choose_anchor
        from .engines.liveportrait.driving import best_anchor
        from .engines.liveportrait.template import smoothed, write_template

        driver = engine.driver(input_file(video), crop_driving)
        template = write_template(out, smoothed(driver.template) if smooth else driver.template)
        best = best_anchor(template)
        _, warning = choose_anchor(template, "first")
        notes = [*driver.notes, *([warning] if warning else [])]
        facts = {
            "out": str(out), "frames": len(template), "fps": template.fps, "neutral_frame": best.index,
            "first_frame": {"yaw": round(best.yaw, 1), "mouth": round(best.mouth, 3), "neutral": best.neutral},
            "notes": notes, "weights": NOISE_LINE if engine.random else engine.model_digests(),
        }  # fmt: skip
        if as_json:
            show_json(facts)
            return
        print(f"{out}: {len(template)} frames at {template.fps:g} a second; nearest to neutral is frame {best.index}")
        for note in notes:
            print(f"  {note}")
        print(f"next: thermvision animate PICTURE --driving {out} --out clips")

    @app.command()
    def retarget(
        image: Annotated[Path, typer.Argument(help="Picture of a face.")],
        out: Annotated[Path, typer.Option("--out", help="PNG to write.")],
        weights: Weights = "",
        eyes: Annotated[
            float | None, typer.Option(help="Lid gap over eye width, 0 to 1; open eyes are near .35.")
        ] = None,
        lips: Annotated[float | None, typer.Option(help="Lip gap over mouth width, 0 to 1.")] = None,
        yaw: Annotated[float, typer.Option(help="Degrees added; above 0 turns to image right.")] = 0.0,
        pitch: Annotated[float, typer.Option(help="Degrees added; above 0 looks up.")] = 0.0,
        roll: Annotated[float, typer.Option(help="Degrees added; above 0 tilts clockwise.")] = 0.0,
        expression: Annotated[float, typer.Option(help="Factor of the picture's own expression.")] = 1.0,
        stitching: Stitching = True,
        preprocess: Preprocess = "",
        crop: Crop = True,
        paste_back: PasteBack = False,
        units: Units = "auto",
        palette: Palette = "auto",
        polarity: Polarity = "auto",
        device: Device = "auto",
        precision: Precision = "auto",
        allow_pth: AllowPth = False,
        as_json: AsJson = False,
    ) -> None:
        """Change the face of one picture: how far eyes and lips are open, and where the head turns.

        Example: thermvision retarget face.png --lips 0.3 --yaw 15 --out open.png
        """
        if out.suffix.lower() != ".png":
            raise UsageError(f"--out is {out}; allowed: a name that ends in .png")
        if out.resolve() == image.resolve():
            raise UsageError(f"--out is {out}, the picture itself; allowed: another name, so that it is not lost")
        engine = _engine(weights, device, precision, False, allow_pth)
        from thermvision.curation.inputs import PixelReading
        from thermvision.curation.store import atomic_write, canonical_json

        from .animations import input_file
        from .engines.liveportrait.procedure import retarget as change
        from .run import encode_png, pixels_digest

        source, steps = input_file(image), _steps(preprocess)
        reading = PixelReading(units, palette, _polarity(polarity))
        portrait, _ = engine.portrait(source, steps, reading=reading, crop=crop)
        asked: dict[str, Any] = {
            "eyes": eyes, "lips": lips, "yaw": yaw, "pitch": pitch, "roll": roll, "expression": expression,
            "stitching": stitching, "paste_back": paste_back,
        }  # fmt: skip
        frame = change(engine.networks, portrait, **asked)
        record = {
            "source": {"name": source.name, "sha256": source.sha256}, "settings": {**asked, "preprocess": steps},
            **engine.record(), "recognised": portrait.notes, "raw_pixels_sha256": pixels_digest(frame),
        }  # fmt: skip
        atomic_write(out, encode_png(frame))
        atomic_write(out.with_suffix(".json"), canonical_json(record) + "\n")
        if as_json:
            show_json({**record, "out": str(out)})
            return
        print(f"{out}: {frame.shape[1]} x {frame.shape[0]} pixels")
        if "faces" in portrait.notes:
            print(f"  {source.name}: {portrait.notes['faces']}")
        print(f"next: thermvision animate {out} --driving VIDEO --out clips")


_DEFAULTS = {
    "relative": True, "region": "all", "option": "expression-friendly", "multiplier": 1.0, "stitching": True,
    "eye_retargeting": False, "lip_retargeting": False, "normalize_lip": False,
    "lip_normalize_threshold": 0.03,
}  # fmt: skip


def _steps(text: str) -> tuple[str, ...]:
    from .preprocess import STEPS, check_steps

    return STEPS if text == "paper" else check_steps(s.strip() for s in text.split(",") if s.strip())


def _polarity(polarity: str) -> str:
    if polarity not in (allowed := ("auto", "white-hot", "black-hot")):
        raise UsageError(f"--polarity is {polarity!r}; allowed: {', '.join(allowed)}")
    return polarity


def _engine(weights: str, device: str, precision: str, compile: bool, allow_pth: bool) -> LivePortraitEngine:
    """The engine of the options, with what it needs.

    Raises:
        MissingDependencyError: torch or the checkpoints are not there.
    """
    from .engines.liveportrait.engine import LivePortraitEngine

    engine = LivePortraitEngine(weights, device, precision, compile=compile, allow_pth=allow_pth)
    engine.require()
    return engine


def _show(done: Animated, out: Path, engine: LivePortraitEngine, as_json: bool) -> None:
    if as_json:
        show_json({
            "out": str(out), "made": done.made, "kept": done.kept, "frames": done.frames, "notes": done.notes,
            "engine": engine.engine_id, "findings": [vars(f) for f in done.findings],
            **({"pixels": NOISE_LINE} if engine.random else {}),
        })  # fmt: skip
    else:
        before = f"; {len(done.kept)} were finished before" if done.kept else ""
        noise = f" ({NOISE_LINE})" if engine.random else ""
        print(f"{out}: {len(done.made)} clips, {done.frames} frames{before}; by {engine.engine_id}{noise}")
        for line in (*done.notes[:_LISTED], *map(str, done.findings[:_LISTED])):
            print(f"  {line}")
        if (more := max(len(done.notes), len(done.findings)) - _LISTED) > 0:
            print(f"  and {more} more; --json lists all")
        if done.made or done.kept:
            print(f"next: thermvision annotate {out} --out faces.json --format coco")
    if done.findings:
        others = f"; the others are in {out}" if done.made or done.kept else ""
        raise FindingsError(f"{len(done.findings)} clips or drivers failed, the first: {done.findings[0]}{others}")
