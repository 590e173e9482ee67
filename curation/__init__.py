"""Files: import, pack, check and describe releases. Knows nothing of how faces are generated."""
