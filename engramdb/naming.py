"""How people name neurons: numbers, text ids, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from engramdb.address import IdArray, as_ids, parse
from engramdb.errors import InvalidId, NotFound
from engramdb.store import Store

Ids: TypeAlias = Any  # an id, a text id, a label, or an array or list of them


def resolve(ids: Ids, store: Store) -> IdArray:
    """uint64 ids of ``ids``. Text is looked up as a label first, then read as a decimal number or a text id."""
    if isinstance(ids, str):
        return _resolve_text([ids], store)
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "UST":
        return _resolve_text([str(x) for x in ids.ravel()], store)
    if isinstance(ids, (list, tuple)) and any(isinstance(x, str) for x in ids):
        if all(isinstance(x, str) for x in ids):
            return _resolve_text(ids, store)
        return np.concatenate([resolve(x, store) for x in ids])
    return as_ids(ids)


def _resolve_text(texts: Sequence[str], store: Store) -> IdArray:
    if store.has_labels:
        try:
            return store.label_ids(texts)
        except NotFound:
            pass  # some may be ids: look at each
    return np.array([_resolve_one(text, store) for text in texts], dtype=np.uint64)


def _resolve_one(text: str, store: Store) -> int:
    if store.has_labels:
        try:
            return int(store.label_ids([text])[0])
        except NotFound:
            pass  # it may be an id
    if text.isascii() and text.isdigit():
        return int(as_ids([int(text)])[0])
    try:
        return parse(text)
    except InvalidId:
        if store.has_labels:
            raise NotFound(f'no neuron is labelled "{text}" in {store.path.name}, and it is no id either') from None
        raise
