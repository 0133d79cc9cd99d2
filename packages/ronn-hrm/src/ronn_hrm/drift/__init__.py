"""Alarms: the audit e-detector, the novelty alarm, and the guard that acts on them."""
