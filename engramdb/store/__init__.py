"""The store: immutable packs, a SQL catalog, a journal. ``FORMAT.md`` describes the files.

::

    Store            one open engram; everything else serves it
    +-- place        where it stands: commit, directory, bundles, labels
    +-- reader       leaf versions to Records, through a cache
    +-- writer       Records to leaf versions; commits, lines, journal
    +-- catalog      SQLite; history and directory ask it
    +-- pack         records and columns in files; leaf and labels say which columns
    +-- files        the file system, or a faulty one in tests
"""

from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files
from engramdb.store.history import Branch, Commit, Snapshot
from engramdb.store.journal import Frame
from engramdb.store.leaf import LeafPolicy
from engramdb.store.records import GENERATED, KEEP, STORED, Records
from engramdb.store.store import Store
from engramdb.store.verify import Problem, Report, verify
from engramdb.store.versions import LeafRef

__all__ = [
    "GENERATED", "KEEP", "OS_FILES", "STORED",
    "Branch", "Commit", "Directory", "Files", "Frame", "LeafPolicy", "LeafRef", "Problem", "Records", "Report",
    "Snapshot", "Store", "verify",
]  # fmt: skip
