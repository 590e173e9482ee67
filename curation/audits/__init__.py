"""Shortcuts: what a recogniser learns from a release besides faces, and how fair and trustworthy its labels are."""
