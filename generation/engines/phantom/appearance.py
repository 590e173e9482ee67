"""How one identity looks in one item: skin, hair, clothes, accessories and room, each from its own random stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import ATTRIBUTES
from thermvision.generation.engines.phantom.background import background_temperature
from thermvision.generation.engines.phantom.facial_hair import BEARD, FacialHair, make_facial_hair
from thermvision.generation.engines.phantom.garment import make_garment
from thermvision.generation.engines.phantom.glasses import make_glasses
from thermvision.generation.engines.phantom.hair import GrownHair, grow_hair, hair_strands, hair_style
from thermvision.generation.engines.phantom.hairline import Hairline, draw_hairline, scalp_temperature
from thermvision.generation.engines.phantom.headwear import hair_under, make_headwear
from thermvision.generation.engines.phantom.jewellery import make_jewellery
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer, Strands
from thermvision.generation.engines.phantom.mask import Mask, make_mask
from thermvision.generation.engines.phantom.physiology import warmer
from thermvision.generation.engines.phantom.scatter import Roots
from thermvision.generation.engines.phantom.thermal import SkinTemperature, skin_temperature
from thermvision.generation.specs import Subject, seed_sequence

# items of an identity's own streams; a feature keeps its number for ever
_HAIRLINE, _HAIR, _FACIAL_HAIR, _SCALP = range(4)
_ITEMS_HAIR = 16  # the first number of hair that belongs to an item


@dataclass(frozen=True, eq=False)
class Appearance:
    """Everything drawn with one head.

    Attributes:
        skin: temperature of the head's own vertices, hair-covered parts included.
        layers: garment and glasses at rest.
        hair: strands at rest.
        facial_hair: brows, lashes and beard, placed for each expression.
        background: (h, w) -> (h, w) °C behind the head; the same at every call.
        attributes: the resolved value of every attribute of the schema.
    """

    skin: SkinTemperature
    layers: list[Layer]
    hair: list[Strands]
    facial_hair: FacialHair
    background: Callable[[tuple[int, int]], Floats]
    attributes: dict[str, str]


def resolve_attributes(head: Head, attributes: Mapping[str, str | None]) -> dict[str, str]:
    """A value for every attribute: the given ones; else hairstyle and beard of the identity and no accessory.

    Jewellery that is not given is drawn by `dress`.

    Raises:
        UsageError: an attribute or value does not exist, or does not suit the identity.
    """
    if unknown := set(attributes) - set(ATTRIBUTES):
        raise UsageError(f"no such attribute: {', '.join(sorted(unknown))}; allowed: {', '.join(ATTRIBUTES)}")
    resolved = {}
    for name, allowed in ATTRIBUTES.items():
        value = attributes.get(name)
        value = head.traits.get(name, "none") if value is None else value
        if value not in allowed:
            raise UsageError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
        resolved[name] = value
    if resolved["beard"] != "none" and head.gender != "male":
        raise UsageError(
            f"beard is {resolved['beard']!r} on a {head.gender} subject; allowed: none; choose a male subject"
        )
    return resolved


def dress(
    head: Head,
    subject: Subject,
    attributes: Mapping[str, str | None],
    ambient: float,
    item: int,
    session: float = 0.0,
    pin_hair: bool = False,
) -> Appearance:
    """The appearance of ``head`` in item number ``item`` of its subject.

    Thermal pattern, hairline and beard are the identity's; level of the session, hair, garment, accessories and room
    are the item's. No feature draws from another's stream: another hairstyle leaves the face as it is.

    Args:
        head: `identity.make_head` of ``subject``.
        attributes: values of `ATTRIBUTES`; what is missing or None is the identity's own, or no accessory.
        ambient: air temperature, °C.
        item: number of the item in seed paths.
        session: kelvin by which skin is warmer than the seed of the session has it.
        pin_hair: whether hair grows the same in every item; so it does where the subject's traits name a style.

    Raises:
        UsageError: see `resolve_attributes`.
    """
    chosen = resolve_attributes(head, attributes)

    def rng(stream: str, number: int) -> np.random.Generator:
        return np.random.default_rng(seed_sequence(subject.seed, subject.index, stream, number))

    bare = warmer(skin_temperature(head, rng("thermal", 0), rng("session", item), ambient), session)
    path = (subject.seed, subject.index)
    hairline = _hairline(head, path)
    style = hair_style(chosen["hairstyle"])
    facial, skin = _facial_hair(head, path, chosen["beard"]).on(bare)
    insulation, sides = (style.insulation, style.sides) if style else (0.0, 1.0)
    skin = scalp_temperature(head, hairline, skin, insulation, sides, ambient, rng("hair", _SCALP))
    pinned = pin_hair or "hairstyle" in subject.traits
    grown = _grown(head, path, chosen["hairstyle"], _HAIR if pinned else _ITEMS_HAIR + item)

    layers = make_garment(head, bare, ambient, rng("garment", item))
    wanted = chosen["jewellery"] if {**head.traits, **attributes}.get("jewellery") is not None else None
    free = not (style and style.parted)
    metal, chosen["jewellery"] = make_jewellery(head, bare, ambient, free, rng("jewellery", item), wanted)
    layers += metal
    if chosen["glasses"] == "glasses":
        layers += make_glasses(head, bare, ambient, rng("accessories", item))
    if chosen["mask"] == "mask":
        mask = make_mask(head, bare, ambient, rng("mask", item))
        layers += mask.layers
        facial = _without_beard(facial, head, mask)

    def background(shape: tuple[int, int]) -> Floats:
        return background_temperature(shape, ambient, rng("background", item))

    hair = hair_strands(head, grown, hairline, bare, ambient) if grown else []
    if chosen["headwear"] != "none":
        hat = make_headwear(head, chosen["headwear"], chosen["hairstyle"], bare, ambient, rng("headwear", item))
        layers += hat.layers
        hair = [hair_under(strands, hat) for strands in hair]
    return Appearance(skin, layers, hair, facial, background, chosen)


def _without_beard(facial: FacialHair, head: Head, mask: Mask) -> FacialHair:
    """Facial hair without the beard that a mask presses down."""
    bound = []
    for part in facial.bound:
        if part.label == BEARD:
            free = ~mask.covers(part.roots.of(head.rest))
            roots = Roots(part.roots.rows[free], part.roots.weights[free])
            part = replace(
                part,
                roots=roots,
                direction=part.direction[free],
                length=part.length[free],
                temperature=part.temperature[free],
                half_width=part.half_width[free],
            )
        bound.append(part)
    return replace(facial, bound=tuple(bound))


# Hairline and facial hair of an identity do not change between its items, nor does hair that is pinned to it: grown
# once, then kept for the items that follow.


@lru_cache(maxsize=2)
def _hairline(head: Head, path: tuple[int, int]) -> Hairline:
    return draw_hairline(head, np.random.default_rng(seed_sequence(*path, "hair", _HAIRLINE)))


@lru_cache(maxsize=2)
def _grown(head: Head, path: tuple[int, int], style: str, number: int) -> GrownHair | None:
    return grow_hair(head, _hairline(head, path), style, np.random.default_rng(seed_sequence(*path, "hair", number)))


@lru_cache(maxsize=4)
def _facial_hair(head: Head, path: tuple[int, int], beard: str) -> FacialHair:
    return make_facial_hair(head, beard, np.random.default_rng(seed_sequence(*path, "hair", _FACIAL_HAIR)))
