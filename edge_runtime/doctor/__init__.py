"""``imago doctor``: what on this board will make trouble, and the remedy. Standard library only.

Nothing here imports numpy or an engine: on a board where a wheel dies with an illegal instruction this
is the program that has to live long enough to say so.
"""
