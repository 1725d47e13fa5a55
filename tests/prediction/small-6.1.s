.text
.globl _text, _etext, start_kernel, function, other
_text:
start_kernel:
    call __fentry__
f2: call __fentry__
f3: .byte 0x0f,0x1f,0x44,0,0
pv1: call *pv_ops+8*8(%rip)
pv2: call *pv_ops+8*40(%rip)
retp: call __x86_indirect_thunk_rax
retq_: .byte 0xe9; .long __x86_return_thunk - . - 4
locked: lock incl (%rdi)
alt1: lock addl $0, -4(%rsp)
alt2: .byte 0x90,0x90,0x90
alt3: call other
labelled: .byte 0x0f, 0x1f, 0x44, 0, 0
labelled2: .byte 0x66, 0x90
called: call __SCT__hook
called2: .byte 0xe9; .long __SCT__hook - . - 4 # tail
    .byte 0xcc,0xcc
function: ret
other: ret
    .balign 16
__SCT__hook: .byte 0xe9; .long function - . - 4
    .balign 16
__SCT__none: .byte 0xe9; .long function - . - 4
    .balign 16
__x86_return_thunk: ret
srso_return_thunk: ret
retbleed_return_thunk: ret
its_return_thunk: ret
srso_alias_return_thunk: ret
__static_call_return0: ret
__fentry__: ret
__x86_indirect_thunk_rax: .byte 0xff,0xe0
__x86_indirect_thunk_rsp: .byte 0xff,0xe4
__static_call_return: ret
_paravirt_nop: ret
text_poke: ret
    .fill 4096, 1, 0xcc
_etext:
.section .init.text, "ax"
init_locked: lock incl (%rdi)
.section .rodata, "a"
    .ascii "Linux version 6.1.0-57-cloud-amd64 (builder)\0"
    .balign 4096
    .fill 8192, 1, 0x5a
.section .altinstructions, "a"
    .long alt1 - ., r1 - .
    .word 26 # XMM2
    .byte 6, 3
    .long alt2 - ., r2 - .
    .word 9*32+20
    .byte 3, 3
    .long alt3 - ., r3 - .
    .word 0x8000+3*32+21
    .byte 5, 5
.section .altinstr_replacement, "ax"
r1: mfence
r2: .byte 0x0f,1,0xca
r3: call function
.section .smp_locks, "a"
    .long locked - ., init_locked - .
.section .return_sites, "a"
    .long retq_ - .
.section .retpoline_sites, "a"
    .long retp - .
.section .parainstructions, "a"
    .quad pv1; .byte 8, 6; .word 1; .long 0
    .quad pv2; .byte 40, 6; .word 1; .long 0
.data
.balign 8
__start_mcount_loc: .quad start_kernel, f2
__stop_mcount_loc:
__start___jump_table: .long labelled - ., other - .; .quad key - . + 1
  .long labelled2 - ., other - .; .quad key - .
__stop___jump_table:
__start_static_call_sites: .long called - ., __SCK__hook - . # call
    .long called2 - ., __SCK__hook - . + 1 # jmp
__stop_static_call_sites:
key: .long 0
 .balign 8
__SCK__hook: .quad function
__SCK__none: .quad 0
pv_ops: .rept 80
  .quad function
  .endr
