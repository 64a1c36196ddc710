"""What a run records: spikes, spikes per layer, state variables; in memory or streamed to files."""
