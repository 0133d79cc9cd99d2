"""A ternary network in front of one in full precision: what a certificate, a change of traffic and consolidation do."""
