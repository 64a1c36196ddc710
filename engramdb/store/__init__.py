"""The store: immutable packs, a SQL catalog, a journal. ``FORMAT.md`` describes the files.

::

    Store            one open engram; everything else serves it
    +-- place        where it stands: commit, directory, bundles, labels
    +-- reader       leaf versions to Records, or as stored, through a cache; readahead asks it for many
    +-- writer       commits, lines, journal; leafwriter turns changes into leaf versions, compaction merges them
    +-- catalog      SQLite; history and directory ask it
    +-- pack         records and columns in files; leaf and labels say which columns
    +-- files        the file system, or a faulty one in tests
    upkeep/          verify and repair, retention and gc
    zarrview/        a Store as zarr sees one
    remote/          an engram in an object store: published, fetched, read
"""

from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files
from engramdb.store.history import Branch, Commit, Snapshot
from engramdb.store.journal import Frame
from engramdb.store.leaf import LeafPolicy
from engramdb.store.records import FIELD, FORGOTTEN, GENERATED, KEEP, OWN, STORED, Records
from engramdb.store.store import Store
from engramdb.store.upkeep.problem import Problem, Report
from engramdb.store.upkeep.verify import verify
from engramdb.store.versions import LeafRef

__all__ = [
    "FIELD", "FORGOTTEN", "GENERATED", "KEEP", "OS_FILES", "OWN", "STORED",
    "Branch", "Commit", "Directory", "Files", "Frame", "LeafPolicy", "LeafRef", "Problem", "Records", "Report",
    "Snapshot", "Store", "verify",
]  # fmt: skip
