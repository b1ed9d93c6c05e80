"""Reads rule files into drafts: rules as written, before their conditions are parsed.

In: `.rules` files with headers, `.yaml` files, and the spans of a rule's tests. Out: drafts (`dsl.files.draft`), whose
metadata `dsl.files.fields` validates.

Start reading at `dsl.files.headers` and `dsl.files.yaml_rules`.
"""
