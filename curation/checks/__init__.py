"""Findings: what is wrong with a release, a clip or a frame, each with a score, a threshold and a picture."""
