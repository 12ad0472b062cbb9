"""Transfer learning in JAX: keep a base, give it a new head, train what should train and nothing else."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader
