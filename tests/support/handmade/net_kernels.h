/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_KERNELS_H
#define NET_KERNELS_H

#include <stdint.h>

void net_max_pool(const int8_t *x, int8_t *y);
void net_depthwise(const int8_t *x, int8_t *y, const int8_t *weights, const int32_t *bias);

#endif
