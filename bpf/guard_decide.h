/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision, over plain values. Compiled for BPF, where helpers supply the
 * facts, and for userspace/core/decision.cc. core/decision_rows.h has its rows.
 *
 * The including file defines struct npg_env and the npg_env_*() functions
 * declared below. Each is called at most once, in the order of declaration, and
 * none after the row that decides: the cost of a connect is part of the contract.
 */
#ifndef NODEPORT_GUARD_DECIDE_H
#define NODEPORT_GUARD_DECIDE_H

#include <linux/in.h>
#include <linux/types.h>

#include "guard_abi.h"
#include "guard_words.h"

/* IPPROTO_MPTCP, absent from older UAPI headers. */
#define NPG_IPPROTO_MPTCP 262

enum npg_destination {
	NPG_DST_ELSEWHERE4, /* another node, a pod, or an own address that is not loopback */
	NPG_DST_ELSEWHERE6,
	NPG_DST_LOOPBACK4,
	NPG_DST_LOOPBACK6,
};

struct npg_env;

/* Row 2, for a destination that is not loopback: are the node's own addresses guarded? */
static __always_inline int npg_env_guards_local(struct npg_env *env);
/* Row 3. */
static __always_inline int npg_env_nodeport(struct npg_env *env, const struct npg_port_key *key);
/*
 * Row 2 again, with NPG_SCOPE_LOCAL: is the destination an own address? Called
 * after row 3, where nearly every connect to another address ends.
 */
static __always_inline int npg_env_own_address(struct npg_env *env);
/* Row 4. */
static __always_inline int npg_env_guarded_netns(struct npg_env *env);
/* Row 5. Fills in the address that the listener is bound to. */
static __always_inline int npg_env_listener(struct npg_env *env, const struct npg_port_key *key,
					    struct npg_listener_key *listener);
/* Row 6: does the administrator answer for the process that bound the listener? */
static __always_inline int npg_env_trusted(struct npg_env *env, const struct npg_port_key *key);
/* Row 6 again, negated: true when the listener's owner is ignored. */
static __always_inline int npg_env_ignored(struct npg_env *env, const struct npg_port_key *key);
/* Row 7. */
static __always_inline int npg_env_enforce(struct npg_env *env);
/* Row 7 again: does the guard stand aside for this traffic (one bit of enum npg_traffic)? */
static __always_inline int npg_env_stands_aside(struct npg_env *env, __u32 traffic);
/* Row 8. Sets the mark, unless the table exempts the destination without it; false: it failed. */
static __always_inline int npg_env_mark(struct npg_env *env);

/* The protocol a NodePort is allocated for: IPPROTO_TCP, IPPROTO_UDP, or 0. */
static __always_inline __u8 npg_protocol(__u32 protocol)
{
	if (protocol == IPPROTO_TCP || protocol == NPG_IPPROTO_MPTCP)
		return IPPROTO_TCP;
	if (protocol == IPPROTO_UDP)
		return IPPROTO_UDP;
	return 0;
}

/*
 * Where a connect to addr goes; both addresses are in network order. source is
 * the address the socket is bound to, 0 when it is not bound. After the hook,
 * the kernel turns a connect to 0.0.0.0 into one to the socket's own address, or
 * to 127.0.0.1 when it has none. Replaces addr with the address that the kernel
 * will connect to, for the lookup of the listener.
 */
static __always_inline enum npg_destination npg_destination4(__u32 *addr, __u32 source)
{
	if (!*addr)
		*addr = source ? source : NPG_BE32(0x7f000001);
	if ((*addr & NPG_BE32(0xff000000)) != NPG_BE32(0x7f000000))
		return NPG_DST_ELSEWHERE4;
	return NPG_DST_LOOPBACK4;
}

/*
 * As npg_destination4(), for an IPv6 destination. A v4-mapped one is IPv4
 * traffic. So is "::" from a socket that is bound to a v4-mapped source:
 * tcp_v6_connect() then makes it 127.0.0.1, whatever that source is.
 */
static __always_inline enum npg_destination npg_destination6(__u32 addr[4], const __u32 source[4])
{
	int source_is_v4mapped = !source[0] && !source[1] && source[2] == NPG_BE32(0xffff);

	if (addr[0] || addr[1])
		return NPG_DST_ELSEWHERE6;
	if (addr[2] == NPG_BE32(0xffff))
		return npg_destination4(&addr[3], source_is_v4mapped ? source[3] : 0);
	if (addr[2] || (addr[3] && addr[3] != NPG_BE32(1)))
		return NPG_DST_ELSEWHERE6;
	if (!addr[3] && source_is_v4mapped) {
		addr[2] = NPG_BE32(0xffff);
		addr[3] = NPG_BE32(0x7f000001);
		return NPG_DST_LOOPBACK4;
	}
	addr[3] = NPG_BE32(1);
	return NPG_DST_LOOPBACK6;
}

/* The bit of enum npg_traffic; protocol is that of npg_protocol(), not 0. */
static __always_inline __u32 npg_traffic(__u8 protocol, enum npg_destination destination)
{
	if (destination == NPG_DST_LOOPBACK4 || destination == NPG_DST_ELSEWHERE4)
		return protocol == IPPROTO_TCP ? NPG_TRAFFIC_TCP4 : NPG_TRAFFIC_UDP4;
	return protocol == IPPROTO_TCP ? NPG_TRAFFIC_TCP6 : NPG_TRAFFIC_UDP6;
}

/*
 * The decision for one connect. port is in host order. On a verdict past
 * NPG_PASS_NO_LISTENER, *listener is the listener that would receive it.
 */
static __always_inline enum npg_verdict npg_decide(struct npg_env *env, __u32 protocol,
						   enum npg_destination destination, __u16 port,
						   struct npg_port_key *key,
						   struct npg_listener_key *listener)
{
	int elsewhere = destination == NPG_DST_ELSEWHERE4 || destination == NPG_DST_ELSEWHERE6;

	if (elsewhere && !npg_env_guards_local(env))
		return NPG_PASS_OUT_OF_SCOPE;
	key->protocol = npg_protocol(protocol);
	if (!key->protocol)
		return NPG_PASS_PROTOCOL;
	key->port = port;
	key->reserved = 0;
	if (!npg_env_nodeport(env, key))
		return NPG_PASS_NOT_NODEPORT;
	if (elsewhere && !npg_env_own_address(env))
		return NPG_PASS_OUT_OF_SCOPE;
	/* A pod's own loopback is not guarded. */
	if (!npg_env_guarded_netns(env))
		return NPG_PASS_FOREIGN_NETNS;
	/* Without a listener, localhost:NodePort reaches its Service. */
	if (!npg_env_listener(env, key, listener))
		return NPG_PASS_NO_LISTENER;
	/* Any local user may listen on a NodePort: connects to the Service are not theirs. */
	if (!npg_env_trusted(env, key))
		return NPG_PASS_UNTRUSTED_OWNER;
	/* A socket that only holds the port (kube-proxy before 1.24) is no listener. */
	if (npg_env_ignored(env, key))
		return NPG_PASS_IGNORED_OWNER;
	if (!npg_env_enforce(env))
		return NPG_PASS_OBSERVED;
	/* Where rules would break an exempt connection, the connect is left to the Service. */
	if (npg_env_stands_aside(env, npg_traffic(key->protocol, destination)))
		return NPG_PASS_STANDING_ASIDE;
	if (!npg_env_mark(env))
		return NPG_PASS_MARK_FAILED;
	return NPG_EXEMPT;
}

#endif /* NODEPORT_GUARD_DECIDE_H */
