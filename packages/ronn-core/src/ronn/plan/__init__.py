"""From compiled parts to a plan: lifetimes, arena offsets, and the flat list of steps that ``run`` walks."""
