"""Decisions of reviewers, and the next version of a release that is made of them."""
