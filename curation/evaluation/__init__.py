"""Scores of models and label files against a truth: what can be compared, how, and with what certainty."""
