"""Takes from a process that runs queries of unknown origin what it does not need, for good.

It is the second wall: the first, what a query may do, is `stages.execution.sandbox`. This one bounds the damage of a
query that is too large and of a defect of SQLite.

Covered, everywhere: the environment (tokens and passwords in it are gone, for child processes too), core dumps,
writing to files, the number of open files, SQLite's heap, and the time zone, which is UTC: else `localtime` in a query
would depend on the machine. On Linux also: the address space, and new privileges (set-user-ID programs give none).

Not covered. Limits on files are on their content: an empty file can still be made, and one be removed or renamed.
Reading files, reaching the network and starting processes stay possible: taking those away needs privileges or a
container, and the limit of processes counts all of a user's, so it would strike at random; what the user who runs it
may read, machine code smuggled in through SQLite may read too, the environment that its parent was started with
included. Elsewhere than on Linux memory outside SQLite's heap is not bounded. Standard error that goes to a file is
not written any more: a worker has to tell what failed through its pipe.
"""

import ctypes
import os
import resource
import sys
import time
from pathlib import Path

import apsw

_KEPT_ENVIRONMENT = {"PATH", "LANG", "LC_ALL", "LC_CTYPE"}
_MORE_FILES = 64  # more than the databases that a worker keeps open
_PR_SET_NO_NEW_PRIVS = 38


def limit_process(memory_mb: int) -> None:
    """Puts this process under the limits that the module tells of. `memory_mb`: million bytes of SQLite's heap, and of
    address space beyond what the process has now. No query can lift them. Raises OSError where the system refuses.
    """
    for name in os.environ.keys() - _KEPT_ENVIRONMENT:
        del os.environ[name]
    os.environ["TZ"] = "UTC"
    time.tzset()
    sys.dont_write_bytecode = True
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, max(int(path.name) for path in Path("/dev/fd").iterdir()) + _MORE_FILES)
    apsw.hard_heap_limit(memory_mb * 1_000_000)
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the system does not let this process renounce new privileges")
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_mb * 1_000_000)


def _lower(limit: int, most: int) -> None:
    """Sets a resource limit, soft and hard, unless it is lower already."""
    hard = resource.getrlimit(limit)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))
