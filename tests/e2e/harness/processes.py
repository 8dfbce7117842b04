"""Child processes: ended with the test run, and system calls that are made to do nothing."""

import ctypes
import os
import platform
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000

# fdatasync, which acknowledges.
_SYNCS = {"x86_64": (0xC000003E, (75,)), "aarch64": (0xC00000B7, (83,))}


def dies_with_parent():
    """For `preexec_fn`: the child is killed when the test run ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def never_syncs():
    """For `preexec_fn`: every sync of a batch to disk (fdatasync) reports success and does nothing.

    A seccomp filter, so that it also holds for programs that make system calls without libc.
    """
    dies_with_parent()
    architecture, numbers = _SYNCS[platform.machine()]
    load, equal, answer = 0x20, 0x15, 0x06
    program = [(load, 0, 0, 4), (equal, 0, len(numbers) + 2, architecture), (load, 0, 0, 0)]
    for index, number in enumerate(numbers):
        # Jumps over the other comparisons and the "allow" to the "succeed at once" at the end.
        program.append((equal, len(numbers) - index, 0, number))
    program += [(answer, 0, 0, _RET_ALLOW), (answer, 0, 0, _RET_ERRNO)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    memory = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HP", len(program), ctypes.addressof(memory))
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        os._exit(97)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header, len(header))) != 0:
        os._exit(98)
