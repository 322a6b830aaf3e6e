// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the kernel charges for any program at all on the guard's four hooks. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>  // after the types that it leaves to its includer

SEC("cgroup/connect4")
int empty_connect4(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/connect6")
int empty_connect6(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/bind4")
int empty_bind4(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/bind6")
int empty_bind6(struct bpf_sock_addr* ctx) { return 1; }

char _license[] SEC("license") = "Dual BSD/GPL";
