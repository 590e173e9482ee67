"""Evaluation protocols with fixed lists, robustness curves, and synthetic-to-real comparisons."""
