"""Ground floor: what an annotation is, how heat becomes gray levels, and how both are read and drawn."""
