"""Passes that the CPU provider runs over a graph before bids are taken."""
