"""The scaling claims of the documents that asked for this system, as quoted, beside what their own formulas give.

Named ``scaling`` (neuron scaling law analysis), ``virtualization`` (neuron virtualization proof) and ``memory`` (what a
box can handle); the places are their sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GIB = 2**30
_ETA_C = 0.001  # "E_learn(N) = 0.001 / sqrt(N)"


@dataclass(frozen=True)
class Claim:
    """``quoted``, word for word, in the document's section ``place``; what its formula really gives is ``corrected``.

    ``slip``: what is wrong, in one sentence; empty where nothing is.
    """

    topic: str
    place: str
    quoted: str
    corrected: str
    slip: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "topic": self.topic, "place": self.place, "quoted": self.quoted, "corrected": self.corrected,
            "slip": self.slip,
        }  # fmt: skip


def bytes_per_neuron(k: int) -> int:
    """8k + 20: int32 index and float32 weight of each synapse, int32 row pointer, four float32 fields."""
    return 8 * k + 20


def csr_gib(neurons: int, k: int) -> float:
    """GiB of a connectome so laid out."""
    return neurons * bytes_per_neuron(k) / GIB


def update_ms(neurons: float, dimension: int = 768) -> float:
    """T_update = 1.2e-6 N D seconds, in ms."""
    return 1.2e-6 * neurons * dimension * 1e3


def memory_gb(neurons: float) -> float:
    """M = 6.2e-6 N GB: 6.2 kB a neuron."""
    return 6.2e-6 * neurons


def sparse_gb(neurons: float) -> float:
    """M_sparse = 6.2e-8 N GB, as written."""
    return 6.2e-8 * neurons


def learning_error(neurons: float) -> float:
    """E_learn = 0.001 / sqrt(N)."""
    return _ETA_C / float(neurons) ** 0.5


def window_gb(neurons: float, active: float, virtual_bytes: float = 24.0, active_bytes: float = 6200.0) -> float:
    """M_total = N (1 - a) 24 + N a 6200 bytes, in GB."""
    return (neurons * (1 - active) * virtual_bytes + neurons * active * active_bytes) / 1e9


def claims() -> list[Claim]:
    """Everything about time, memory and error that the documents put in numbers."""
    return [*_csr(), *_updates(), *_memory(), *_errors(), *_windows(), *_addresses(), *_throughput()]


def _csr() -> list[Claim]:
    where = 'memory, "Memory math you can trust"'
    rows = [
        Claim(
            "CSR at 10^9, k = " + str(k), where, f"8k+20 = {bytes_per_neuron(k)} bytes -> {said} GiB",
            f"{csr_gib(10**9, k):.2f} GiB",
        )
        for k, said in ((8, "78.23"), (12, "108.03"), (16, "137.84"), (32, "257.05"))
    ]  # fmt: skip
    last = 12 * 10**9
    overflow = Claim(
        "row pointers", where, "row_ptr:int32 = 4 B per neuron",
        f"k = 12 and 10^9 neurons have {last:,} synapses; int32 ends at {2**31 - 1:,} (k = 2): int64, 8 B, "
        f"so 8k + 24 = 120 bytes and {10**9 * 120 / GIB:.2f} GiB",
        "int32 row pointers overflow beyond 2^31 synapses",
    )  # fmt: skip
    tiers = Claim(
        "native tier", 'memory, "How many neurons should you actually run?"',
        "1 B neurons with k in [8,16] fits in ~80-140 GiB baseline",
        f"{csr_gib(10**9, 8):.0f} to {csr_gib(10**9, 16):.0f} GiB",
    )  # fmt: skip
    return [*rows, overflow, tiers]


def _updates() -> list[Claim]:
    formula = Claim(
        "T_update formula", "scaling, 1.1",
        "T_update(N) = 1.2e-6 x N x D seconds; with D = 768: 9.2e-4 x N ms",
        f"1.2e-6 x 768 = {1.2e-6 * 768:.2e} seconds a neuron, {update_ms(1):.2f} ms",
        "a millisecond for a second: from the first formula to the second the unit changes and the number does not",
    )  # fmt: skip
    table = [
        Claim(
            f"T_update at 10^{power}", "scaling, 3", f"{said} ms",
            f"{update_ms(10**power):,.0f} ms by the first formula, {update_ms(10**power) / 1e3:,.0f} ms by the second",
            "the table is a thousandth of the second formula, a millionth of the first",
        )
        for power, said in ((5, "0.092"), (7, "9.2"), (9, "920"), (11, "92,000"))
    ]  # fmt: skip
    measured = Claim(
        "T_update measured at 10^5", "scaling, 2 and 3",
        "forward 95 ms measured (2); 0.092 ms, status Measured (3)",
        "the second formula gives 92 ms, which agrees with 95 measured; the table does not",
        "the table calls measured what is a thousandth of what was measured",
    )  # fmt: skip
    hours = Claim(
        "time at 10^11", "scaling, 4.1 and 8", "92,000 ms; ~25 hours per pass",
        f"92,000 ms are 92 s; the second formula gives {update_ms(1e11) / 1e6:,.0f} s = "
        f"{update_ms(1e11) / 1e6 / 3600:.1f} h",
        "25 hours fit the formula and not the table beside them",
    )  # fmt: skip
    doubling = Claim(
        "growth", "scaling, 4.1", "Doubling N -> 10x time (log scale)", "doubling N doubles the time",
        "time is linear in N",
    )  # fmt: skip
    iterations = Claim(
        "100 iterations", "scaling, 2", "forward 95 ms, backward 120 ms, 100 iterations 21,500 ms",
        f"(95 + 120) x 100 = {(95 + 120) * 100:,} ms",
    )  # fmt: skip
    small = Claim(
        "896 neurons", "scaling, 5.1", "0.0008 ms", f"second formula: {update_ms(896) / 1e3:.2f} ms; "
        f"the table's rate: {update_ms(896) / 1e6:.4f} ms", "the table's thousandth again",
    )  # fmt: skip
    hybrid = Claim(
        "10^11, 1 % active", "scaling, 5.2 and 5.3", "400 ms sparse; 4 ms with 1 % (1B active)",
        f"10^9 active by the second formula: {update_ms(1e9) / 1e6:,.0f} s; by the table 920 ms",
        "neither formula nor table gives it, and ten times as many active are a hundred times as fast",
    )  # fmt: skip
    return [formula, *table, measured, hours, doubling, iterations, small, hybrid]


def _memory() -> list[Claim]:
    table = [
        Claim(
            f"M at 10^{power}", "scaling, 1.2 and 3", f"M = 6.2e-6 x N GB; table: {said} GB",
            f"{memory_gb(10**power):,.2f} GB", "the table is a thousandth of the formula",
        )
        for power, said in ((5, "0.0006"), (7, "0.062"), (9, "6.2"), (11, "620"))
    ]  # fmt: skip
    sparse = [
        Claim(
            f"M_sparse at 10^{power}", "scaling, 1.2 and 3", f"M_sparse = 6.2e-8 x N GB; table: {said} MB",
            f"{1e3 * sparse_gb(10**power):,.0f} MB by the formula; 0.1 % of M: {memory_gb(10**power):,.2f} MB",
            "the formula is 1 % of M and the text says 0.1 %; the table is a tenth of the formula",
        )
        for power, said in ((5, "0.6"), (7, "62"), (9, "6,200"), (11, "620,000"))
    ]  # fmt: skip
    measured = Claim(
        "memory measured at 10^5", "scaling, 2", "6.2 MB",
        f"100,000 neurons of 6.2 kB: {1e3 * memory_gb(1e5):,.0f} MB; 6.2 MB are 62 bytes a neuron",
        "a hundredth of the formula, and ten times the table's 0.0006 GB",
    )  # fmt: skip
    precision = Claim(
        "bytes of a vector", "scaling, 6.2 and 7", "768 x 8 bytes = 6.1 KB; assumes 32-bit (float) precision",
        f"768 x 4 = {768 * 4:,} bytes at 32 bits; 6,144 are 64 bits", "the size is that of 64-bit numbers",
    )  # fmt: skip
    conclusion = Claim(
        "M at 10^9, 10^11", "scaling, 8", "dense 6.2 TB, 620 TB; (3) 6.2 GB, 620 GB; (4.2) 600 TB",
        f"{memory_gb(1e9) / 1e3:.1f} TB, {memory_gb(1e11) / 1e3:,.0f} TB", "the conclusion corrects the table",
    )  # fmt: skip
    return [*table, *sparse, measured, precision, conclusion]


def _errors() -> list[Claim]:
    rows = []
    for power, said, place in (
        (5, "0.00100", "3, 4.3"), (6, "0.000316", "4.3"), (7, "0.000032", "3, 4.3"), (9, "0.000001", "3, 4.3"),
        (11, "3.2e-8", "3, 4.3"),
    ):  # fmt: skip
        right, given = learning_error(10**power), float(said)
        law = 0.001 * (10**5 / 10**power) ** 0.5  # the table's own first entry, scaled by 1 / sqrt(N)
        slip = f"the table is {given / right:,.0f} times the formula"
        if power == 7:
            slip += f", and a third of its own law from 10^5 on, {law:.5f}: it is that of 10^8"
        elif power == 9:
            slip += f", and a tenth of its own law from 10^5 on, {law:.5f}: it is that of 10^11"
        elif power == 11:
            slip += f", and 1/{law / given:,.0f} of its own law from 10^5 on, {law:.0e}"
        rows.append(
            Claim(f"E_learn at 10^{power}", f"scaling, 1.3 and {place}", f"E_learn = 0.001 / sqrt(N); table: {said}",
                  f"{right:.3g}", slip)
        )  # fmt: skip
    measured = Claim(
        "E_learn measured at 10^5", "scaling, 2, 3 and 5.1", "0.032 measured (2); 0.00100, Measured (3); 0.003 at 896",
        f"formula: {learning_error(1e5):.2e} at 10^5, {learning_error(896):.1e} at 896",
        "three values for one quantity, whose definition names a norm and not of what, or after how many steps",
    )  # fmt: skip
    return [*rows, measured]


def _windows() -> list[Claim]:
    where = "virtualization, 10"
    rows = []
    for name, active, neurons, said in (
        ("edge device", 0.01, 1e9, "64 GB"), ("laptop", 0.005, 1e10, "320 GB"),
        ("enterprise server", 0.001, 1e11, "600 GB"), ("data centre", 0.0001, 1e12, "600 GB"),
    ):  # fmt: skip
        in_use = neurons * active * 6200 / 1e9
        rows.append(
            Claim(f"window: {name}", where, f"{neurons:.0e} neurons, {100 * active:g} % active: {said}",
                  f"active {in_use:,.0f} GB, and 24 bytes for each virtual one: {window_gb(neurons, active):,.0f} GB",
                  "the virtual neurons' 24 bytes, in its own formula (4.1), are left out")
        )  # fmt: skip
    total = Claim(
        "M_total at 10^11, 0.1 %", "virtualization, 4.1",
        "2.4 TB (virtual) + 0.62 TB (active) = 3.0 TB; Total: ~600 GB",
        f"{window_gb(1e11, 0.001) / 1e3:.2f} TB", "the total leaves out the larger part of its own sum",
    )  # fmt: skip
    proportional = Claim(
        "proportional to active ones", "virtualization, 4.2", "Memory scales with active neurons only",
        "N (1 - a) 24 bytes do not vanish with a: 0 bytes here, where an untouched neuron has no entry",
        "not with 24 bytes for each virtual neuron",
    )  # fmt: skip
    data = Claim(
        "memory of 10^11, 1 % active", "scaling, 5.3", "6 GB", f"10^9 active of 6.2 kB: {10**9 * 6200 / 1e9:,.0f} GB",
        "a thousandth",
    )  # fmt: skip
    sample = Claim(
        "ultra-sparse sample", "scaling, 9; virtualization, 12",
        "50B virtual, 0.01 % active (5M): ~28.9 GB RAM, ~2.38 GB sparse indices",
        f"5e6 x 6.2 kB = {5e6 * 6200 / 1e9:.0f} GB; 28.9 GiB are {28.9 * GIB / 1e9:.0f} GB",
    )  # fmt: skip
    return [*rows, total, proportional, data, sample]


def _addresses() -> list[Claim]:
    return [
        Claim("2^64", "virtualization, 2.1", "18.4 exabillion", f"{2**64:,}: 18.4 quintillion (10^18)",
              "there is no exabillion"),
        Claim("fields of an id", "virtualization, 2.2", "16 | 16 | 32 bits; 0x0A_05_80000001",
              "0x000A000580000001", "the example has fields of 8, 8 and 32 bits"),
        Claim("local ids", "virtualization, 2.2", "0x80000001 = 2,147,483,649 (neuron 2B in segment)",
              f"{0x80000001:,}: beyond int32, as its local ids are unsigned"),
    ]  # fmt: skip


def _throughput() -> list[Claim]:
    where = 'memory, "Throughput math"'
    return [
        Claim("FLOPs", where, "80,000 x 40 x 20 = 64M FLOPs/s = 0.064 GFLOPS", f"{80_000 * 40 * 20 / 1e9:.3f} GFLOPS"),
        Claim("traffic", where, "32 B/neuron: 2.56 MB/tick, ~51 MB/s @ 20 Hz",
              f"{80_000 * 32 / 1e6:.2f} MB/tick, {80_000 * 32 * 20 / 1e6:.0f} MB/s; without the rows of synapses: "
              f"{80_000 * 8 * 12 / 1e6:.2f} MB/tick more at k = 12"),
    ]  # fmt: skip
