// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Exempts the node's connects to its own live listeners from NodePort NAT, by
 * setting a bit in SO_MARK before the first packet leaves. The rules that act
 * on the bit are in the nft table inet nodeport_guard.
 *
 * Every connect on the node runs these programs. They always return "proceed";
 * those at bind() do, unless bind protection refuses the bind of a NodePort.
 * A connect that is out of scope ends after two comparisons (with
 * NPG_SCOPE_LOCAL, after a test of the bit of its port). The decision uses no fact of
 * the connecting task: io_uring connects from a worker thread.
 *
 * UAPI context only, no CO-RE: the object loads on kernels without BTF.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "guard_abi.h"
#include "guard_bind.h"
#include "guard_decide.h"

#define REFUSE	     0
#define PROCEED	     1
#define EPERM	     1
#define EADDRINUSE   98
#define SOL_SOCKET   1
#define SO_MARK	     36
#define AF_INET	     2
#define AF_INET6     10
#define NSEC_PER_SEC 1000000000ULL

/*
 * enum npg_scope, set before the object is loaded: with NPG_SCOPE_LOOPBACK the
 * verifier removes the code that only NPG_SCOPE_LOCAL needs.
 */
const volatile __u32 scope = NPG_SCOPE_LOOPBACK;

/* enum npg_bind_protection, set before as well. */
const volatile __u32 bind_protection = NPG_BIND_OFF;

/*
 * 1: the kernel has bpf_set_retval() for programs at bind() (6.1). The verifier
 * of one that lacks it must not see the call.
 */
const volatile __u32 has_set_retval = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct npg_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_NODEPORTS);
	__type(key, struct npg_port_key);
	__type(value, struct npg_nodeport);
} nodeports SEC(".maps");

/*
 * A bitmap: bit port % 64 of entry port / 64 is set only while nodeports has no entry of the port,
 * in either protocol. The controller clears it before it adds an entry, and sets it after it has
 * removed the last one. 0 is always right, and costs a lookup.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NPG_PORT_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} unallocated SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct npg_socket_owner);
} socket_owners SEC(".maps");

/* Sockets without a storage, as the controller found them. Only the controller writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_EARLIER);
	__type(key, struct npg_listener_key);
	__type(value, struct npg_socket_owner);
} earlier_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_UIDS);
	__type(key, struct npg_uid_key);
	__type(value, struct npg_member);
} guard_uids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_CGROUPS);
	__type(key, struct npg_cgroup_key);
	__type(value, struct npg_member);
} guard_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_POLICIES);
	__type(key, struct npg_policy_key);
	__type(value, struct npg_policy);
} owner_policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_ADDRESSES);
	__type(key, struct npg_address);
	__type(value, struct npg_local_address);
} local_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NPG_COUNTER_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NPG_MAX_STATS);
	__type(key, struct npg_port_key);
	__type(value, struct npg_port_stats);
} port_stats SEC(".maps");

/* Written by the controller, and read by other commands, also while no controller runs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_SOURCES);
	__type(key, struct npg_source_key);
	__type(value, struct npg_source_state);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NPG_EVENTS_BYTES);
} events SEC(".maps");

/* NodePorts whose bind may be refused or reported. Of bind protection, as the seven maps below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_NODEPORTS);
	__type(key, struct npg_port_key);
	__type(value, struct npg_refusable);
} refusable SEC(".maps");

/* Who had a port before it became a NodePort. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_NODEPORTS);
	__type(key, struct npg_holder_key);
	__type(value, struct npg_member);
} first_holders SEC(".maps");

/*
 * Addresses of the node on which NodePorts are open. The address ::ffff:127.0.0.0 stands for all
 * of 127.0.0.0/8: no source sees rules, and NodePorts are taken to own loopback.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_ADDRESSES);
	__type(key, struct npg_address);
	__type(value, struct npg_member);
} bind_addresses SEC(".maps");

/* The exceptions: users, cgroups, and names of tasks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_UIDS);
	__type(key, struct npg_uid_key);
	__type(value, struct npg_member);
} bind_uids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_CGROUPS);
	__type(key, struct npg_cgroup_key);
	__type(value, struct npg_member);
} bind_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_POLICIES);
	__type(key, struct npg_policy_key);
	__type(value, struct npg_member);
} bind_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NPG_MAX_STATS);
	__type(key, struct npg_port_key);
	__type(value, struct npg_bind_stats);
} bind_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NPG_BINDS_BYTES);
} bind_events SEC(".maps");

/* Three maps of the controller, which no program uses: they are pinned with the others. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_RESERVED);
	__type(key, struct npg_reserved_key);
	__type(value, struct npg_reserved);
} reserved_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct npg_protection);
} protection SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct npg_advice);
} advice SEC(".maps");

/*
 * Destinations to which the table exempts every datagram, as the controller last wrote them into
 * its sets; the address ::ffff:0.0.0.0 stands for all of 127.0.0.0/8. A UDP socket that connects
 * to one of them needs no mark. Not pinned: the programs of a starting controller find none until
 * it has written the sets, and mark these sockets meanwhile.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NPG_MAX_TARGETS);
	__type(key, struct npg_listener_key);
	__type(value, struct npg_member);
} datagram_targets SEC(".maps");

/*
 * Notifies the controller that a UDP socket of a trusted owner was bound to a NodePort, or
 * connected from one, or that a connect met a listener without a storage: a struct npg_port_key
 * each. Not pinned: a starting controller lists the sockets itself.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NPG_BINDS_BYTES);
} binds SEC(".maps");

/* When the last listener without a storage was reported. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); /* CLOCK_BOOTTIME */
} last_unknown SEC(".maps");

