"""What can go wrong, and what only deserves a warning."""


class SharpbenchError(Exception):
    """The program failed or is missing; the message names the problem and the remedy.

    Example:
        >>> import sharpbench
        >>> sharpbench.load("no-such-run")
        Traceback (most recent call last):
        ...
        sharpbench._errors.SharpbenchError: run no-such-run: there is no such folder; give the \
folder that `sharpbench suite` wrote
    """


class SharpbenchWarning(UserWarning):
    """The program warned, for example of a damaged record that it left out.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", SharpbenchWarning)  # treat warnings as errors
    """
