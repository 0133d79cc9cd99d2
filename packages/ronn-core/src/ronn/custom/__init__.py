"""Operators of your own: ``@ronn.op("my.domain", "MyOp", 1)`` on a NumPy function.

``signature`` reads inputs, attributes and outputs off the function, ``shapes`` holds the shape rules, ``registry``
registers, ``python`` is the target that runs the functions, ``body`` reads what operators with a body are made of.
"""

from ronn.custom.registry import CustomOp, op, remove_op
from ronn.ops.custom import find, registered

__all__ = ["CustomOp", "find", "op", "registered", "remove_op"]
