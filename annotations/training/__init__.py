"""Training of the shipped models from rendered releases; the one room of this floor that loads torch."""
