#ifndef KCOPYFS_CFUZZER_SHIM_H
#define KCOPYFS_CFUZZER_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's own main, for programs that have one already; LLVM has no header for it. */
int LLVMFuzzerRunDriver(int *count, char ***arguments, int (*one)(const uint8_t *bytes, size_t length));

#endif
