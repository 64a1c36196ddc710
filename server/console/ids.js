/** Ids of neurons: 64 bits, layer | segment | local. They come as decimal text, since numbers here end at 2^53. */

/** {layer, segment, local} of a decimal id. */
export function parts(id) {
  const value = BigInt(id);
  return {
    layer: Number(value >> 48n),
    segment: Number((value >> 32n) & 0xffffn),
    local: Number(value & 0xffffffffn),
  };
}

/** `layer/segment/local`, the form for people. */
export function address(id) {
  const { layer, segment, local } = parts(id);
  return `${layer}/${segment}/${local}`;
}
