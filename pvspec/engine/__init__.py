"""What a generated module does: these files, in this order, are carried in it verbatim.

Standard library only. The rules are data (`rules`), tables of sites are
`records`, a kernel's text is `text`; `binding` is one kernel's values for the
spec's names and decides guards, `patcher` patches one site, `sites` finds out
what the sites of all other tables tell, `families` decides them, `applier` patches whole tables (`breakpoint`:
while others run them).
"""

PARTS = (
    "spec",
    "instructions",
    "records",
    "relocation",
    "text",
    "binding",
    "patch",
    "slots",
    "sites",
    "families",
    "breakpoint",
    "apply",
)
