"""Short programs that use Sidestream from outside: run them with `python -m sidestream.streams.examples.NAME [host:port]`."""
