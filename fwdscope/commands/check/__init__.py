"""``fwdscope check``: compares specs with their promised shapes, expectations and baselines.

torch is loaded when the first spec is built, and not at all if every outcome is known from an earlier run.
"""
