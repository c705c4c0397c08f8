/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_WEIGHTS_H
#define NET_WEIGHTS_H

#include <stdint.h>

extern const int8_t net_conv_weights[8];
extern const int32_t net_conv_bias[2];

#endif
