"""What makes parts of a release."""
