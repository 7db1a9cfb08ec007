"""Data sets of Hugging Face, from a hub or a folder."""
