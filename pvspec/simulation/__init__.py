"""A small i386 machine that patches itself while it runs: the bug that marshalling fixed, replayed; and what is left.

`machine` is the door to unicorn, `guest` what runs in it, `strategies` the ways to patch. `replay` is one processor
that runs what it patches, `interleave` a second one beside it, `claims` what both must show; `report` says it.
"""
