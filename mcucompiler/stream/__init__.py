# SPDX-License-Identifier: Apache-2.0
"""Row streams: groups of layers that run row by row and keep only the rows they still need."""
