// SPDX-License-Identifier: Apache-2.0
// All questions to the operating system.
#pragma once

#include <string>

namespace fastkmeans::os {

// CPUs this process may use: its affinity mask, cut by the CPU quota of its cgroups. At least 1.
int usable_cpus();

// Value of an environment variable, "" if unset.
std::string environment(const char* name);

// Asks for the use of AMX's tiles in this process (Linux gives their state on request only); false: not to be had.
bool permit_amx();

// Calls `handler` in the child after every fork of this process.
void at_fork_in_child(void (*handler)());

}  // namespace fastkmeans::os
