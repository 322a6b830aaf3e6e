// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the kernel charges for any program at all on the guard's four hooks, and at bind() for one
 * that only creates the storage of the socket.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>  // after the types that it leaves to its includer

#include "guard_abi.h"

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct npg_socket_owner);
} storage SEC(".maps");

SEC("cgroup/connect4")
int empty_connect4(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/connect6")
int empty_connect6(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/bind4")
int empty_bind4(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/bind6")
int empty_bind6(struct bpf_sock_addr* ctx) { return 1; }

SEC("cgroup/bind4")
int storage_bind4(struct bpf_sock_addr* ctx) {
  bpf_sk_storage_get(&storage, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  return 1;
}

SEC("cgroup/bind6")
int storage_bind6(struct bpf_sock_addr* ctx) {
  bpf_sk_storage_get(&storage, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
