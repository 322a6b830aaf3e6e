/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interface between the BPF programs and userspace: keys and values of the
 * pinned maps, verdicts, counters. Plain C: both sides include it, so no struct
 * has a second copy.
 *
 * Byte order: ports are in host order everywhere in this file, so that bpftool
 * prints them as port numbers; addresses are in network order.
 * Addresses are 16 bytes. An IPv4 address is stored v4-mapped: 127.0.0.1 is
 * 00 00 00 00 00 00 00 00 00 00 ff ff 7f 00 00 01, and the IPv4 wildcard
 * ::ffff:0.0.0.0 differs from the IPv6 wildcard ::, as the two sockets do.
 * Times are nanoseconds of CLOCK_BOOTTIME unless a name says otherwise.
 */
#ifndef NODEPORT_GUARD_ABI_H
#define NODEPORT_GUARD_ABI_H

#include <linux/types.h>

/*
 * Incremented when the layout of a pinned map grows. Fields, enumerators and maps are only added,
 * at the end, and none changes its meaning: a new meaning needs a new map. See docs/upgrade.md.
 */
#define NPG_ABI_VERSION 5

#define NPG_MAX_NODEPORTS 65536
/* Entries of unallocated: a value has a bit for each of 64 ports. */
#define NPG_PORT_WORDS	  1024
#define NPG_MAX_EARLIER	  65536
#define NPG_MAX_UIDS	  256
#define NPG_MAX_CGROUPS	  16384
#define NPG_MAX_POLICIES  256
#define NPG_MAX_STATS	  8192
#define NPG_MAX_SOURCES	  32
#define NPG_MAX_ADDRESSES 16384
#define NPG_MAX_TARGETS	  4096
#define NPG_MAX_RESERVED  65536
#define NPG_EVENTS_BYTES  (256 * 1024)
#define NPG_BINDS_BYTES	  (64 * 1024)

#define NPG_COMM_LEN	16  /* TASK_COMM_LEN */
#define NPG_SERVICE_LEN 128 /* 63 (namespace) + '/' + 63 (name) + NUL */

/* Who reports that ports are allocated: bits of npg_nodeport.sources, one in npg_source_key. */
enum npg_source {
	NPG_SOURCE_KUBERNETES = 1 << 0,
	NPG_SOURCE_NETFILTER = 1 << 1,
	NPG_SOURCE_FILE = 1 << 2,
	/* The controller's canary, present only during a self-probe; never set with other bits. */
	NPG_SOURCE_PROBE = 1 << 3,
};

/* Key of nodeports and port_stats. protocol is IPPROTO_TCP or IPPROTO_UDP; MPTCP counts as TCP. */
struct npg_port_key {
	__u16 port;
	__u8 protocol;
	__u8 reserved;
};

/* Value of nodeports. */
struct npg_nodeport {
	__u32 sources; /* enum npg_source bits, never 0 */
	__u32 reserved;
	__u64 since; /* seconds since the epoch: when the guard first knew the allocation */
	char service[NPG_SERVICE_LEN]; /* "namespace/name", NUL padded, may be empty */
};

enum npg_owner_verdict {
	NPG_OWNER_GUARDED = 0,
	NPG_OWNER_IGNORED = 1,
	/* Ignored on the number that a socket asked for: it may only hold that. Elsewhere guarded.
	 */
	NPG_OWNER_HOLDER = 2,
};

/*
 * Value of socket_owners, the storage of a socket: the task that bound it, as of its last
 * bind(). Sockets that were bound while the programs were not attached have none, nor have
 * those that the kernel bound by itself (connect, sendto or listen without bind): no hook
 * runs for these. Nor have UDP sockets that asked for any port, which are no listeners.
 */
struct npg_socket_owner {
	__u64 cgroup_id; /* cgroup2 id of the task; 0 when the controller could not learn it */
	__u32 uid;	 /* real user id in the initial user namespace */
	__u32 pid;	 /* thread group id in the initial pid namespace; 0: not known */
	char comm[NPG_COMM_LEN]; /* of the thread, or of its process once the controller saw it */
	__u32 asked_port;	 /* the port passed to bind(); 0: any */
	/*
	 * In earlier_sockets, 1: the socket has this record in its storage, too. The programs
	 * must not go by the address: another socket may have it by now. 0 in a storage.
	 */
	__u32 on_socket;
};

/*
 * Key of earlier_sockets: the address a socket is bound to. Key of datagram_targets, which is not
 * pinned: a destination.
 */
