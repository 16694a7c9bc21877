"""The generator: records, log folders, histories, features, network, training, evaluation, export and ONNX engine."""
