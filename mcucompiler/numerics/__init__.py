# SPDX-License-Identifier: Apache-2.0
"""Numbers: the exact float32 semantics of requantization, cheaper integer forms of it, and the proofs that they agree.

``requantize`` defines what the program computes. ``integer_form``, ``pair_form`` and ``mean_form`` look for integer
arithmetic that gives the same result for every value that can occur, and ``verify`` checks what they found without
sharing code with the search. Where nothing is found the generated program keeps the float32 form.
"""
