"""An installation on the test broker: its topics are made, nothing is on them."""

from __future__ import annotations

from pathlib import Path

from streams.config.settings import Settings
from topics.cluster import admin
from topics.spec import Layout


def installed(bootstrap: str, prefix: str, state_dir: Path, *, facts_partitions: int = 2) -> Settings:
    """The settings of a new installation with one source topic."""
    settings = Settings(
        bootstrap=bootstrap,
        state_dir=state_dir,
        source_topics=(f"{prefix}spans",),
        prefix=prefix,
        facts_partitions=facts_partitions,
    )
    layout = Layout(prefix, settings.source_topics, facts_partitions)
    admin.create(admin.connect(settings.client()), layout)
    return settings
