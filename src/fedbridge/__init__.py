"""fedbridge: federated continual learning in which large and small models help each other."""

__version__ = "0.1.0"
