"""What every room may need and no kernel has to do with: where our files are, whole writes, the user's cache."""
