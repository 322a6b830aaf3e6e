/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision of bind protection, over plain values. Compiled for BPF, where
 * helpers supply the facts, and for tests on the host.
 *
 * The including file defines struct npg_bind_env and the npg_bind_env_*()
 * functions declared below. Each is called at most once, in the order of
 * declaration, and none after the row that decides.
 */
#ifndef NODEPORT_GUARD_BIND_H
#define NODEPORT_GUARD_BIND_H

#include <linux/types.h>

#include "guard_abi.h"
#include "guard_words.h"

struct npg_bind_env;

/* Row 1: the mode. */
static __always_inline enum npg_bind_protection npg_bind_env_protection(struct npg_bind_env *env);
/* Row 2: the sources of the NodePort (npg_nodeport.sources); 0: it is none. */
static __always_inline __u32 npg_bind_env_sources(struct npg_bind_env *env,
						  const struct npg_port_key *key);
/* Row 3: is the socket bound to a device? */
static __always_inline int npg_bind_env_device(struct npg_bind_env *env);
/* Row 4: npg_refusable.families; 0: there is no entry. */
static __always_inline __u32 npg_bind_env_refusable(struct npg_bind_env *env,
						    const struct npg_port_key *key);
/* Row 5: is the address in bind_addresses? In network order, IPv4 v4-mapped. */
static __always_inline int npg_bind_env_address(struct npg_bind_env *env, const __u32 address[4]);
/* Row 6: had this user the port first? */
static __always_inline int npg_bind_env_first_holder(struct npg_bind_env *env,
						     const struct npg_port_key *key);
/* Row 7: does an exception name the task, its user or its cgroup? */
static __always_inline int npg_bind_env_excepted(struct npg_bind_env *env);

/*
 * The families (NPG_FAMILY bits) whose packets a socket on this address
 * receives. "::" is taken to be that of a dual-stack socket: no hook sees
 * IPV6_V6ONLY.
 */
static __always_inline __u32 npg_bind_families(const __u32 address[4])
{
	if (address[0] || address[1])
		return NPG_FAMILY_V6;
	if (address[2] == NPG_BE32(0xffff))
		return NPG_FAMILY_V4;
	if (!address[2] && !address[3])
		return NPG_FAMILY_V4 | NPG_FAMILY_V6;
	return NPG_FAMILY_V6;
}

/*
 * Row 5: would connects to a NodePort of these sources reach the Service, not
 * a socket on this address?
 */
static __always_inline int npg_bind_collides(struct npg_bind_env *env, const __u32 address[4],
					     __u32 sources)
{
	int v4 = !address[0] && !address[1] && address[2] == NPG_BE32(0xffff);

	if (v4 && !address[3])
		return 1;
	if (v4 && (address[3] & NPG_BE32(0xff000000)) == NPG_BE32(0x7f000000)) {
		/* Stands for 127.0.0.0/8 in bind_addresses. */
		const __u32 loopback[4] = { address[0], address[1], address[2],
					    address[3] & NPG_BE32(0xff000000) };

		/* A rule says so, or the administrator: a Service alone may not own loopback. */
		if (sources & (NPG_SOURCE_NETFILTER | NPG_SOURCE_FILE))
			return 1;
		return npg_bind_env_address(env, loopback);
	}
	if (!address[0] && !address[1] && !address[2]) {
		if (!address[3])
			return 1;
		/* No packet to ::1 reaches a NodePort. */
		if (address[3] == NPG_BE32(1))
			return 0;
	}
	return npg_bind_env_address(env, address);
}

/*
 * The decision for one bind(): key has the port that was asked for, address is
 * as passed to bind(), in network order, and IPv4 v4-mapped.
 */
static __always_inline enum npg_bind_outcome
npg_decide_bind(struct npg_bind_env *env, const struct npg_port_key *key, const __u32 address[4])
{
	enum npg_bind_protection protection;
	__u32 sources;

	/* A bind() to any port gets one that is no NodePort: those are reserved. */
	if (!key->port)
		return NPG_BIND_PASSED;
	protection = npg_bind_env_protection(env);
	if (protection == NPG_BIND_OFF)
		return NPG_BIND_PASSED;
	sources = npg_bind_env_sources(env, key);
	if (!sources || sources == NPG_SOURCE_PROBE)
		return NPG_BIND_PASSED;
	/* It receives only what arrives there, such as the packets of a VRF. */
	if (npg_bind_env_device(env))
		return NPG_BIND_PASSED;
	if (!(npg_bind_env_refusable(env, key) & npg_bind_families(address)))
		return NPG_BIND_PASSED;
	if (!npg_bind_collides(env, address, sources))
		return NPG_BIND_PASSED;
	/* Who had the port before it was allocated is guarded: it may restart. */
	if (npg_bind_env_first_holder(env, key))
		return NPG_BIND_SPARED;
	if (npg_bind_env_excepted(env))
		return NPG_BIND_SPARED;
	return protection == NPG_BIND_DENY ? NPG_BIND_REFUSED : NPG_BIND_WARNED;
}

#endif /* NODEPORT_GUARD_BIND_H */
