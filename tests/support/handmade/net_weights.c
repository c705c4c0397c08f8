/* SPDX-License-Identifier: Apache-2.0 */
#include "net_weights.h"

const int8_t net_conv_weights[8] = { 1, -2, 3, 1, -1, 2, 2, -3 };
const int32_t net_conv_bias[2] = { 7, -9 };
