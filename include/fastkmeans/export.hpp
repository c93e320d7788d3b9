// SPDX-License-Identifier: Apache-2.0
// FASTKMEANS_API marks what the shared library exports; everything else is hidden.
#pragma once

#if defined(_WIN32)
#define FASTKMEANS_API
#else
#define FASTKMEANS_API __attribute__((visibility("default")))
#endif
