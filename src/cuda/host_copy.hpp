// SPDX-License-Identifier: Apache-2.0
// Rows of a CUDA device for the CPU: small problems are faster there.
#pragma once

#include <span>

#include "fastkmeans/matrix_view.hpp"
#include "fastkmeans/params.hpp"

namespace fastkmeans {
class Workers;
}

namespace fastkmeans::cuda {

// As fastkmeans::copy_to_host() of make_shard.hpp; what lies together is one copy.
void copy_to_host(std::span<const MatrixView> matrices, const Execution& execution, Workers& workers, char* out);

}  // namespace fastkmeans::cuda
