"""SD cards: an official Raspberry Pi OS image in, a card that boots into the running service out.

source.py      the image file: .img, .xz or .zip, unpacked in bounded pieces
partitions.py  its partition table; bootfs.py: its FAT partition; rootfs.py: a look into its root
examine.py     what system it is, and how it wants to be set up; or why it cannot be used
card.py        what the user chose; hashes.py: passwords that are never stored as they are
mechanisms/    cloud-init, firstrun.sh, rpi-preseed: one function each
payload.py     what imago itself puts on the card
make.py        all of it in order; disks.py, writing.py: onto a card, read back
"""
