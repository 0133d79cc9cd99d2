"""Consolidation in idle time: what is learnt from episodes, judged before it is used."""
