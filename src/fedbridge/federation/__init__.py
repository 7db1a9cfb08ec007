"""The federation: what every engine runs, and what every method must keep to."""