/*
 * Sockets whose mark the programs set, and the bits that they set. A socket may
 * connect again (UDP, or TCP after a failure or a disconnect). If that connect
 * needs no mark, or another one since --mark was changed, these bits must be
 * removed, but a bit that the application set must stay.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} marked_sockets SEC(".maps");

struct npg_env {
	struct bpf_sock_addr *ctx;
	const struct npg_config *config;
	/*
	 * A pointer, and a size that is constant after inlining. With the tuple
	 * as a member, the whole struct would be on the stack, and verifiers
	 * that do not track spilled scalars would not know the size.
	 */
	struct bpf_sock_tuple *tuple;
	__u32 tuple_size;
	struct npg_address *destination;
	const struct npg_socket_owner *owner; /* of the listener; NULL: not known */
	int probe;			      /* 1: the port is the controller's canary */
	int loopback4;			      /* 1: the destination is in 127.0.0.0/8 */
};

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	/* Atomic although per CPU: another connect can preempt this one. */
	if (value)
		__sync_fetch_and_add(value, 1);
}

/*
 * The entry of a NodePort. The bitmap comes first: the verifier replaces its lookup by a few
 * instructions, while one in nodeports costs more than the rest of an early exit.
 */
static __always_inline const struct npg_nodeport *find_nodeport(const struct npg_port_key *key)
{
	__u32 word = key->port / 64;
	const __u64 *bits = bpf_map_lookup_elem(&unallocated, &word);

	if (bits && *bits >> (key->port % 64) & 1)
		return NULL;
	return bpf_map_lookup_elem(&nodeports, key);
}

static __always_inline void map_v4(__u8 address[16], __u32 v4)
{
	__u32 words[4] = { 0, 0, bpf_htonl(0xffff), v4 };

	__builtin_memcpy(address, words, 16);
}

static __always_inline int npg_env_guards_local(struct npg_env *env)
{
	return scope == NPG_SCOPE_LOCAL;
}

static __always_inline int npg_env_own_address(struct npg_env *env)
{
	return bpf_map_lookup_elem(&local_addresses, env->destination) != NULL;
}

static __always_inline int npg_env_nodeport(struct npg_env *env, const struct npg_port_key *key)
{
	const struct npg_nodeport *nodeport = find_nodeport(key);

	if (!nodeport)
		return 0;
	env->probe = nodeport->sources == NPG_SOURCE_PROBE;
	return 1;
}

static __always_inline int npg_env_guarded_netns(struct npg_env *env)
{
	__u32 zero = 0;

	env->config = bpf_map_lookup_elem(&config, &zero);
	return env->config && bpf_get_netns_cookie(env->ctx) == env->config->netns_cookie;
}

/*
 * Asks the controller to look for the owner of a listener that has no storage. At most ten
 * times a second: any process may cause it.
 */
static __always_inline void report_unknown(const struct npg_port_key *key)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&last_unknown, &zero);

	if (!last || now - *last < NSEC_PER_SEC / 10)
		return;
	*last = now;
	bpf_ringbuf_output(&binds, (void *)key, sizeof(*key), 0);
}

