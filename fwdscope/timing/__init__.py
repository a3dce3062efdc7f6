"""Timing a forward: clocks, warm-up, repeats to a given precision, and the time of each layer."""
