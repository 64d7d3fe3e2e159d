"""A file's name is a kind's registration."""

import pytest

from bridge.core.errors import ConfigError
from bridge.sources import load_source_kind, source_kinds
from bridge.sources.standard_webhooks import StandardWebhooks, StandardWebhooksSettings


def test_a_kind_is_found_by_its_files_name() -> None:
    """Hyphens in the config are underscores in the file."""
    assert load_source_kind("standard-webhooks") is StandardWebhooks
    assert StandardWebhooks.settings_type is StandardWebhooksSettings
    assert {"github", "circleci", "standard-webhooks"} <= set(source_kinds())


@pytest.mark.parametrize("kind", ["", "none", "callback", "standard_webhooks", "../github", "github.x", "__init__"])
def test_any_other_name_is_told_with_those_there_are(kind: str) -> None:
    """Callback URLs are nobody's source to configure."""
    with pytest.raises(ConfigError, match="github"):
        load_source_kind(kind)
