"""An ext4 file system on a loop device that can lose power."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

# <linux/fs.h>: _IOR('X', 125, __u32); 2 = FSOP_GOING_FLAGS_NOLOGFLUSH: nothing more reaches the device.
FS_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2


def _as_root(*command):
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"


class Disk:
    def __init__(self, directory, megabytes=192):
        self.image = Path(directory) / "disk.img"
        self.path = Path(directory) / "disk"
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        _as_root("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))
        self.mounted = False
        self.mount()
        _as_root("chown", f"{os.getuid()}:{os.getgid()}", str(self.path))

    def mount(self):
        # Its data goes through memory even where the bridge writes past the page cache: else it would be in the image at
        # once, and no loss of power could take it.
        _as_root("mount", "-o", "loop,data=journal", str(self.image), str(self.path))
        self.mounted = True

    def unmount(self):
        if self.mounted:
            _as_root("umount", str(self.path))
            self.mounted = False

    def freeze(self):
        """Every write hangs until `thaw`."""
        _as_root("fsfreeze", "--freeze", str(self.path))

    def thaw(self):
        _as_root("fsfreeze", "--unfreeze", str(self.path))

    def cut_power(self):
        """What was not synced is lost; the mount stays, and every use of it fails."""
        if os.geteuid() == 0:
            shut_down(str(self.path))
        else:
            _as_root(sys.executable, __file__, str(self.path))


def shut_down(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, NOLOGFLUSH.to_bytes(4, sys.byteorder))
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    shut_down(sys.argv[1])
