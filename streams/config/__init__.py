"""What an operator can set.

In: options and environment variables as text. Out: `Settings`, checked once at the start; a value that cannot work is a
`ConfigError`. `security` has TLS and SASL, `units` reads and writes durations, sizes and times.

Start reading at `streams.config.settings`.
"""
