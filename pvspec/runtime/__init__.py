"""What a generated module does: these files, in this order, are carried in it verbatim.

Standard library only. The rules are data (`rules`), tables of sites are
`records`, a kernel's text is `text`; `patcher` binds the rules to one kernel
and patches one site, `applier` patches whole tables (`breakpoint`: while others run).
"""

PARTS = ("rules", "lengths", "records", "text", "patcher", "breakpoint", "applier", "slots")
