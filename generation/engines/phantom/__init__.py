"""Phantom: physically based LWIR heads with exact ground truth, on the CPU, with no weights and no network."""
