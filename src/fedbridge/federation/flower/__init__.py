"""The transport over Flower: one message per client and exchange."""
