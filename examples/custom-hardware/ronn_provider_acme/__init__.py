"""An accelerator that runs C. See ``dialect``, ``launcher``, ``provider``: all that a new C-like device needs."""
