"""What runs on the board: installs, switches, checks and takes back releases. Standard library only.

These modules and the few of ``edge_runtime`` that they use are packed into one file (``imago.deploy.agent``),
which a board's own Python runs: over ssh, from Ansible, or at an SD card's first boot.

A board's folder (``/opt/imago``):

    agent.pyz                 this program, as it was when the last release was made
    store/SHA256              members of bundles and wheels, each once
    incoming/                 what is on its way
    envs/DIGEST/              virtual environments; .ready is written last
    releases/ID/              manifest.json, models/ (links into the store), env → ../../envs/DIGEST
    current → releases/ID     what runs; replaced by one rename
    previous → releases/ID    what ran before, and had passed its check
    pending.json              a switch that has not been checked yet
    board.json                this board's own run settings, in place of the bundle's (optional)
    trusted.pub               minisign key; where it is, only bundles signed with it are taken
    state/                    records, live page's token: the service's only place to write
"""
