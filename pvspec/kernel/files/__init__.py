"""File formats around a kernel: ELF, bzImage, compression, Debian packages. Bounded readers of hostile files."""
