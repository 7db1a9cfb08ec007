"""The federated continual loop, once, and the transports that carry it."""
