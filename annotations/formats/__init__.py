"""Readers and writers of the label formats used for thermal faces, one module a format."""
