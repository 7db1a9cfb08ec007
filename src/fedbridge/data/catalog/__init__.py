"""Data sets that come from packages of the registries."""
