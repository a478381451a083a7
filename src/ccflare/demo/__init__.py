"""What runs without an account or a network: a simulated upstream, and sample traffic for it."""
