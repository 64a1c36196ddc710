"""``python -m engramdb`` is ``engramdb``."""

from __future__ import annotations

import sys

from engramdb.cli import main

sys.exit(main())