/* Looks up the kernel's own socket table at the time of the connect: a copy could be stale. */
static __always_inline int npg_env_listener(struct npg_env *env, const struct npg_port_key *key,
					    struct npg_listener_key *listener)
{
	struct bpf_sock *sk;
	int live;

	env->owner = NULL;
	if (key->protocol == IPPROTO_TCP)
		sk = bpf_sk_lookup_tcp(env->ctx, env->tuple, env->tuple_size, BPF_F_CURRENT_NETNS,
				       0);
	else
		sk = bpf_sk_lookup_udp(env->ctx, env->tuple, env->tuple_size, BPF_F_CURRENT_NETNS,
				       0);
	if (!sk)
		return 0;
	live = key->protocol == IPPROTO_UDP || sk->state == BPF_TCP_LISTEN;
	if (live) {
		/*
		 * Read both before the branches: clang 19 merges loads in two branches into
		 * one through a computed address, which the verifier rejects for a socket.
		 */
		__u32 address = sk->src_ip4;
		__u32 words[4] = { sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3] };

		asm volatile("" : "+r"(address));
		if (sk->family == AF_INET)
			map_v4(listener->address, address);
		else
			__builtin_memcpy(listener->address, words, 16);
		listener->port = key->port;
		listener->protocol = key->protocol;
		listener->reserved = 0;
		env->owner = bpf_sk_storage_get(&socket_owners, sk, NULL, 0);
		if (!env->owner) {
			env->owner = bpf_map_lookup_elem(&earlier_sockets, listener);
			/* Of a socket that had the address before this one. */
			if (env->owner && env->owner->on_socket)
				env->owner = NULL;
		}
	}
	bpf_sk_release(sk);
	/*
	 * The kernel also gives a number to a UDP socket that only sends, such as the one on
	 * which a DNS forwarder waits for an answer.
	 */
	if (live && key->protocol == IPPROTO_UDP && !env->probe) {
		if (!env->owner)
			report_unknown(key);
		live = env->owner && env->owner->asked_port == key->port;
	}
	return live;
}

/* Is the owner one that --guard-uid or --guard-cgroup names? */
static __always_inline int named(const struct npg_config *cfg, const struct npg_socket_owner *owner)
{
	struct npg_uid_key uid = { .uid = owner->uid };
	struct npg_cgroup_key cgroup = { .id = owner->cgroup_id };

	return cfg->any_uid || bpf_map_lookup_elem(&guard_uids, &uid) ||
	       bpf_map_lookup_elem(&guard_cgroups, &cgroup);
}

static __always_inline int npg_env_trusted(struct npg_env *env, const struct npg_port_key *key)
{
	/* The controller owns the canary; no policy applies to it. */
	if (env->probe)
		return 1;
	if (!env->owner) {
		report_unknown(key);
		return env->config->any_uid != 0;
	}
	/*
	 * A record of another bind(): that one failed, or the socket was disconnected
	 * (AF_UNSPEC) and has a number of the kernel since, which no hook sees.
	 */
	if (env->owner->asked_port && env->owner->asked_port != key->port)
		return env->config->any_uid != 0;
	return named(env->config, env->owner);
}

static __always_inline int npg_env_ignored(struct npg_env *env, const struct npg_port_key *key)
{
	const struct npg_policy *policy;
	__u32 verdict;

	if (env->probe)
		return 0;
	if (!env->owner)
		return env->config->default_verdict == NPG_OWNER_IGNORED;
	policy = bpf_map_lookup_elem(&owner_policy, (void *)env->owner->comm);
	verdict = policy ? policy->verdict : env->config->default_verdict;
	return verdict == NPG_OWNER_IGNORED ||
	       (verdict == NPG_OWNER_HOLDER && env->owner->asked_port == key->port);
}

static __always_inline int npg_env_enforce(struct npg_env *env)
{
	return env->config->mode == NPG_MODE_ENFORCE;
}

static __always_inline int npg_env_stands_aside(struct npg_env *env, __u32 traffic)
{
	/* The self-probe must see what an exempt connection would meet. */
	return !env->probe && (env->config->standing_aside & traffic);
}

