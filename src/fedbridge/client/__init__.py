"""The client's side: its private stream, its small model, and what it keeps and uploads."""
