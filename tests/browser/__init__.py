"""The explorer in a real browser: its fixtures, and what its tests share."""
