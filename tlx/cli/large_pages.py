"""Start the command anew where only so it gets large pages of memory, and its device is a CPU."""

import glob
import os
import sys
from pathlib import Path

from tlx.errors import ConfigError

SWITCH = "TLX_LARGE_PAGES"
SETTINGS = ("auto", "on", "off")
TUNABLE = "glibc.malloc.hugetlb"
SINCE = (2, 35)  # of glibc
COMPUTING = (["finetune"], ["probe"], ["evaluate"], ["predict"], ["embed"], ["vocabulary"])
PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# What drivers of accelerators make: NVIDIA's, on Linux and in Windows's; AMD's; Google's, of two kinds.
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")
TPU = ("TPU_NAME", "TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE")  # variables of a machine in Google's cloud that has one


def restart() -> None:
    """Start this process's program again, under the same id, with glibc's `malloc` asking for large pages.

    On a CPU, a step allocates hundreds of megabytes anew, and the system maps and clears them page by page: 512 times
    fewer in large ones. glibc asks for them if it was told so before the program began. Nothing is done where nothing
    is computed or another device computes, where Linux gives them unasked or not at all, without such a glibc, where
    `GLIBC_TUNABLES` names the tunable already, with whatever value
    (https://sourceware.org/glibc/manual/2.36/html_node/Tunables.html), and with `TLX_LARGE_PAGES=off`; with
    `TLX_LARGE_PAGES=on` it is done whatever the device.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    computes = sys.argv[1:2] in COMPUTING and not {"-h", "--help"} & set(sys.argv)
    if not computes or TUNABLE in tunables or not sys.executable or not _wanted() or not _for_the_asking():
        return
    setting = f"{TUNABLE}=1"
    environment = {**os.environ, "GLIBC_TUNABLES": f"{tunables}:{setting}" if tunables else setting}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:  # it is only slower without
        return


def setting() -> str:
    """Return what `TLX_LARGE_PAGES` says, 'auto' where it says nothing; raise `ConfigError` for another word."""
    found = os.environ.get(SWITCH) or "auto"
    if found not in SETTINGS:
        raise ConfigError(f"{SWITCH}={found}: expected {', '.join(SETTINGS[:-1])} or {SETTINGS[-1]}")
    return found


def _wanted() -> bool:
    try:
        said = setting()
    except ConfigError:  # which the command tells
        return False
    return said == "on" or (said == "auto" and _computes_on_cpu(sys.argv))


def _computes_on_cpu(arguments: list[str]) -> bool:
    """Tell whether JAX will compute on a CPU, without importing it, which takes longer than all the rest.

    An accelerator whose driver is there counts as one that JAX uses. Where it does not, for want of a plugin, the
    command goes on in small pages, and is only slower.
    """
    device = "auto"
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--device":
            device = value if equals else "".join(arguments[index + 1 : index + 2])
    if device != "auto":
        return device == "cpu"
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms.split(",")[0].strip() == "cpu"
    return not any(os.environ.get(name) for name in TPU) and not any(glob.glob(path) for path in ACCELERATORS)


def _for_the_asking() -> bool:
    """Tell whether large pages go to programs that ask, and this process's C library can."""
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        release = tuple(int(part) for part in version.split(".")[:2])
        return library == "glibc" and release >= SINCE and "[madvise]" in PAGES.read_text()
    except (OSError, ValueError, AttributeError):  # another system, or another C library
        return False
