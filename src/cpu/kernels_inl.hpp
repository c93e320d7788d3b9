// SPDX-License-Identifier: Apache-2.0
// The table of the inner loops, which are written once, in the *_inl.hpp. A kernels_<isa>.cpp includes its file of
// plan/tuning, defines FASTKMEANS_KERNELS and FASTKMEANS_COSTS, the names of its table and of its costs, and includes
// this.
//
// All is in an anonymous namespace and nothing of the standard library's templates is used: an inline function compiled
// here with AVX flags could otherwise become the linker's choice for everybody (a test looks for such symbols).
#include "cpu/accumulate_inl.hpp"
#include "cpu/distance_inl.hpp"
#include "cpu/kernels.hpp"
#include "cpu/load_inl.hpp"
#include "cpu/low_dim_inl.hpp"
#include "cpu/lower_bounds_inl.hpp"
#include "cpu/scan_inl.hpp"
#include "cpu/sketch_inl.hpp"

namespace fastkmeans::cpu {

const Kernels FASTKMEANS_KERNELS = {
    .costs = FASTKMEANS_COSTS,
    .panel_width = kPanelWidth,
    .row_group = kRowGroup,
    .load_rows = load_rows,
    .largest_bits = largest_bits,
    .raise_bits = raise_bits,
    .centre = centre,
    .scan = scan,
    .distance = sum_in_lanes<SquaredDifference>,
    .negated_product = sum_in_lanes<NegatedProduct>,
    .add_row = add_row,
    .to_columns = to_columns,
    .nearest_two = nearest_two,
    .thresholds = thresholds,
    .choose = choose,
    .lower_bounds = lower_bounds,
#if defined(FASTKMEANS_NO_SKETCH)
    .sketch = nullptr,
#else
    .sketch = &kSketchKernels,
#endif
};

}  // namespace fastkmeans::cpu
