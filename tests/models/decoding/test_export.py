import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sidestream.models.decoding.signature import input_specs, output_names
from sidestream.models.errors import TrainingError
from tests.models.decoding.cases import FOUR_LEVELS, THREE_LEVELS, TWO_LEVELS

pytestmark = pytest.mark.train

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from sidestream.models.export import CONTROL_FLOW, OPSET, check  # noqa: E402
from sidestream.models.network import GenModel  # noqa: E402
from tests.models.exporting import export_artifact  # noqa: E402

ROOT = Path(__file__).parents[3]


def saved(trained, config=THREE_LEVELS):
    return onnx.load(trained(config).artifact.onnx_path)


@pytest.mark.parametrize("config", [TWO_LEVELS, THREE_LEVELS, FOUR_LEVELS], ids=["2", "3", "4"])
def test_saved_file_is_one_plain_graph_with_every_catalogue_dimension_dynamic(trained, config):
    proto = saved(trained, config)
    onnx.checker.check_model(proto)
    dims = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    expected = {spec.name: list(spec.dims) for spec in input_specs(config.num_levels, config.d_model)}
    assert dims == expected
    fixed = {dim for shape in dims.values() for dim in shape if isinstance(dim, int)}
    assert fixed <= {config.num_levels, config.d_model}
    assert [value.name for value in proto.graph.output] == list(output_names(config.num_levels))
    ops = Counter(node.op_type for node in proto.graph.node)
    assert not set(ops) & CONTROL_FLOW
    assert ops["TopK"] == config.num_levels + 1
    assert ops["Attention"] == config.num_layers
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": OPSET}
    assert len(proto.graph.node) < 80 * config.num_levels + 60


def test_saved_file_names_no_path_of_the_machine_that_made_it(trained):
    assert b"/models/" not in trained(THREE_LEVELS).artifact.onnx_path.read_bytes()


def test_saved_file_carries_its_versions(trained):
    artifact = trained(THREE_LEVELS).artifact
    metadata = {entry.key: entry.value for entry in saved(trained).metadata_props}
    assert metadata["sidestream.tokenizer_version"] == "tok"
    assert metadata == {f"sidestream.{key}": value for key, value in artifact.config.graph_metadata().items()}


@pytest.mark.slow
def test_equal_networks_give_equal_files_in_every_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from sidestream.models.export import export_onnx\n"
        "from sidestream.models.network import GenModel, NetworkConfig\n"
        "config = NetworkConfig(codebook_sizes=(3, 4), d_model=4, head_dim=2, max_len=3, num_layers=1)\n"
        "export_onnx(GenModel(config, seed=1), Path(sys.argv[1]), {'tokenizer_version': 'tok'})\n"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, cwd=ROOT, env=env)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_export_puts_the_model_back_into_training_and_keeps_its_weights(trained, tmp_path):
    from safetensors.torch import load_file

    artifact = trained(TWO_LEVELS).artifact
    weights = load_file(artifact.folder / "weights.safetensors")
    model = GenModel(TWO_LEVELS).train()
    model.load_state_dict(weights)
    again = export_artifact(
        model, tmp_path / "model", artifact.config, artifact.item_table, {"recall_at_10": 0.1}, with_weights=False
    )
    assert model.training
    assert again.version == artifact.version, "the same weights serve under the same version"
    assert not (again.folder / "weights.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing half-made is left behind"


def fix_a_dimension(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7


def add_control_flow(proto):
    proto.graph.node.add(op_type="If", name="branch")


def drop_an_input(proto):
    del proto.graph.input[-1]


def move_weights_out(proto):
    proto.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def change_the_opset(proto):
    proto.opset_import[0].version = 18


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (fix_a_dimension, "specialised"),
        (add_control_flow, "control flow"),
        (drop_an_input, "expected 34 inputs .* got 33"),
        (move_weights_out, "second file"),
        (change_the_opset, "opset 23"),
    ],
)
def test_check_refuses_what_the_engine_could_not_serve(trained, damage, message):
    proto = saved(trained)
    specs, outputs = input_specs(3, THREE_LEVELS.d_model), output_names(3)
    check(proto, specs, outputs)
    damage(proto)
    with pytest.raises(TrainingError, match=message):
        check(proto, specs, outputs)