/* Does the table exempt all datagrams to this destination? */
static __always_inline int exempt_by_destination(struct npg_env *env)
{
	struct npg_listener_key target = {};

	if (env->ctx->protocol != IPPROTO_UDP)
		return 0;
	__builtin_memcpy(target.address, env->destination->address, 16);
	target.port = bpf_ntohs((__u16)env->ctx->user_port);
	target.protocol = IPPROTO_UDP;
	if (bpf_map_lookup_elem(&datagram_targets, &target))
		return 1;
	if (!env->loopback4)
		return 0;
	map_v4(target.address, 0);
	return bpf_map_lookup_elem(&datagram_targets, &target) != NULL;
}

/*
 * A mark is on every packet of the socket, also on those that a UDP socket sends elsewhere with
 * sendto(), or after connect(AF_UNSPEC), for which no program runs. Therefore it is set only if
 * the table does not know the destination: TCP, and a UDP listener that the controller has yet
 * to see.
 */
static __always_inline int npg_env_mark(struct npg_env *env)
{
	struct bpf_sock_addr *ctx = env->ctx;
	__u32 before = ctx->sk->mark;
	__u32 mark = before;
	__u32 bits = 0;
	__u32 *ours = NULL;

	/* The bits of an earlier connect, perhaps of another --mark. */
	if (before)
		ours = bpf_sk_storage_get(&marked_sockets, ctx->sk, NULL, 0);
	if (ours)
		mark &= ~*ours;
	/* What is left was set by the application. */
	if (!exempt_by_destination(env) && (mark & env->config->mark_mask) != env->config->mark) {
		bits = env->config->mark;
		mark = (mark & ~env->config->mark_mask) | bits;
	}
	if (mark != before && bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
		return 0;
	if (!bits) {
		if (ours)
			bpf_sk_storage_delete(&marked_sockets, ctx->sk);
		return 1;
	}
	/* If the allocation fails, the mark only outlives this connect. */
	if (!ours)
		ours = bpf_sk_storage_get(&marked_sockets, ctx->sk, &bits,
					  BPF_SK_STORAGE_GET_F_CREATE);
	/* A storage that existed keeps its value. */
	if (ours)
		*ours = bits;
	return 1;
}

/*
 * Removes the bit that the guard set at an earlier connect of this socket. Nearly
 * all sockets have no mark: for them this ends after one load.
 */
static __always_inline void unmark(struct bpf_sock_addr *ctx)
{
	__u32 *ours;
	__u32 mark;

	if (!ctx->sk->mark)
		return;
	ours = bpf_sk_storage_get(&marked_sockets, ctx->sk, NULL, 0);
	if (!ours)
		return;
	mark = ctx->sk->mark & ~*ours;
	if (!bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
		bpf_sk_storage_delete(&marked_sockets, ctx->sk);
}

/* True when the port may publish one more event in this second. */
static __always_inline int note_port(const struct npg_port_key *key, int observed, __u64 now)
{
	struct npg_port_stats *stats = bpf_map_lookup_elem(&port_stats, key);

	if (!stats) {
		struct npg_port_stats fresh = {
			.exempted = !observed,
			.observed = observed,
			.last = now,
			.window = now,
			.window_events = 1,
		};

		/* BPF_ANY: the first count of another CPU may be lost, but no entry. */
		bpf_map_update_elem(&port_stats, key, &fresh, BPF_ANY);
		return 1;
	}
	__sync_fetch_and_add(observed ? &stats->observed : &stats->exempted, 1);
	stats->last = now;
	if (now - stats->window >= NSEC_PER_SEC) {
		stats->window = now;
		stats->window_events = 0;
	}
	stats->window_events += 1;
	return stats->window_events <= NPG_EVENTS_PER_SECOND;
}

static __always_inline void publish(struct npg_env *env, const struct npg_port_key *key,
				    const struct npg_listener_key *listener, const __u8 address[16],
				    int observed)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct npg_event *event;

	if (!note_port(key, observed, now)) {
		count(NPG_COUNTER_EVENTS_SUPPRESSED);
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count(NPG_COUNTER_EVENTS_LOST);
		return;
	}
	event->time = now;
	event->cgroup_id = bpf_get_current_cgroup_id();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	__builtin_memcpy(event->address, address, 16);
	__builtin_memcpy(event->listener_address, listener->address, 16);
	event->port = key->port;
	event->protocol = key->protocol;
	event->observed = (__u8)observed;
	event->reserved = 0;
	/* Without an owner the connect was not exempt. */
	if (env->owner)
		event->owner = *env->owner;
	else
		__builtin_memset(&event->owner, 0, sizeof(event->owner));
	/*
	 * Not BPF_RB_FORCE_WAKEUP, which costs ten times the rest of an
	 * exemption. The kernel wakes the readers when one of them has caught
	 * up; each of several readers also polls.
	 */
	bpf_ringbuf_submit(event, 0);
}

/* address: the destination as passed to connect(), v4-mapped for IPv4. */
static __always_inline int guard(struct npg_env *env, enum npg_destination destination,
				 const __u8 address[16])
{
	struct npg_listener_key listener = {};
	struct npg_port_key key = {};
	enum npg_verdict verdict;

	verdict = npg_decide(env, env->ctx->protocol, destination,
			     bpf_ntohs((__u16)env->ctx->user_port), &key, &listener);
	/* A connect that is not exempt must not carry the bit of an earlier one. */
	if (verdict != NPG_EXEMPT && verdict != NPG_PASS_MARK_FAILED)
		unmark(env->ctx);
	switch (verdict) {
	case NPG_PASS_PROTOCOL:
	case NPG_PASS_OUT_OF_SCOPE:
	case NPG_PASS_NOT_NODEPORT:
		break;
	case NPG_PASS_FOREIGN_NETNS:
		count(NPG_COUNTER_FOREIGN_NETNS);
		break;
	case NPG_PASS_NO_LISTENER:
		count(NPG_COUNTER_NO_LISTENER);
		break;
	case NPG_PASS_UNTRUSTED_OWNER:
		count(NPG_COUNTER_UNTRUSTED_OWNER);
		break;
	case NPG_PASS_IGNORED_OWNER:
		count(NPG_COUNTER_IGNORED_OWNER);
		break;
	case NPG_PASS_OBSERVED:
		if (env->probe) {
			count(NPG_COUNTER_PROBED);
			break;
		}
		count(NPG_COUNTER_OBSERVED);
		publish(env, &key, &listener, address, 1);
		break;
	case NPG_PASS_STANDING_ASIDE:
		count(NPG_COUNTER_STANDING_ASIDE);
		break;
	case NPG_PASS_MARK_FAILED:
		count(NPG_COUNTER_MARK_FAILED);
		break;
	case NPG_EXEMPT:
		if (env->probe) {
			count(NPG_COUNTER_PROBED);
			break;
		}
		count(NPG_COUNTER_EXEMPTED);
		publish(env, &key, &listener, address, 0);
		break;
	}
	return PROCEED;
}

static __always_inline int guard_v4(struct bpf_sock_addr *ctx, enum npg_destination destination,
				    __u32 daddr, const __u8 address[16])
{
	struct bpf_sock_tuple tuple = {};
	struct npg_address own;
	struct npg_env env = {
		.ctx = ctx,
		.tuple = &tuple,
		.tuple_size = sizeof(tuple.ipv4),
		.destination = &own,
		.loopback4 = destination == NPG_DST_LOOPBACK4,
	};

	/* The source address that the kernel gives to an unbound client. */
	tuple.ipv4.saddr = destination == NPG_DST_LOOPBACK4 ? bpf_htonl(0x7f000001) : daddr;
	tuple.ipv4.daddr = daddr;
	tuple.ipv4.dport = (__u16)ctx->user_port;
	map_v4(own.address, daddr);
	return guard(&env, destination, address);
}

static __always_inline int guard_v6(struct bpf_sock_addr *ctx, enum npg_destination destination,
				    const __u32 daddr[4], const __u8 address[16])
{
	struct bpf_sock_tuple tuple = {};
	struct npg_address own;
	struct npg_env env = {
		.ctx = ctx,
		.tuple = &tuple,
		.tuple_size = sizeof(tuple.ipv6),
		.destination = &own,
	};

	__builtin_memcpy(tuple.ipv6.saddr, daddr, 16);
	__builtin_memcpy(tuple.ipv6.daddr, daddr, 16);
	tuple.ipv6.dport = (__u16)ctx->user_port;
	__builtin_memcpy(own.address, daddr, 16);
	return guard(&env, destination, address);
}

/*
 * Notifies the controller of a UDP listener on a NodePort that connects: it then receives from
 * its peer only, and is no target any more. Ends after one comparison for TCP, and after two for
 * a UDP client that is not bound.
 */
static __always_inline void note_connect(struct bpf_sock_addr *ctx)
{
	const struct npg_socket_owner *owner;
	const struct npg_config *cfg;
	struct npg_port_key key = {};
	__u32 zero = 0;

	if (ctx->protocol != IPPROTO_UDP || !ctx->sk->src_port)
		return;
	key.port = (__u16)ctx->sk->src_port;
	key.protocol = IPPROTO_UDP;
	if (!find_nodeport(&key))
		return;
	cfg = bpf_map_lookup_elem(&config, &zero);
	if (!cfg || bpf_get_netns_cookie(ctx) != cfg->netns_cookie)
		return;
	owner = bpf_sk_storage_get(&socket_owners, ctx->sk, NULL, 0);
	/* Without a storage, earlier_sockets may have its record, and any user can cause this. */
	if (!owner)
		report_unknown(&key);
	else if (named(cfg, owner))
		bpf_ringbuf_output(&binds, &key, sizeof(key), 0);
}

/* Out of scope; the bit of an earlier connect must not stay on the socket. */
static __always_inline int leave(struct bpf_sock_addr *ctx)
{
	unmark(ctx);
	return PROCEED;
}

SEC("cgroup/connect4")
int npg_connect4(struct bpf_sock_addr *ctx)
{
	enum npg_destination destination;
	__u32 daddr = ctx->user_ip4;
	__u8 address[16];

	note_connect(ctx);
	/* Only a connect to 0.0.0.0 loads its source. */
	destination = npg_destination4(&daddr, daddr ? 0 : ctx->sk->src_ip4);
	if (destination == NPG_DST_ELSEWHERE4 && scope == NPG_SCOPE_LOOPBACK)
		return leave(ctx);
	map_v4(address, ctx->user_ip4);
	return guard_v4(ctx, destination, daddr, address);
}

SEC("cgroup/connect6")
int npg_connect6(struct bpf_sock_addr *ctx)
{
	__u32 daddr[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };
	enum npg_destination destination;
	const struct bpf_sock *sk;
	__u32 source[4];
	__u8 address[16];

	note_connect(ctx);
	/* Nearly every IPv6 address is out of scope here, v4-mapped ones below. */
	if ((daddr[0] || daddr[1]) && scope == NPG_SCOPE_LOOPBACK)
		return leave(ctx);
	__builtin_memcpy(address, daddr, 16);
	sk = ctx->sk;
	source[0] = sk->src_ip6[0];
	source[1] = sk->src_ip6[1];
	source[2] = sk->src_ip6[2];
	source[3] = sk->src_ip6[3];
	destination = npg_destination6(daddr, source);
	if (scope == NPG_SCOPE_LOOPBACK && destination != NPG_DST_LOOPBACK4 &&
	    destination != NPG_DST_LOOPBACK6)
		return leave(ctx);
	if (destination == NPG_DST_LOOPBACK4 || destination == NPG_DST_ELSEWHERE4)
		return guard_v4(ctx, destination, daddr[3], address);
	return guard_v6(ctx, destination, daddr, address);
}

/*
 * For a socket that got no storage, which its process can bring about (optmem_max): what the
 * controller knows of an earlier socket on the same address must not speak for it.
 */
static __always_inline void forget_earlier(struct bpf_sock_addr *ctx,
					   const struct npg_port_key *key, int v6)
{
	struct npg_listener_key at = { .port = key->port, .protocol = key->protocol };
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv4);
	struct bpf_sock *sk;

	if (v6) {
		__u32 words[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				   ctx->user_ip6[3] };

		__builtin_memcpy(at.address, words, 16);
		__builtin_memcpy(tuple.ipv6.daddr, words, 16);
		tuple.ipv6.dport = bpf_htons(key->port);
		size = sizeof(tuple.ipv6);
	} else {
		map_v4(at.address, ctx->user_ip4);
		tuple.ipv4.daddr = ctx->user_ip4;
		tuple.ipv4.dport = bpf_htons(key->port);
	}
	/* While a socket listens there this bind() will fail, and the record is that socket's. */
	if (key->protocol == IPPROTO_TCP) {
		sk = bpf_sk_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (sk) {
			bpf_sk_release(sk);
			return;
		}
	}
	bpf_map_delete_elem(&earlier_sockets, &at);
	report_unknown(key);
}

