"""A file layer in which every read takes its time: a slow disk, for tests and measurements."""

from __future__ import annotations

import time

from engramdb.store.files import OsFiles


class SlowFiles(OsFiles):
    """The real file system; each read waits ``seconds`` first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.reads = 0

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        self.reads += 1
        time.sleep(self.seconds)
        return super().pread(handle, nbytes, offset)
