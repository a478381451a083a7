"""What ccflare costs, against nginx and a direct call in the same run: `make bench`. See README.md."""
