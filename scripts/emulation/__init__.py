"""A Raspberry Pi for tests on a PC: real aarch64 Debian and real wheels, under qemu (docs/boards.md)."""
