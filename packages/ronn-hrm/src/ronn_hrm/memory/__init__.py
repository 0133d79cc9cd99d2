"""Memory in three tiers: working (exact answers), episodic (what was met), semantic (what was learnt from it)."""
