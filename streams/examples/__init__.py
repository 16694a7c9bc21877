"""Short programs that use Sidestream from outside: run them with `python -m streams.examples.NAME [host:port]`."""
