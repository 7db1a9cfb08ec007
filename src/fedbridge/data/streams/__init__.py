"""Streams: which items a client has in which task."""
