// SPDX-License-Identifier: Apache-2.0
#include "cpu/narrow.hpp"

#include <algorithm>
#include <limits>

#include "numeric/distance.hpp"
#include "plan/survey.hpp"

namespace fastkmeans::cpu {
namespace {

// What tells most: 8,192 rows in place of 1,024 leave 4 distances a row in place of 7 (tokens of 1,152 dimensions).
constexpr std::int64_t kMostLearned = 8192;

// Learning from r rows takes 3 r d kMostNarrow multiply-adds, and the scores of a pass n k d: a hundredth of these.
std::int64_t rows_to_learn_from(std::int64_t n, std::int64_t k) {
  const double little = 0.01 * static_cast<double>(n) * static_cast<double>(k) / (3.0 * kMostNarrow);
  return std::min(n, static_cast<std::int64_t>(std::clamp<double>(little, kLearnedFrom, kMostLearned)));
}

}  // namespace

NarrowSketches::NarrowSketches(const Context& context, const std::vector<float>& centre, std::int64_t k)
    : context_(context), mu_(static_cast<std::size_t>(padded(context.x.cols))) {
  const std::int64_t n = context.x.rows, d = context.x.cols;
  // Rows that are held at a time: directions take as much memory.
  const std::int64_t together = survey_rows(n, padded(d), kLearnedFrom, kSurveyBytes);
  std::copy(centre.begin(), centre.end(), mu_.begin());
  tried_ = sample(survey_rows(n, padded(d), kTriedOn, kSurveyBytes));
  sizes_ = narrow_sizes(std::min(kMostNarrow, d / 2), together, Products::kChunk);
  basis_ = learn(rows_to_learn_from(n, k), together);
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

Basis NarrowSketches::learn(std::int64_t rows, std::int64_t together) const {
  const MatrixView& x = context_.x;
  const std::int64_t ld = padded(x.cols);
  const auto read = [&](std::int64_t first, std::int64_t count, float* out) {
    RowTile tile(context_, 1, ld);
    for (std::int64_t i = first; i < first + count; ++i, out += ld) {
      tile.load(spread_row(x.rows, rows, i), 1);
      if (context_.kernels.largest_bits(tile.row(0), x.cols) < magnitude_limit_bits(x.cols))
        context_.kernels.centre(tile.row(0), mu_.data(), ld, out);
      else
        std::fill_n(out, ld, 0.0f);
    }
  };
  return principal_directions({rows, x.cols, together, read}, std::min(sizes_.back() - 1, x.cols), context_.kernels,
                              context_.workers);
}

CentredSample NarrowSketches::sample(std::int64_t count) const {
  const MatrixView& x = context_.x;
  CentredSample sample = {.count = 0, .d = x.cols, .ld = padded(x.cols), .rows = {}, .sq_lengths = {}};
  sample.rows.resize(count * sample.ld);
  RowTile tile(context_, 1, sample.ld);
  for (std::int64_t i = 0; i < count; ++i) {
    context_.workers.checkpoint(0);
    tile.load(spread_row(x.rows, count, i, kTriedShift), 1);
    if (context_.kernels.largest_bits(tile.row(0), x.cols) >= magnitude_limit_bits(x.cols)) continue;
    float* to = &sample.rows[sample.count++ * sample.ld];
    sample.sq_lengths.push_back(context_.kernels.centre(tile.row(0), mu_.data(), sample.ld, to));
  }
  return sample;
}

}  // namespace fastkmeans::cpu
