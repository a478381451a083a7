"""Write the metrics' documentation to standard output: `python -m ccflare.metrics > docs/metrics.md`."""

import sys

from ccflare.metrics.page import metrics_page

if __name__ == "__main__":
    sys.stdout.write(metrics_page())
