"""The published archives: which member is which clip, label or still, by the rules of their naming.

::

    <Female|Male> Subjects/
      Set 1 Cropped [ ]Headpose Variations/            Set 2 Cropped Facial Expressions/
        Subject-<n>[-n]/
          <Face|Thermal> Animations/[Ss]ubject<n>1[-n].mp4             the clip
          <Face|Thermal> Animations/Extracted_frames/frame_0177.png    its frames again, from 0
          [Thermal ]Face Detection/labels/frame_0177.txt               YOLO labels; no file: no face was found
      <one of the five categories>/…Subject-<n>…                       stills, where a source has them

Letter case, doubled spaces and underscores do not matter; any folder may lie around the gender folder. Other MP4s
exist, so a clip is only what lies directly in the animations folder under the subject's own name. With several
candidates the order is: the ending 1, then the ``-n`` edition of file and folder (the one in use wherever the published
set has it), then archive and path; the others are reported.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import CATEGORIES, GENDERS, SEQUENCES

from .archives import Archives, Member, open_archives

IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")
_GENDER = re.compile(r"(female|male)[ _-]*subjects?", re.IGNORECASE)
_SETS = {
    "head_pose": re.compile(r"set[ _-]*1(?!\d)(?!.*expression).*", re.IGNORECASE),
    "expression": re.compile(r"set[ _-]*2(?!\d)(?!.*pose).*", re.IGNORECASE),
}
_SUBJECT = re.compile(r"subject[ _-]*(\d{1,4})([ _-]*n)?", re.IGNORECASE | re.ASCII)
_ANIMATIONS = re.compile(r"(face|thermal)[ _]+animations?", re.IGNORECASE)
_DETECTION = re.compile(r"(thermal[ _]+)?face[ _]+detections?", re.IGNORECASE)
_CLIP = re.compile(r"subject(\d{1,4})([12])(-n)?\.mp4", re.IGNORECASE | re.ASCII)
_FRAME = re.compile(r"frame_(\d{1,6})\.(txt|png|jpe?g)", re.IGNORECASE | re.ASCII)
_STILL = re.compile(r"subject[ _-]+(\d{1,4})(?!\d).*", re.IGNORECASE | re.ASCII)
_SYSTEM = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)


@dataclass(frozen=True)
class RawClip:
    """One clip of the archives.

    Attributes:
        clip_id: gender, number and set, for example ``F_01_S1``.
        subject_id: ``F_01``.
        gender, sequence: class names of the schema.
        member: the MP4.
        labels: (frame from 0, label file) in frame order, one a frame.
        frame_images: which frames are also there as images.
    """

    clip_id: str
    subject_id: str
    gender: str
    sequence: str
    member: Member
    labels: tuple[tuple[int, Member], ...]
    frame_images: frozenset[int]


@dataclass(frozen=True)
class RawStill:
    """One still of a category folder."""

    image_id: str
    subject_id: str
    gender: str
    category: str
    member: Member


@dataclass(frozen=True)
class RawRelease:
    """What a source holds, every member accounted for.

    Attributes:
        clips, stills: in the order of gender, number, and set or category.
        uses: how many members serve as ``clip``, ``label`` or ``still``, or are known and not read:
            ``frame-image``, ``face-crop``, ``system-file``.
        left_out: a finding for every other member: why it is not used.
        findings: what is unusual about what is used.
    """

    clips: tuple[RawClip, ...]
    stills: tuple[RawStill, ...]
    uses: dict[str, int]
    left_out: tuple[Finding, ...]
    findings: tuple[Finding, ...]

    @property
    def subjects(self) -> dict[str, str]:
        """subject_id → gender, in the order of gender and number."""
        items: tuple[RawClip | RawStill, ...] = (*self.clips, *self.stills)
        found = {(item.gender, item.subject_id) for item in items}
        return {subject_id: gender for gender, subject_id in sorted(found, key=lambda g: _subject_order(*g))}


@dataclass(frozen=True)
class _Place:
    """Where a member lies: its role, and the folder and name fields that decide it."""

    role: str
    gender: str = ""
    number: int = 0
    group: str = ""  # sequence or category
    folder: str = ""  # path of the subject's folder: clip and labels belong together by it
    frame: int = -1
    preference: tuple[int, ...] = ()
    reason: str = ""


@dataclass
class _Folder:
    """A subject's folder within one set."""

    candidates: list[tuple[_Place, Member]] = field(default_factory=list)
    labels: list[tuple[_Place, Member]] = field(default_factory=list)
    images: list[tuple[_Place, Member]] = field(default_factory=list)


def scan(source: Path | str) -> RawRelease:
    """Find the clips and stills of a zip, a folder with zips or an unpacked tree; nothing but its listing is read.

    Raises:
        UsageError: there is no such source.
        DamagedInputError: a zip is broken, password-protected or unsafe.
    """
    with open_archives(source) as opened:
        return classify(opened)