struct npg_listener_key {
	__u8 address[16];
	__u16 port;
	__u8 protocol;
	__u8 reserved;
};

/* Key of guard_uids: a user whose listeners are guarded. The value is 1. */
struct npg_uid_key {
	__u32 uid;
};

/* Key of guard_cgroups: a cgroup whose listeners are guarded, whatever their user. The value is 1.
 */
struct npg_cgroup_key {
	__u64 id;
};

/* Value of guard_uids, guard_cgroups and datagram_targets. */
struct npg_member {
	__u32 present; /* 1 */
};

/*
 * Key of owner_policy: a process name as the kernel truncates it, NUL padded.
 */
struct npg_policy_key {
	char comm[NPG_COMM_LEN];
};

/* Value of owner_policy. A name that is not in the map has npg_config.default_verdict. */
struct npg_policy {
	__u32 verdict; /* enum npg_owner_verdict */
	/* Larger than in ABI 3, whose programs do not know NPG_OWNER_HOLDER: they keep their map.
	 */
	__u32 reserved;
};

/* Key of local_addresses. */
struct npg_address {
	__u8 address[16];
};

/*
 * Value of local_addresses: an address of the node besides loopback, as of the
 * last rtnetlink message. The map is empty with NPG_SCOPE_LOOPBACK.
 */
struct npg_local_address {
	__u32 ifindex; /* of the interface that has it */
	__u32 reserved;
};

/*
 * Index of counters: exempted connects, one for every row of the decision that
 * lets a connect to a NodePort pass unguarded, and events that were not
 * published, repairs, and self-probes.
 */
enum npg_counter {
	NPG_COUNTER_EXEMPTED,
	NPG_COUNTER_FOREIGN_NETNS,
	NPG_COUNTER_NO_LISTENER,
	NPG_COUNTER_IGNORED_OWNER,
	NPG_COUNTER_OBSERVED,
	NPG_COUNTER_MARK_FAILED,
	NPG_COUNTER_EVENTS_SUPPRESSED, /* over the rate limit of the port */
	NPG_COUNTER_EVENTS_LOST,       /* ring buffer full: no reader kept up */
	NPG_COUNTER_RULES_RESTORED,    /* only the controller writes it */
	NPG_COUNTER_PROBED,	       /* connects to the canary; no other counter has them */
	NPG_COUNTER_UNTRUSTED_OWNER,
	NPG_COUNTER_STANDING_ASIDE,
	NPG_COUNTER_BIND_SPARED,  /* binds that an exception of bind protection let pass */
	NPG_COUNTER_BIND_WARNED,  /* binds that were only reported */
	NPG_COUNTER_BIND_REFUSED, /* binds that failed because of bind protection */
	NPG_COUNTER_MAX,
};

/* In the order of the rows of the decision table; row 7 has two. */
enum npg_verdict {
	NPG_PASS_PROTOCOL,
	NPG_PASS_OUT_OF_SCOPE,
	NPG_PASS_NOT_NODEPORT,
	NPG_PASS_FOREIGN_NETNS,
	NPG_PASS_NO_LISTENER,
	NPG_PASS_UNTRUSTED_OWNER,
	NPG_PASS_IGNORED_OWNER,
	NPG_PASS_OBSERVED,
	NPG_PASS_STANDING_ASIDE,
	NPG_PASS_MARK_FAILED,
	NPG_EXEMPT,
};

/* Value of port_stats. */
struct npg_port_stats {
	__u64 exempted;
	__u64 observed;
	__u64 last;   /* of either; 0 = never */
	__u64 window; /* start of the second in which events are being counted */
	__u32 window_events;
	__u32 reserved;
};

/* Events that a port may publish in one second; further ones are only counted. */
#define NPG_EVENTS_PER_SECOND 10

/* Record of events: one connect that was exempted (or would have been: observed). */
struct npg_event {
	__u64 time;
	__u64 cgroup_id; /* of the connecting task */
	__u32 pid;	 /* a hint: io_uring connects from a worker thread */
	__u32 uid;
	char comm[NPG_COMM_LEN];
	__u8 address[16];	   /* as passed to connect() */
	__u8 listener_address[16]; /* the address the listener is bound to */
	__u16 port;
	__u8 protocol;
	__u8 observed; /* 1: the mode is observe, the connect was not exempted */
	__u32 reserved;
	struct npg_socket_owner owner; /* of the listener */
};

