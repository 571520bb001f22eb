"""Full against slim, run against run, export against export."""
