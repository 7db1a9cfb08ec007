"""A run: its folder, checkpoints, progress and tracking; launched, resumed and estimated."""
