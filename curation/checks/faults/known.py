"""All faults that can be planted."""

from __future__ import annotations

from . import Fault, files, heat, labels, motion, pixels

FAULTS: tuple[Fault, ...] = (*pixels.FAULTS, *heat.FAULTS, *labels.FAULTS, *motion.FAULTS, *files.FAULTS)
