// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_REPEATED_FAULT_H_
#define NODEPORT_GUARD_CONTROLLER_REPEATED_FAULT_H_

#include "telemetry/repeated_fault.h"

namespace npg::controller {

using telemetry::RepeatedFault;

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_REPEATED_FAULT_H_
