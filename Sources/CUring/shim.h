#pragma once
/* The order matters. liburing.h defines _GNU_SOURCE, which changes glibc's fd_set, while Swift's Glibc module was
   built without it: fixing the feature set first keeps the two alike. The kernel's header before liburing's copy:
   they share an include guard, and swift-system's module holds the kernel's. */
#include <features.h>
#include <linux/io_uring.h>
#include <liburing.h>
