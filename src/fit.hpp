// SPDX-License-Identifier: Apache-2.0
// A fit and a prediction of one shard. The public fit and predict have one shard of all rows.
#pragma once

#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "lloyd.hpp"
#include "numeric/metric.hpp"
#include "runtime/reducer.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// rows: the shard's part of the rows of the fit; the other shards call this with theirs and the same parameters. All
// get the same but for labels, which are of the shard's own rows. A callback of one shard stops all.
Result fit_shard(const Source& rows, const Metric& metric, const Params& params, Reducer& reducer, Workers& workers);

// Rows of weight over all shards: those given, those trained on, and of these the zero ones.
struct RowCounts {
  std::int64_t given, used, zero;
};

// What a run comes to for the caller (params: all but k), and all warnings but that of fp64 rows; centroids, labels and
// the inertia that belongs to them are still to come.
Result result_of(Run run, const RowCounts& rows, std::int64_t k, std::int64_t d, const Params& params);

// The metric of this name.
const Metric& metric_for(MetricType type);

// A fit of rows and parameters that were checked; the device is chosen, and the callback runs in the caller's mode.
Result fit_rows(const MatrixView& x, Params params, Workers& workers);

}  // namespace fastkmeans
