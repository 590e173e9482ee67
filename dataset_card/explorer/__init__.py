"""The explorer: a local page to look at a release, filter it, and decide on its items."""
