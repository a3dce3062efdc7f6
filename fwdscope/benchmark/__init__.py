"""A forward measured: the whole untouched until its median is known, then layer by layer."""

from fwdscope.benchmark.measuring import Measured, bench
from fwdscope.benchmark.subject import Subject, subject_of_module, subject_of_spec

__all__ = ["Measured", "Subject", "bench", "subject_of_module", "subject_of_spec"]
