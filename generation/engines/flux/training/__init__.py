"""Training of thermal adapters (LoRA) for FLUX."""