def classify(source: Archives) -> RawRelease:
    """`scan` of an opened source."""
    uses: Counter[str] = Counter()
    left_out = list(source.findings)
    folders: dict[tuple[str, int, str], dict[str, _Folder]] = defaultdict(lambda: defaultdict(_Folder))
    stills: list[tuple[_Place, Member]] = []
    for member in source.members:
        place = locate(member)
        if place.role == "left-out":
            left_out.append(Finding(str(member), place.group, place.reason))
        elif place.role in ("clip", "label", "frame-image"):
            folder = folders[place.gender, place.number, place.group][place.folder]
            names = {"clip": folder.candidates, "label": folder.labels, "frame-image": folder.images}
            names[place.role].append((place, member))
        elif place.role == "still":
            stills.append((place, member))
        else:
            uses[place.role] += 1
    findings: list[Finding] = []
    clips = [_clip(key, folders[key], uses, left_out, findings) for key in sorted(folders, key=_folder_order)]
    made = tuple(clip for clip in clips if clip is not None)
    findings += _missing_sequences(made)
    uses["still"] += len(stills)
    return RawRelease(
        made, _stills(stills), dict(sorted((+uses).items())), tuple(sorted(left_out)), tuple(sorted(findings))
    )


def locate(member: Member) -> _Place:
    """What one member is, from its path alone."""
    parts = PurePosixPath(member.name).parts
    if "__MACOSX" in parts or _SYSTEM.fullmatch(parts[-1]):
        return _Place("system-file")
    genders = [i for i, part in enumerate(parts[:-1]) if _GENDER.fullmatch(part)]
    if not genders:
        return _left_out("not-in-layout", "lies in no 'Female Subjects' or 'Male Subjects' folder")
    at = genders[-1] + 1
    gender = "female" if parts[at - 1].lower().startswith("female") else "male"
    rest = parts[at:]
    if category := next((c for part in rest[:-1] for c in CATEGORIES if _same_name(part, c)), None):
        return _locate_still(gender, category, rest)
    sequence = next((s for s in SEQUENCES if _SETS[s].fullmatch(rest[0])), None)
    subject = _SUBJECT.fullmatch(rest[1]) if len(rest) > 2 else None
    if sequence is None or subject is None:
        return _left_out("not-in-layout", "lies in no subject's folder of set 1 (headpose) or set 2 (expressions)")
    folder = f"{member.archive}:{'/'.join(parts[: at + 2])}"
    return _locate_in_subject(_Place("", gender, int(subject[1]), sequence, folder), bool(subject[2]), rest[2:])


def _locate_in_subject(subject: _Place, edition: bool, rest: Sequence[str]) -> _Place:
    """``rest`` is the path below the subject's folder; ``edition`` says whether that folder's name ends in -n."""
    name, suffix = rest[-1], PurePosixPath(rest[-1]).suffix.lower()
    animations, detection = _ANIMATIONS.fullmatch(rest[0]), _DETECTION.fullmatch(rest[0])
    fields = {k: getattr(subject, k) for k in ("gender", "number", "group", "folder")}
    frame = _FRAME.fullmatch(name)
    clip = _CLIP.fullmatch(name) if animations and len(rest) == 2 else None
    # clips of set 2 end in 1 as well; the set's own digit is a second choice
    if clip and int(clip[1]) == subject.number and (clip[2] == "1" or subject.group == "expression"):
        return _Place("clip", **fields, preference=(int(clip[2]), not clip[3], not edition))
    if detection and len(rest) == 3 and rest[1].lower() == "labels" and frame and suffix == ".txt":
        thermal = rest[0].lower().startswith("thermal")
        return _Place(
            "label", **fields, frame=int(frame[1]), preference=(not thermal, len(name) != len("frame_0000.txt"))
        )
    if animations and len(rest) == 3 and _same_name(rest[1], "extracted_frames") and frame and suffix != ".txt":
        return _Place("frame-image", **fields, frame=int(frame[1]))
    if suffix in IMAGES and (detection or any("crop" in part.lower() for part in rest[:-1])):
        return _Place("face-crop")
    if suffix in VIDEOS:
        n = subject.number
        return _left_out(
            "extra-video",
            f"is not the subject's clip: that is Subject{n}1.mp4 or Subject{n}1-n.mp4 in its animations folder",
        )
    if suffix == ".txt" and detection:
        return _left_out("label-name", "is no label of a frame: those are labels/frame_0000.txt and so on")
    return _left_out("not-in-layout", "is no clip, frame image, label or face crop of a subject")


def _locate_still(gender: str, category: str, rest: Sequence[str]) -> _Place:
    if PurePosixPath(rest[-1]).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        return _left_out("not-in-layout", f"is no PNG or JPEG in the category {category}")
    numbers = [match[1] for part in rest[:-1] if (match := _SUBJECT.fullmatch(part))]
    if not numbers and (match := _STILL.fullmatch(rest[-1])):
        numbers = [match[1]]
    if not numbers:
        message = (
            f"is a still of {category} of no known subject, so its split is unknown; put it in a folder Subject-<n>"
        )
        return _left_out("still-without-subject", message)
    return _Place("still", gender, int(numbers[-1]), category)


