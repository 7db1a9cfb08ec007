"""What everything stands on: errors, files, locks, randomness, losses and metrics."""
