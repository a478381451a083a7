"""Write the settings' documentation to standard output: `python -m ccflare.settings > docs/settings.md`."""

import sys

from ccflare.settings.page import settings_page

if __name__ == "__main__":
    sys.stdout.write(settings_page())
