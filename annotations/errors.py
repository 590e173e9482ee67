"""The exceptions of the toolkit: one tree, and each leaf knows the exit code of the command that meets it.

====  ===========================================================
code  meaning
====  ===========================================================
0     done
1     done, with findings (each is listed)
2     usage: a wrong option, recipe or folder
3     missing weights, package or extra
4     damaged input
5     the remote refused
6     the output cannot be written (no room, no permission)
130   interrupted
====  ===========================================================
"""

from __future__ import annotations


class ThermVisionError(Exception):
    """Root of the tree. The message says what was seen, what is allowed and what to type next.

    >>> try:
    ...     raise UsageError("--workers is 0; allowed: 1 or more")
    ... except ThermVisionError as error:
    ...     print(error.exit_code, error)
    2 --workers is 0; allowed: 1 or more
    """

    exit_code = 1


class FindingsError(ThermVisionError):
    """The work is done and something in it wants attention."""

    exit_code = 1


class UsageError(ThermVisionError):
    """An option, recipe or folder is not what the command takes."""

    exit_code = 2


class MissingDependencyError(ThermVisionError):
    """A package, extra or model file is not there; the message holds the command that brings it."""

    exit_code = 3


class DamagedInputError(ThermVisionError):
    """An input file is broken, unsafe or over a size limit."""

    exit_code = 4


class RemoteError(ThermVisionError):
    """A server refused or did not answer."""

    exit_code = 5


class OutputError(ThermVisionError):
    """The output cannot be written: no room, no permission, or somebody else's files are there."""

    exit_code = 6
