// SPDX-License-Identifier: Apache-2.0
// Holds no code: what it asserts is the layout of the pinned maps.
#include <cstddef>
#include <type_traits>

#include "guard_abi.h"

// The layout of the pinned maps, which outlive this program, and which bpftool and other
// builds read. A changed line here changes the pins on running nodes, and requires a higher
// NPG_ABI_VERSION.
#define NPG_LAYOUT(type, size)                                               \
  static_assert(sizeof(type) == (size) && std::is_standard_layout_v<type> && \
                std::has_unique_object_representations_v<type>)
#define NPG_FIELD(type, field, offset, size) \
  static_assert(offsetof(type, field) == (offset) && sizeof(type::field) == (size))

static_assert(NPG_ABI_VERSION == 5);

NPG_LAYOUT(npg_port_key, 4);
NPG_FIELD(npg_port_key, port, 0, 2);
NPG_FIELD(npg_port_key, protocol, 2, 1);
NPG_FIELD(npg_port_key, reserved, 3, 1);

NPG_LAYOUT(npg_nodeport, 144);
NPG_FIELD(npg_nodeport, sources, 0, 4);
NPG_FIELD(npg_nodeport, reserved, 4, 4);
NPG_FIELD(npg_nodeport, since, 8, 8);
NPG_FIELD(npg_nodeport, service, 16, 128);

NPG_LAYOUT(npg_listener_key, 20);
NPG_FIELD(npg_listener_key, address, 0, 16);
NPG_FIELD(npg_listener_key, port, 16, 2);
NPG_FIELD(npg_listener_key, protocol, 18, 1);
NPG_FIELD(npg_listener_key, reserved, 19, 1);

NPG_LAYOUT(npg_socket_owner, 40);
NPG_FIELD(npg_socket_owner, cgroup_id, 0, 8);
NPG_FIELD(npg_socket_owner, uid, 8, 4);
NPG_FIELD(npg_socket_owner, pid, 12, 4);
NPG_FIELD(npg_socket_owner, comm, 16, 16);
NPG_FIELD(npg_socket_owner, asked_port, 32, 4);
NPG_FIELD(npg_socket_owner, on_socket, 36, 4);

NPG_LAYOUT(npg_uid_key, 4);
NPG_LAYOUT(npg_cgroup_key, 8);
NPG_LAYOUT(npg_member, 4);

NPG_LAYOUT(npg_policy_key, 16);
NPG_FIELD(npg_policy_key, comm, 0, 16);

NPG_LAYOUT(npg_policy, 8);
NPG_FIELD(npg_policy, verdict, 0, 4);

NPG_LAYOUT(npg_port_stats, 40);
NPG_FIELD(npg_port_stats, exempted, 0, 8);
NPG_FIELD(npg_port_stats, observed, 8, 8);
NPG_FIELD(npg_port_stats, last, 16, 8);
NPG_FIELD(npg_port_stats, window, 24, 8);
NPG_FIELD(npg_port_stats, window_events, 32, 4);
NPG_FIELD(npg_port_stats, reserved, 36, 4);

NPG_LAYOUT(npg_event, 120);
NPG_FIELD(npg_event, time, 0, 8);
NPG_FIELD(npg_event, cgroup_id, 8, 8);
NPG_FIELD(npg_event, pid, 16, 4);
NPG_FIELD(npg_event, uid, 20, 4);
NPG_FIELD(npg_event, comm, 24, 16);
NPG_FIELD(npg_event, address, 40, 16);
NPG_FIELD(npg_event, listener_address, 56, 16);
NPG_FIELD(npg_event, port, 72, 2);
NPG_FIELD(npg_event, protocol, 74, 1);
NPG_FIELD(npg_event, observed, 75, 1);
NPG_FIELD(npg_event, reserved, 76, 4);

NPG_LAYOUT(npg_address, 16);
NPG_FIELD(npg_address, address, 0, 16);

NPG_LAYOUT(npg_local_address, 8);
NPG_FIELD(npg_local_address, ifindex, 0, 4);
NPG_FIELD(npg_local_address, reserved, 4, 4);

