"""fedbridge: federated continual learning in which large and small models help each other."""
