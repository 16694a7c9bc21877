"""Levels: what gives a vector its codes, one kind of level after the other; fitted here, frozen, then exact.

Kinds and what each is for:

* `kmeans`: nearest centroid to the residual (GLIDE, R-KMeans); the default of every level.
* `fsq`: last level only, one bit an axis of the residual (QARM V2): fewer items share a SID than with k-means.
* `psrq`: nearest centroid to the residual beside what the levels before it gave, times `prefix_weight`. Its codes keep
  meaning alone, so rankers like them as features. As an address they serve with a small weight only (0.3): with weight
  1 a catalogue of 3,500 items fell on fewer than 100 SIDs.

A trained encoder before the levels (`MlpEncoder`) makes them the levels of an RQ-VAE: setting `vq`, trained by
`models/training/vq.py` and then encoded here without torch. An artifact calls its frozen levels kmeans.
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
