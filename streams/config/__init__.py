"""Validates everything an operator can set.

In: options and environment variables as text. Out: `Settings`, validated once at the start; an invalid value raises
`ConfigError`. `security` configures TLS and SASL, `units` formats times.

Start reading at `streams.config.settings`.
"""
