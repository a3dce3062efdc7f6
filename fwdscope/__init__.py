"""fwdscope: a command-line inspector of forward passes."""

__version__ = "0.1.0"
