"""Devices: their names, memory and peaks.

:mod:`.table` has published figures by name and :mod:`.host` this computer's memory, both without torch; :mod:`.local`
finds the devices of this computer, and :mod:`.peaks` measures those without published figures.
"""
