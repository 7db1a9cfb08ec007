"""fedbridge: federated continual learning in which large and small models help each other.

Importing this loads nothing else; a name is looked up when it is first used, where
``__init__.pyi`` says that it lives.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
