"""Short programs that use Sidestream from outside: `python -m sidestream.streams.examples.NAME [host:port]`."""
