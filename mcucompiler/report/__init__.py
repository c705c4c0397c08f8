# SPDX-License-Identifier: Apache-2.0
"""Reports: text for people, JSON for programs."""
