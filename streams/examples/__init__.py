"""Short programs that use Sidestream from outside: `python -m sidestream.streams.examples.NAME`.

The argument is `host:port` of a Kafka or a settings file.

Without an argument they use the same Kafka as a command in this folder: `kafka.bootstrap`, else the local broker that
runs. `var/demo/sidestream.toml` names a running demo.
"""
