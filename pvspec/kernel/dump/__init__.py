"""The memory of a running kernel."""
