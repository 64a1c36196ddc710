"""What each type of problem means, and what to do: the answer of ``/problems/TYPE``."""

from __future__ import annotations

MEANINGS = {
    "bad-request": (
        "The request breaks the rules of HTTP or JSON, and was not looked at further: a body that is no JSON, or "
        "one that was cut short."
    ),
    "unauthorized": (
        "There are keys, and this request has none that is known and has not expired; give one as Authorization: "
        "Bearer edb_... or api-key: edb_...."
    ),
    "forbidden": (
        "The key is known, but its scope is too small; the detail says which is needed: read asks, write changes, "
        "admin makes and drops engrams."
    ),
    "not-found": (
        "The request is well formed, but the neuron, layer, snapshot, branch, commit, trace, job or page that it "
        "names is not there."
    ),
    "no-such-route": "No route of this version has that path; /docs lists those there are.",
    "no-such-engram": "The folder of the service has no engram of that name; GET /v1/engrams lists those there are.",
    "method-not-allowed": "The path is right and the method is not; the header Allow has those that it takes.",
    "not-acceptable": (
        "The answer is to be had in none of the types in Accept; the detail lists those there are. Nothing was done."
    ),
    "already-exists": "An engram, snapshot, branch or trace has that name; choose another, or take it away first.",
    "conflict": (
        "What was asked does not fit what is going on or how things stand, such as a cycle that is over; look at "
        "that first."
    ),
    "busy": "It cannot be done while a run of the engram goes on: wait for its job, or cancel it.",
    "read-only": "A change was asked of an engram that is open for reading only.",
    "idempotency-conflict": (
        "This Idempotency-Key came with another method, path or body before; use a new key for a new request."
    ),
    "idempotency-in-progress": (
        "The first request with this Idempotency-Key has not been answered yet; ask again after Retry-After seconds."
    ),
    "idempotency-unknown": (
        "The service was stopped while it did the request with this Idempotency-Key; look whether it was done "
        "before asking with a new key."
    ),
    "stale-cursor": "Pages of the present end when the present changes; begin again, or page through a snapshot.",
    "not-kept": "The result of the job was there, and has been forgotten since.",
    "too-large": (
        "The body, a list in it, or the path is longer than the service takes; the detail has the limit. Send it "
        "in parts."
    ),
    "unsupported-media-type": "Bodies must be application/json, but for imports, and must not be compressed.",
    "invalid-request": (
        "A field or parameter is missing, is not known here, or is of a wrong type or beyond its bounds; pointer "
        "says which field of the body."
    ),
    "invalid-input": (
        "The request is well formed, but the engram cannot do what it says: a condition that cannot be read, a "
        "field that there is not, a value out of range."
    ),
    "invalid-id": (
        "The text or number can be the id of no neuron at all: ids are whole numbers below 2^64, "
        "layer/segment/local, 0x and hex digits, or labels."
    ),
    "invalid-spec": "The spec of an engram is wrong in the field that pointer names.",
    "invalid-name": (
        "Names of engrams have 1 to 64 letters, digits, '.', '_' and '-' of ASCII, and begin with a letter or digit."
    ),
    "locked": (
        "Another process has the engram open for writing; its last commit can be asked, with at, but nothing changed."
    ),
    "too-many-requests": (
        "As much as the service takes at once is being done or waits; ask again after Retry-After seconds."
    ),
    "format-too-new": "The engram was written by a newer EngramDB than this service runs; update the service.",
    "damaged": (
        "A checksum of stored bytes does not match; the detail says where. POST verify tells how much is affected."
    ),
    "disk-full": (
        "There is no room left on the disk of the service; what was asked was not done, and nothing before it is lost."
    ),
    "memory-budget": (
        "What is active at once does not fit into the memory that the service gives an engram; see --engram-memory."
    ),
    "unreachable": "A remote store did not answer in full after several tries.",
    "closing": "The service starts or stops; ask again after Retry-After seconds.",
    "engram-closed": "The engram was closed between two requests, and is opened again by the next: ask once more.",
    "timeout": (
        "The question took longer than --query-seconds and was ended; it has changed nothing. Ask for less, or of "
        "a snapshot."
    ),
    "not-cancellable": "What the job does is done wholly or not at all, and it has begun.",
    "cancelled": "Somebody has cancelled it.",
    "interrupted": (
        "The service was stopped while the job ran, and it is of a kind that does not go on by itself; ask for it "
        "again."
    ),
    "wrong-host": "The Host header is no name of this service; start it with --allow-host, if it should be.",
    "cross-site": (
        "The Origin of the request is a page of another site; start the service with --allow-origin, if that is wanted."
    ),
    "no-cycle": "No growth cycle was ever started in this engram; POST cycle with a layer starts one.",
    "not-built-in": "This service was built without what the request needs.",
    "internal": "It is not the request that is wrong. The log of the service has the error under the id in instance.",
}
