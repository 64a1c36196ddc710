"""A tracker: measures an engram again and again, and remembers between readings what has to be remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engramdb.address import IdArray
from engramdb.kernels import rng
from engramdb.topology.clusters import Coarse, coarse
from engramdb.topology.energy import Energy, Seen, energy
from engramdb.topology.moment import Moment
from engramdb.topology.patches import patches
from engramdb.topology.probe import Ring, probe
from engramdb.topology.reading import Reading
from engramdb.topology.sentinels import Wedges, sentinels
from engramdb.topology.settings import Settings

if TYPE_CHECKING:
    from engramdb.engram import Engram
    from engramdb.handle.questions import At

_CANDIDATES = 256  # for seeds of patches: those that lie in the patch of another are passed over


class Tracker:
    """Takes readings of one engram: ``tracker.measure(engram)``, or ``engram.run(1000, topology=tracker)``.

    ``every``: the ticks in which runs take one are those that it divides. A reading is a function of the engram's state
    and of what the tracker has seen before: the ring of the probe, the last coarse level, rows that learn, and the
    wedges of the sentinels. A new tracker has seen nothing, and measures all of it.
    """

    def __init__(self, settings: Settings | None = None, every: int = 100) -> None:
        from engramdb.errors import InvalidInput

        if int(every) < 1:
            raise InvalidInput(f"topology: every={every}: give a number of ticks from 1")
        self.settings = settings or Settings()
        self.every = int(every)
        self.last: Reading | None = None
        self.ring = Ring(self.settings.ring)
        self._coarse: Coarse | None = None
        self._seen: Seen | None = None
        self._wedges: Wedges | None = None

    def measure(self, engram: Engram, *, at: At = None) -> Reading:
        """A reading of ``engram`` as it is now; or as of a snapshot, branch or commit, as questions take it."""
        return self.read(engram.moment(at))

    def read(self, moment: Moment) -> Reading:
        """A reading of a moment."""
        settings = self.settings
        changing, self._seen = energy(moment, self._seen)
        self.ring.fill(changing, moment)
        if not len(self.ring.ids):  # nothing has ever happened
            self.ring.push(np.unique(moment.chosen(settings.ring, rng.TOPOLOGY_SENTINEL)))
        if self._coarse is None or self._stale(moment, self._coarse):
            self._coarse = coarse(moment, settings)
        seen, self._wedges = sentinels(moment, settings.sentinels, self._wedges, settings.least)
        self.last = Reading(
            tick=moment.tick,
            neurons=moment.neurons,
            energy=changing.kind,
            mean_dw=changing.mean,
            weights=settings.weights,
            patches=patches(moment, changing, self._seeds(moment, changing), settings),
            coarse=self._coarse,
            sentinels=seen,
            probe=probe(moment, self.ring, changing, settings),
        )
        return self.last

    def _stale(self, moment: Moment, coarse: Coarse) -> bool:
        """Whether a period has begun since the coarse level was measured, or time has gone back."""
        period = max(1, round(self.settings.refresh_s * 1000.0 / moment.view.spec.dt_ms))
        return moment.tick // period != coarse.tick // period or moment.tick < coarse.tick

    def _seeds(self, moment: Moment, changing: Energy) -> IdArray:
        """Where patches may begin: where most changes, then where it did, then anywhere."""
        anywhere = moment.chosen(_CANDIDATES, rng.TOPOLOGY_ROOT)
        return np.concatenate([changing.top(_CANDIDATES, moment), self.ring.ids, anywhere])