struct npg_bind_env {
	struct bpf_sock_addr *ctx;
	struct npg_socket_owner *binder; /* the task */
};

static __always_inline enum npg_bind_protection npg_bind_env_protection(struct npg_bind_env *env)
{
	return bind_protection;
}

static __always_inline __u32 npg_bind_env_sources(struct npg_bind_env *env,
						  const struct npg_port_key *key)
{
	const struct npg_nodeport *nodeport = find_nodeport(key);

	return nodeport ? nodeport->sources : 0;
}

static __always_inline int npg_bind_env_device(struct npg_bind_env *env)
{
	return env->ctx->sk->bound_dev_if != 0;
}

static __always_inline __u32 npg_bind_env_refusable(struct npg_bind_env *env,
						    const struct npg_port_key *key)
{
	const struct npg_refusable *entry = bpf_map_lookup_elem(&refusable, key);

	return entry ? entry->families : 0;
}

static __always_inline int npg_bind_env_address(struct npg_bind_env *env, const __u32 address[4])
{
	struct npg_address key;

	__builtin_memcpy(key.address, address, 16);
	return bpf_map_lookup_elem(&bind_addresses, &key) != NULL;
}

/* The task is asked for only here: few binds get this far. */
static __always_inline int npg_bind_env_first_holder(struct npg_bind_env *env,
						     const struct npg_port_key *key)
{
	struct npg_holder_key holder = { .port = key->port, .protocol = key->protocol };

	env->binder->cgroup_id = bpf_get_current_cgroup_id();
	env->binder->uid = (__u32)bpf_get_current_uid_gid();
	env->binder->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(env->binder->comm, sizeof(env->binder->comm));
	env->binder->asked_port = key->port;
	holder.uid = env->binder->uid;
	return bpf_map_lookup_elem(&first_holders, &holder) != NULL;
}

