"""firstrun.sh (Raspberry Pi OS bookworm): a script that the kernel's command line makes systemd run once.

``systemd.run=`` boots into kernel-command-line.target (systemd-run-generator(8)), runs it and reboots.
Every step may be repeated, and only the last one takes the script off the command line: a cut before it means
that the next boot begins anew. No step's failure ends the script: a failure would power the board off.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from imago.deploy.flash.card import Card, Wifi
from imago.deploy.flash.mechanisms.common import (
    BOOT,
    CMDLINE,
    FOLDER,
    GROUPS,
    command_line,
    enable_command,
    join,
    with_country,
)

SCRIPT = "firstrun.sh"
PARAMETERS = (
    f"systemd.run={BOOT}/{SCRIPT}",
    "systemd.run_success_action=reboot",
    "systemd.unit=kernel-command-line.target",
)
OURS = ("systemd.run", "systemd.unit=")
BEGIN = f"""#!/bin/sh
# written by imago flash; runs once, at the first boot
exec >>{BOOT}/{FOLDER}/firstrun.log 2>&1
"""
END = f"""
sync
sed -i 's| systemd\\.[^ ]*||g' {BOOT}/{CMDLINE}
rm -f {BOOT}/{SCRIPT}
sync
exit 0
"""
HOSTNAME = """
echo {name} >/etc/hostname
sed -i "s/^127\\.0\\.1\\.1.*/127.0.1.1\\t"{name}"/" /etc/hosts
grep -q '^127\\.0\\.1\\.1' /etc/hosts || printf '127.0.1.1\\t%s\\n' {name} >>/etc/hosts
"""
# userconf knows the image's own first user and ends the question for a user on the screen.
USER = """
user={user}
first=$(getent passwd 1000 | cut -d: -f1)
if [ -x /usr/lib/userconf-pi/userconf ]; then
  /usr/lib/userconf-pi/userconf "$user" {password}
elif [ -z "$first" ]; then
  useradd --create-home --uid 1000 --shell /bin/bash "$user"
elif [ "$first" != "$user" ]; then
  usermod --login "$user" --home "/home/$user" --move-home "$first"
  groupmod --new-name "$user" "$first"
fi
printf '%s:%s\\n' "$user" {password} | chpasswd --encrypted
for group in {groups}; do
  getent group "$group" >/dev/null && usermod --append --groups "$group" "$user"
done
printf '%s ALL=(ALL) NOPASSWD: ALL\\n' "$user" >/etc/sudoers.d/010_imago-user
chmod 440 /etc/sudoers.d/010_imago-user
"""
KEYS = """
home=$(getent passwd "$user" | cut -d: -f6)
install -d -m 700 -o "$user" -g "$(id -g "$user")" "$home/.ssh"
for key in {keys}; do
  grep -qsxF -e "$key" "$home/.ssh/authorized_keys" || printf '%s\\n' "$key" >>"$home/.ssh/authorized_keys"
done
chown "$user:" "$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"
"""
SSH = """
mkdir -p /etc/ssh/sshd_config.d
echo 'PasswordAuthentication {answer}' >/etc/ssh/sshd_config.d/10-imago.conf
systemctl enable ssh
"""
WIFI = """
umask 077
cat >/etc/NetworkManager/system-connections/imago-wifi.nmconnection <<'IMAGO_END'
{keyfile}
IMAGO_END
umask 022
command -v raspi-config >/dev/null && raspi-config nonint do_wifi_country {country}
for switch in /var/lib/systemd/rfkill/*:wlan; do [ -e "$switch" ] && echo 0 >"$switch"; done
"""
TIMEZONE = """
ln -sf /usr/share/zoneinfo/{zone} /etc/localtime
echo {zone} >/etc/timezone
"""
NO_PASSWORD = "*"  # noqa: S105  no password fits it; keys do


def files(card: Card, read: Callable[[str], bytes | None]) -> Mapping[str, bytes]:
    """The script, and the command line that runs it."""
    words = [word for word in with_country(card, command_line(read)) if not word.startswith(OURS)]
    return {SCRIPT: script(card).encode(), CMDLINE: join([*words, *PARAMETERS])}


def script(card: Card) -> str:
    """The script's text; every text of the user's is quoted for the shell."""
    quoted = shlex.quote
    parts = [BEGIN, HOSTNAME.format(name=quoted(card.hostname))]
    if card.has_login:
        password = quoted(card.password_hash or NO_PASSWORD)
        parts.append(USER.format(user=quoted(card.user), password=password, groups=" ".join(GROUPS)))
        if card.ssh_keys:
            parts.append(KEYS.format(keys=" ".join(map(quoted, card.ssh_keys))))
        parts.append(SSH.format(answer="no" if card.ssh_keys else "yes"))
    if card.wifi is not None:
        parts.append(WIFI.format(keyfile=keyfile(card.wifi), country=quoted(card.country)))
    if card.timezone:
        parts.append(TIMEZONE.format(zone=quoted(card.timezone)))
    return "".join([*parts, "\n", shlex.join(enable_command(start=False)), END])


def keyfile(wifi: Wifi) -> str:
    """A NetworkManager connection (nm-settings-keyfile(5)); the name as bytes: no quoting to get wrong."""
    ssid = "".join(f"{byte};" for byte in wifi.ssid.encode())
    lines = ["[connection]", "id=imago-wifi", "type=wifi", "", "[wifi]", "mode=infrastructure"]
    lines += [f"ssid={ssid}", f"hidden={'true' if wifi.hidden else 'false'}"]
    if wifi.key:
        lines += ["", "[wifi-security]", "key-mgmt=wpa-psk", f"psk={wifi.key}"]
    return "\n".join([*lines, "", "[ipv4]", "method=auto", "", "[ipv6]", "method=auto"])
