"""What a model is made of, what the passes make of it, where its nodes go, and where in memory its values lie."""

from __future__ import annotations

from ronn.inspection.facts import facts, parameters
from ronn.inspection.inspect import Inspection, inspect_model

__all__ = ["Inspection", "facts", "inspect_model", "parameters"]
