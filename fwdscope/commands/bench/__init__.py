"""``fwdscope bench``: measure a forward, compare two measurements, sweep over sizes.

Sweeps and comparisons need no torch, so nothing is imported here.
"""
