"""The addresses by which a machine can be asked."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""The addresses at which this machine alone can ask."""
EVERYWHERE = ("0.0.0.0", "::")
"""The addresses that stand for all of this machine's."""
