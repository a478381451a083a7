"""The settings' documentation is what the table says."""

from pathlib import Path

import pytest

from ccflare.settings.page import settings_page

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

GUIDE_VARIABLES = (
    "CLIENT_ID", "PORT", "LB_STRATEGY", "RETRY_ATTEMPTS", "RETRY_DELAY_MS", "RETRY_BACKOFF",
    "SESSION_DURATION_MS",
    "ccflare_CONFIG_PATH", "ccflare_DB_PATH", "ccflare_DEBUG", "LOG_LEVEL", "LOG_FORMAT",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "CF_PRICING_REFRESH_HOURS",
)  # fmt: skip


def test_the_page_is_written_from_the_table() -> None:
    """docs/settings.md equals what the table gives now."""
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run: python -m ccflare.settings > docs/settings.md"


@pytest.mark.parametrize("variable", GUIDE_VARIABLES)
def test_every_variable_users_know_is_on_the_page(variable: str) -> None:
    """The variables that users of the original program set are all documented."""
    assert f"`{variable}`" in settings_page()