def _left_out(code: str, reason: str) -> _Place:
    return _Place("left-out", group=code, reason=reason)


def _same_name(part: str, name: str) -> bool:
    return re.sub(r"[ _-]+", "", part).lower() == name.replace("_", "")


def _clip(
    key: tuple[str, int, str],
    folders: dict[str, _Folder],
    uses: Counter[str],
    left_out: list[Finding],
    findings: list[Finding],
) -> RawClip | None:
    """The clip of one subject and set, chosen among the candidates of all folders that carry its name."""
    gender, number, sequence = key
    subject_id = f"{gender[0].upper()}_{number:02d}"
    clip_id = f"{subject_id}_S{SEQUENCES.index(sequence) + 1}"
    candidates = sorted((p.preference, m, p.folder) for f in folders.values() for p, m in f.candidates)
    if not candidates:
        for folder in folders.values():
            for _, member in (*folder.labels, *folder.images):
                left_out.append(Finding(str(member), "no-clip", f"belongs to {clip_id}, of which there is no MP4"))
        return None
    _, chosen, home = candidates[0]
    for _, member, _ in candidates[1:]:
        left_out.append(Finding(str(member), "other-candidate", f"{clip_id} is taken from {chosen}"))
    for path, folder in folders.items():
        if path != home:
            for _, member in (*folder.labels, *folder.images):
                left_out.append(Finding(str(member), "other-candidate", f"{clip_id} is taken from {home}"))
    if len(candidates) > 1:
        message = f"has {len(candidates)} candidates; chosen: {chosen}; remove the others to choose differently"
        findings.append(Finding(clip_id, "several-candidates", message))
    labels = _labels(folders[home].labels, left_out)
    uses["clip"] += 1
    uses["label"] += len(labels)
    uses["frame-image"] += len(folders[home].images)
    if not labels:
        findings.append(Finding(clip_id, "no-labels", "has no label file at all; its boxes are null, not empty"))
    images = frozenset(p.frame for p, _ in folders[home].images)
    return RawClip(clip_id, subject_id, gender, sequence, chosen, labels, images)


def _labels(found: Iterable[tuple[_Place, Member]], left_out: list[Finding]) -> tuple[tuple[int, Member], ...]:
    """One label a frame; of several, a folder named thermal and a four-digit name come first; others are reported."""
    chosen: dict[int, Member] = {}
    for place, member in sorted(found, key=lambda label: (label[0].frame, label[0].preference, label[1])):
        if place.frame in chosen:
            message = f"is a second label of frame {place.frame}; used: {chosen[place.frame]}"
            left_out.append(Finding(str(member), "duplicate-label", message))
        else:
            chosen[place.frame] = member
    return tuple(sorted(chosen.items()))


def _stills(found: Iterable[tuple[_Place, Member]]) -> tuple[RawStill, ...]:
    """Stills numbered within subject and category, in the order of their paths."""
    counts: Counter[tuple[str, str]] = Counter()
    stills = []
    for place, member in sorted(
        found, key=lambda still: (*_folder_order((still[0].gender, still[0].number, still[0].group)), still[1])
    ):
        subject_id = f"{place.gender[0].upper()}_{place.number:02d}"
        item = counts[subject_id, place.group]
        counts[subject_id, place.group] += 1
        image_id = f"{subject_id}_{place.group}_{item:03d}"
        stills.append(RawStill(image_id, subject_id, place.gender, place.group, member))
    return tuple(stills)


def _missing_sequences(clips: Iterable[RawClip]) -> list[Finding]:
    have = defaultdict(set)
    for clip in clips:
        have[clip.subject_id].add(clip.sequence)
    message = "has no clip of set {} ({}); expected: one of each set"
    return [
        Finding(subject_id, "missing-sequence", message.format(number, sequence))
        for subject_id, sequences in have.items()
        for number, sequence in enumerate(SEQUENCES, start=1)
        if sequence not in sequences
    ]


def _folder_order(key: tuple[str, int, str]) -> tuple[int, int, int]:
    gender, number, group = key
    return GENDERS.index(gender), number, (*SEQUENCES, *CATEGORIES).index(group)


def _subject_order(gender: str, subject_id: str) -> tuple[int, int]:
    return GENDERS.index(gender), int(subject_id.split("_")[1])


def published_path(member: Member) -> str:
    """The path of a member as its archive has it: what lies around the gender folder of an unpacked tree is cut."""
    parts = PurePosixPath(member.name).parts
    genders = [i for i, part in enumerate(parts) if _GENDER.fullmatch(part)]
    return member.name if member.archive or not genders else "/".join(parts[genders[-1] :])
