"""Passes: rewrites of graphs. One file a pass; ``manager`` drives them, ``pipelines`` names the lists."""
