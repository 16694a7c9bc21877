from sidestream.testing import demo_pair, log_folder, replay  # noqa: F401
