"""``imago deploy``: the PC's side, over the user's own ssh."""
