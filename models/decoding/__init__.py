"""From a hidden state to a list of items: the beam as one graph (torch), its inputs, and the naive reference."""
