// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend.hpp"
#include "cpu/kernels.hpp"

namespace fastkmeans::cpu {

std::unique_ptr<Backend> make_backend(const Kernels& kernels, const Execution& execution, Workers& workers);

}  // namespace fastkmeans::cpu
