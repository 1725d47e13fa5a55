"""Caches, whole writes, folders: what every room may need."""
