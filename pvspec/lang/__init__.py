"""The language: text to a checked model. Nothing in here needs machine code."""