/* Why a source could not be read or followed: index of npg_source_state.errors. */
enum npg_source_error {
	NPG_SOURCE_ERROR_CONNECT,      /* no address, no route, refused, timed out */
	NPG_SOURCE_ERROR_TLS,	       /* handshake, certificate */
	NPG_SOURCE_ERROR_UNAUTHORIZED, /* 401 */
	NPG_SOURCE_ERROR_FORBIDDEN,    /* 403 */
	NPG_SOURCE_ERROR_THROTTLED,    /* 429 */
	NPG_SOURCE_ERROR_EXPIRED,      /* 410: the resourceVersion is too old, list again */
	NPG_SOURCE_ERROR_SERVER,       /* 5xx */
	NPG_SOURCE_ERROR_HTTP,	       /* any other status, or no HTTP at all */
	NPG_SOURCE_ERROR_DECODE,       /* the input could not be decoded */
	NPG_SOURCE_ERROR_STALLED,      /* no data within the time limit */
	NPG_SOURCE_ERROR_CUT,	       /* ended before it was complete */
	NPG_SOURCE_ERROR_READ,	       /* a file, a table of this node */
	NPG_SOURCE_ERROR_MAX,
};

#define NPG_RESOURCE_VERSION_LEN 32
#define NPG_ERROR_LEN		 256
#define NPG_DETAIL_LEN		 128

/* Key of sources. */
struct npg_source_key {
	__u32 source; /* enum npg_source, one bit */
};

/*
 * Value of sources: the state of a source, as the controller last wrote it. No
 * program reads it. Times are seconds since the epoch, 0 = never; texts are one
 * line, truncated, NUL padded.
 */
struct npg_source_state {
	__u32 connected; /* 1: its ports are current */
	__u32 services;
	__u32 ports;
	__u32 health_check_ports;
	__u32 skipped;			    /* objects or rules that cannot be decoded at present */
	__u32 coverage;			    /* of the NodePorts: 0 all of them, 1 a part, 2 none */
	__u64 since;			    /* when it became connected, or ceased to be */
	__u64 last_event;		    /* when it last received anything */
	__u64 last_reading;		    /* when it last reported the full set of ports */
	__u64 errors[NPG_SOURCE_ERROR_MAX]; /* since the controller started */
	char resource_version[NPG_RESOURCE_VERSION_LEN]; /* of the API server; empty elsewhere */
	char last_error[NPG_ERROR_LEN];			 /* kept after the error is over */
	char detail[NPG_DETAIL_LEN];			 /* what it reads, and how; may be empty */
};

enum npg_mode {
	NPG_MODE_ENFORCE = 0,
	NPG_MODE_OBSERVE = 1,
};

/* Which destinations are guarded. */
enum npg_scope {
	NPG_SCOPE_LOOPBACK = 0,
	NPG_SCOPE_LOCAL = 1, /* loopback and the node's own addresses */
};

/*
 * Bits of npg_config.standing_aside: the traffic for which the guard stands aside. The rules of
 * this node would track or drop its packets although the table has exempted them from tracking.
 * By the family of the packets: a connect to a v4-mapped address is IPv4.
 */
enum npg_traffic {
	NPG_TRAFFIC_TCP4 = 1 << 0,
	NPG_TRAFFIC_UDP4 = 1 << 1,
	NPG_TRAFFIC_TCP6 = 1 << 2,
	NPG_TRAFFIC_UDP6 = 1 << 3,
	/* No traffic: nothing is known yet, since no self-probe has ended. The programs ignore it.
	 */
	NPG_TRAFFIC_UNPROVEN = 1u << 31,
};

/* The only entry of config: the settings of the programs. */
struct npg_config {
	__u32 abi_version;
	__u32 mode; /* enum npg_mode */
	__u32 mark; /* within mark_mask */
	__u32 mark_mask;
	__u64 netns_cookie; /* of the guarded network namespace */
	__u64 started;	    /* seconds since the epoch: start of the controller that wrote this */
	char version[32];   /* of that controller, NUL padded */
	__u32 scope;	    /* enum npg_scope; a constant of the loaded programs */
	__u32 default_verdict; /* enum npg_owner_verdict: of owners that no policy names */
	__u32 any_uid;	       /* 1: the listeners of every user are guarded */
	__u32 standing_aside;  /* enum npg_traffic bits; connects to the canary are exempt anyway */
};

/* What happens when a process binds an allocated NodePort on an address where both collide. */
enum npg_bind_protection {
	NPG_BIND_OFF = 0,
	NPG_BIND_WARN = 1, /* it is reported */
	NPG_BIND_DENY = 2, /* bind() fails */
};

