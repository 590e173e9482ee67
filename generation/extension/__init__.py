"""The next version of a release: what is known, what is new, and how every version was planned."""
