"""A forward measured: the whole untouched until its median is known, then layer by layer.

Settings of sweeps and comparisons of reports stand here too; they need no torch, so nothing is imported here.
"""