/* Which ports the controller adds to net.ipv4.ip_local_reserved_ports. */
enum npg_reserve_ports {
	NPG_RESERVE_OFF = 0,
	NPG_RESERVE_ALLOCATED = 1, /* allocated NodePorts and healthCheckNodePorts */
};

/* Whether those ports are reserved. */
enum npg_reserve_state {
	NPG_RESERVED_OFF = 0,
	NPG_RESERVED_OK = 1,
	NPG_RESERVED_FAILED = 2,  /* the sysctl cannot be read or written: npg_protection.error */
	NPG_RESERVED_TOO_FEW = 3, /* too few automatic ports would be left: none is reserved */
};

/* What bind protection did with a bind of an allocated NodePort. */
enum npg_bind_outcome {
	NPG_BIND_PASSED = 0, /* not its business; never in an event */
	NPG_BIND_SPARED = 1, /* an exception applies; never in an event */
	NPG_BIND_WARNED = 2,
	NPG_BIND_REFUSED = 3,
};

/* Bits of npg_refusable.families, by the family of the Service's NodePort. */
#define NPG_FAMILY_V4 (1 << 0)
#define NPG_FAMILY_V6 (1 << 1)

/*
 * Value of refusable, by npg_port_key: a NodePort whose bind may be refused or reported. The
 * controller puts a port there only after it has noted in first_holders who had it first. A port
 * that a backend of its own Service may bind on the node (hostNetwork) is never there.
 */
struct npg_refusable {
	__u32 families; /* NPG_FAMILY bits, not 0 */
};

/*
 * Key of first_holders: a user with a socket on the port before it became a NodePort. Any process
 * of this user may bind it again. The value is npg_member.
 */
struct npg_holder_key {
	__u16 port;
	__u8 protocol;
	__u8 reserved;
	__u32 uid; /* real user id in the initial user namespace */
};

/* Key of reserved_ports. */
struct npg_reserved_key {
	__u16 port;
	__u16 reserved;
};

enum npg_reservation {
	NPG_RESERVATION_OURS = 1,   /* the controller added it; the administrator did not */
	NPG_RESERVATION_UNSURE = 2, /* a write was begun: the sysctl tells whether it was added */
	NPG_RESERVATION_ADMIN = 3,  /* the administrator's, as last seen */
};

/*
 * Value of reserved_ports: ports in net.ipv4.ip_local_reserved_ports that the controller added to
 * those of the administrator, to be removed again by `unload`.
 */
struct npg_reserved {
	__u32 reservation; /* enum npg_reservation */
};

#define NPG_PROTECTION_ERROR_LEN 128

/*
 * The only entry of protection: the state of reserved ports and bind protection, as the controller
 * last wrote it. No program reads it.
 */
struct npg_protection {
	__u32 bind;	     /* enum npg_bind_protection */
	__u32 refusal_errno; /* what a refused bind() fails with: EADDRINUSE, or EPERM before 6.1 */
	__u32 reserve;	     /* enum npg_reserve_ports */
	__u32 reserve_state; /* enum npg_reserve_state */
	__u32 reserved_ports; /* how many the controller has added */
	__u32 loopback;	      /* 1: no source sees rules, NodePorts are taken to own 127.0.0.0/8 */
	__u64 since;	      /* seconds since the epoch: when reserve_state last changed */
	char error[NPG_PROTECTION_ERROR_LEN]; /* one line, truncated, NUL padded; may be empty */
};

/* The only entry of advice: what the controller has told the cluster about this node. */
struct npg_advice {
	__u64 sent; /* seconds since the epoch: the last Event about port ranges; 0 = never */
};

/* Value of bind_stats, by npg_port_key. */
struct npg_bind_stats {
	__u64 warned;
	__u64 refused;
	__u64 last;   /* of either; 0 = never */
	__u64 window; /* start of the second in which events are being counted */
	__u32 window_events;
	__u32 reserved;
	struct npg_socket_owner binder; /* the task of the last of them */
};

/* Record of bind_events: one bind() that was reported or refused. */
struct npg_bind_event {
	__u64 time;
	__u64 cgroup_id; /* of the binding task */
	__u32 pid;
	__u32 uid; /* real user id in the initial user namespace */
	char comm[NPG_COMM_LEN];
	__u8 address[16]; /* as passed to bind() */
	__u16 port;
	__u8 protocol;
	__u8 outcome; /* enum npg_bind_outcome */
	__u32 error;  /* errno of the bind(); 0: it was let pass */
};

#endif /* NODEPORT_GUARD_ABI_H */
