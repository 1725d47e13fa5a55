"""pvspec: what a kernel's machine code becomes once it has patched itself."""

__version__ = "0.1.0"
