"""The oldest and the newest libraries that pyproject.toml allows, on each Python: `python -m tests.versions`."""
