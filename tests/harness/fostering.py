"""Fork what a program of ours spawns by `multiprocessing`, as the nursery forks the program.

Before the program begins, a process is set aside that has read nothing yet. Whatever is spawned
later is forked from that one, and runs what it would have been started with. It becomes the
program's own child all the same, since the program adopts what its descendants leave behind.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import util
from pathlib import Path

NAME = "spawn_main"  # how the system calls those that run a target: it cannot see their arguments
MOST_FILES, LONGEST_REQUEST = 64, 1 << 18
_NUMBER = struct.Struct("i")
_ADOPT = 36  # PR_SET_CHILD_SUBREAPER


def set_aside() -> list[str]:
    """Return nothing; what is spawned later returns from here as well, with its arguments."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        mine.close()
        return _bear(theirs)
    theirs.close()
    ctypes.CDLL(None, use_errno=True).prctl(_ADOPT, 1, 0, 0, 0)
    util.spawnv_passfds = partial(_spawn, mine)
    return []


def _spawn(aside: socket.socket, _path: object, command: Sequence[str], files: list[int]) -> int:
    """Do as `spawnv_passfds` does: return the process id."""
    numbers = sorted(set(files))
    arguments = command[command.index("-c") :]
    request = json.dumps([arguments, dict(os.environ), numbers]).encode()
    socket.send_fds(aside, [request], numbers)
    pid: int = _NUMBER.unpack(aside.recv(_NUMBER.size))[0]
    return pid


def _bear(asked: socket.socket) -> list[str]:
    """Fork whatever is asked for, until nobody asks any more; return in each child."""
    while True:
        request, files, _, _ = socket.recv_fds(asked, LONGEST_REQUEST, MOST_FILES)
        if not request:
            os._exit(0)
        told, tell = os.pipe()
        if os.fork() == 0:  # it ends at once, so that its child is adopted
            if pid := os.fork():
                os.write(tell, _NUMBER.pack(pid))
                os._exit(0)
            asked.detach()
            return _become(request, files)
        os.wait()
        asked.send(os.read(told, _NUMBER.size))
        for each in (*files, told, tell):
            os.close(each)


def _become(request: bytes, files: Sequence[int]) -> list[str]:
    arguments, environment, numbers = json.loads(request)
    _place(files, numbers)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if NAME in arguments[1]:
        Path("/proc/self/comm").write_text(NAME)
    return list(arguments)


def _place(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give files the numbers that they have in the parent, and close all others."""
    above = max(*files, *numbers) + 1
    safe = [fcntl.fcntl(each, fcntl.F_DUPFD, above) for each in files]
    os.closerange(3, above)
    for each, number in zip(safe, numbers, strict=True):
        os.dup2(each, number)
        os.close(each)
