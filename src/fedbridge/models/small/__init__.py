"""Small models, of any architecture, into the shared space."""
