"""Start the command anew where only so it gets large pages of memory."""

import os
import sys
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
SINCE = (2, 35)  # of glibc
COMPUTING = (["finetune"], ["probe"], ["evaluate"], ["predict"], ["embed"])
PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart() -> None:
    """Start this process's program again, under the same id, with glibc's `malloc` asking for large pages.

    On a CPU, a step allocates hundreds of megabytes anew, and the system maps and clears them page by page: 512 times
    fewer in large ones. glibc asks for them if it was told so before the program began. Nothing is done where nothing
    is computed, where Linux gives them unasked or not at all, without such a glibc, or where `GLIBC_TUNABLES` names
    the tunable already, with whatever value (https://sourceware.org/glibc/manual/2.36/html_node/Tunables.html).
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    computes = sys.argv[1:2] in COMPUTING and not {"-h", "--help"} & set(sys.argv)
    if not computes or TUNABLE in tunables or not sys.executable or not _for_the_asking():
        return
    setting = f"{TUNABLE}=1"
    environment = {**os.environ, "GLIBC_TUNABLES": f"{tunables}:{setting}" if tunables else setting}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:  # it is only slower without
        return


def _for_the_asking() -> bool:
    """Tell whether large pages go to programs that ask, and this process's C library can."""
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        release = tuple(int(part) for part in version.split(".")[:2])
        return library == "glibc" and release >= SINCE and "[madvise]" in PAGES.read_text()
    except (OSError, ValueError, AttributeError):  # another system, or another C library
        return False
