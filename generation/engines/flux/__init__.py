"""FLUX: stills from text, drawn by FLUX.1-dev with thermal adapters."""
