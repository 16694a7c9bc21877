"""The generator: records and log folders, history, features, network, training, evaluation, export, the ONNX engine."""
