"""What every app shares: the picture that one prompts, uploads, models, limits, and how an app is served."""

from .memory import share_heaps

share_heaps()
