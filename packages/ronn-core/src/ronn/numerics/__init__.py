"""Whether numbers are right, and who made them wrong: ``ronn.compare`` and ``ronn.bisect``."""
