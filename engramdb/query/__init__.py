"""Questions about an engram: neurons and their rows."""

from engramdb.query.neurons import Neuron, Neurons
from engramdb.query.synapses import Synapses

__all__ = ["Neuron", "Neurons", "Synapses"]
