"""Rule files to rules as they were written.

In: `.rules` files with headers, `.yaml` files, and the spans of a rule's tests. Out: drafts (`dsl.files.draft`), whose
keys are checked by `dsl.files.fields`.

Start reading at `dsl.files.headers` and `dsl.files.yaml_rules`.
"""