NPG_LAYOUT(npg_config, 80);
NPG_FIELD(npg_config, abi_version, 0, 4);
NPG_FIELD(npg_config, mode, 4, 4);
NPG_FIELD(npg_config, mark, 8, 4);
NPG_FIELD(npg_config, mark_mask, 12, 4);
NPG_FIELD(npg_config, netns_cookie, 16, 8);
NPG_FIELD(npg_config, started, 24, 8);
NPG_FIELD(npg_config, version, 32, 32);
NPG_FIELD(npg_config, scope, 64, 4);
NPG_FIELD(npg_config, default_verdict, 68, 4);
NPG_FIELD(npg_config, any_uid, 72, 4);
NPG_FIELD(npg_config, standing_aside, 76, 4);

NPG_LAYOUT(npg_source_key, 4);
NPG_FIELD(npg_source_key, source, 0, 4);

NPG_LAYOUT(npg_source_state, 560);
NPG_FIELD(npg_source_state, connected, 0, 4);
NPG_FIELD(npg_source_state, services, 4, 4);
NPG_FIELD(npg_source_state, ports, 8, 4);
NPG_FIELD(npg_source_state, health_check_ports, 12, 4);
NPG_FIELD(npg_source_state, skipped, 16, 4);
NPG_FIELD(npg_source_state, coverage, 20, 4);
NPG_FIELD(npg_source_state, since, 24, 8);
NPG_FIELD(npg_source_state, last_event, 32, 8);
NPG_FIELD(npg_source_state, last_reading, 40, 8);
NPG_FIELD(npg_source_state, errors, 48, 96);
NPG_FIELD(npg_source_state, resource_version, 144, 32);
NPG_FIELD(npg_source_state, last_error, 176, 256);
NPG_FIELD(npg_source_state, detail, 432, 128);

NPG_LAYOUT(npg_refusable, 4);
NPG_FIELD(npg_refusable, families, 0, 4);

NPG_LAYOUT(npg_holder_key, 8);
NPG_FIELD(npg_holder_key, port, 0, 2);
NPG_FIELD(npg_holder_key, protocol, 2, 1);
NPG_FIELD(npg_holder_key, reserved, 3, 1);
NPG_FIELD(npg_holder_key, uid, 4, 4);

NPG_LAYOUT(npg_reserved_key, 4);
NPG_FIELD(npg_reserved_key, port, 0, 2);
NPG_FIELD(npg_reserved_key, reserved, 2, 2);

NPG_LAYOUT(npg_reserved, 4);
NPG_FIELD(npg_reserved, reservation, 0, 4);

NPG_LAYOUT(npg_protection, 160);
NPG_FIELD(npg_protection, bind, 0, 4);
NPG_FIELD(npg_protection, refusal_errno, 4, 4);
NPG_FIELD(npg_protection, reserve, 8, 4);
NPG_FIELD(npg_protection, reserve_state, 12, 4);
NPG_FIELD(npg_protection, reserved_ports, 16, 4);
NPG_FIELD(npg_protection, loopback, 20, 4);
NPG_FIELD(npg_protection, since, 24, 8);
NPG_FIELD(npg_protection, error, 32, 128);

NPG_LAYOUT(npg_advice, 8);
NPG_FIELD(npg_advice, sent, 0, 8);

NPG_LAYOUT(npg_bind_stats, 80);
NPG_FIELD(npg_bind_stats, warned, 0, 8);
NPG_FIELD(npg_bind_stats, refused, 8, 8);
NPG_FIELD(npg_bind_stats, last, 16, 8);
NPG_FIELD(npg_bind_stats, window, 24, 8);
NPG_FIELD(npg_bind_stats, window_events, 32, 4);
NPG_FIELD(npg_bind_stats, reserved, 36, 4);
NPG_FIELD(npg_bind_stats, binder, 40, 40);

NPG_LAYOUT(npg_bind_event, 64);
NPG_FIELD(npg_bind_event, time, 0, 8);
NPG_FIELD(npg_bind_event, cgroup_id, 8, 8);
NPG_FIELD(npg_bind_event, pid, 16, 4);
NPG_FIELD(npg_bind_event, uid, 20, 4);
NPG_FIELD(npg_bind_event, comm, 24, 16);
NPG_FIELD(npg_bind_event, address, 40, 16);
NPG_FIELD(npg_bind_event, port, 56, 2);
NPG_FIELD(npg_bind_event, protocol, 58, 1);
NPG_FIELD(npg_bind_event, outcome, 59, 1);
NPG_FIELD(npg_bind_event, error, 60, 4);

#undef NPG_FIELD
#undef NPG_LAYOUT
