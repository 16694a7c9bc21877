"""Quantization levels: kinds of levels, their fitting, and exact encoding of vectors to codes.

Kinds of levels:

* `kmeans`: nearest centroid to the residual (GLIDE, R-KMeans); the default of every level.
* `fsq`: last level only, one bit per axis of the residual (QARM V2): fewer items share a SID than with k-means.
* `psrq`: nearest centroid to the residual concatenated with the vector decoded so far, times `prefix_weight`. Its codes
  are meaningful independently, which suits rankers as features. As SIDs for retrieval they need a small weight (0.3):
  with weight 1 a catalogue of 3,500 items had fewer than 100 distinct SIDs.

A trained encoder before the levels (`MlpEncoder`) makes them an RQ-VAE: setting `vq`, trained by
`models/training/vq.py`, and encoded here without torch. An artifact records its frozen levels as kmeans.
"""

from sidestream.tokenizer.levels.fit import fit_levels, level_size, level_sizes
from sidestream.tokenizer.levels.kinds import CentroidLevel, FsqLevel, Level, LevelKind
from sidestream.tokenizer.levels.mlp import MlpEncoder
from sidestream.tokenizer.levels.quantizer import Quantizer

__all__ = [
    "CentroidLevel",
    "FsqLevel",
    "Level",
    "LevelKind",
    "MlpEncoder",
    "Quantizer",
    "fit_levels",
    "level_size",
    "level_sizes",
]
