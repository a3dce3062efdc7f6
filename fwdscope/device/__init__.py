"""What a device is: its name, its memory, and the most it can do.

:mod:`.table` knows published figures by name and :mod:`.host` this computer's memory, both without torch;
:mod:`.local` finds the devices that are here, and :mod:`.peaks` measures one of which no figures are published.
"""
