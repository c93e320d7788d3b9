// SPDX-License-Identifier: Apache-2.0
#include "cpu/narrow.hpp"

#include <algorithm>
#include <limits>

#include "numeric/distance.hpp"
#include "plan/survey.hpp"

namespace fastkmeans::cpu {

NarrowSketches::NarrowSketches(const Context& context, const std::vector<float>& centre)
    : context_(context), mu_(static_cast<std::size_t>(padded(context.x.cols))) {
  const std::int64_t n = context.x.rows, d = context.x.cols;
  std::copy(centre.begin(), centre.end(), mu_.begin());
  const CentredSample learned = sample(survey_rows(n, padded(d), kLearnedFrom, kSurveyBytes), 0);
  tried_ = sample(survey_rows(n, padded(d), kTriedOn, kSurveyBytes), kTriedShift);
  sizes_ = narrow_sizes(std::min(kMostNarrow, d / 2), learned.count, Products::kChunk);
  basis_ = principal_directions(learned, std::min(sizes_.back() - 1, d), context.kernels, context.workers);
}

Narrow NarrowSketches::choose(CentroidsView centroids, Problem problem, const Costs& costs) {
  const Survey found = survey(tried_, basis_, sizes_, centroids, mu_.data(), context_.kernels, context_.workers);
  Narrow best;
  double least = std::numeric_limits<double>::infinity();
  float typical_tail = 0;
  for (const Survey::Width& width : found.narrow) {
    problem.narrow = {
        .size = width.size, .survivors = width.survivors, .full_survivors = found.full, .sketched = false};
    const double cost = row_costs(problem, costs).narrow;
    if (!(cost < least)) continue;
    least = cost;
    best = problem.narrow;
    typical_tail = width.typical_tail;
  }
  sketcher_ = std::make_unique<NarrowSketcher>(basis_, best.size, typical_tail, context_.kernels);
  return best;
}

CentredSample NarrowSketches::sample(std::int64_t count, double shift) const {
  const MatrixView& x = context_.x;
  CentredSample sample = {.count = 0, .d = x.cols, .ld = padded(x.cols), .rows = {}, .sq_lengths = {}};
  sample.rows.resize(count * sample.ld);
  RowTile tile(context_, 1, sample.ld);
  for (std::int64_t i = 0; i < count; ++i) {
    context_.workers.checkpoint(0);
    tile.load(spread_row(x.rows, count, i, shift), 1);
    if (context_.kernels.largest_bits(tile.row(0), x.cols) >= magnitude_limit_bits(x.cols)) continue;
    float* to = &sample.rows[sample.count++ * sample.ld];
    sample.sq_lengths.push_back(context_.kernels.centre(tile.row(0), mu_.data(), sample.ld, to));
  }
  return sample;
}

}  // namespace fastkmeans::cpu