static __always_inline int npg_bind_env_excepted(struct npg_bind_env *env)
{
	struct npg_cgroup_key cgroup = { .id = env->binder->cgroup_id };
	struct npg_uid_key uid = { .uid = env->binder->uid };
	const struct npg_policy *policy;

	/* Of a program that holds NodePorts, such as kube-proxy. */
	policy = bpf_map_lookup_elem(&owner_policy, env->binder->comm);
	if (policy && policy->verdict != NPG_OWNER_GUARDED)
		return 1;
	return bpf_map_lookup_elem(&bind_names, env->binder->comm) ||
	       bpf_map_lookup_elem(&bind_uids, &uid) || bpf_map_lookup_elem(&bind_cgroups, &cgroup);
}

/* Counts, as note_port(). True when the port may publish one more event in this second. */
static __always_inline int note_protected(const struct npg_port_key *key, int refused, __u64 now,
					  const struct npg_socket_owner *binder)
{
	struct npg_bind_stats *stats = bpf_map_lookup_elem(&bind_stats, key);

	if (!stats) {
		struct npg_bind_stats fresh = {
			.warned = !refused,
			.refused = refused,
			.last = now,
			.window = now,
			.window_events = 1,
		};

		fresh.binder = *binder;
		bpf_map_update_elem(&bind_stats, key, &fresh, BPF_ANY);
		return 1;
	}
	__sync_fetch_and_add(refused ? &stats->refused : &stats->warned, 1);
	stats->last = now;
	stats->binder = *binder;
	if (now - stats->window >= NSEC_PER_SEC) {
		stats->window = now;
		stats->window_events = 0;
	}
	stats->window_events += 1;
	return stats->window_events <= NPG_EVENTS_PER_SECOND;
}

