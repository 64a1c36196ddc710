"""What every handle on an engram has: a store, perhaps an engine, and a journal between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy.typing as npt

from engramdb.budget import memory_bytes
from engramdb.cards import card, table
from engramdb.errors import EngramError, HandleClosed, InvalidInput, ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.newest import Newest
from engramdb.query.view import View
from engramdb.store import Commit, Store
from engramdb.whole import whole

if TYPE_CHECKING:
    from engramdb.engine import Engine
    from engramdb.spec import Layer, Spec
    from engramdb.wiring import Wiring

_KEPT = "this command is kept: do not give it again, the next opening to write completes it"
_GONE = "this command is not kept, nor what came before it since the last checkpoint: open the engram again and repeat"
ALL_KEPT = "what was done is kept: do not give it again, the next opening to write goes on from there"
_ALL_GONE = "what was done since the last checkpoint is lost: open the engram again and repeat"


def instead(error: EngramError, then: str) -> EngramError:
    """``error`` with what to do next in place of its own advice to repeat."""
    return type(error)(f"{str(error).removesuffix(' and repeat')}; {then}")


class Handle:
    """Opened, written to and closed; what it offers beyond that are the classes made from it."""

    _extend_index: Callable[[], None]

    def __init__(self, store: Store, *, memory: str | int, threads: int) -> None:
        if not 1 <= whole(threads, "threads", of="threads") <= 256:
            raise InvalidInput(f"threads={threads}: give a number from 1 to 256")
        self._store = store
        self._budget = memory_bytes(memory)
        self._threads = int(threads)
        self._engine: Engine | None = None
        self._closed = False
        self._pid = os.getpid()
        self._running = False
        self._seconds_since_checkpoint = 0.0
        self._past: dict[int, View] = {}
        store.cache_bytes = self._budget // 8
        store.query_cache_bytes = self._budget // 6
        self._reload()

    # ---- what it is

    @property
    def location(self) -> Path:
        """Where it is; of a published engram its URL."""
        return self._store.path

    @property
    def spec(self) -> Spec:
        """What it is made of."""
        return self._store.spec

    @property
    def mode(self) -> str:
        return self._store.mode

    @property
    def memory(self) -> int:
        """The memory budget in bytes."""
        return self._budget

    @property
    def tick(self) -> int:
        """The last tick completed; 0 at birth."""
        return self._engine.tick if self._engine is not None else self._store.commit.tick

    @property
    def commit(self) -> Commit:
        """The commit that this handle stands at: opened to write, the last that it made."""
        return self._store.commit

    @property
    def branch_name(self) -> str:
        """The branch that was opened."""
        return self._store.branch_name

    @property
    def uncommitted(self) -> bool:
        """Whether anything was acknowledged that no commit has yet."""
        return self._changed

    @property
    def closed(self) -> bool:
        """Whether it was closed, by :meth:`close` or by a command that failed half-way; then open it again."""
        return self._closed

    @property
    def sizes(self) -> dict[tuple[int, int], int]:
        """Declared neurons of each (layer index, segment)."""
        return dict(self._bundles.sizes)

    def __len__(self) -> int:
        return sum(self._bundles.sizes.values())

    def __repr__(self) -> str:
        return f"<Engram {self.location.name!r} mode={self.mode} tick={self.tick} neurons={len(self)}>"

    def _repr_html_(self) -> str:
        rows = [(layer.name, layer.model, self._layer_size(layer)) for layer in self.spec.layers]
        note = f"tick {self.tick:,}, {len(self):,} neurons"
        return card(self.location.name, note, table(("layer", "model", "neurons"), rows))

    def _layer_size(self, layer: Layer) -> int:
        return sum(size for (index, _), size in self._bundles.sizes.items() if index == layer.index)

    # ---- opening and closing

    def _reload(self) -> None:
        """Take everything from the commit at which the store stands."""
        self._bundles: Bundles = self._store.bundles
        self._kept: Mapping[str, npt.NDArray[Any]] = self._store.state_to_ask()
        self._wired: Wiring | None = None
        self._noted: Newest | None = None  # one that was taken was of another present
        self._stop_engine()

    def _wiring(self) -> Wiring:
        """The wiring rules, made when they are first needed: what is stored can be read without."""
        if self._wired is None:
            from engramdb.wiring import Wiring

            self._wired = Wiring(self.spec, self._bundles)
        return self._wired

    def _start_engine(self, tick: int, state: Mapping[str, npt.NDArray[Any]]) -> Engine:
        from engramdb.engine import Engine

        self._stop_engine()
        engine = Engine(self.spec, self._bundles, self._store, budget_bytes=self._budget, threads=self._threads)
        engine.load_state(tick, state)
        self._engine, self._kept = engine, {}
        return engine

    def _stop_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _check_writable(self) -> None:
        if os.getpid() != self._pid:
            raise HandleClosed(
                f"this handle on {self.location.name} was opened before a fork; open it anew in the child"
            )
        if self._closed:
            raise HandleClosed(f"{self.location.name} is closed; open it again with engramdb.open")
        if self.mode != "r+":
            raise ReadOnly(f'{self.location.name} is open for reading; open it with mode="r+" to change it')

    def _check_between_runs(self, what: str) -> None:
        """Whether no run is under way: what is called from within one must leave its engine where it is."""
        if self._running:
            raise InvalidInput(
                f"{what}: a run of {self.location.name} is under way, and this was called from within it; end the run "
                "first, by returning True from until= or between="
            )

    @property
    def _live(self) -> Engine:
        """The engine, started when it is first needed: opening costs nothing that depends on who is awake."""
        self._check_writable()
        return self._engine or self._start_engine(self._store.commit.tick, self._kept)

    def close(self) -> None:
        """Checkpoint what has changed, so that readers see it, and let go.

        Closing twice does nothing, nor does closing in a forked child: the engram is the parent's.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self._check_between_runs("close")
        try:
            if self._changed:
                self.checkpoint()
        except EngramError as error:
            kept = self._store.durability != "checkpoint"
            raise instead(error, ALL_KEPT if kept else _ALL_GONE) from error
        finally:
            self._shut()

    def _shut(self) -> None:
        self._closed = True
        self._stop_engine()
        self._forget_past()
        self._store.close()

    def _forget_past(self) -> None:
        for view in self._past.values():
            view.store.close()
        self._past.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            # the journal has every acknowledged command; a checkpoint now could only add a second error
            self._shut()

    # ---- history

    @property
    def _changed(self) -> bool:
        """Whether anything was acknowledged that no commit has yet."""
        return self._store.has_uncommitted

    def _journal(self, kind: str, meta: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
        self._store.journal_append(kind, self._live.tick, meta, arrays)

    @contextmanager
    def _journaled(self, kind: str, meta: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Iterator[None]:
        """Journal a command that has been checked; inside it is done.

        Should that fail, RAM is not what the journal says any more: this handle closes, and the next one replays it.
        """
        commit = self._store.commit
        try:
            self._journal(kind, meta, arrays)
        except EngramError as error:
            if self._store.closed:  # a sync failed: nobody knows what the disk holds
                raise instead(error, "open it to see whether this command was kept before you give it again") from error
            raise
        try:
            yield
        except BaseException as error:
            kept = self._store.durability != "checkpoint" or self._store.commit != commit
            self._shut()
            if isinstance(error, EngramError):
                raise instead(error, _KEPT if kept else _GONE) from error
            raise

    @overload
    def checkpoint(self, message: str = "", *, wait: Literal[True] = True) -> Commit: ...

    @overload
    def checkpoint(self, message: str = "", *, wait: Literal[False]) -> None: ...

    def checkpoint(self, message: str = "", *, wait: bool = True) -> Commit | None:
        """Make the present durable in the store as a commit, and begin a new journal.

        With ``wait=False`` what changed is copied and the commit is written behind: None comes back at once, runs and
        queries go on, and the next command that writes to the store waits for it. Runs make such checkpoints by
        themselves when replaying the journal would take more than about 30 s.
        """
        live = self._live
        self._seconds_since_checkpoint = 0.0
        if wait:
            live.write_back()
            self._extend_index()
            return self._store.commit_state(live.tick, live.state(), self._bundles, message)
        live.settle_learning()
        self._store.commit_behind(
            live.working_set.unwritten.take(), live.tick, live.freeze(), self._bundles, message,
            retargeted=False,
        )  # fmt: skip
        return None
