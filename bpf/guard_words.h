/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What guard_decide.h and guard_bind.h both need. */
#ifndef NODEPORT_GUARD_WORDS_H
#define NODEPORT_GUARD_WORDS_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Not htonl(), which BPF programs do not have. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NPG_BE32(x) __builtin_bswap32((__u32)(x))
#else
#define NPG_BE32(x) ((__u32)(x))
#endif

#endif /* NODEPORT_GUARD_WORDS_H */
