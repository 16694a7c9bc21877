"""`session_worker.py` with faults: records with certain keys make its handlers raise or block the event loop."""

import sys
import time

import session_worker

from sidestream.streams.worker import build


def faulty(decode):
    def wrapped(key, *args, **kwargs):
        if key == b"raise":
            raise RuntimeError("the handler\nraised")
        if key == b"block":
            time.sleep(120)
        return decode(key, *args, **kwargs)

    return wrapped


if __name__ == "__main__":
    build.decode_listen = faulty(build.decode_listen)
    build.decode_session_start = faulty(build.decode_session_start)
    sys.exit(session_worker.main())
