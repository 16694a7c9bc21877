"""Short programs that use Sidestream from outside: `python -m sidestream.streams.examples.NAME`.

The argument is `host:port` of a Kafka or a settings file.

Without an argument they talk with the broker at 127.0.0.1:9092; `var/demo/sidestream.toml` names a running demo.
"""