static __always_inline void publish_bind(const struct npg_port_key *key, const __u32 address[4],
					 const struct npg_socket_owner *binder, int refused)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct npg_bind_event *event;

	if (!note_protected(key, refused, now, binder)) {
		count(NPG_COUNTER_EVENTS_SUPPRESSED);
		return;
	}
	event = bpf_ringbuf_reserve(&bind_events, sizeof(*event), 0);
	if (!event) {
		count(NPG_COUNTER_EVENTS_LOST);
		return;
	}
	event->time = now;
	event->cgroup_id = binder->cgroup_id;
	event->pid = binder->pid;
	event->uid = binder->uid;
	__builtin_memcpy(event->comm, binder->comm, sizeof(event->comm));
	__builtin_memcpy(event->address, address, 16);
	event->port = key->port;
	event->protocol = key->protocol;
	event->outcome = refused ? NPG_BIND_REFUSED : NPG_BIND_WARNED;
	event->error = refused ? (has_set_retval ? EADDRINUSE : EPERM) : 0;
	bpf_ringbuf_submit(event, 0);
}

/* Bind protection, for a bind in the guarded network namespace: PROCEED, or REFUSE. */
static __always_inline int protect(struct bpf_sock_addr *ctx, const struct npg_port_key *key,
				   int v6)
{
	struct npg_socket_owner binder = {};
	struct npg_bind_env env = { .ctx = ctx, .binder = &binder };
	__u32 address[4] = { 0, 0, bpf_htonl(0xffff), 0 };

	if (v6) {
		address[0] = ctx->user_ip6[0];
		address[1] = ctx->user_ip6[1];
		address[2] = ctx->user_ip6[2];
		address[3] = ctx->user_ip6[3];
	} else {
		address[3] = ctx->user_ip4;
	}
	switch (npg_decide_bind(&env, key, address)) {
	case NPG_BIND_PASSED:
		break;
	case NPG_BIND_SPARED:
		count(NPG_COUNTER_BIND_SPARED);
		break;
	case NPG_BIND_WARNED:
		count(NPG_COUNTER_BIND_WARNED);
		publish_bind(key, address, &binder, 0);
		break;
	case NPG_BIND_REFUSED:
		count(NPG_COUNTER_BIND_REFUSED);
		publish_bind(key, address, &binder, 1);
		/* Without it the kernel returns -EPERM for a program that refuses. */
		if (has_set_retval)
			bpf_set_retval(-EADDRINUSE);
		return REFUSE;
	}
	return PROCEED;
}

