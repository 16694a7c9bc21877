import numpy as np
import pytest

from sidestream.models.errors import TrainingError
from sidestream.tokenizer.levels import Quantizer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from sidestream.models.training.vq import _RqVae, train_vq  # noqa: E402
from sidestream.tokenizer.settings import VqSettings  # noqa: E402

SIZES = (16, 8, 4)
SMALL = VqSettings(latent_dim=8, hidden_dim=32, epochs=25, batch_items=64)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((12, 24))
    points = centres[rng.integers(0, 12, 600)] + 0.4 * rng.standard_normal((600, 24))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(vectors):
    return train_vq(vectors, SIZES, SMALL)


def left_over(trained, vectors, num_levels):
    codes = trained.quantizer.encode(vectors)[:, :num_levels]
    return float(((vectors - trained.decode(codes)) ** 2).sum() / ((vectors - vectors.mean(axis=0)) ** 2).sum())


def test_frozen_codes_reconstruct_the_items(trained, vectors):
    assert trained.quantizer.sizes == (16, 8, 4)
    assert left_over(trained, vectors, 3) < left_over(trained, vectors, 1)
    assert left_over(trained, vectors, 3) < 0.6
    codes = trained.quantizer.encode(vectors)
    assert len(np.unique(codes[:, 0])) >= 8
    assert len(np.unique(codes, axis=0)) > 50


def test_frozen_codes_are_the_same_alone_in_bulk_and_from_arrays(trained, vectors):
    bulk = trained.quantizer.encode(vectors)
    alone = np.concatenate([trained.quantizer.encode(vectors[row : row + 1]) for row in range(200)])
    assert np.array_equal(bulk[:200], alone)
    again = Quantizer.from_arrays(trained.quantizer.arrays(), trained.quantizer.kinds)
    assert np.array_equal(again.encode(vectors), bulk)


def test_equal_seeds_train_equal_levels(vectors):
    short = SMALL.model_copy(update={"epochs": 2})
    state = torch.random.get_rng_state()
    first, second = train_vq(vectors, SIZES, short, seed=4), train_vq(vectors, SIZES, short, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    arrays = [part.quantizer.arrays() for part in (first, second)]
    assert all(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())


def test_masked_levels_add_nothing_and_still_give_codes():
    model = _RqVae(4, SIZES, SMALL.model_copy(update={"latent_dim": 2}))
    with torch.no_grad():
        for number, codebook in enumerate(model.codebooks):
            codebook.copy_(torch.randn(codebook.shape, generator=torch.Generator().manual_seed(number)))
    latent = torch.randn(5, 2, generator=torch.Generator().manual_seed(9))
    quantized, _, codes = model.quantize(latent, torch.tensor([1, 2, 3, 3, 1]))
    picked = [codebook[code] for codebook, code in zip(model.codebooks, codes, strict=True)]
    assert torch.allclose(quantized[0], picked[0][0], atol=1e-6)
    assert torch.allclose(quantized[1], picked[0][1] + picked[1][1], atol=1e-6)
    assert torch.allclose(quantized[2], picked[0][2] + picked[1][2] + picked[2][2], atol=1e-6)


def test_masking_changes_what_is_learned(vectors):
    short = SMALL.model_copy(update={"epochs": 2})
    plain, masked = (
        train_vq(vectors, SIZES, short.model_copy(update={"progressive_masking": on})) for on in (False, True)
    )
    assert not np.array_equal(plain.quantizer.levels[0].centroids, masked.quantizer.levels[0].centroids)


def test_pairs_pull_items_onto_common_codes(trained, vectors):
    # Items far apart by content, heard together.
    pairs = np.random.default_rng(5).permutation(600).reshape(300, 2)
    pulled = train_vq(vectors, SIZES, SMALL.model_copy(update={"contrastive_weight": 1.0}), pairs=pairs)

    def together(made):
        points = made.quantizer.decode(made.quantizer.encode(vectors))
        points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
        own = (points[pairs[:, 0]] * points[pairs[:, 1]]).sum(axis=1).mean()
        return own - (points @ points.T).mean()

    assert together(pulled) > together(trained) + 0.05


@pytest.mark.parametrize(
    ("sizes", "weight", "message"), [((601,), 0.0, "at least 601 items"), (SIZES, 1.0, "600 items and 0 pairs")]
)
def test_trainings_that_cannot_be_are_refused(vectors, sizes, weight, message):
    with pytest.raises(TrainingError, match=message):
        train_vq(vectors, sizes, SMALL.model_copy(update={"contrastive_weight": weight}))
