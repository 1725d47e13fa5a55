"""A kernel as loaded into memory, before it patches itself, wherever KASLR puts it."""
