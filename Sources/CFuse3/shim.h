#pragma once
/* 3.14 is what Debian 12 has; from 3.12 on the loop's configuration is opaque. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
