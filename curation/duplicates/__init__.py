"""Near-duplicates, look-alike identities and memorised training pictures."""
