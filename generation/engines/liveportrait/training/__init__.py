"""Thermal fine-tuning of LivePortrait on rendered frames with exact labels."""
