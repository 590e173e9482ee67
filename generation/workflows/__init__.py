"""ComfyUI workflows as recipes, and recipes as workflows."""
