"""The errors that a user can cause and mend. Each message says what was wrong, which value, and what to do."""


class DeepReg2D3DError(Exception):
    """Base of every error that the person who gave the input can mend (exit status 2 on the command line)."""


class InputError(DeepReg2D3DError, ValueError):
    """A file, image, volume, geometry or option that cannot be used.

    private: words of the message out of the files themselves, where a patient's name may stand.
    """

    private: tuple[str, ...] = ()


class DegenerateError(DeepReg2D3DError):
    """The data do not determine a pose (too few points, all on one line, zero weights, not finite)."""
