"""The addresses of a kernel's functions and data: from symbol tables, kallsyms, System.map, or the code itself."""
