"""Deployment: a folder with all that a server and its clients need, and checks of it.

Importing this loads neither torch nor flwr.
"""
