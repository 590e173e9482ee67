"""Publishing: what is sent where, in one step, so that readers see all of a version or nothing of it."""
