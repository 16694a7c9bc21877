import pytest

torch = pytest.importorskip("torch")

from sidestream.models.network import GenModel, MaskPool, NetworkConfig  # noqa: E402

pytestmark = pytest.mark.train

CONFIG = NetworkConfig(codebook_sizes=(5, 3, 7), d_model=16, head_dim=8, max_len=6)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def random_batch(size=4, length=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack(
        [torch.randint(0, k, (size, length), generator=generator) for k in CONFIG.codebook_sizes], dim=-1
    )
    return codes, torch.randn(size, length, CONFIG.d_model, generator=generator) * 0.1


def test_encode_is_causal():
    model = GenModel(CONFIG).eval()
    codes, u = random_batch()
    before = model.encode(model.tokens(codes, u))
    u[:, -1] += 1.0
    after = model.encode(model.tokens(codes, u))
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.allclose(before[:, -1], after[:, -1])


def test_encode_ignores_left_padding():
    model = GenModel(CONFIG).eval()
    codes, u = random_batch(length=4)
    plain = model.encode(model.tokens(codes, u))
    padded_codes = torch.cat([torch.full((4, 2, 3), -1), codes], dim=1)
    padded_u = torch.cat([torch.zeros(4, 2, CONFIG.d_model), u], dim=1)
    valid = padded_codes[..., 0] >= 0
    padded = model.encode(model.tokens(padded_codes, padded_u), valid)
    torch.testing.assert_close(padded[:, 2:], plain, atol=1e-5, rtol=1e-5)


def test_encode_last_only_equals_the_last_position():
    model = GenModel(CONFIG).eval()
    codes, u = random_batch()
    tokens = model.tokens(codes, u)
    for valid in (None, torch.ones(4, 6, dtype=torch.bool)):
        torch.testing.assert_close(
            model.encode(tokens, valid, last_only=True), model.encode(tokens, valid)[:, -1:], atol=1e-5, rtol=1e-5
        )


def test_encode_of_padding_alone_is_finite():
    model = GenModel(CONFIG).eval()
    codes = torch.full((2, 3, 3), -1)
    hidden = model.encode(model.tokens(codes, None), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.isfinite(hidden).all()


def test_level_logits_read_only_the_codes_before():
    model = GenModel(CONFIG).eval()
    codes, u = random_batch()
    h = model.encode(model.tokens(codes, u))[:, -1]
    target = codes[:, 0]
    logits = model.level_logits(h, target)
    assert [x.shape for x in logits] == [(4, 5), (4, 3), (4, 7)]
    changed = target.clone()
    changed[:, 1] = (changed[:, 1] + 1) % 3
    again = model.level_logits(h, changed)
    assert torch.equal(logits[1], again[1])
    assert not torch.allclose(logits[2], again[2])


def test_same_seed_gives_the_same_weights_and_masks():
    codes, u = random_batch()
    outputs = []
    for _ in range(2):
        torch.manual_seed(1)
        model = GenModel(CONFIG, seed=3).train()
        outputs.append(model.encode(model.tokens(codes, u)))
    assert torch.equal(outputs[0], outputs[1])


def test_gradients_reach_every_weight():
    model = GenModel(CONFIG).train()
    codes, u = random_batch()
    u.requires_grad_()
    h = model.encode(model.tokens(codes, u), codes[..., 0] >= 0).flatten(0, 1)
    targets = codes.flatten(0, 1)
    loss = sum(
        torch.nn.functional.cross_entropy(x, targets[:, i]) for i, x in enumerate(model.level_logits(h, targets))
    )
    loss = loss + model.item_scores(h, model.item_vectors(targets, u.flatten(0, 1))).logsumexp(-1).mean()
    loss.backward()
    assert u.grad is not None
    assert not [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mask_pool_drops_its_rate_and_keeps_the_mean(dtype):
    pool = MaskPool(0.4, seed=0, size=1 << 10).train()
    x = torch.ones(200, 333, dtype=dtype)
    y = pool(x)
    assert y.dtype == dtype
    assert abs((y == 0).float().mean().item() - 0.4) < 0.01
    assert abs(y.float().mean().item() - 1.0) < 0.02
    assert not torch.equal(y, pool(x))
    assert torch.equal(pool.eval()(x), x)


def test_config_refuses_a_head_dim_that_does_not_divide():
    with pytest.raises(ValueError, match="multiple of head_dim"):
        NetworkConfig(d_model=30, head_dim=16)
