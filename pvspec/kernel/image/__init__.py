"""A kernel as it will be in memory before it patches itself, wherever KASLR puts it."""
