"""Machines made at random: what a kernel decides on each, against what is predicted.

`chance` makes a machine (a `Trial`), `observe` runs a kernel on it until it has patched itself, `judge` compares,
`shrink` makes a disagreement small, `records` keeps what came of it.
"""
