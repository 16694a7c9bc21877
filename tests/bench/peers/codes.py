"""One quantizer's codes per second, alone and in bulk: ours, or with equal books FAISS's ResidualQuantizer.

FAISS runs at its best settings for encoding: tables of products (`use_beam_LUT`), computed beforehand, one thread. CPU
time is taken, not wall time, since both use one thread and a shared machine is measured.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bench.support.work import leave, peer_config

Encode = Callable[[npt.NDArray[np.float32]], Any]


def ours(books: list[npt.NDArray[np.float32]], beam_size: int) -> Encode:
    """Give the product's encoder."""
    from sidestream.tokenizer.levels import CentroidLevel, Quantizer

    return Quantizer(tuple(CentroidLevel(book.astype(np.float64)) for book in books), beam_size).encode


def of_faiss(books: list[npt.NDArray[np.float32]], beam_size: int) -> Encode:
    """Give FAISS's encoder over the same books."""
    import faiss

    faiss.omp_set_num_threads(1)
    quantizer = faiss.ResidualQuantizer(books[0].shape[1], len(books), int(np.log2(len(books[0]))))
    faiss.copy_array_to_vector(np.concatenate(books).ravel(), quantizer.codebooks)
    quantizer.is_trained = True
    quantizer.max_beam_size = beam_size
    quantizer.use_beam_LUT = 1
    quantizer.compute_codebook_tables()
    encode: Encode = quantizer.compute_codes
    return encode


def measure(encode: Encode, vectors: npt.NDArray[np.float32], singles: int) -> dict[str, float]:
    """Time one vector at a time, then all at once."""
    for row in range(20):
        encode(vectors[row : row + 1])
    began = time.process_time()
    for row in range(singles):
        encode(vectors[row : row + 1])
    single_us = (time.process_time() - began) / singles * 1e6
    encode(vectors[:1_000])
    began = time.process_time()
    encode(vectors)
    return {"single_us": single_us, "bulk_per_s": len(vectors) / (time.process_time() - began)}


def main() -> None:
    """Measure every beam of one shape."""
    config = peer_config()
    folder, report = Path(config["folder"]), {}
    vectors = np.load(folder / "vectors.npy")
    books = [np.load(path) for path in sorted(folder.glob("book_*.npy"))]
    make = {"ours": ours, "faiss": of_faiss}[config["peer"]]
    for beam_size in config["beams"]:
        encode = make(books, beam_size)
        report[str(beam_size)] = measure(encode, vectors, config["singles"])
        if config["codes"]:
            np.save(folder / f"{config['peer']}_{beam_size}.npy", encode(vectors).astype(np.int32))
    leave(report)


if __name__ == "__main__":
    main()
