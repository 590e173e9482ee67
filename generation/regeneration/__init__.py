"""Items rendered again from their provenance, and lost shards made again from their recipes."""
