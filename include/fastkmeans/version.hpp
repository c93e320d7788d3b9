// SPDX-License-Identifier: Apache-2.0
// The one place that states the version: CMake and the Python build read it from here.
#pragma once

#define FASTKMEANS_VERSION_MAJOR 1
#define FASTKMEANS_VERSION_MINOR 0
#define FASTKMEANS_VERSION_PATCH 0
#define FASTKMEANS_VERSION "1.0.0.dev0"
