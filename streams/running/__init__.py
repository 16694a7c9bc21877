"""Which local brokers and workers run on this machine, so that commands find them from any folder."""
