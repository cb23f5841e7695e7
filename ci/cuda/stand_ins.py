#!/usr/bin/env python3
"""Writes C files that stand in for the CUDA libraries when a program is linked.

A program linked against NVIDIA's libraries does not even start where there are none. These export the same functions,
load the real library when one of them is first called, and answer with an error code where it cannot be loaded: candle
then says that there is no such device, and the program goes on without.

usage: stand_ins.py CUDARC_SOURCE OUT_DIR (x86-64 Linux). The functions are those that cudarc names.
"""

import pathlib
import re
import sys

# Library: (folder of its functions in cudarc, file to load, what a function returns without it).
LIBRARIES = {
    "cuda": ("driver", "libcuda.so.1", 100),  # CUDA_ERROR_NO_DEVICE
    "cublas": ("cublas", "libcublas.so.13", 1),  # CUBLAS_STATUS_NOT_INITIALIZED
    "cublasLt": ("cublaslt", "libcublasLt.so.13", 1),
    "curand": ("curand", "libcurand.so.10", 203),  # CURAND_STATUS_INITIALIZATION_FAILED
    "nvrtc": ("nvrtc", "libnvrtc.so.13", 11),  # NVRTC_ERROR_INTERNAL_ERROR
}

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static const char *const names[] = {@NAMES@};
static const char reason[] = "@FILE@ cannot be loaded";
static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) { library = dlopen("@FILE@", RTLD_NOW | RTLD_GLOBAL); }

static long failing(void) { return @CODE@; }
/* Functions that return text, and those that write a pointer to it. */
static const char *text(void) { return reason; }
static long text_at(int error, const char **place) { return (void)error, *place = reason, 0; }

static void *absent(const char *name) {
  if (!strncmp(name, "cuGetError", 10)) return (void *)text_at;
  if (strstr(name, "ErrorString") || strstr(name, "StatusString") || strstr(name, "StatusName")) return (void *)text;
  return (void *)failing;
}

/* Where each function is, once it was called. */
__attribute__((visibility("hidden"), used)) void *table_@LIB@[@COUNT@];

__attribute__((visibility("hidden"), used)) void *resolve_@LIB@(unsigned i) {
  pthread_once(&once, load);
  void *function = library ? dlsym(library, names[i]) : 0;
  if (!function) function = absent(names[i]);
  __atomic_store_n(&table_@LIB@[i], function, __ATOMIC_RELEASE);
  return function;
}

/* A call keeps its arguments (six integer and eight float registers, and the stack) while its function is looked up. */
__asm__(
    ".text\n.p2align 4\nfirst_@LIB@:\n"
    "  push %rbp\n  mov %rsp, %rbp\n"
    "  push %rdi\n  push %rsi\n  push %rdx\n  push %rcx\n  push %r8\n  push %r9\n"
    "  sub $128, %rsp\n"
    "  movups %xmm0, (%rsp)\n  movups %xmm1, 16(%rsp)\n  movups %xmm2, 32(%rsp)\n  movups %xmm3, 48(%rsp)\n"
    "  movups %xmm4, 64(%rsp)\n  movups %xmm5, 80(%rsp)\n  movups %xmm6, 96(%rsp)\n  movups %xmm7, 112(%rsp)\n"
    "  mov %r11d, %edi\n  and $-16, %rsp\n  call resolve_@LIB@\n  mov %rax, %r11\n"
    "  lea -176(%rbp), %rsp\n"
    "  movups (%rsp), %xmm0\n  movups 16(%rsp), %xmm1\n  movups 32(%rsp), %xmm2\n  movups 48(%rsp), %xmm3\n"
    "  movups 64(%rsp), %xmm4\n  movups 80(%rsp), %xmm5\n  movups 96(%rsp), %xmm6\n  movups 112(%rsp), %xmm7\n"
    "  add $128, %rsp\n"
    "  pop %r9\n  pop %r8\n  pop %rcx\n  pop %rdx\n  pop %rsi\n  pop %rdi\n  pop %rbp\n  jmp *%r11\n"
@FUNCTIONS@);
"""

FUNCTION = (
    r'    ".globl {name}\n.type {name}, @function\n.p2align 3\n{name}:\n'
    r"  mov table_{lib}+{offset}(%rip), %r11\n  test %r11, %r11\n  je 1f\n  jmp *%r11\n"
    r'1:\n  mov ${index}, %r11d\n  jmp first_{lib}\n"' + "\n"
)


def main() -> None:
    cudarc, out = map(pathlib.Path, sys.argv[1:3])
    for lib, (folder, file, code) in LIBRARIES.items():
        bindings = (cudarc / "src" / folder / "sys" / "mod.rs").read_text()
        names = sorted(set(re.findall(r'load::<_F>\("(\w+)"\)', bindings)))
        if not names:
            sys.exit(f"{cudarc} names no function of {lib}: this script does not know its version")
        functions = (FUNCTION.format(name=n, lib=lib, offset=8 * i, index=i) for i, n in enumerate(names))
        source = SOURCE
        for key, value in {
            "NAMES": ", ".join(f'"{n}"' for n in names),
            "FILE": file,
            "CODE": str(code),
            "COUNT": str(len(names)),
            "FUNCTIONS": "".join(functions),
            "LIB": lib,
        }.items():
            source = source.replace(f"@{key}@", value)
        (out / f"{lib}.c").write_text(source)


main()
