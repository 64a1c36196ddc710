/** Where each commit stands in the drawing of a history. */

/**
 * `commits`: {id, parents}, children before parents. For each, in order: its `lane`; `into`, the lanes whose lines end
 * in it from above; `past`, the lanes whose lines pass by; `on`, whether a line goes on to its parent; and `width`, the
 * lanes in use.
 */
export function lanes(commits) {
  const waiting = []; // by lane: the commit that its line leads down to, or null
  return commits.map(({ id, parents }) => {
    const into = [];
    const past = [];
    waiting.forEach((wanted, lane) => {
      if (wanted === id) into.push(lane);
      else if (wanted !== null) past.push(lane);
    });
    let lane = into.length ? into[0] : waiting.indexOf(null);
    if (lane < 0) lane = waiting.length;
    for (const ended of into) waiting[ended] = null;
    waiting[lane] = parents.length ? parents[0] : null;
    const width = Math.max(waiting.length, lane + 1);
    while (waiting.length && waiting.at(-1) === null) waiting.pop();
    return { lane, into, past, on: parents.length > 0, width };
  });
}
