"""What a command is pointed at: specs, ``package.module:name``, and the tensors given with ``--input``."""
