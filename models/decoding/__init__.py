"""How a list comes out of the network: the beam as one graph (needs torch) and the naive reference it is held against."""
