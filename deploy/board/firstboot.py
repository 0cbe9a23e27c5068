#!/usr/bin/python3
"""What runs on the board from an SD card that ``imago flash`` made. Standard library only, Python 3.11.

    firstboot.py enable [--start]   make the installation a service of systemd's (and start it)
    firstboot.py install            what the service runs, at every boot until it has succeeded

Everything is next to this file: ``agent.py``, ``board.imago`` and, mostly, ``kit/``. A cut at any moment means that
the next boot tries again. What happens stands in ``firstboot.log`` beside it: on the FAT partition, so that any PC
can show it when the board does not answer.
"""
