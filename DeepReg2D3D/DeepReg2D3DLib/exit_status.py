"""Exit statuses of the command line."""

DONE = 0
INTERNAL_ERROR = 1
BAD_INPUT = 2
UNRELIABLE = 3
"""Finished, but the result is judged unreliable."""
INTERRUPTED = 130
"""By Ctrl-C; what was finished is written."""
