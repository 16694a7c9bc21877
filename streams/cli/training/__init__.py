"""Commands from data to a model: importers, the synthetic world, training, evaluation, export."""
