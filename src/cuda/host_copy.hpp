// SPDX-License-Identifier: Apache-2.0
// Rows of a CUDA device for the CPU, where a few small problems are faster, and what it found of them.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "fastkmeans/matrix_view.hpp"
#include "fastkmeans/params.hpp"

namespace fastkmeans {
class Workers;
}

namespace fastkmeans::cuda {

// As fastkmeans::copy_to_host() of make_shard.hpp; what lies together is one copy.
void copy_to_host(std::span<const MatrixView> matrices, const Execution& execution, Workers& workers, char* out);

// As fastkmeans::copy_to_device() there.
void copy_to_device(std::span<const std::pair<void*, std::span<const std::byte>>> copies, int number,
                    const Execution& execution, Workers& workers);

}  // namespace fastkmeans::cuda
