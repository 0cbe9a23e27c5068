"""The systemd service: may use the camera and the network, may write records, and nothing else.

Directives: systemd.exec(5), systemd.resource-control(5), systemd.service(5). ``systemd-analyze security``
rates it (tests/push/test_unit.py); what is left open is what the work needs: the camera's devices, IP
sockets, and netlink (libcamera hears of cameras through udev).
"""

from __future__ import annotations

from pathlib import Path

NAME = "imago.service"
USER = "imago"
TEMPLATE = """\
# Made by imago deploy; changes are overwritten. Put your own into {name}.d/*.conf (systemctl edit {name}).
[Unit]
Description=imago: live image classification
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={user}
Group={user}
SupplementaryGroups=video
WorkingDirectory={root}/state
Environment=HOME={root}/state LANG=C.UTF-8
# A release whose check was cut short by a power failure is taken back before anything starts.
ExecStartPre=+/usr/bin/python3 -I {root}/agent.pyz settle --root {root}
ExecStart=/usr/bin/python3 -I {root}/agent.pyz exec --root {root}
Restart=always
RestartSec=2
RestartSteps=8
RestartMaxDelaySec=60
TimeoutStartSec=180
TimeoutStopSec=20
WatchdogSec=60
MemoryHigh=60%
MemoryMax=75%
OOMPolicy=stop
TasksMax=128

ReadWritePaths={root}/state
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw
DeviceAllow=/dev/udmabuf rw
DeviceAllow=/dev/vcio rw
DeviceAllow=/dev/vchiq rw
KeyringMode=private
LockPersonality=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0027

[Install]
WantedBy=multi-user.target
"""


def unit_text(root: Path) -> str:
    """The unit file for the board's folder ``root``."""
    return TEMPLATE.format(root=root, user=USER, name=NAME)
