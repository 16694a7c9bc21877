"""The web pages of a worker that a test started."""

import urllib.error
import urllib.request


def answers(url):
    """Whether anything answers at an address, ready or not."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