/*
 * Notes on the socket who binds it, for the connects to come. These hooks run before the bind:
 * only they see whether the process asked for a number. The note of a bind that fails stays
 * until the next bind().
 */
static __always_inline int note_bind(struct bpf_sock_addr *ctx, int v6)
{
	struct npg_port_key key = {};
	struct npg_socket_owner *owner;
	const struct npg_config *cfg;
	__u32 zero = 0;

	key.protocol = npg_protocol(ctx->protocol);
	if (!key.protocol)
		return PROCEED;
	cfg = bpf_map_lookup_elem(&config, &zero);
	if (!cfg || bpf_get_netns_cookie(ctx) != cfg->netns_cookie)
		return PROCEED;
	/* A second bind() fails; the first one decides. */
	if (ctx->sk->src_port)
		return PROCEED;
	key.port = bpf_ntohs((__u16)ctx->user_port);
	/* First: a bind() that is refused leaves no note. */
	if (bind_protection != NPG_BIND_OFF && protect(ctx, &key, v6) == REFUSE)
		return REFUSE;
	if (key.protocol == IPPROTO_UDP && !key.port) {
		/*
		 * Not a listener, so its owner does not matter. A storage would cost more than
		 * the rest of bind(). The note of a bind() that failed must not make it one.
		 */
		owner = bpf_sk_storage_get(&socket_owners, ctx->sk, NULL, 0);
		if (owner)
			owner->asked_port = 0;
		return PROCEED;
	}
	owner = bpf_sk_storage_get(&socket_owners, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner) {
		forget_earlier(ctx, &key, v6);
		return PROCEED;
	}
	owner->cgroup_id = bpf_get_current_cgroup_id();
	owner->uid = (__u32)bpf_get_current_uid_gid();
	owner->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(owner->comm, sizeof(owner->comm));
	owner->asked_port = key.port;
	/* If the ring is full, the controller has notifications that it has yet to read. */
	if (key.protocol == IPPROTO_UDP && key.port && find_nodeport(&key) && named(cfg, owner))
		bpf_ringbuf_output(&binds, &key, sizeof(key), 0);
	return PROCEED;
}

SEC("cgroup/bind4")
int npg_bind4(struct bpf_sock_addr *ctx)
{
	return note_bind(ctx, 0);
}

SEC("cgroup/bind6")
int npg_bind6(struct bpf_sock_addr *ctx)
{
	return note_bind(ctx, 1);
}

/*
 * Only for kernels before 5.14, which lack SO_NETNS_COOKIE (e8b9eab99232).
 * Attached briefly, it records the cookie of the controller's own connect. The
 * task may be used here: that connect is an ordinary blocking one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);   /* thread group id of the controller */
	__type(value, __u64); /* its netns cookie */
} learned_cookie SEC(".maps");

SEC("cgroup/connect4")
int npg_learn_netns(struct bpf_sock_addr *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 *cookie = bpf_map_lookup_elem(&learned_cookie, &tgid);

	if (cookie)
		*cookie = bpf_get_netns_cookie(ctx);
	return PROCEED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
