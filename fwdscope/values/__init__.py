"""How one number of an output came about, from the numbers that a forward on a device computed."""

from fwdscope.values.explain import explain_value, parse_index

__all__ = ["explain_value", "parse_index"]
