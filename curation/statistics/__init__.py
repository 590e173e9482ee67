"""Counts and distributions of a release, as tables and plots."""
