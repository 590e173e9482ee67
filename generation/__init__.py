"""Recipes, plans and engines: how a release is made."""
