// SPDX-License-Identifier: Apache-2.0
#include "cpu/centroids.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cpu/copies.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

double operations_on(const CentroidRows& centroids) {
  return 4.0 * static_cast<double>(centroids.k) * static_cast<double>(centroids.d);
}

}  // namespace

bool is_tiny(CentroidsView centroids, const Kernels& kernels) {
  for (std::int64_t c = 0; c < centroids.k; ++c)  // most often the first one says no
    // mutant: tiny_limit
    if (kernels.largest_bits(centroids.row(c), centroids.d) >= magnitude_bits(kTinyBelow)) return false;
  return true;
}

void write_padded(const float* row, std::int64_t d, float factor, float* out) {
  for (std::int64_t j = 0; j < d; ++j) out[j] = row[j] * factor;
  std::fill(out + d, out + padded(d), 0.0f);
}

void CentroidRows::prepare(CentroidsView centroids, const std::vector<float>& centre, float factor,
                           const std::vector<std::int32_t>* with_order, const Lift& with_lift, Workers& workers) {
  lift = &with_lift;
  k = centroids.k;
  d = centroids.d;
  ld = padded(d);
  mu.assign(static_cast<std::size_t>(ld), 0.0f);
  std::copy(centre.begin(), centre.end(), mu.begin());
  if (with_order) {
    order = *with_order;
  } else {
    order.resize(static_cast<std::size_t>(k));
    std::iota(order.begin(), order.end(), 0);
  }
  place_of.resize(static_cast<std::size_t>(k));
  for (std::int64_t place = std::ssize(order) - 1; place >= 0; --place)
    if (const std::int32_t c = order[static_cast<std::size_t>(place)]; c >= 0)
      place_of[static_cast<std::size_t>(c)] = static_cast<std::int32_t>(place);
  rows.resize(k * ld);
  workers.for_blocks(k, kCentroidsPerTask, operations_on(*this), [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c) write_padded(centroids.row(c), d, factor, &rows[c * ld]);
  });
  is_copy = find_copies(rows.data(), k, d, ld, workers);
}

void Panels::resize(const CentroidRows& centroids, std::int64_t panel_width) {
  width = panel_width;
  count = (std::ssize(centroids.order) + width - 1) / width;
  starts.resize(static_cast<std::size_t>(count * width));
  members.resize(static_cast<std::size_t>(count));
  has_copy.assign(members.size(), 0);
}

template <class Write>
void Panels::fill(const CentroidRows& centroids, const FilterBound& bound, Workers& workers, const Write& write) {
  workers.for_each(count, operations_on(centroids), [&](std::int64_t panel, int worker) {
    const float* rows[kMostWidth] = {};
    SketchSize sizes[kMostWidth] = {};
    const std::int32_t* who = centroids.order.data() + panel * width;
    const std::int64_t places = std::min(width, std::ssize(centroids.order) - panel * width);
    const std::int64_t filled = std::find(who, who + places, -1) - who;
    members[static_cast<std::size_t>(panel)] = static_cast<std::uint8_t>(filled);  // mutant: counted_centroids
    for (std::int64_t i = 0; i < filled; ++i) rows[i] = centroids.row(who[i]);
    write(panel, rows, sizes, worker);
    for (std::int64_t i = 0; i < filled; ++i) sizes[i].sq_norm += centroids.lift->sq_height(who[i]);  // mutant: lifted
    for (std::int64_t i = 0; i < width; ++i) {
      const bool is_copy = i < filled && centroids.is_copy[static_cast<std::size_t>(who[i])];
      if (is_copy) has_copy[static_cast<std::size_t>(panel)] = 1;
      starts[static_cast<std::size_t>(panel * width + i)] =
          i >= filled || is_copy ? -std::numeric_limits<float>::infinity() : bound.start(sizes[i]);
    }
  });
}

void FloatPanels::prepare(const CentroidRows& centroids, const FilterBound& bound, std::int64_t together,
                          const Kernels& kernels, Workers& workers) {
  resize(centroids, kernels.panel_width);
  values.resize(count * width * centroids.d);
  std::vector<std::vector<float>> scratch(static_cast<std::size_t>(workers.count()));
  fill(centroids, bound, workers, [&](std::int64_t panel, const float* const* rows, SketchSize* sizes, int worker) {
    std::vector<float>& centred = scratch[static_cast<std::size_t>(worker)];
    centred.resize(static_cast<std::size_t>(centroids.ld));
    for (std::int64_t i = 0; i < width; ++i) {
      const std::int64_t place = panel * width + i;
      float* out = values.data() + place / together * together * centroids.d + place % together;
      if (!rows[i]) {
        for (std::int64_t j = 0; j < centroids.d; ++j) out[j * together] = 0;
        continue;
      }
      const double sq_norm = kernels.centre(rows[i], centroids.mu.data(), centroids.ld, centred.data());
      for (std::int64_t j = 0; j < centroids.d; ++j) out[j * together] = centred[static_cast<std::size_t>(j)];
      sizes[i] = {.sq_norm = sq_norm, .error = kCentring * std::sqrt(sq_norm)};
    }
  });
}

void SketchPanels::prepare(const CentroidRows& centroids, const FilterBound& bound, const Sketcher& sketcher,
                           std::int64_t panel_width, const Kernels& kernels, Workers& workers) {
  resize(centroids, panel_width);
  const std::int64_t size = sketcher.size();
  values.resize(count * width * size);
  scales.resize(starts.size());
  struct Scratch {
    Buffer<std::int8_t> q;
    Sketcher::Scratch of_sketcher;
  };
  std::vector<Scratch> scratch(static_cast<std::size_t>(workers.count()));
  fill(centroids, bound, workers, [&](std::int64_t panel, const float* const* rows, SketchSize* sizes, int worker) {
    auto& [q, of_sketcher] = scratch[static_cast<std::size_t>(worker)];
    q.resize(kMostWidth * size);
    std::int8_t* at[kMostWidth];
    Sketcher::Row sketched[kMostWidth] = {};
    for (std::int64_t i = 0; i < width; ++i) at[i] = &q[i * size];
    const std::int64_t filled = members[static_cast<std::size_t>(panel)];
    sketcher.sketch(rows, filled, centroids.mu.data(), centroids.ld, of_sketcher, at, sketched);
    std::fill_n(&q[0] + filled * size, (width - filled) * size, std::int8_t{0});
    for (std::int64_t i = 0; i < width; ++i) {
      sizes[i] = sketched[i].size;
      scales[static_cast<std::size_t>(panel * width + i)] = sketched[i].sketch.scale;
      std::uint8_t* out = values.data() + panel * width * size + i * 4;
      for (std::int64_t j = 0; j < size; j += 4, out += width * 4)
        for (std::int64_t e = 0; e < 4; ++e)
          out[e] = static_cast<std::uint8_t>(q[i * size + j + e] + kernels.sketch->panel_offset);
    }
  });
}

}  // namespace fastkmeans::cpu
