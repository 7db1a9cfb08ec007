"""All runs in the browser, while they go: a local page that reads and never writes."""
